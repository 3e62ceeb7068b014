"""Rounds: what they are written out to, what their references mean, and that a run goes on between and inside them."""

from __future__ import annotations

from pathlib import Path

import pytest
from run_files import trace

from llmill.recipe.graph import load_graph
from llmill.recipe.runner import RunOptions, run_recipe
from millbase.errors import ConfigError

RUN = Path("runs/looped")
RECIPE = """
name: looped
stages:
  start: {run: "fake_stages:build_text", config: {text: start}}
  report: {run: "fake_stages:build_text", config: {text: "of ${last.tune}", sources: ["${last.tune}", "${r1-draw}"]}}
rounds:
  count: 2
  first: {tune: "${start}"}
  stages:
    draw:
      run: "fake_stages:build_text"
      config: {text: "draw${round}", sources: ["${previous.tune}"], pause: "${round}"}
    tune:
      run: "fake_stages:build_text"
      config: {text: tune, sources: ["${draw}", "${earlier.draw}/text.txt", "${start}"]}
"""


def graph(*overrides: str):  # type: ignore[no-untyped-def]
    return load_graph("loop.yaml", overrides)


@pytest.fixture(autouse=True)
def recipe(workplace: Path) -> None:
    Path("loop.yaml").write_text(RECIPE)


def test_rounds_become_stages() -> None:
    stages = graph("rounds.count=3").stages
    assert list(stages) == ["start", "r1-draw", "r1-tune", "r2-draw", "r2-tune", "r3-draw", "r3-tune", "report"]
    values = {name: stage.config.to_dict() for name, stage in stages.items()}
    assert values["r1-draw"]["sources"] == ["runs/looped/start"]
    assert values["r3-draw"]["sources"] == ["runs/looped/r2-tune"]
    assert (values["r2-draw"]["text"], values["r2-draw"]["pause"]) == ("draw2", 2.0)
    assert values["r1-tune"]["sources"] == ["runs/looped/r1-draw", "runs/looped/start"]
    assert values["r3-tune"]["sources"] == [
        "runs/looped/r3-draw",
        "runs/looped/r1-draw/text.txt",
        "runs/looped/r2-draw/text.txt",
        "runs/looped/start",
    ]
    assert values["report"]["text"] == "of runs/looped/r3-tune"
    assert values["report"]["sources"] == ["runs/looped/r3-tune", "runs/looped/r1-draw"]
    assert stages["r2-draw"].needs == ("r1-tune",)


def test_overrides_of_one_round_and_of_all() -> None:
    stages = graph("draw.pause=0", "r2-draw.text=other").stages
    assert [stages[f"r{n}-draw"].config.to_dict()["pause"] for n in (1, 2)] == [0.0, 0.0]
    assert [stages[f"r{n}-draw"].config.to_dict()["text"] for n in (1, 2)] == ["draw1", "other"]


def test_escapes_are_kept_for_the_second_pass() -> None:
    Path("loop.yaml").write_text(RECIPE.replace("text: tune", 'text: "$${round} $${start}"'))
    assert graph().stages["r1-tune"].config.to_dict()["text"] == "${round} ${start}"


@pytest.mark.parametrize(
    ("change", "overrides", "message"),
    [
        (
            ("first: {tune", "first: {tnue"),
            [],
            "rounds.first.tnue: the rounds have no stage 'tnue'; did you mean 'tune'",
        ),
        (('first: {tune: "${start}"}', "first: {}"), [], "has no meaning in round 1; say in rounds.first what 'tune'"),
        (("${previous.tune}", "${previous.start}"), [], r"previous.start}: the rounds have no stage 'start'"),
        (('${last.tune}"', '${last.tun}"'), [], r"last.tun}: the rounds have no stage 'tun'; did you mean 'tune'"),
        (("text: tune", 'text: "${earlier.draw}"'), [], "gives several values and must stand in a list"),
        (("  start: {", "  draw: {"), [], "stage name 'draw' is that of a stage of the rounds"),
        (("  report: {", "  r2-report: {"), [], "stage name 'r2-report' is that of a stage of the rounds"),
        (("${draw}", "${drew}"), [], "names no stage or input"),
        (("count: 2", "count: 0"), [], "rounds.count = 0"),
        (("", ""), ["rounds.count=0"], "count = 0"),
        (("", ""), ["rounds.cuont=2"], "'rounds' names no stage"),
        (("", ""), ["r3-draw.text=x"], "'r3-draw' names no stage.* did you mean 'r2-draw'"),
    ],
)
def test_mistakes(change: tuple[str, str], overrides: list[str], message: str) -> None:
    Path("loop.yaml").write_text(RECIPE.replace(*change) if change[0] else RECIPE)
    with pytest.raises(ConfigError, match=message):
        graph(*overrides)


def test_a_count_for_a_recipe_without_rounds() -> None:
    with pytest.raises(ConfigError, match=r"rounds.count=2: recipe.yaml has no rounds"):
        load_graph("recipe.yaml", ["rounds.count=2"])


def test_a_larger_count_reruns_nothing_and_a_failure_inside_continues() -> None:
    quick = ["draw.pause=0"]
    assert run_recipe(graph(*quick, "r2-tune.fail=kill"), RunOptions()) == 1
    assert trace(RUN)[-1].startswith("r2-draw")
    assert run_recipe(graph(*quick), RunOptions()) == 0
    lines = trace(RUN)
    assert lines[-2:] == ["r2-tune started", "report started"] and lines.count("r1-draw started") == 1
    assert Path("runs/looped/r2-draw/text.txt").read_text() == "start draw1 start tune draw2"
    assert run_recipe(graph(*quick, "rounds.count=3"), RunOptions()) == 0
    assert trace(RUN)[len(lines) :] == ["r3-draw started", "r3-tune started", "report started"]
