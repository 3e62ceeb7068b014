"""The recipes that ship are valid as they stand, and their rounds are connected as their comments say."""

from __future__ import annotations

from pathlib import Path

import pytest

from llmill.recipe.graph import Graph, load_graph

RECIPES = Path(__file__).resolve().parents[2] / "configs" / "recipes"


def load(name: str, *overrides: str) -> Graph:
    return load_graph(RECIPES / f"{name}.yaml", overrides)


@pytest.mark.parametrize("name", ["gpt", "llama3", "reasoning"])
def test_every_artifact_is_used_and_reported(name: str) -> None:
    graph = load(name)
    used = {need for stage in graph.stages.values() for need in stage.needs}
    assert set(graph.stages) - used == {"report"}
    assert list(graph.stages)[-1] == "report"
    reported = set(graph.stages["report"].needs)
    assert {stage for stage in graph.stages if "eval_" in stage} <= reported


@pytest.mark.parametrize("name", ["gpt", "llama3", "reasoning"])
def test_each_says_what_to_change_for_a_large_model(name: str) -> None:
    text = (RECIPES / f"{name}.yaml").read_text()
    assert "For a 7B model on 8 GPUs of 80 GB" in text
    assert "llmill run configs/recipes/" in text


def test_gpt_refreshes_the_reward_model() -> None:
    stages = load("gpt", "rounds.count=3").stages
    values = {name: stage.config.to_dict() for name, stage in stages.items()}
    assert values["r1-ppo"]["model"] == "runs/gpt/sft" and values["r3-ppo"]["model"] == "runs/gpt/r2-ppo"
    assert values["r3-ppo"]["reward"]["model"] == "runs/gpt/r3-reward"
    assert {values[f"r{n}-ppo"]["reference"] for n in (1, 2, 3)} == {"runs/gpt/sft"}
    assert values["r3-reward"]["data"] == [
        "runs/gpt/world/preferences/train.jsonl",
        *(f"runs/gpt/r{n}-pairs/preferences.jsonl" for n in (1, 2, 3)),
    ]
    assert [values[f"r{n}-pairs"]["block"] for n in (1, 2, 3)] == [1, 2, 3]


def test_llama3_trains_each_round_from_the_base_model() -> None:
    stages = load("llama3", "rounds.count=6", "dpo.beta=0.3").stages
    values = {name: stage.config.to_dict() for name, stage in stages.items()}
    for n in range(1, 7):
        before = "start" if n == 1 else f"r{n - 1}-dpo"
        assert values[f"r{n}-best"]["model"] == values[f"r{n}-pairs"]["model"] == f"runs/llama3/{before}"
        assert values[f"r{n}-best"]["reward"]["model"] == f"runs/llama3/r{n}-reward"
        assert values[f"r{n}-sft"]["model"] == "runs/llama3/base"
        kept = [f"runs/llama3/r{m}-best/instructions.jsonl" for m in range(1, n + 1)]
        assert values[f"r{n}-sft"]["data"] == ["runs/llama3/world/instructions.jsonl", *kept]
        assert values[f"r{n}-dpo"]["data"] == f"runs/llama3/r{n}-pairs/preferences.jsonl"
        assert values[f"r{n}-dpo"]["beta"] == 0.3
    assert stages["r2-pairs"].needs == ("r1-dpo", "world")


def test_reasoning_compares_methods_from_one_start() -> None:
    stages = load("reasoning").stages
    for method in ("grpo", "dapo", "gspo"):
        values = stages[method].config.to_dict()
        assert values["method"] == method and values["model"] == "runs/reasoning/sft"
    assert set(load("reasoning").ancestors("eval_gspo")) == {"world", "base", "sft", "eval_sft", "gspo", "eval_gspo"}
