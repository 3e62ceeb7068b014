"""Commands that read artifacts: export-megatron, compare, lineage."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Annotated, Any

import typer


def export_megatron(
    tokens: Annotated[Path, typer.Argument(metavar="TOKENS", help="Token artifact.", show_default=False)],
    prefix: Annotated[Path, typer.Option("--out", "-o", metavar="PREFIX", help="Writes PREFIX.bin and PREFIX.idx.")],
    split: Annotated[str, typer.Option(metavar="train|heldout", help="Documents to export.")] = "train",
) -> None:
    """Write token shards as Megatron's .bin and .idx files, for other trainers."""
    for file in _function("data_pipeline.tokens", "export_megatron")(tokens, prefix, split):
        typer.echo(str(file))


def compare(
    scores_a: Annotated[Path, typer.Argument(metavar="SCORES_A", help="Scores artifact.", show_default=False)],
    scores_b: Annotated[Path, typer.Argument(metavar="SCORES_B", help="Scores artifact.", show_default=False)],
    correction: Annotated[
        str, typer.Option(metavar="holm|benjamini-hochberg|none", help="Adjustment of p for many comparisons.")
    ] = "holm",
) -> None:
    """Compare two evaluations item by item: is A better, worse, or can these items not tell, for every shared score.

    Also written llmill evaluate compare SCORES_A SCORES_B.
    """
    from llmill.comparison import print_comparison

    print_comparison(scores_a, scores_b, correction)


def lineage(
    path: Annotated[
        str, typer.Argument(metavar="PATH[#ITEM]", help="Artifact, a file in one, or with #ITEM a scored item.")
    ],
    document: Annotated[
        list[str] | None, typer.Option("--document", metavar="ID", help="Follow this document; may be repeated.")
    ] = None,
    sample: Annotated[int, typer.Option("--sample", min=0, help="Follow this many documents.")] = 0,
    show: Annotated[bool, typer.Option("--show", help="Show the first bytes of each document's WARC record.")] = False,
) -> None:
    """Walk backwards from an artifact to what it was made of: scores, checkpoint, tokens, corpus, WARC record."""
    from llmill.lineage import sample_documents, trace_document, walk
    from llmill.lineage.show import print_lineage

    place, _, item = path.partition("#")
    tree = walk(place)
    ids = [*([item] if item else []), *(document or [])]
    ids += sample_documents(tree, sample) if sample else []
    print_lineage(tree, [trace_document(tree, name) for name in ids], content=show)


def _function(module: str, name: str) -> Any:
    return getattr(importlib.import_module(module), name)
