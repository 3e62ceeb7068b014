"""What others do with token shards: map them, trace a row to its WARC record, export them to Megatron."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from data_pipeline.tokens import TokensConfig, build_tokens, corpus_document, document_at, export_megatron
from data_pipeline.tokens.lineage import split_files
from millbase.errors import ArtifactError, InputError


@pytest.fixture(scope="module")
def tokens(corpus: Path, tokenizer: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = TokensConfig(
        corpus=str(corpus), tokenizer=str(tokenizer), heldout_share=0.1, batch_tokens=1500, shard_tokens=6000
    )
    return build_tokens(config, tmp_path_factory.mktemp("tokens") / "tokens")


def rows_of(tokens: Path, split: str) -> list[dict[str, Any]]:
    return [row for file in split_files(tokens, split) for row in pa.ipc.open_file(str(file)).read_all().to_pylist()]


def test_reading_values_copies_nothing(corpus_of: Callable[..., Path], tokenizer: Path, tmp_path: Path) -> None:
    """A mapped shard's token values become a numpy array without Arrow allocating memory for them."""
    rng = random.Random(0)
    texts = {f"d{index}": " ".join(rng.choices(["river", "Melk", "12"], k=2000)) for index in range(300)}
    config = TokensConfig(
        corpus=str(corpus_of(tmp_path / "corpus", texts)), tokenizer=str(tokenizer), batch_tokens=1 << 16
    )
    out = build_tokens(config, tmp_path / "tokens")
    (file,) = split_files(out, "train")
    before = pa.total_allocated_bytes()
    reader = pa.ipc.open_file(pa.memory_map(str(file)))
    batches = [reader.get_batch(index) for index in range(reader.num_record_batches)]
    values = [batch["tokens"].values.to_numpy(zero_copy_only=True) for batch in batches]
    total = sum(array.nbytes for array in values)
    assert total > 1_000_000
    assert pa.total_allocated_bytes() - before < 0.01 * total
    assert not values[0].flags.writeable and not values[0].flags.owndata


def test_document_at_every_row(tokens: Path) -> None:
    for split in ("train", "heldout"):
        rows = rows_of(tokens, split)
        for row in (0, 1, len(rows) // 2, len(rows) - 1):
            found = document_at(tokens, split, row)
            assert (found["id"], found["tokens"]) == (rows[row]["id"], len(rows[row]["tokens"]))
            table = pa.ipc.open_file(str(tokens / found["shard"])).read_all()
            assert table["id"][found["row"]].as_py() == found["id"]
        for row in (-1, len(rows)):
            with pytest.raises(InputError, match=f"row {row} is not in split"):
                document_at(tokens, split, row)
    with pytest.raises(InputError, match="no split 'test'"):
        document_at(tokens, "test", 0)


def test_a_row_leads_to_its_warc_record(tokens: Path, texts: dict[str, str]) -> None:
    identifier = document_at(tokens, "train", 7)["id"]
    found = corpus_document(tokens, identifier, text=True)
    number = int(identifier.removeprefix("doc-"))
    assert (found["warc_file"], found["warc_offset"], found["warc_length"]) == ("crawl/a.warc.gz", 1000 * number, 900)
    assert found["url"] == f"http://a.example/{number}" and found["text"] == texts[identifier]
    assert "text" not in corpus_document(tokens, identifier)
    with pytest.raises(InputError, match="no document 'nobody'"):
        corpus_document(tokens, "nobody")


def test_moved_and_foreign_corpora(tokens: Path, corpus: Path, corpus_of: Callable[..., Path], tmp_path: Path) -> None:
    (tmp_path / "moved").symlink_to(corpus)
    assert corpus_document(tokens, "doc-3", corpus=tmp_path / "moved")["id"] == "doc-3"
    with pytest.raises(ArtifactError, match="is not the corpus of"):
        corpus_document(tokens, "doc-3", corpus=corpus_of(tmp_path / "other", {"doc-3": "x"}))


def test_megatron_reads_the_export(tokens: Path, tmp_path: Path) -> None:
    indexed_dataset = pytest.importorskip("megatron.core.datasets.indexed_dataset")
    binary, index = export_megatron(tokens, tmp_path / "train")
    assert (binary, index) == (tmp_path / "train.bin", tmp_path / "train.idx")
    dataset = indexed_dataset.IndexedDataset(str(tmp_path / "train"), mmap=True)
    rows = rows_of(tokens, "train")
    assert len(dataset) == len(rows)
    assert dataset.index.dtype == np.uint16
    assert all(dataset[number].tolist() == row["tokens"] for number, row in enumerate(rows))
    assert dataset.document_indices.tolist() == list(range(len(rows) + 1))
    origin = json.loads((tmp_path / "train.json").read_text())
    manifest = json.loads((tokens / "manifest.json").read_text())
    assert (origin["digest"], origin["split"], origin["documents"]) == (manifest["digest"], "train", len(rows))
    assert origin["end_of_document_id"] == rows[0]["tokens"][-1]


def test_export_is_what_megatron_would_write(tokens: Path, tmp_path: Path) -> None:
    indexed_dataset = pytest.importorskip("megatron.core.datasets.indexed_dataset")
    import torch

    builder = indexed_dataset.IndexedDatasetBuilder(str(tmp_path / "theirs.bin"), dtype=np.uint16)
    for row in rows_of(tokens, "heldout"):
        builder.add_document(torch.tensor(row["tokens"]), [len(row["tokens"])])
    builder.finalize(str(tmp_path / "theirs.idx"))
    for ours, suffix in zip(export_megatron(tokens, tmp_path / "ours", "heldout"), ("bin", "idx"), strict=True):
        assert ours.read_bytes() == (tmp_path / f"theirs.{suffix}").read_bytes()


def test_manifest_names_its_inputs(tokens: Path, corpus: Path, tokenizer: Path) -> None:
    manifest = json.loads((tokens / "manifest.json").read_text())
    assert manifest["inputs"]["corpus"]["path"] == str(corpus)
    assert manifest["inputs"]["tokenizer"]["digest"] == manifest["stats"]["tokenizer_digest"]
    assert manifest["inputs"]["tokenizer"]["path"] == str(tokenizer)
