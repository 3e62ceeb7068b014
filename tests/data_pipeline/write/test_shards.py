"""Shards of bounded size whose bytes do not depend on how rows come in."""

import random
from pathlib import Path

import pyarrow as pa
import pytest

from data_pipeline.write.shards import ShardWriter
from data_pipeline.write.task import printable_text

SCHEMA = pa.schema([("id", pa.string()), ("text", pa.string())])


def rows(count: int) -> pa.Table:
    return pa.table({"id": [f"{n}" for n in range(count)], "text": ["x" * (n % 97) for n in range(count)]}, SCHEMA)


def write(folder: Path, table: pa.Table, piece: int, shard_bytes: int) -> dict[str, bytes]:
    with ShardWriter(folder, SCHEMA, shard_bytes, size_column="text") as writer:
        for start in range(0, table.num_rows, piece):
            writer.write(table.slice(start, piece))
    assert writer.rows == table.num_rows
    return {file.name: file.read_bytes() for file in sorted(folder.glob("*"))}


@pytest.mark.parametrize("shard_bytes", [2000, 50_000, 10**9])
def test_bytes_do_not_depend_on_the_batching(tmp_path: Path, shard_bytes: int) -> None:
    table = rows(5000)
    first = write(tmp_path / "a", table, 5000, shard_bytes)
    for number, piece in enumerate((1, 7, 1024, 1500)):
        assert write(tmp_path / f"b{number}", table, piece, shard_bytes) == first
    read = pa.concat_tables(pa.ipc.open_file(tmp_path / "a" / name).read_all() for name in first)
    assert read.equals(table)
    sizes = [sum(map(len, pa.ipc.open_file(tmp_path / "a" / name).read_all()["text"].to_pylist())) for name in first]
    assert max(sizes) <= shard_bytes and min(sizes[:-1], default=shard_bytes) > shard_bytes - 97


def shards_by_hand(sizes: list[int], limit: int) -> list[list[int]]:
    """The sizes of the texts in each shard, one row after another."""
    shards: list[list[int]] = [[]]
    for size in sizes:
        if sum(shards[-1]) and sum(shards[-1]) + size > limit:
            shards.append([])
        shards[-1].append(size)
    return shards


@pytest.mark.parametrize("limit", [1, 5, 20, 100])
def test_a_shard_ends_before_the_row_that_would_pass_its_size(tmp_path: Path, limit: int) -> None:
    random_ = random.Random(limit)
    for number in range(15):
        sizes = [random_.choice([0, 0, 1, 2, random_.randint(0, 30), 120]) for _ in range(random_.randint(1, 40))]
        table = pa.table({"id": ["i"] * len(sizes), "text": ["x" * size for size in sizes]}, SCHEMA)
        files = write(tmp_path / f"{number}", table, random_.randint(1, 9), limit)
        read = [pa.ipc.open_file(tmp_path / f"{number}" / name).read_all()["text"].to_pylist() for name in files]
        assert [[len(text) for text in shard] for shard in read] == shards_by_hand(sizes, limit)


def test_a_row_larger_than_a_shard_gets_its_own(tmp_path: Path) -> None:
    table = pa.table({"id": ["a", "b", "c"], "text": ["x" * 5, "y" * 500, "z"]}, SCHEMA)
    assert len(write(tmp_path / "a", table, 3, 100)) == 3


def test_no_rows_give_one_empty_shard(tmp_path: Path) -> None:
    files = write(tmp_path / "a", rows(0), 1, 100)
    assert list(files) == ["00000.arrow"] and pa.ipc.open_file(tmp_path / "a/00000.arrow").read_all().num_rows == 0


def test_lone_surrogates_become_printable() -> None:
    assert printable_text("a\ud800b é") == "a?b é"
