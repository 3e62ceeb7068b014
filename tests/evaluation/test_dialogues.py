"""Conversations of several turns: what the model sees, answers looked for, ratings by turn and category."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import evaluation.judges.model
from evaluation import statistics
from evaluation.config import EvaluationConfig
from evaluation.dialogues import Dialogue, holds, read_dialogues, run_dialogues
from evaluation.generate import Completion
from evaluation.responses import Responses
from evaluation.scores import BlockResult
from millbase.errors import ConfigError, InputError, StageError
from tests.evaluation.conftest import write_jsonl
from tests.evaluation.scripted import Scripted
from training.load import LoadedModel

ROWS = [
    {"question_id": 81, "category": "math", "turns": ["What is 2 + 2?", "Double it."], "answers": ["4", "8"]},
    {"question_id": 82, "category": "names", "turns": ["I am Ada. Hello!", "Who am I?"], "answers": [None, "Ada"]},
    {"question_id": 83, "category": "names", "turns": ["Say hello."], "answers": ["hello"]},
]
SAID = {
    "What is 2 + 2?": "It is 4.",
    "Double it.": "7",
    "I am Ada. Hello!": "Hi!",
    "Who am I?": "ADA!",
    "Say hello.": "?",
}


class Told(Responses):
    """Answers by the last user turn; remembers what was asked."""

    asked: list[list[dict[str, Any]]]

    def __init__(self) -> None:
        super().__init__(0, 8)
        self.asked = []

    def __call__(self, loaded: Any, prompts: Any, **_: Any) -> list[Completion]:
        self.asked += [prompt.messages for prompt in prompts]
        return [Completion([1], [2], SAID[prompt.text], True) for prompt in prompts]

    def length(self, loaded: Any, prompt: Any) -> int:
        return 2 if prompt.text == "Who am I?" else 1


def run(folder: Path, rows: list[dict[str, Any]] = ROWS, **block: Any) -> tuple[BlockResult, Told]:
    path = write_jsonl(folder / "dialogues.jsonl", rows)
    config = EvaluationConfig.model_validate({"model": "m", "dialogues": {"prompts": str(path), **block}})
    told = Told()
    model: Any = None
    return run_dialogues(model, config, told), told


def test_each_turn_sees_the_models_own_earlier_answers(tmp_path: Path) -> None:
    _, told = run(tmp_path, [{"system": "Be brief.", **ROWS[0]}])
    assert told.asked == [
        [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "What is 2 + 2?"}],
        [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "What is 2 + 2?"},
            {"role": "assistant", "content": "It is 4."},
            {"role": "user", "content": "Double it."},
        ],
    ]


def test_right_answers_by_hand(tmp_path: Path) -> None:
    result, _ = run(tmp_path)
    scores = {score.metric: score for score in result.scores}
    # four turns have an answer: 4 (right), 8 (wrong), Ada (right), hello (wrong)
    assert scores["answered"].value == 0.5 and scores["answered"].n == 4
    expected = statistics.share([1, 0, 1, 0], ["81", "81", "82", "83"])
    assert scores["answered"].ci95 == pytest.approx((expected.low, expected.high))
    assert scores["answered_turn_1"].value == 0.5 and scores["answered_turn_2"].value == 0.5
    assert scores["answered math"].value == 0.5 and scores["answered names"].value == 0.5
    assert scores["answered"].details == {"dialogues": 3, "truncated": 1}
    items = result.items["items/dialogues.jsonl"]
    assert [item["id"] for item in items] == ["81/1", "81/2", "82/1", "82/2", "83/1"]
    assert items[3]["scores"] == {"answered": 1.0, "answered_turn_2": 1.0, "answered names": 1.0}


def test_items_of_two_models_pair_although_their_answers_differ(
    tmp_path: Path, loaded: LoadedModel, other_loaded: LoadedModel
) -> None:
    from evaluation.compare import compare_scores

    path = write_jsonl(tmp_path / "d.jsonl", ROWS)
    block = {"prompts": str(path), "sampling": {"temperature": 0.0, "max_new_tokens": 5}}
    config = EvaluationConfig.model_validate({"model": "m", "dialogues": block})
    first, second = (run_dialogues(model, config, Responses(0, 4)) for model in (loaded, other_loaded))
    ours, theirs = (result.items["items/dialogues.jsonl"] for result in (first, second))
    assert [item["response"] for item in ours] != [item["response"] for item in theirs]
    compared = compare_scores(first.scores, lambda _: ours, second.scores, lambda _: theirs, "previous")
    assert compared[0].name == "dialogues answered vs previous" and compared[0].n == 4


def test_ratings_by_turn_and_category(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chat = Scripted(
        lambda question: f"Rating: {9 if question.split('[Answer to grade]')[1].strip()[:2] == 'It' else 3}"
    )
    monkeypatch.setattr(evaluation.judges.model, "make_chat", lambda *_, **__: chat)
    references = write_jsonl(tmp_path / "r.jsonl", [{"question_id": 81, "choices": [{"turns": ["four", "eight"]}]}])
    result, _ = run(tmp_path, judge_model={"model": "x"}, references=str(references))
    scores = {score.metric: score for score in result.scores}
    assert scores["rating"].value == pytest.approx((9 + 3 * 4) / 5) and scores["rating"].n == 5
    assert scores["rating_turn_1"].value == pytest.approx(5) and scores["rating_turn_2"].value == 3
    assert scores["rating math"].value == 6 and scores["rating names"].value == 3
    assert "eight" in chat.asked[1] and "[A good answer" not in chat.asked[2]
    chat.answer = lambda _: "Lovely."
    with pytest.raises(StageError, match="no verdict on 5 of 5 answers"):
        run(tmp_path, judge_model={"model": "x"})


def test_nothing_to_judge_by_and_bad_rows(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nothing to judge by"):
        run(tmp_path, [{"turns": ["Hello."]}])
    with pytest.raises(StageError, match="turns must be a list of texts"):
        run(tmp_path, [{"turns": "Hello."}])
    with pytest.raises(StageError, match="answers must be a list of texts"):
        run(tmp_path, [{"turns": ["Hello."], "answers": ["a", "b"]}])
    bad = write_jsonl(tmp_path / "bad.jsonl", [{"question_id": 1}])
    with pytest.raises(InputError, match=r"bad.jsonl', line 1: expected question_id and choices"):
        run(tmp_path, references=str(bad))


def test_answers_are_found_as_whole_words() -> None:
    assert holds("The capital is PARIS!", "Paris") and holds("It costs 1,200 euros", "1,200")
    assert not holds("Comparison", "Paris") and not holds("14", "4") and not holds("anything", "...")


def test_mt_benchs_own_files_are_read(real_data: Path) -> None:
    from evaluation.behaviour_config import DialoguesConfig

    folder = real_data / "evals" / "mt_bench" / "vicuna_bench"
    references = folder / "reference_answer" / "gpt-4.jsonl.gz"
    block = DialoguesConfig(prompts=str(folder / "question.jsonl.gz"), references=str(references))
    rows: list[Dialogue] = read_dialogues(block, 0.0).rows
    assert len(rows) == 80 and {len(row.turns) for row in rows} == {1}
    assert sum(row.references[0] is not None for row in rows) >= 10


def test_the_shipped_conversations_are_sound() -> None:
    from evaluation.behaviour_config import DialoguesConfig

    file = Path(__file__).resolve().parents[2] / "configs" / "evaluation" / "dialogues" / "follow_up.jsonl"
    rows = read_dialogues(DialoguesConfig(prompts=str(file)), 0.0).rows
    assert len(rows) == 16 and all(len(row.turns) >= 2 and row.answers[-1] for row in rows)
