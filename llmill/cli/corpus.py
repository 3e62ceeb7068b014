"""Commands on a finished corpus: explain, funnel, stats, sample, diff, plan, filter."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

_Corpus = Annotated[Path, typer.Argument(metavar="CORPUS", help="Corpus artifact.", show_default=False)]
_Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]
_Crawl = Annotated[
    str | None, typer.Option("--crawl", metavar="FOLDER", help="Where the WARC files lie now, if they moved.")
]


def explain(
    corpus: _Corpus,
    page: Annotated[str, typer.Argument(metavar="URL_OR_ID", help="Page or document.", show_default=False)],
    text: Annotated[bool, typer.Option("--text", help="Show the text after each step that changed it.")] = False,
    members: Annotated[int, typer.Option("--members", min=0, help="Copies to compare the page with.")] = 10,
    crawl: _Crawl = None,
    as_json: _Json = False,
) -> None:
    """Tell the whole story of a page, kept or dropped.

    Its record is read again and goes through the corpus's steps: what each rule measures against its threshold, what a
    step changes, its copies with their exact similarity, and where the record lies.
    """
    from data_pipeline.inspect import Crawl, tell_story
    from llmill.views.show import print_json
    from llmill.views.story import print_story

    with Crawl(corpus, crawl) as opened:
        stories = tell_story(opened, page, text, members)
    if as_json:
        print_json([finite(story.to_dict()) for story in stories])
        return
    for story in stories:
        print_story(story, text)


def funnel(corpus: _Corpus) -> None:
    """Print how many pages each step read, dropped and kept, and the reasons."""
    from llmill.funnel import print_funnel

    print_funnel(corpus)


def filter_command(
    corpus: _Corpus,
    keep: Annotated[str, typer.Option("--keep", metavar="CONDITION", help="Such as 'quality.score >= 0.7'.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Directory of the new corpus.", show_default=False)],
    shard_bytes: Annotated[int, typer.Option("--shard-bytes", min=1, help="Text bytes in one shard.")] = 256 << 20,
) -> None:
    """Keep the documents that meet a condition on the columns, as a new corpus; the crawl is not read.

    Conditions compare columns with numbers and text (quality.score >= 0.7, language in ["en", "de"],
    length(text) > 500), joined by and, or, not. Comparisons with a null are false; ask with "is None".
    """
    from data_pipeline.filter import FilterConfig, filter_corpus
    from millbase.config import load_config

    values = {"corpus": str(corpus), "keep": keep, "shard_bytes": shard_bytes}
    typer.echo(str(filter_corpus(load_config(FilterConfig, values, where="filter"), out)))


def stats(
    corpus: _Corpus,
    hosts: Annotated[int, typer.Option("--hosts", min=0, help="Hosts to list.")] = 20,
    histograms: Annotated[bool, typer.Option("--histograms", help="Draw the distributions, too.")] = False,
    as_json: _Json = False,
) -> None:
    """Say what a corpus is made of: languages, hosts, lengths, scores, and how far dropped pages were from the limits.

    Reads the tables once, in bounded memory.
    """
    from data_pipeline.inspect import corpus_stats
    from llmill.views.show import print_json
    from llmill.views.stats import print_stats

    found = corpus_stats(corpus, hosts)
    print_json(finite(found)) if as_json else print_stats(found, histograms)


def sample(
    corpus: _Corpus,
    dropped_by: Annotated[str | None, typer.Option("--dropped-by", metavar="STEP", help="Pages it dropped.")] = None,
    reason: Annotated[str | None, typer.Option("--reason", help="Only those dropped for this reason.")] = None,
    kept: Annotated[bool, typer.Option("--kept", help="Pages that were kept.")] = False,
    count: Annotated[int, typer.Option("--count", "-n", min=1, help="How many.")] = 10,
    seed: Annotated[int, typer.Option("--seed", help="Another seed, other pages.")] = 0,
    crawl: _Crawl = None,
    as_json: _Json = False,
) -> None:
    """Show pages that a step dropped, or that were kept, with the beginning of their text."""
    from dataclasses import asdict

    from data_pipeline.inspect import Crawl, sample_pages
    from llmill.views.show import print_json
    from llmill.views.story import print_sample
    from millbase.errors import ConfigError

    if kept == (dropped_by is not None) or (reason is not None and dropped_by is None):
        raise ConfigError("give --dropped-by STEP (and perhaps --reason), or --kept")
    with Crawl(corpus, crawl) as opened:
        pages = sample_pages(opened, dropped_by, reason, count, seed)
    print_json([asdict(page) for page in pages]) if as_json else print_sample(pages)


def diff(
    corpus_a: Annotated[Path, typer.Argument(metavar="A", help="Corpus artifact.", show_default=False)],
    corpus_b: Annotated[Path, typer.Argument(metavar="B", help="Corpus artifact.", show_default=False)],
    examples: Annotated[int, typer.Option("--examples", min=0, help="Pages to show of each change.")] = 3,
    as_json: _Json = False,
) -> None:
    """Compare two corpora: pages only one read, pages kept by one and dropped by the other, changed texts, settings."""
    from data_pipeline.inspect import compare_corpora
    from llmill.views.show import print_json
    from llmill.views.stats import print_diff

    found = compare_corpora(corpus_a, corpus_b, examples)
    print_json(finite(found)) if as_json else print_diff(found)


def plan(
    corpus: Annotated[
        Path | None,
        typer.Argument(metavar="[CORPUS]", help="Corpus built of a sample of the dump.", show_default=False),
    ] = None,
    dump: Annotated[str, typer.Option("--dump", help="Name of the dump.")] = "CC-MAIN",
    sample: Annotated[
        list[str] | None,
        typer.Option("--sample", metavar="PATHS", help="Build the sample of these WARC files; may be repeated."),
    ] = None,
    config: Annotated[Path | None, typer.Option("--config", "-c", help="Configuration of that build.")] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Keep the built sample here.")] = None,
    files: Annotated[int, typer.Option("--files", min=1, help="WARC files of the dump.")] = 90_000,
    pages: Annotated[float, typer.Option("--pages", min=1, help="Pages of the dump.")] = 3e9,
    file_gb: Annotated[float, typer.Option("--file-gb", min=0.0, help="Mean size of its files in GB.")] = 1.0,
    cores: Annotated[int, typer.Option("--cores", min=1, help="Cores at work at a time.")] = 1000,
    price: Annotated[float, typer.Option("--price", min=0.0, help="Price of a core-hour.")] = 0.04,
    as_json: _Json = False,
) -> None:
    """Estimate core-hours, memory, disk and cost of a full dump from a sample, and say what that assumes.

    The sample is a corpus that is there, or is built of --sample PATHS with one worker.
    """
    import tempfile

    from data_pipeline.inspect import PlanConfig, plan_dump
    from data_pipeline.inspect.plan import build_sample
    from llmill.views.plan import print_plan
    from llmill.views.show import print_json
    from millbase.errors import ConfigError

    if (corpus is None) == (not sample):
        raise ConfigError("give a CORPUS built of a sample, or --sample PATHS to build one")
    settings = PlanConfig(dump=dump, files=files, pages=pages, file_bytes=file_gb * 1e9, cores=cores, price=price)
    with tempfile.TemporaryDirectory(prefix="llmill-plan-") as folder:
        if corpus is None:
            corpus = build_sample(sample or [], config, out or Path(folder) / "sample")
        found = plan_dump(settings, corpus)
    print_json(finite(found)) if as_json else print_plan(found)


def finite(value: Any) -> Any:
    """`value` with null for NaN and infinities, which JSON does not have."""
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(item) for item in value]
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return None
    return value
