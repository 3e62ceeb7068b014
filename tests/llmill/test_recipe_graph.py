"""Recipes become graphs: references, order, inputs, and one clear line for every mistake."""

from __future__ import annotations

from pathlib import Path

import pytest

from llmill.recipe.graph import load_graph
from llmill.recipe.references import find_references, substitute
from millbase.errors import ConfigError, InputError


def test_substitute_keeps_types_splices_lists_and_leaves_escapes() -> None:
    values = {"n": 3, "list": ["x", "y"], "path": "runs/a"}
    template = {
        "whole": "${n}",
        "inside": "p/${n}/${path}",
        "items": ["first", "${list}", "${path}/b"],
        "literal": "$${n}",
        "other": 1.5,
    }
    assert substitute(template, values.__getitem__) == {
        "whole": 3,
        "inside": "p/3/runs/a",
        "items": ["first", "x", "y", "runs/a/b"],
        "literal": "${n}",
        "other": 1.5,
    }
    assert list(find_references(template)) == ["n", "n", "path", "list", "path"]
    with pytest.raises(ConfigError, match="is a list and cannot stand inside a string"):
        substitute("a/${list}", values.__getitem__)


def test_order_follows_needs_then_the_file(workplace: Path) -> None:
    Path("recipe.yaml").write_text(
        "stages:\n"
        "  last: {run: 'fake_stages:build_text', config: {sources: ['${b}', '${a}']}}\n"
        "  b: {run: 'fake_stages:build_text'}\n"
        "  a: {run: 'fake_stages:build_text'}\n"
    )
    graph = load_graph("recipe.yaml")
    assert list(graph.stages) == ["b", "a", "last"]
    assert graph.recipe.name == "recipe" and graph.out == Path("runs/recipe")
    assert graph.stages["last"].config.to_dict()["sources"] == ["runs/recipe/b", "runs/recipe/a"]
    assert graph.ancestors("last") == {"last", "a", "b"} and graph.descendants("a") == {"a", "last"}


def test_inputs_from_the_command_line(workplace: Path) -> None:
    Path("b.txt").write_text("b")
    graph = load_graph("recipe.yaml", ["inputs.files=a.txt,b.txt", "inputs.words=7"])
    assert graph.stages["one"].config.to_dict()["sources"] == ["a.txt", "b.txt"]
    assert graph.stages["side"].config.to_dict()["text"] == "side 7"


def test_file_config_and_set_override_in_this_order(workplace: Path) -> None:
    Path("stage.yaml").write_text("text: from file\nupper: true\npause: 3\n")
    Path("recipe.yaml").write_text(
        "stages:\n"
        "  s: {run: 'fake_stages:build_text', file: stage.yaml,\n"
        "      config: {text: from config, pause: 2}, set: {pause: 1}}\n"
    )
    assert load_graph("recipe.yaml").stages["s"].config.to_dict() == {
        "text": "from config",
        "sources": [],
        "data_path": None,
        "upper": True,
        "pause": 1.0,
        "fail": None,
        "gates": [],
    }
    assert load_graph("recipe.yaml", ["s.text=cli"]).stages["s"].config.to_dict()["text"] == "cli"


@pytest.mark.parametrize(
    ("recipe", "overrides", "message"),
    [
        ("stages: {a: {run: corpsu}}", [], "unknown stage kind 'corpsu'; did you mean 'corpus'?"),
        ("stages: {a: {run: 'fake_stages:build_txt'}}", [], "module 'fake_stages' has no 'build_txt'"),
        ("stages: {a: {run: 'no_such_module:f'}}", [], "needs the module 'no_such_module'"),
        (
            "stages: {one: {run: 'fake_stages:build_text', config: {txt: x}}}",
            [],
            "stage 'one': unknown key 'txt'; did you mean 'text'?",
        ),
        (
            "stages: {tokens: {run: 'fake_stages:build_text'},"
            " b: {run: 'fake_stages:build_text', config: {text: '${tokn}'}}}",
            [],
            r"stage 'b': '\$\{tokn\}' names no stage or input; did you mean 'tokens'?",
        ),
        (
            "stages: {a: {run: 'fake_stages:build_text', config: {text: '${b}'}},"
            " b: {run: 'fake_stages:build_text', config: {text: '${a}'}}}",
            [],
            "stages need each other in a circle: (a -> b -> a|b -> a -> b)",
        ),
        ("stages: {Bad Name: {run: corpus}}", [], "stage name 'Bad Name': expected lower-case letters"),
        ("stages: {logs: {run: corpus}}", [], "stage name 'logs'"),
        ("stages: {}", [], "has no stages"),
        ("steps: {}", [], "is not a recipe"),
        ("stages: {a: {run: 'fake_stages:build_text', file: no.yaml}}", [], "file 'no.yaml' does not exist"),
        ("stages: {a: {run: 'fake_stages:build_text'}}", ["b.text=x"], "'b' names no stage"),
        ("stages: {a: {run: 'fake_stages:build_text'}}", ["a=x"], "expected STAGE.KEY=VALUE"),
        ("stages: {a: {run: 'fake_stages:build_text'}}", ["inputs.x=1"], "this recipe has no inputs"),
        (
            "inputs: {crawl: null}\nstages: {a: {run: 'fake_stages:build_text', config: {text: '${input.crawl}'}}}",
            [],
            "input 'crawl' has no default; give inputs.crawl=",
        ),
        (
            "inputs: {crawl: x}\nstages: {a: {run: 'fake_stages:build_text'}}",
            ["inputs.crwl=1"],
            "did you mean 'crawl'?",
        ),
    ],
)
def test_mistakes_are_one_clear_line(workplace: Path, recipe: str, overrides: list[str], message: str) -> None:
    Path("recipe.yaml").write_text(recipe)
    with pytest.raises(ConfigError, match=message) as caught:
        load_graph("recipe.yaml", overrides)
    assert "\n" not in str(caught.value)


def test_missing_input_file_is_found_before_anything_runs(workplace: Path) -> None:
    with pytest.raises(InputError, match=r"stage 'one': nothing matches 'data/no\.txt'"):
        load_graph("recipe.yaml", ["inputs.files=data/no.txt"])
    with pytest.raises(InputError, match=r"nothing matches 'data/\*.jsonl.gz'"):
        load_graph("recipe.yaml", ["inputs.files=data/*.jsonl.gz"])
    assert not Path("runs").exists()


def test_a_missing_folder_below_a_key_that_says_path_is_found_too(workplace: Path) -> None:
    """As `tasks.task_path` of an evaluation, which comes after hours of pretraining."""

    def load(first: str, second: str = "${one}/cache") -> None:
        Path("recipe.yaml").write_text(
            f"stages:\n  one: {{run: 'fake_stages:build_text', config: {{data_path: '{first}'}}}}\n"
            f"  two: {{run: 'fake_stages:build_text', config: {{data_path: '{second}', text: 'and/or'}}}}\n"
        )
        load_graph("recipe.yaml")

    with pytest.raises(InputError, match=r"stage 'one': nothing matches 'evals/tasks'; check the path"):
        load("evals/tasks")
    Path("evals/tasks").mkdir(parents=True)
    load("evals/tasks")
    load("s3://bucket/evals")
    with pytest.raises(InputError, match=r"stage 'two': nothing matches 'evals/data'"):
        load("evals/tasks", "evals/data")
