"""``llmill pretrain``, with options that stand for fields, and ``llmill tokens show``: what a step trains on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from llmill.cli.components import add_command, build_component, read_config

if TYPE_CHECKING:
    from training.pretrain import DocumentSpan, PretrainConfig

_Words = Annotated[
    list[str] | None,
    typer.Argument(metavar="[CONFIG.yaml] [KEY=VALUE]...", help="YAML file, then fields that override it."),
]
_Skip = Annotated[
    list[str] | None,
    typer.Option("--skip-steps", metavar="A:B", help="Pass over steps A to B - 1 (the first is 0); may be repeated."),
]


def pretrain(
    words: _Words = None,
    file: Annotated[Path | None, typer.Option("--config", "-c", help="The YAML file.", show_default=False)] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Directory of the artifact.", show_default=False)
    ] = None,
    skip_steps: _Skip = None,
    launcher: Annotated[
        str | None, typer.Option("--launcher", metavar="local|slurm", help="launcher.kind: here, or as a Slurm job.")
    ] = None,
    nnodes: Annotated[
        int | None, typer.Option("--nnodes", min=1, help="launcher.nodes: machines that share the ranks.")
    ] = None,
    node_rank: Annotated[
        int | None,
        typer.Option("--node-rank", min=0, help="launcher.node_rank: which of them this is (without Slurm)."),
    ] = None,
    rdzv: Annotated[
        str | None, typer.Option("--rdzv", metavar="HOST:PORT", help="launcher.rendezvous: machine 0 (without Slurm).")
    ] = None,
    print_config: Annotated[
        bool, typer.Option("--print-config", help="Print the resolved configuration and exit.")
    ] = False,
) -> None:
    """Pretrain; the fields that options stand for can be given either way."""
    words = list(words or [])
    if skip_steps:
        words.append(f"skip_steps={json.dumps(skip_steps)}")
    given = {"kind": launcher, "nodes": nnodes, "node_rank": node_rank, "rendezvous": rdzv}
    words += [f"launcher.{name}={json.dumps(value)}" for name, value in given.items() if value is not None]
    build_component("pretrain", words, file, out, print_config)


def add_pretrain(app: typer.Typer, panel: str) -> None:
    """Add ``llmill pretrain``."""
    add_command(app, "pretrain", "pretrain", pretrain, panel)


def show_tokens(
    words: Annotated[
        list[str],
        typer.Argument(metavar="CONFIG.yaml|RUN [KEY=VALUE]...", help="Configuration, or a run's directory."),
    ],
    step: Annotated[int, typer.Option("--step", metavar="N", min=0, help="Optimizer step; the first is 0.")],
    text: Annotated[bool, typer.Option("--text", help="Show the beginning of each piece's text, too.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print a line of JSON for each piece.")] = False,
) -> None:
    """Print exactly the documents that a step of a pretraining run trains on: id, address, tokens, source.

    Nothing is run: the order is a function of the tokens, the seed and the position. RUN is a finished pretraining
    artifact, or the work directory of an unfinished one.
    """
    from millbase.artifacts import work_directory
    from training.pretrain import PretrainConfig, which_documents

    run = Path(words[0])
    if run.is_dir() or work_directory(run).is_dir():
        config = _of_run(run, words[1:])
    else:
        config = cast("PretrainConfig", read_config(PretrainConfig, words))
    spans = which_documents(config, step)
    places = {span.tokens for span in spans}
    urls = {place: _urls(place, {span.id for span in spans if span.tokens == place}) for place in places}
    for span in spans:
        row = {
            "sequence": span.sequence,
            "id": span.id,
            "url": urls[span.tokens].get(span.id),
            "start": span.start,
            "end": span.end,
            "mixture": span.mixture,
            "source": span.source,
        }
        if text:
            row["text"] = _text(span)
        typer.echo(json.dumps(row, ensure_ascii=False) if as_json else _line(row))
    if not as_json:
        documents = len({(span.tokens, span.id) for span in spans})
        skipped = " (skipped by skip_steps)" if config.skipped(step) else ""
        typer.echo(f"step {step}{skipped}: {len(spans)} pieces of {documents} documents")


def _of_run(run: Path, overrides: list[str]) -> PretrainConfig:
    """The configuration of a run, finished or not."""
    from millbase.artifacts import open_artifact, work_directory
    from millbase.config import load_config
    from millbase.errors import ArtifactError
    from training.pretrain import PretrainConfig

    unfinished = [place / "scratch" / "run.json" for place in (run, work_directory(run))]
    if (run / "manifest.json").is_file():
        values: dict[str, Any] = open_artifact(run, kind="checkpoint", verify=False).config
    else:
        found = next((file for file in unfinished if file.is_file()), None)
        if found is None:
            raise ArtifactError(f"{str(run)!r} is no pretraining run; give one, or its configuration")
        values = json.loads(found.read_text(encoding="utf-8"))["config"]
    return load_config(PretrainConfig, values, overrides, where=str(run))


def _line(row: dict[str, Any]) -> str:
    source = row["mixture"] if row["mixture"] == row["source"] else f"{row['mixture']}/{row['source']}"
    line = f"{row['sequence']:>8}  {row['id']}  [{row['start']}, {row['end']})  {source}  {row['url'] or '-'}"
    return f"{line}\n          {row['text']}" if "text" in row else line


def _urls(tokens: str, ids: set[str]) -> dict[str, str]:
    """Addresses of documents of a tokens artifact, from the corpora behind it; those that are gone have none."""
    import pyarrow as pa
    import pyarrow.compute as pc

    from llmill.lineage import walk

    wanted = pa.array(sorted(ids))
    found: dict[str, str] = {}
    for corpus in walk(tokens).artifacts("corpus"):
        for name in sorted(corpus.files):
            if name.startswith("data/") and name.endswith(".arrow"):
                reader = pa.ipc.open_file(pa.memory_map(str(corpus.path / name)))
                for index in range(reader.num_record_batches):
                    batch = reader.get_batch(index).select(["id", "url"])
                    batch = batch.filter(pc.is_in(batch["id"], wanted))
                    found.update(zip(batch["id"].to_pylist(), batch["url"].to_pylist(), strict=True))
    return found


def _text(span: DocumentSpan, characters: int = 200) -> str:
    """The beginning of a piece's text."""
    from tokenizers import Tokenizer

    from training.shards import TokenShards

    shards = TokenShards(Path(span.tokens) / "train")
    document = shards.find(span.id)
    tokenizer = Tokenizer.from_file(str(Path(span.tokens) / "tokenizer" / "tokenizer.json"))
    decoded = tokenizer.decode(shards.tokens(document)[span.start : span.end].tolist(), skip_special_tokens=False)
    return " ".join(decoded[:characters].split())
