"""Sorting with little memory against Python's own sorting."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from data_pipeline.base.sorting import Space, numbers, pack, sort_records, starts_of_groups


@pytest.mark.parametrize("memory", [1 << 30, 1 << 18, 1 << 14])
@pytest.mark.parametrize("unique", [False, True])
def test_records_come_in_order_whatever_the_memory(tmp_path: Path, memory: int, unique: bool) -> None:
    draw = np.random.default_rng(0)
    sorter = Space(memory, tmp_path / "runs").sorter(24, unique)
    added = []
    for size in (0, 1, 5000, 3, 9000):
        records = pack(draw.integers(0, 300, size), draw.integers(0, 15, size), draw.integers(0, 2, size))
        sorter.add(records)
        added += list(map(bytes, records))
    expected = sorted(set(added)) if unique else sorted(added)
    for _ in range(2):  # as often as asked
        assert [bytes(record) for records in sorter.chunks() for record in records] == expected
    assert sorter.added == len(added)
    sorter.close()
    assert not list(tmp_path.rglob("*.run")), "no file is left"


def test_more_runs_than_are_merged_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("data_pipeline.base.sorting._FAN_IN", 3)
    sorter = Space(1 << 14, tmp_path).sorter(8)
    values = np.random.default_rng(1).permutation(20_000)
    sorter.add(pack(values))
    pieces = [numbers(records, 0) for records in sorter.chunks()]
    assert np.array_equal(np.concatenate(pieces), np.arange(20_000))
    assert max(map(len, pieces)) < 5000, "pieces are small"


def test_nothing_added(tmp_path: Path) -> None:
    assert list(Space(1 << 20, tmp_path).sorter(8).chunks()) == []


def test_numbers_compare_as_numbers_and_bytes_as_bytes() -> None:
    big = np.array([2**63 + 5, 3, 2**64 - 1, 256, 255], dtype=np.uint64)
    names = np.array([b"b", b"a\0x", b"", b"a", b"z"], dtype="S4").view(np.uint8).reshape(-1, 4)
    records = sort_records(pack(big, names))
    assert numbers(records, 0).view(np.uint64).tolist() == sorted(big.tolist())
    equal = sort_records(pack(np.zeros(5, np.int64), names))
    assert [bytes(row[8:]) for row in equal] == sorted(map(bytes, names))


def test_groups_start_where_any_key_changes() -> None:
    first = starts_of_groups(np.array([1, 1, 1, 2, 2]), np.array([0, 0, 1, 1, 1]))
    assert first.tolist() == [True, False, True, True, False]
