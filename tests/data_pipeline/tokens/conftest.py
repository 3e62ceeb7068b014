"""A small corpus artifact and tokenizer for the token tests."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from data_pipeline.texts import TextSource
from data_pipeline.tokenizer import TokenizerConfig, train_tokenizer
from data_pipeline.write import corpus_schema
from millbase.artifacts import create_artifact
from millbase.config import Config

WORDS = [
    "the",
    "capital",
    "of",
    "Zorland",
    "is",
    "Melk",
    "river",
    "12",
    "naïve",
    "東京",
    "🙂",
    "hello",
    "<|endoftext|>",
]


class NoConfig(Config):
    """Stands in for the configuration of a corpus."""


def make_corpus(
    path: Path,
    texts: dict[str, str] | list[tuple[str, str]],
    shards: int = 3,
    batch: int = 40,
    copies: dict[str, int] | None = None,
) -> Path:
    """A corpus artifact that holds `texts` (id -> text), to be read as often as `copies` says."""
    pairs = texts.items() if isinstance(texts, dict) else texts
    rows = [_row(identifier, text, index) for index, (identifier, text) in enumerate(pairs)]
    for row in rows if copies else []:
        row["copies"] = copies[row["id"]]
    with create_artifact(path, kind="corpus", config=NoConfig()) as artifact:
        (artifact.path / "data").mkdir(exist_ok=True)
        per_shard = max(1, -(-len(rows) // shards))
        for shard in range(shards):
            part = rows[shard * per_shard : (shard + 1) * per_shard]
            table = pa.Table.from_pylist(part, corpus_schema())
            with pa.ipc.new_file(str(artifact.path / "data" / f"shard-{shard:05d}.arrow"), table.schema) as writer:
                writer.write_table(table, max_chunksize=batch)
    return path


def _row(identifier: str, text: str, index: int) -> dict[str, Any]:
    place = {"warc_file": "crawl/a.warc.gz", "warc_offset": 1000 * index, "warc_length": 900}
    return {"id": identifier, "text": text, "url": f"http://a.example/{index}", "source": f"s{index % 2}", **place}


@pytest.fixture(scope="session")
def texts() -> dict[str, str]:
    rng = random.Random(0)
    return {f"doc-{index}": " ".join(rng.choices(WORDS, k=rng.randint(1, 90))) for index in range(500)}


@pytest.fixture(scope="session")
def corpus(texts: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_corpus(tmp_path_factory.mktemp("corpus") / "corpus", texts)


@pytest.fixture(scope="session")
def corpus_of() -> Callable[..., Path]:
    return make_corpus


@pytest.fixture(scope="session")
def tokenizer(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    source = TextSource(path=str(corpus / "data" / "*.arrow"))
    config = TokenizerConfig(texts=[source], vocab_size=300)
    return train_tokenizer(config, tmp_path_factory.mktemp("tokenizer") / "tokenizer")
