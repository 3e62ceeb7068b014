"""Every accepted shape and file format of instructions, preferences and prompts, and rows that cannot be used."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from millbase.errors import InputError, StageError
from training.posttrain.data import load_instructions, load_preferences, load_prompts

U = {"role": "user", "content": "2+2?"}
A = {"role": "assistant", "content": "4"}
B = {"role": "assistant", "content": "5"}


def write(path: Path, rows: list[Any]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


@pytest.mark.parametrize(
    "row",
    [
        {"messages": [U, A]},
        {"prompt": "2+2?", "completion": "4"},
        {"prompt": [U], "completion": [A]},
        {"instruction": "2+2?", "output": "4"},
        {"instruction": "2+2?", "input": "  ", "output": "4"},
        {"conversations": [{"from": "human", "value": "2+2?"}, {"from": "gpt", "value": "4"}]},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "2+2?"}]}, A]},
    ],
)
def test_instruction_shapes(tmp_path: Path, row: dict[str, Any]) -> None:
    assert load_instructions(write(tmp_path / "a.jsonl", [row])).rows == [{"messages": [U, A]}]


def test_alpaca_input_follows_the_instruction(tmp_path: Path) -> None:
    loaded = load_instructions(write(tmp_path / "a.jsonl", [{"instruction": "Sum", "input": "1 and 2", "output": "3"}]))
    assert loaded.rows[0]["messages"][0]["content"] == "Sum\n\n1 and 2"


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "2+2?", "chosen": "4", "rejected": "5"},
        {"prompt": [U], "chosen": [A], "rejected": [B]},
        {"prompt": [U], "chosen": [U, A], "rejected": [U, B]},
        {"chosen": [U, A], "rejected": [U, B]},
        {"instruction": "2+2?", "chosen": "4", "rejected": "5"},
        {"prompt": "2+2?", "answers": ["4", "5"]},
        {"chosen": "\n\nHuman: 2+2?\n\nAssistant: 4", "rejected": "\n\nHuman: 2+2?\n\nAssistant: 5"},
        {
            "conversations": [{"from": "human", "value": "2+2?"}],
            "chosen": {"from": "gpt", "value": "4"},
            "rejected": {"from": "gpt", "value": "5"},
        },
    ],
)
def test_preference_shapes(tmp_path: Path, row: dict[str, Any]) -> None:
    loaded = load_preferences(write(tmp_path / "a.jsonl", [row]))
    assert loaded.rows == [{"prompt": [U], "chosen": [A], "rejected": [B]}]


def test_ranked_answers_give_every_pair_better_first(tmp_path: Path) -> None:
    loaded = load_preferences(write(tmp_path / "a.jsonl", [{"prompt": "p", "answers": ["a", "b", "c"]}]))
    pairs = [(row["chosen"][0]["content"], row["rejected"][0]["content"]) for row in loaded.rows]
    assert pairs == [("a", "b"), ("a", "c"), ("b", "c")]


def test_alpaca_eval_annotations(tmp_path: Path) -> None:
    row = {"instruction": "p", "output_1": "a", "output_2": "b"}
    rows = [{**row, "preference": 2.0}, {**row, "preference": 1.2}, {**row, "preference": 1.5}]
    loaded = load_preferences(write(tmp_path / "a.jsonl", rows), max_bad_share=0.5)
    assert [row["chosen"][0]["content"] for row in loaded.rows] == ["b", "a"]
    assert loaded.rows[1]["margin"] == pytest.approx(0.6)
    assert loaded.stats == {"read": 3, "kept": 2, "skipped": {"tie": 1}}


def test_prompts_keep_other_columns(tmp_path: Path) -> None:
    loaded = load_prompts(write(tmp_path / "a.jsonl", [{"prompt": "2+2?", "answer": "4", "task": "sum"}]))
    assert loaded.rows == [{"prompt": [U], "answer": "4", "task": "sum"}]


def test_file_formats_read_alike(tmp_path: Path) -> None:
    rows = [{"prompt": f"{n}?", "completion": str(n)} for n in range(5)]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / "a.jsonl").write_text(text)
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(text.encode()))
    (tmp_path / "a.json").write_text(json.dumps(rows))
    table = pa.Table.from_pylist(rows)
    pq.write_table(table, tmp_path / "a.parquet")
    for name, new in (("file.arrow", pa.ipc.new_file), ("stream.arrow", pa.ipc.new_stream)):
        with new(str(tmp_path / name), table.schema) as writer:
            writer.write_table(table)
    expected = load_instructions(str(tmp_path / "a.jsonl")).rows
    assert len(expected) == 5
    for name in ("a.jsonl.gz", "a.json", "a.parquet", "file.arrow", "stream.arrow"):
        assert load_instructions(str(tmp_path / name)).rows == expected, name
    assert len(load_instructions(str(tmp_path / "*")).rows) == 30


def test_bad_rows_are_counted_by_reason_and_skipped(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    good = json.dumps({"prompt": "2+2?", "chosen": "4", "rejected": "5"})
    same = json.dumps({"prompt": "2+2?", "chosen": "4", "rejected": "4"})
    path.write_bytes(("\n".join([good] * 20 + [same, "{broken", "[1]"]) + "\n").encode() + b'{"prompt": "\xff"}\n')
    loaded = load_preferences(str(path), max_bad_share=0.2)
    assert loaded.stats == {
        "read": 24,
        "kept": 20,
        "skipped": {"chosen equals rejected": 1, "not JSON": 2, "not an object": 1},
    }


def test_too_many_bad_rows_stop_with_file_line_and_expectation(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [{"prompt": "2+2?", "completion": "4"}, {"text": "once"}, {"text": "upon"}])
    with pytest.raises(StageError, match=r"2 of 3 rows .*a\.jsonl:2: unknown columns: found text; expected"):
        load_instructions(path)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"messages": [U]}, "does not end with an answer"),
        ({"messages": [U, A, U]}, "does not end with an answer"),
        ({"messages": [U, {"role": "robot", "content": "4"}]}, "unknown role: 'robot'"),
        ({"messages": [U, {"role": "assistant", "content": None}]}, "content is not text"),
        ({"messages": [U, {"role": "assistant", "content": [{"type": "image"}]}]}, "content is not text"),
        ({"instruction": "2+2?", "output": " "}, "empty message"),
        ({"messages": []}, "no messages"),
    ],
)
def test_reasons_of_bad_instructions(tmp_path: Path, row: dict[str, Any], reason: str) -> None:
    with pytest.raises(StageError, match=reason):
        load_instructions(write(tmp_path / "a.jsonl", [row]))


def test_missing_empty_and_damaged_files(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nothing matches .*none\.jsonl"):
        load_instructions(str(tmp_path / "none.jsonl"))
    with pytest.raises(InputError, match="no rows to use"):
        load_instructions(write(tmp_path / "empty.jsonl", []))
    whole = gzip.compress(b'{"prompt": "a", "completion": "b"}\n' * 1000)
    (tmp_path / "cut.jsonl.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"cut\.jsonl\.gz: damaged file"):
        load_instructions(str(tmp_path / "cut.jsonl.gz"))
    (tmp_path / "no.parquet").write_bytes(b"not parquet at all")
    with pytest.raises(InputError, match="not a readable parquet file"):
        load_instructions(str(tmp_path / "no.parquet"))
    (tmp_path / "a.csv").write_text("a,b\n")
    with pytest.raises(InputError, match=r"unknown data format '\.csv'"):
        load_instructions(str(tmp_path / "a.csv"))


@pytest.mark.parametrize(
    ("load", "pattern", "least"),
    [
        (load_instructions, "alpaca/alpaca_data*", 31_000),
        (load_instructions, "fastchat/data/*", 500),
        (load_preferences, "alpaca_eval/*", 3_600),
        (load_preferences, "hh-rlhf/harmless-base/*", 1_100),
        (load_preferences, "llama_factory/dpo_*_demo.json.gz", 590),
    ],
)
def test_real_sets(real_data: Path, load: Any, pattern: str, least: int) -> None:
    loaded = load(str(real_data / "posttrain" / pattern), max_bad_share=0.01)
    assert len(loaded.rows) >= least
