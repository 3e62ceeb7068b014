"""Precision and recall of each step against a truth file that says which step should drop each page.

The truth is one JSON a line: `url`, `warc_file`, `expected_step` (null: must be kept) and, for copies of one page,
`dedup_group`. Of a group any one member may survive. The heuristics are measured together, and so are the two
deduplication steps, for the truth cannot say which of them should speak first.
"""

from __future__ import annotations

import json
import math
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from millbase.atomic import write_json
from millbase.errors import InputError
from millbase.files import open_file

GROUPS = {
    "read": ("read",),
    "url": ("url",),
    "extract": ("extract",),
    "language": ("language",),
    "heuristics": ("gopher_repetition", "gopher_quality", "c4", "fineweb", "refinedweb"),
    "quality": ("quality",),
    "dedup": ("url_dedup", "exact_dedup", "minhash_dedup", "paragraph_dedup", "substring_dedup"),
}
_GROUP_OF = {step: group for group, steps in GROUPS.items() for step in steps}
_EXAMPLES = 5


class Judged(NamedTuple):
    """One record: what should have happened and what did."""

    url: str
    expected: str | None
    actual: str | None
    group: str | None


def write_precision_recall(corpus: Path, truth: str) -> None:
    """Write `precision_recall.json` for the corpus in `corpus`. Raises InputError when the truth does not fit it."""
    write_json(corpus / "precision_recall.json", precision_recall(list(judge_records(corpus, truth))))


def judge_records(corpus: Path, truth: str) -> Iterator[Judged]:
    """Every record of the truth that the corpus read."""
    actual: dict[tuple[str, str], str | None] = {}
    for folder in ("data", "dropped"):
        for file in sorted((corpus / folder).glob("*.arrow")):
            table = pa.ipc.open_file(pa.memory_map(str(file))).read_all()
            steps = table["step"].to_pylist() if folder == "dropped" else [None] * table.num_rows
            files = [name.rpartition("/")[2] for name in table["warc_file"].to_pylist()]
            actual.update(zip(zip(files, table["url"].to_pylist(), strict=True), steps, strict=True))
    found = 0
    with open_file(truth) as lines:
        for number, line in enumerate(lines, 1):
            try:
                row = json.loads(line)
                key = (row["warc_file"].rpartition("/")[2], row["url"])
                expected = row["expected_step"]
            except (ValueError, KeyError, TypeError) as error:
                raise InputError(
                    f"truth {truth!r}, line {number}: no truth row ({error!r}); give a truth.jsonl.gz"
                ) from None
            if key in actual:
                found += 1
                step = actual[key]
                yield Judged(row["url"], expected, _GROUP_OF.get(step, step) if step else None, row.get("dedup_group"))
    if not found:
        raise InputError(
            f"truth {truth!r} names no page of this crawl; give the truth file that was made with the WARC files"
        )


def precision_recall(records: list[Judged]) -> list[dict[str, Any]]:
    """A row a step, and one for `all`: whether a page that should go goes, wherever.

    `precision` is the share of the pages a step dropped that it should have dropped, `recall` the share of the pages it
    should have dropped that it did; null where there were none. Intervals are Wilson's at 95%.
    """
    rows = [_row(step, records) for step in GROUPS if step != "dedup"]
    rows.append(_dedup_row(records))
    expected = [r for r in records if r.expected not in (None, "dedup")]
    dropped = [r for r in records if r.actual not in (None, "dedup", "mixture")]
    right = [r for r in dropped if r.expected not in (None, "dedup")]
    missed = [r for r in expected if r.actual is None]
    rows.append(_entry("all", len(expected), len(dropped), len(right), [r for r in dropped if r not in right] + missed))
    return rows


def _row(step: str, records: list[Judged]) -> dict[str, Any]:
    expected = [r for r in records if r.expected == step]
    dropped = [r for r in records if r.actual == step]
    right = [r for r in dropped if r.expected == step]
    wrong = [r for r in dropped if r.expected != step] + [r for r in expected if r.actual != step]
    return _entry(step, len(expected), len(dropped), len(right), wrong)


def _dedup_row(records: list[Judged]) -> dict[str, Any]:
    """Among the members of a group that reached deduplication, all but one should go."""
    reached: dict[str, list[Judged]] = defaultdict(list)
    dropped = [r for r in records if r.actual == "dedup"]
    wrong = [r for r in dropped if r.group is None]
    for record in records:
        if record.group is not None and record.actual in (None, "dedup", "mixture"):
            reached[record.group].append(record)
    should = right = 0
    for members in reached.values():
        gone = sum(member.actual == "dedup" for member in members)
        should += len(members) - 1
        right += min(gone, len(members) - 1)
        if gone != len(members) - 1:
            wrong += [member for member in members if member.actual != "dedup"][1:] or members[:1]
    return _entry("dedup", should, len(dropped), right, wrong)


def _entry(step: str, positive: int, dropped: int, right: int, wrong: list[Judged]) -> dict[str, Any]:
    confusion = Counter((r.expected, r.actual) for r in wrong)
    return {
        "step": step,
        "truth_positive": positive,
        "dropped": dropped,
        "true_dropped": right,
        "precision": right / dropped if dropped else None,
        "precision_ci95": wilson(right, dropped),
        "recall": right / positive if positive else None,
        "recall_ci95": wilson(right, positive),
        "confusions": [{"expected": e, "actual": a, "pages": n} for (e, a), n in confusion.most_common(8)],
        "examples_wrong": [{"url": r.url, "expected": r.expected, "actual": r.actual} for r in wrong[:_EXAMPLES]],
    }


def wilson(successes: int, trials: int) -> list[float] | None:
    """Wilson's 95% score interval of a share (Wilson 1927); null without trials."""
    if not trials:
        return None
    z, share = 1.959964, successes / trials
    center = (share + z * z / (2 * trials)) / (1 + z * z / trials)
    half = z * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials)) / (1 + z * z / trials)
    return [max(0.0, center - half), min(1.0, center + half)]
