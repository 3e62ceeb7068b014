"""Questions to a finished corpus: its documents, why a page was kept or dropped, where it came from."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from millbase.artifacts import open_artifact
from millbase.errors import InputError


def read_corpus(path: str | Path) -> Iterator[dict[str, Any]]:
    """Every document of the corpus as a dictionary of its columns, in order. Texts are read as they are needed."""
    for batch in _batches(Path(path) / "data"):
        yield from batch.to_pylist()


def explain(corpus: str | Path, url_or_id: str) -> list[dict[str, Any]]:
    """What became of a page: one row for each record with this id or URL, in the order kept, dropped.

    Rows hold `status` (`kept` or `dropped`), `id`, `url`, `source`, its place in the WARC file and, for dropped pages,
    `step`, `reason`, `value`, `threshold`, `detail`. Raises InputError when the corpus read no such page.
    """
    manifest = open_artifact(corpus, kind="corpus", verify=False)
    wanted = url_or_id.strip()
    rows = [{"status": "kept", **row} for row in _find(manifest.path / "data", wanted)]
    rows += [{"status": "dropped", **row} for row in _find(manifest.path / "dropped", wanted)]
    if not rows:
        raise InputError(
            f"no page with the id or URL {wanted!r} is among the {manifest.stats['read']} pages read into "
            f"{str(corpus)!r}; give the id or the full URL as the crawl has it"
        )
    return rows


def document_location(corpus: str | Path, document_id: str) -> dict[str, Any]:
    """Where a document's WARC record lies: `warc_file` (full path), `offset`, `length`, and its `url`.

    Raises InputError when the corpus read no such document.
    """
    row = explain(corpus, document_id)[0]
    manifest = open_artifact(corpus, kind="corpus", verify=False)
    return {
        "warc_file": f"{manifest.stats['warc_root']}{row['warc_file']}",
        "offset": row["warc_offset"],
        "length": row["warc_length"],
        "url": row["url"],
    }


def read_funnel(corpus: str | Path) -> list[dict[str, Any]]:
    """The rows of the funnel with the `seconds` of work (summed over workers) each step took."""
    rows: list[dict[str, Any]] = json.loads((Path(corpus) / "funnel.json").read_text(encoding="utf-8"))
    timings = Path(corpus) / "timings.json"  # corpora made of corpora have none
    seconds = json.loads(timings.read_text(encoding="utf-8")) if timings.is_file() else {}
    return [row | {"seconds": seconds.get(row["step"], 0.0)} for row in rows]


def _find(folder: Path, wanted: str) -> Iterator[dict[str, Any]]:
    for batch in _batches(folder):
        mask = pc.or_(pc.equal(batch["id"], wanted), pc.equal(batch["url"], wanted))
        columns = [name for name in batch.schema.names if name != "text"]
        yield from batch.select(columns).filter(mask).to_pylist()


def _batches(folder: Path) -> Iterator[pa.RecordBatch]:
    for file in sorted(folder.glob("*.arrow")):
        reader = pa.ipc.open_file(pa.memory_map(str(file)))
        for index in range(reader.num_record_batches):
            yield reader.get_batch(index)
