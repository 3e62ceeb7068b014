"""Win rate: who wins, ties, paired seeds, lengths, judges."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from evaluation import statistics
from evaluation.config import EvaluationConfig, WinRateConfig
from evaluation.judges import outcome
from evaluation.judges.rule import load_rule
from evaluation.responses import Responses
from evaluation.scores import BlockResult
from evaluation.win_rate import run_win_rate
from training.load import LoadedModel, load_reward_model


def run(model: LoadedModel, reference: LoadedModel, web: Path, batch_size: int = 8, **block: Any) -> BlockResult:
    judge = {} if "reward_model" in block else {"rule": str(web / "rule.json")}
    win_rate = WinRateConfig.model_validate(
        {
            "prompts": str(web / "prompts" / "heldout.jsonl"),
            "sampling": {"max_new_tokens": 16},
            **judge,
            **block,
        }
    )
    config = EvaluationConfig(model="m", reference="r", win_rate=win_rate, device="cpu")
    return run_win_rate(model, reference, win_rate, config, Responses(0, batch_size))


def test_a_model_ties_with_itself_on_every_prompt(loaded: LoadedModel, web: Path) -> None:
    result = run(loaded, loaded, web)
    score = result.scores[0]
    assert score.value == 0.5 and score.details["ties"] == 20
    assert result.comparisons[0].verdict == "no difference"


def test_figures_follow_from_the_items(loaded: LoadedModel, other_loaded: LoadedModel, web: Path) -> None:
    result = run(loaded, other_loaded, web)
    items = result.items["items/win_rate.jsonl"]
    rule = load_rule(str(web / "rule.json"))
    outcomes = []
    for item in items:
        ours, theirs = (rule.score(item[key], item["answer"]) for key in ("response", "reference_response"))
        assert (item["judge_score"], item["reference_judge_score"]) == (ours, theirs)
        outcomes.append(outcome(ours, theirs))
    (comparison,) = result.comparisons
    assert comparison.value == sum(outcomes) / 20
    assert comparison.ci95 == pytest.approx(statistics.wilson(comparison.value, 20))
    details = result.scores[0].details
    assert details["wins"] + details["ties"] + details["losses"] == 20
    assert details["mean_characters"] == pytest.approx(sum(len(item["response"]) for item in items) / 20)


def test_the_two_sides_mirror(loaded: LoadedModel, other_loaded: LoadedModel, web: Path) -> None:
    forward, backward = run(loaded, other_loaded, web), run(other_loaded, loaded, web, batch_size=3)
    assert forward.scores[0].value == pytest.approx(1 - backward.scores[0].value)


def test_a_reward_model_can_judge(
    loaded: LoadedModel, other_loaded: LoadedModel, web: Path, reward_checkpoint: Path
) -> None:
    result = run(loaded, other_loaded, web, reward_model=str(reward_checkpoint), limit=6)
    judge = load_reward_model(reward_checkpoint, device="cpu")
    item = result.items["items/win_rate.jsonl"][0]
    conversation = [{"role": "user", "content": item["prompt"]}, {"role": "assistant", "content": item["response"]}]
    assert item["judge_score"] == pytest.approx(judge.score([conversation])[0], rel=1e-4)
    assert result.scores[0].n == 6 and result.scores[0].details["judge"] == "reward_model"


def test_responses_are_generated_once(loaded: LoadedModel, web: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import evaluation.responses
    from evaluation.generate import GREEDY, generate
    from evaluation.records import read_prompts

    calls = []

    def counted(*args: Any, **kwargs: Any) -> Any:
        calls.append(len(args[1]))
        return generate(*args, **kwargs)

    monkeypatch.setattr(evaluation.responses, "generate", counted)
    prompts = read_prompts(str(web / "prompts" / "heldout.jsonl"), limit=6, maximum_bad_share=0).rows
    responses = Responses(0, 8)
    settings: dict[str, Any] = {"sampling": GREEDY, "max_new_tokens": 4, "description": "x"}
    first = responses(loaded, prompts[:4], **settings)
    second = responses(loaded, prompts, **settings)
    assert calls == [4, 2] and second[:4] == first
