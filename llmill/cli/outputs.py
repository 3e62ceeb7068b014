"""``llmill corpus export`` and ``llmill corpus contamination``: a finished corpus in other formats, and what it holds
of evaluation sets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from llmill.cli.components import read_config
from millbase.errors import ConfigError

if TYPE_CHECKING:
    from data_pipeline.decontaminate import DecontaminateCorpusConfig
    from data_pipeline.export import ExportConfig

_Corpus = Annotated[Path, typer.Argument(metavar="CORPUS", help="Corpus artifact.", show_default=False)]
_Words = Annotated[
    list[str] | None,
    typer.Argument(metavar="[CONFIG.yaml] [KEY=VALUE]...", help="YAML file, then fields that override it."),
]


def export(
    corpus: _Corpus,
    out: Annotated[Path, typer.Option("--out", "-o", help="Directory of the export.", show_default=False)],
    format_: Annotated[str, typer.Option("--format", "-f", metavar="parquet|jsonl", help="File format.")] = "parquet",
    compression: Annotated[
        str, typer.Option(metavar="zstd|gzip|snappy|none", help="Compression; snappy is for Parquet only.")
    ] = "zstd",
    columns: Annotated[
        str, typer.Option(metavar="A,B", help="Columns, in this order.", show_default="all of them")
    ] = "",
    repeat_copies: Annotated[
        bool, typer.Option("--repeat-copies", help="Write documents as often as their column `copies` says.")
    ] = False,
    words: _Words = None,
) -> None:
    """Write a finished corpus as Parquet or JSON Lines; for Megatron's format see llmill tokens export-megatron.

    Other fields as KEY=VALUE: shard_bytes (text bytes in a file), row_group_rows, workers.
    """
    from data_pipeline.export import ExportConfig, export_corpus

    fields = [f"corpus={corpus}", f"format={format_}", f"compression={compression}", f"columns=[{columns}]"]
    fields += [f"repeat_copies={str(repeat_copies).lower()}", *(words or [])]
    typer.echo(str(export_corpus(cast("ExportConfig", read_config(ExportConfig, fields)), out)))


def contamination(
    corpus: _Corpus,
    words: _Words = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
    items: Annotated[int, typer.Option(min=0, help="Items to show of each evaluation set.")] = 3,
) -> None:
    """Say which evaluation items a corpus held when it was decontaminated, or holds now.

    Alone, prints the report of the build. With evaluation sets (the fields of llmill corpus decontaminate), looks for
    them in the corpus as it is, and changes nothing:

    llmill corpus contamination runs/corpus sets='[{name: gsm8k, path: evals/gsm8k/test.jsonl.gz}]'
    """
    from data_pipeline.decontaminate.report import describe_report

    if words:
        from data_pipeline.decontaminate import DecontaminateCorpusConfig, measure_contamination

        config = read_config(DecontaminateCorpusConfig, [f"corpus={corpus}", *words])
        report = measure_contamination(cast("DecontaminateCorpusConfig", config))
    else:
        report = _recorded(corpus)
    typer.echo(json.dumps(report, indent=1, ensure_ascii=False) if as_json else describe_report(report, items))


def _recorded(corpus: Path) -> dict[str, object]:
    from millbase.artifacts import open_artifact

    manifest = open_artifact(corpus, kind="corpus", verify=False)
    file = manifest.path / "contamination.json"
    if not file.is_file():
        raise ConfigError(
            f"{str(corpus)!r} was built without decontamination, so it has no report; name sets to look for, "
            "such as sets='[{name: gsm8k, path: evals/gsm8k.jsonl}]'"
        )
    report: dict[str, object] = json.loads(file.read_text(encoding="utf-8"))
    return report
