"""Token shards: contents, order, hold-out, independence of workers and layout, resume, errors."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from transformers import AutoTokenizer

from data_pipeline.tokens import TokensConfig, build_tokens
from data_pipeline.tokens.merge import Runs
from data_pipeline.tokens.runs import write_runs
from data_pipeline.tokens.vocabulary import load_vocabulary
from millbase.artifacts import open_artifact, work_directory
from millbase.config import load_config
from millbase.errors import ArtifactError, ConfigError, InputError

Make = Callable[..., Path]


@pytest.fixture(scope="module")
def build(corpus: Path, tokenizer: Path) -> Make:
    def run(out: Path, **fields: Any) -> Path:
        values = {"corpus": str(corpus), "tokenizer": str(tokenizer), "heldout_share": 0.1} | fields
        return build_tokens(load_config(TokensConfig, values), out)

    return run


@pytest.fixture(scope="module")
def tokens(build: Make, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("tokens") / "tokens", batch_tokens=2000, shard_tokens=7000)


def read(tokens: Path, split: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for file in sorted((tokens / split).glob("*.arrow")):
        rows += pa.ipc.open_file(pa.memory_map(str(file))).read_all().to_pylist()
    return rows


def files_of(tokens: Path) -> dict[str, bytes]:
    return {
        str(file.relative_to(tokens)): file.read_bytes()
        for file in sorted(tokens.rglob("*"))
        if file.is_file() and file.name != "manifest.json"
    }


def test_every_document_is_there_once_and_decodes_to_its_text(tokens: Path, texts: dict[str, str]) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tokens / "tokenizer")
    rows = read(tokens, "train") + read(tokens, "heldout")
    assert Counter(row["id"] for row in rows) == Counter(texts.keys())
    for row in rows:
        *content, last = row["tokens"]
        assert last == tokenizer.convert_tokens_to_ids("<|endoftext|>")
        assert not set(content) & set(tokenizer.all_special_ids), "special tokens spelt out in a text stay text"
        assert tokenizer.decode(content) == texts[row["id"]]
        assert row["bytes"] == len(texts[row["id"]].encode())
        assert row["source"] in ("s0", "s1")


def test_layout_is_the_contract(tokens: Path) -> None:
    schema = pa.schema(
        [("id", pa.string()), ("source", pa.string()), ("bytes", pa.int64()), ("tokens", pa.large_list(pa.uint16()))]
    )
    shards = sorted((tokens / "train").glob("*.arrow"))
    assert len(shards) > 2
    for number, file in enumerate(shards):
        assert file.name == f"shard-{number:05d}.arrow"
        reader = pa.ipc.open_file(pa.memory_map(str(file)))
        assert reader.schema == schema
        counts = [len(reader.get_batch(index)["tokens"].flatten()) for index in range(reader.num_record_batches)]
        assert all(2000 <= count < 3000 for count in counts[:-1])
        assert sum(counts) >= 7000 or file == shards[-1]


def test_stats_and_unigram_counts_add_up(tokens: Path, texts: dict[str, str]) -> None:
    train, heldout = read(tokens, "train"), read(tokens, "heldout")
    unigram = json.loads((tokens / "unigram.json").read_text())
    counted = Counter(token for row in train for token in row["tokens"])
    assert unigram["counts"] == [counted[token] for token in range(300)]
    assert unigram["tokens"] == sum(counted.values()) == sum(unigram["counts"])
    stats = open_artifact(tokens, kind="tokens").stats
    assert stats["splits"]["train"]["tokens"] == unigram["tokens"]
    assert stats["tokens"] == unigram["tokens"] + sum(len(row["tokens"]) for row in heldout)
    assert (stats["documents"], stats["vocab_size"], stats["dtype"]) == (500, 300, "uint16")
    assert stats["bytes_per_token"] == pytest.approx(
        sum(len(text.encode()) for text in texts.values()) / stats["tokens"], abs=1e-4
    )


def test_documents_are_shuffled_over_the_whole_corpus(tokens: Path) -> None:
    order = [int(row["id"].removeprefix("doc-")) for row in read(tokens, "train")]
    assert abs(np.corrcoef(order, np.arange(len(order)))[0, 1]) < 0.12
    neighbours = sum(abs(a - b) == 1 for a, b in pairwise(order))
    assert neighbours < 10


def test_bytes_do_not_depend_on_workers_runs_or_merge_ranges(
    build: Make, tokens: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = files_of(tokens)
    layout = {"batch_tokens": 2000, "shard_tokens": 7000}
    assert files_of(build(tmp_path / "a", workers=3, run_bytes=1, **layout)) == expected
    in_order = Runs.in_order
    monkeypatch.setattr(Runs, "in_order", lambda runs: in_order(runs, range_bytes=5000))
    assert files_of(build(tmp_path / "b", workers=1, **layout)) == expected


def test_bytes_do_not_depend_on_the_process(tokens: Path, corpus: Path, tokenizer: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from data_pipeline.tokens import *;"
        "build_tokens(TokensConfig(corpus=sys.argv[1], tokenizer=sys.argv[2], heldout_share=0.1, batch_tokens=2000,"
        " shard_tokens=7000, workers=1), sys.argv[3])"
    )
    command = [sys.executable, "-c", code, str(corpus), str(tokenizer), str(tmp_path / "out")]
    environment = {**os.environ, "PYTHONHASHSEED": "7"}
    subprocess.run(command, env=environment, check=True, capture_output=True)
    assert files_of(tmp_path / "out") == files_of(tokens)


def test_order_of_documents_in_the_corpus_does_not_matter(
    build: Make, tokens: Path, texts: dict[str, str], corpus_of: Make, tmp_path: Path
) -> None:
    again = corpus_of(tmp_path / "corpus", dict(reversed(texts.items())), shards=2, batch=7)
    out = build(tmp_path / "out", corpus=str(again))
    for split in ("train", "heldout"):
        assert [row["id"] for row in read(out, split)] == [row["id"] for row in read(tokens, split)]


def test_growing_the_corpus_moves_no_document_to_the_other_side(
    build: Make, tokens: Path, texts: dict[str, str], corpus_of: Make, tmp_path: Path
) -> None:
    more = corpus_of(tmp_path / "corpus", texts | {f"new-{index}": "more text here" for index in range(300)})
    out = build(tmp_path / "out", corpus=str(more))
    for split in ("train", "heldout"):
        old = [row["id"] for row in read(out, split) if row["id"] in texts]
        assert old == [row["id"] for row in read(tokens, split)], "order and side are kept"


def test_seed_changes_order_and_side(build: Make, tokens: Path, tmp_path: Path) -> None:
    other = build(tmp_path / "out", seed=1)
    assert {row["id"] for row in read(other, "heldout")} != {row["id"] for row in read(tokens, "heldout")}


def test_heldout_by_count_and_none(build: Make, tmp_path: Path) -> None:
    counted = build(tmp_path / "a", heldout_documents=37)
    assert len(read(counted, "heldout")) == 37 and len(read(counted, "train")) == 463
    none = build(tmp_path / "b", heldout_share=0.0)
    assert len(read(none, "train")) == 500 and not (none / "heldout").exists()


def test_interrupted_build_goes_on_where_it_stopped(
    build: Make, tokens: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import data_pipeline.tokens.runs as runs

    layout = {"batch_tokens": 2000, "shard_tokens": 7000}
    made: list[str] = []
    write = runs._write_run

    def failing(path: Path, *arguments: Any) -> None:
        if len(made) == 2:
            raise KeyboardInterrupt
        made.append(path.name)
        write(path, *arguments)

    monkeypatch.setattr(runs, "_write_run", failing)
    with pytest.raises(KeyboardInterrupt):
        build(tmp_path / "out", **layout)
    assert not (tmp_path / "out").exists()
    made.clear()
    build(tmp_path / "out", **layout)
    assert made == ["run-000002-0000.arrow"], "finished runs were made again"
    assert files_of(tmp_path / "out") == files_of(tokens)


def test_kill_during_the_build(tokens: Path, corpus: Path, tokenizer: Path, tmp_path: Path) -> None:
    """SIGKILL while shards are being written; the same call then gives the same bytes."""
    code = (
        "import sys, time; from data_pipeline.tokens import *; from data_pipeline.tokens.shards import ShardWriter;"
        "write = ShardWriter._write_batch;"
        "ShardWriter._write_batch = lambda self, table: (write(self, table), time.sleep(sys.argv[4] == 'slow' and 60));"
        "build_tokens(TokensConfig(corpus=sys.argv[1], tokenizer=sys.argv[2], heldout_share=0.1, batch_tokens=2000,"
        " shard_tokens=7000), sys.argv[3])"
    )
    out = tmp_path / "out"
    command = [sys.executable, "-c", code, str(corpus), str(tokenizer), str(out)]
    process = subprocess.Popen([*command, "slow"], stderr=subprocess.DEVNULL)
    partial = work_directory(out) / "train" / "shard-00000.arrow"
    deadline = time.monotonic() + 60
    while not partial.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert partial.exists() and not out.exists()
    subprocess.run([*command, "fast"], check=True, capture_output=True)
    assert files_of(out) == files_of(tokens)
    assert not work_directory(out).exists()


def test_copies_of_a_document_are_kept_side_by_side(build: Make, corpus_of: Make, tmp_path: Path) -> None:
    """Two corpus rows of one id, as some corpora have, fall to one side."""
    pairs = [(f"doc-{index % 50}", f"text {index}") for index in range(100)]
    out = build(tmp_path / "out", corpus=str(corpus_of(tmp_path / "corpus", pairs)), run_bytes=1)
    rows = {split: [row["id"] for row in read(out, split)] for split in ("train", "heldout")}
    assert not set(rows["train"]) & set(rows["heldout"])
    assert all(ids[::2] == ids[1::2] for ids in rows.values())
    assert sum(map(len, rows.values())) == 100


def test_documents_are_repeated_as_the_mixture_says(
    build: Make, tokens: Path, texts: dict[str, str], corpus_of: Make, tmp_path: Path
) -> None:
    """Copies lie apart, no other document moves, and nothing held out is repeated."""
    copies = {name: number % 4 + 1 for number, name in enumerate(texts)}
    layout = {"batch_tokens": 2000, "shard_tokens": 7000}
    made = corpus_of(tmp_path / "corpus", texts, copies=copies)
    out = build(tmp_path / "out", corpus=str(made), **layout)
    heldout, train = ([row["id"] for row in read(out, split)] for split in ("heldout", "train"))
    assert heldout == [row["id"] for row in read(tokens, "heldout")]
    assert Counter(train) == {name: copies[name] for name in texts if name not in heldout}
    assert not any(one == other for one, other in pairwise(train)), "copies of a document follow each other"
    once = [row["id"] for row in read(tokens, "train")]
    singles = [name for name in train if copies[name] == 1]
    assert singles == [name for name in once if copies[name] == 1]
    for row in read(out, "train"):
        assert row["bytes"] == len(texts[row["id"]].encode())
    assert files_of(build(tmp_path / "again", corpus=str(made), run_bytes=1, workers=2, **layout)) == files_of(out)


def test_runs_are_sorted(corpus: Path, tokenizer: Path, tmp_path: Path) -> None:
    config = TokensConfig(corpus=str(corpus), tokenizer=str(tokenizer), run_bytes=5000)
    paths = write_runs(open_artifact(corpus), load_vocabulary(config), config, tmp_path)
    assert len(paths) > 3
    keys = np.concatenate([table["key"].to_numpy() for table in Runs(paths).in_order(range_bytes=4000)])
    assert len(keys) == 500 and (np.diff(keys.astype(object)) > 0).all()


def test_large_vocabularies_take_wider_ids(build: Make, tokenizer: Path, tmp_path: Path) -> None:
    wide = AutoTokenizer.from_pretrained(tokenizer)
    wide.add_tokens([f"filler{index}" for index in range(66_000)])
    wide.save_pretrained(tmp_path / "wide")
    out = build(tmp_path / "out", tokenizer=str(tmp_path / "wide"))
    assert open_artifact(out).stats["dtype"] == "uint32"
    assert pa.ipc.open_file(str(out / "train" / "shard-00000.arrow")).schema.field("tokens").type == pa.large_list(
        pa.uint32()
    )
    with pytest.raises(ConfigError, match="dtype 'uint16' cannot hold the tokenizer's 66300 ids"):
        build(tmp_path / "narrow", tokenizer=str(tmp_path / "wide"), dtype="uint16")


def test_errors(build: Make, corpus: Path, corpus_of: Make, tokenizer: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="has no token '</s>'"):
        build(tmp_path / "out", end_of_document="</s>")
    with pytest.raises(ArtifactError, match=r"is no directory with a tokenizer\.json"):
        build(tmp_path / "out", tokenizer=str(tmp_path / "none"))
    with pytest.raises(ArtifactError, match="is a 'tokenizer' artifact, expected 'corpus'"):
        build(tmp_path / "out", corpus=str(tokenizer))
    with pytest.raises(ArtifactError, match="is a 'corpus' artifact, expected 'tokenizer'"):
        build(tmp_path / "out", tokenizer=str(corpus))
    with pytest.raises(InputError, match="holds no documents"):
        build(tmp_path / "out", corpus=str(corpus_of(tmp_path / "empty", {})))
    with pytest.raises(InputError, match="fell to the heldout split"):
        build(tmp_path / "out", corpus=str(corpus_of(tmp_path / "one", {"a": "only text"})), heldout_share=0.001)
    with pytest.raises(InputError, match="fell to the train split"):
        build(tmp_path / "out", corpus=str(tmp_path / "one"), heldout_documents=5)
    assert not (tmp_path / "out").exists()


def test_changed_corpus_is_refused(build: Make, corpus_of: Make, tmp_path: Path) -> None:
    changed = corpus_of(tmp_path / "corpus", {"a": "some text", "b": "other text"}, shards=1)
    file = changed / "data" / "shard-00000.arrow"
    file.write_bytes(file.read_bytes().replace(b"other text", b"Other text"))
    with pytest.raises(ArtifactError, match="changed since it was written"):
        build(tmp_path / "out", corpus=str(changed))
