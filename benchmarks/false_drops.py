"""How much good text the heuristics drop: human-reviewed pages through our defaults and through datatrove's FineWeb.

    python benchmarks/false_drops.py           # every page, about ten minutes: datatrove cuts words with spaCy
    python benchmarks/false_drops.py --quick   # at most 25 pages of each type, 100 articles, under 50 seconds

Every page is text that a reader found to be the page's main content, so every drop is a false one. Ours judge all
pages, in many languages; datatrove's filters are for English and judge the English ones, as in FineWeb. The figure is
the share of articles kept on one half of the registered domains, goal 0.9; the tables show the other half too. The
pages lie in ../shared/data (LLMILL_TEST_DATA names another folder). The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import tldextract
import xxhash
from datatrove.data import Document
from datatrove.pipeline.filters import (
    C4QualityFilter,
    FineWebQualityFilter,
    GopherQualityFilter,
    GopherRepetitionFilter,
)

from data_pipeline.audit import (
    AuditConfig,
    LabelledPages,
    Page,
    Verdict,
    audit_steps,
    good_pages,
    good_rates,
    judge_page,
)
from data_pipeline.audit.tables import good_table

REPOSITORY = Path(__file__).resolve().parent.parent
SOURCES = (
    "wcxb_dev",
    "wcxb_test",
    "scrapinghub_aeb",
    "daniel_waddle",
    "fundus_evaluation",
    "fundus_tests",
    "cleanportaleval",
)
DOMAINS = tldextract.TLDExtract(suffix_list_urls=())  # the list that the package ships: nothing is fetched
RESULT = REPOSITORY / "benchmarks" / "results" / "false_drops.json"


def main() -> int:
    """Print the tables; write the result of a full run. Exit status 1 where the pages are absent."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="at most 25 pages of each type")
    parser.add_argument("--out", type=Path, help="where to write the result; by default a full run writes results/")
    options = parser.parse_args()
    folder = Path(os.environ.get("LLMILL_TEST_DATA", REPOSITORY.parent / "shared" / "data")) / "extraction"
    files = [str(folder / f"{name}.gold.jsonl.gz") for name in SOURCES]
    missing = [file for file in files if not Path(file).is_file()]
    if missing:
        print(f"no gold pages: {missing[0]} does not exist; set LLMILL_TEST_DATA", file=sys.stderr)
        return 1
    config = AuditConfig(good=[LabelledPages(path=files)])
    pages = good_pages(config)
    if options.quick:
        pages = sample(pages, 25)
    steps = audit_steps(config)
    ours = timed("ours", pages, lambda page: judge_page(page, steps))
    english = [verdict.page for verdict in ours if verdict.language == "en"]
    filters = fineweb_filters()
    theirs = timed("datatrove", english, lambda page: datatrove_verdict(page, filters))
    halves = [[verdict for verdict in ours if half(verdict.page.url) == side] for side in (0, 1)]
    shown = {
        "ours, all pages": ours,
        "ours, one half of the domains": halves[0],
        "ours, the other half": halves[1],
        "ours, English pages": [verdict for verdict in ours if verdict.language == "en"],
        "datatrove's FineWeb filters, English pages": theirs,
    }
    for title, verdicts in shown.items():
        print(f"\n{title}\n{good_table(good_rates(verdicts))}")
    articles = [verdict for verdict in halves[1] if verdict.page.kind == "article"]
    kept = sum(verdict.chain is None for verdict in articles) / len(articles)
    figure = {"figure": "gold articles kept by the default heuristics", "value": round(kept, 4), "goal": 0.9}
    figure |= {"unit": "share"}
    out = options.out or (None if options.quick else RESULT)
    if out is not None:
        rates = {title: chain_rates(verdicts) for title, verdicts in shown.items()}
        figure_and_rates = {**figure, "quick": options.quick, "false_drops": rates}
        out.write_text(json.dumps(figure_and_rates, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(figure))
    return 0


def sample(pages: Sequence[Page], per_kind: int) -> list[Page]:
    """The first pages of each type by a hash of the address."""
    kinds: dict[str, list[Page]] = defaultdict(list)
    for page in sorted(pages, key=lambda page: (xxhash.xxh3_64_intdigest(page.url.encode()), page.text)):
        kinds[page.kind].append(page)
    return [page for kind, found in kinds.items() for page in found[: per_kind * (4 if kind == "article" else 1)]]


def half(url: str) -> int:
    """Which half of the registered domains a page belongs to."""
    domain = DOMAINS(url).top_domain_under_public_suffix or urlsplit(url).netloc
    return xxhash.xxh3_64_intdigest(domain.encode()) & 1


def timed(name: str, pages: Sequence[Page], judge: Callable[[Page], Verdict]) -> list[Verdict]:
    """A verdict for each page, and the CPU time it took."""
    started = time.process_time()
    verdicts = [judge(page) for page in pages]
    each = 1000 * (time.process_time() - started) / max(len(pages), 1)
    print(f"{name}: {len(pages)} pages, {each:.1f} ms of CPU each (every filter alone, and all in order)")
    return verdicts


def fineweb_filters() -> dict[str, Any]:
    """datatrove's filters as its FineWeb script sets them, in its order."""
    return {
        "gopher_repetition": GopherRepetitionFilter(),
        "gopher_quality": GopherQualityFilter(),
        "c4": C4QualityFilter(filter_no_terminal_punct=False),
        "fineweb": FineWebQualityFilter(),
    }


def datatrove_verdict(page: Page, filters: dict[str, Any]) -> Verdict:
    """What datatrove's filters do to a page, each alone and in order; they tell only the first rule that fails."""
    failed: dict[str, tuple[str, ...]] = {}
    chained = Document(text=page.text, id="")
    for name, step in filters.items():
        document = Document(text=page.text, id="")
        result = step.filter(document)
        if isinstance(result, tuple):
            failed[name] = (result[1],)
        elif name == "c4":
            chained = document  # the one filter that rewrites the text
    chain = next((name for name in failed if name != "fineweb"), None)
    if chain is None and isinstance(filters["fineweb"].filter(chained), tuple):
        chain = "fineweb"
    return Verdict(page, "en", failed, chain)


def chain_rates(verdicts: Sequence[Verdict]) -> dict[str, dict[str, Any]]:
    """Rates of all filters in order, and of each alone, by page type."""
    result: dict[str, dict[str, Any]] = defaultdict(dict)
    for rate in good_rates(verdicts):
        if "." not in rate.filter:
            result[rate.filter][rate.kind] = {"pages": rate.pages, "dropped": rate.dropped, "ci95": rate.ci95}
    return result


if __name__ == "__main__":
    sys.exit(main())
