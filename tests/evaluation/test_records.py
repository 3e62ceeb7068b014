"""Prompt and pair files: every accepted shape, and bad rows."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from evaluation.records import prompt_ids, read_pairs, read_prompts
from millbase.errors import InputError, StageError, UserError
from training.load import LoadedModel

USER, ASSISTANT = {"role": "user", "content": "Hi?"}, {"role": "assistant", "content": "Hello."}


def lines(path: Path, *rows: Any) -> str:
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return str(path)


def test_prompt_shapes(tmp_path: Path) -> None:
    path = lines(
        tmp_path / "p.jsonl",
        {"prompt": [USER], "answer": "Hello"},
        {"prompt": "Hi?"},
        "",
        {"messages": [USER, ASSISTANT]},
        {"messages": [USER, ASSISTANT, {"role": "user", "content": "And?"}, ASSISTANT]},
    )
    rows = read_prompts(path, limit=None, maximum_bad_share=0).rows
    assert [row.messages for row in rows[:3]] == [[USER]] * 3
    assert [row.id for row in rows] == ["1", "2", "4", "5"]
    assert rows[3].text == "And?" and len(rows[3].messages) == 3
    assert [row.answer for row in rows] == ["Hello", None, None, None]
    assert len(read_prompts(path, limit=2, maximum_bad_share=0).rows) == 2


def test_pair_shapes(tmp_path: Path) -> None:
    with gzip.open(tmp_path / "pairs.jsonl.gz", "wt") as file:
        file.write(json.dumps({"prompt": [USER], "chosen": [ASSISTANT], "rejected": "No."}) + "\n")
        file.write(json.dumps({"chosen": [USER, ASSISTANT], "rejected": [USER, ASSISTANT]}) + "\n")
    text, whole = read_pairs(str(tmp_path / "pairs.jsonl.gz"), limit=None, maximum_bad_share=0).rows
    assert text.chosen == whole.chosen == [USER, ASSISTANT]
    assert text.rejected == [USER, {"role": "assistant", "content": "No."}]


def test_bad_rows_are_counted(tmp_path: Path) -> None:
    good = {"prompt": "Hi?", "answer": "x"}
    path = lines(
        tmp_path / "p.jsonl", good, "{", [1], {"prompt": 3}, {"prompt": []}, {"prompt": [{"role": "user"}]}, good
    )
    records = read_prompts(path, limit=None, maximum_bad_share=0.8)
    assert (len(records.rows), records.skipped) == (2, 5)
    with pytest.raises(StageError, match="5 of 7 rows"):
        read_prompts(path, limit=None, maximum_bad_share=0.5)


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        (b"", InputError, "is empty"),
        (b'{"answer": "x"}\n', StageError, "1 of 1 rows"),
        (b"\xff\xfe\x00", InputError, "UTF-8"),
    ],
)
def test_useless_files(content: bytes, error: type[UserError], message: str, tmp_path: Path) -> None:
    (tmp_path / "p.jsonl").write_bytes(content)
    with pytest.raises(error, match=message) as caught:
        read_prompts(str(tmp_path / "p.jsonl"), limit=None, maximum_bad_share=0.5)
    assert "\n" not in str(caught.value)


def test_missing_and_truncated_files(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        read_prompts(str(tmp_path / "gone.jsonl"), limit=None, maximum_bad_share=0)
    whole = gzip.compress(json.dumps({"prompt": "Hi?"}).encode() * 50)
    (tmp_path / "cut.jsonl.gz").write_bytes(whole[:-12])
    with pytest.raises(InputError, match=r"cut\.jsonl\.gz"):
        read_prompts(str(tmp_path / "cut.jsonl.gz"), limit=None, maximum_bad_share=0)


def test_answers_are_demanded_when_the_judge_needs_them(tmp_path: Path) -> None:
    path = lines(tmp_path / "p.jsonl", {"prompt": "Hi?"})
    with pytest.raises(StageError, match="field 'answer' is missing"):
        read_prompts(path, limit=None, maximum_bad_share=0, need_answer=True)


def test_prompts_go_through_the_chat_template(loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = prompt_ids(loaded.tokenizer, [USER], "m")
    assert loaded.tokenizer.decode(ids) == "<|im_start|>user\nHi?<|im_end|>\n<|im_start|>assistant\n"
    monkeypatch.setattr(loaded.tokenizer, "chat_template", None)
    with pytest.raises(InputError, match="no chat template"):
        prompt_ids(loaded.tokenizer, [USER], "m")
