"""pass@k by hand and by counting; HumanEval, MBPP and IFEval blocks from prompt to score."""

from __future__ import annotations

import gzip
import itertools
import json
from pathlib import Path
from typing import Any

import pytest

from evaluation import EvaluationConfig, code, evaluate
from evaluation.code_problems import parse_problem
from evaluation.generate import Completion
from evaluation.pass_at_k import estimate_pass_at_k, pass_at_k
from evaluation.verified_config import CodeConfig
from millbase.config import load_config
from millbase.errors import ConfigError, InputError, StageError
from millbase.verify.sandbox import SandboxConfig, run_many

HUMANEVAL = Path(__file__).resolve().parents[3] / "shared/data/evals/humaneval/HumanEval.jsonl.gz"


@pytest.mark.parametrize(
    ("n", "c", "k", "value"),
    [
        (1, 0, 1, 0.0),
        (1, 1, 1, 1.0),
        (5, 2, 1, 0.4),
        (5, 2, 2, 1 - 3 / 10),  # of the 10 pairs, 3 hold no right program
        (5, 2, 4, 1.0),  # any four of five hold one of two
        (10, 3, 5, 1 - 21 / 252),
        (200, 1, 100, 0.5),
        (200, 0, 100, 0.0),
    ],
)
def test_pass_at_k_worked_by_hand(n: int, c: int, k: int, value: float) -> None:
    assert pass_at_k(n, c, k) == pytest.approx(value, abs=1e-12)


def test_pass_at_k_is_the_share_of_draws_with_a_right_program() -> None:
    for n, c, k in itertools.product(range(1, 7), range(7), range(1, 7)):
        if c <= n and k <= n:
            draws = list(itertools.combinations([1] * c + [0] * (n - c), k))
            assert pass_at_k(n, c, k) == pytest.approx(sum(map(any, draws)) / len(draws))


def test_pass_at_k_refuses_what_means_nothing() -> None:
    for n, c, k in ((3, 4, 1), (3, 1, 4), (3, 1, 0), (3, -1, 1)):
        with pytest.raises(ValueError, match="expected 1 <= k <= n"):
            pass_at_k(n, c, k)


def test_the_mean_has_an_interval_over_problems() -> None:
    single = estimate_pass_at_k([(1, 1), (1, 0), (1, 1), (1, 1)], 1)
    assert (single.value, single.method) == (0.75, "Wilson")
    several = estimate_pass_at_k([(4, 1), (4, 3)], 2)
    assert several.value == pytest.approx(((1 - 3 / 6) + 1.0) / 2) and several.method == "t"


ADD = {
    "task_id": "t/0",
    "prompt": "import math\n\ndef half(x):\n    return x / 2\n\ndef add(a, b):\n    '''Add.'''\n",
    "entry_point": "add",
    "test": "def check(candidate):\n    assert candidate(1, 2) == 3 and candidate(half(4), 0) == math.sqrt(4)\n",
}
SQUARE = {"task_id": 7, "text": "Square it.", "test_list": ["assert square(3) == 9"], "test_setup_code": ""}


def passes(row: dict[str, Any], answer: str, *, chat: bool) -> bool:
    (outcome,) = run_many([parse_problem(1, row).check(answer, chat=chat)], SandboxConfig(wall_seconds=60))
    return outcome.passed


def test_answers_become_programs() -> None:
    assert passes(ADD, "    return a + b\n", chat=False)
    assert not passes(ADD, "    return a - b\n", chat=False)
    assert passes(ADD, "Sure:\n```python\ndef add(a, b):\n    return a + b\n```\nDone.", chat=True)
    assert passes(ADD, "```\n    return a + b\n```", chat=True), "a body alone completes the prompt"
    assert passes(ADD, "First ```x``` then\n```py\nprint(1)\n```\n```py\ndef add(a, b): return a + b", chat=True)
    assert not passes(ADD, "I cannot.", chat=True)
    assert passes(SQUARE, "def square(x):\n    return x * x\n", chat=False)
    assert passes(SQUARE, "```python\ndef square(x):\n    return x * x\n```", chat=True)
    assert not passes(SQUARE, "import os\nos._exit(0)", chat=False)


def test_mbpp_is_asked_as_published() -> None:
    problem = parse_problem(1, SQUARE)
    assert problem.prompt.startswith("You are an expert Python programmer, and here is your task: Square it. Your code")
    assert problem.prompt.endswith("assert square(3) == 9\n[BEGIN]\n") and problem.stops == ("[DONE]",)


def write(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return str(path)


def test_code_from_model_to_pass_at_k(
    checkpoints: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model that answers four programs for each problem, of which we know which are right."""
    answers = iter(["    return a + b\n", "    return a\n", "    return b + a\n", "    while True: pass\n"] * 1)
    answers = itertools.chain(answers, ["def square(x): return x * x"] + ["def square(x): return 9 if x else 1"] * 3)
    asked: list[dict[str, Any]] = []

    def fake(model: object, prompts: list[list[int]], **options: Any) -> list[Completion]:
        asked.append(options)
        return [Completion(list(ids), [1], next(answers), True) for ids in prompts]

    monkeypatch.setattr(code, "generate", fake)
    config = EvaluationConfig.model_validate(
        {
            "model": str(checkpoints[0]),
            "device": "cpu",
            "code": {
                "problems": write(tmp_path / "p.jsonl", [ADD, SQUARE]),
                "name": "toy",
                "samples": 4,
                "k": [1, 2],
                "temperature": 0.8,
                "sandbox": {"cpu_seconds": 1, "wall_seconds": 60},
            },
            "gates": [{"name": "g", "score": "toy pass@1", "minimum": 0.5}],
        }
    )
    out = evaluate(config, tmp_path / "scores")
    document = json.loads((out / "scores.json").read_text())
    by_name = {score["metric"]: score for score in document["scores"]}
    assert by_name["pass@1"]["value"] == pytest.approx((2 / 4 + 4 / 4) / 2)
    assert by_name["pass@2"]["value"] == pytest.approx((1 - 1 / 6 + 1) / 2)
    assert by_name["pass@1"]["details"]["outcomes"] == {"passed": 6, "failed": 1, "cpu": 1}
    assert by_name["pass@1"]["details"]["sandbox"].split(":")[0] in ("namespaces", "bubblewrap", "landlock")
    assert document["gates"][0]["passed"]
    (first, second) = ([json.loads(line) for line in (out / "items/toy.jsonl").read_text().splitlines()],)[0]
    assert (first["id"], first["right"], second["right"]) == ("t/0", 2, 4)
    assert [options["stop_strings"][0] for options in asked] == ["\nclass", "[DONE]"]
    assert len(set(asked[0]["seeds"])) == 4, "each sample has its own random stream"


def test_a_real_model_is_asked_and_scored(checkpoints: tuple[Path, Path], tmp_path: Path) -> None:
    """A tiny model writes no program and follows few instructions, and both blocks say so and end."""
    instructions = [
        {"key": 5, "prompt": "Say it.", "instruction_id_list": ["punctuation:no_comma"], "kwargs": [{}]},
        {
            "key": 6,
            "prompt": "List it.",
            "instruction_id_list": ["startend:quotation", "length_constraints:number_words"],
            "kwargs": [{}, {"num_words": 500, "relation": "at least"}],
        },
    ]
    config = EvaluationConfig.model_validate(
        {
            "model": str(checkpoints[0]),
            "device": "cpu",
            "code": {"problems": write(tmp_path / "p.jsonl", [ADD, SQUARE]), "chat": True, "max_new_tokens": 8},
            "ifeval": {"prompts": write(tmp_path / "i.jsonl", instructions), "max_new_tokens": 8},
        }
    )
    out = evaluate(config, tmp_path / "scores")
    scores = {f"{s['task']} {s['metric']}": s for s in json.loads((out / "scores.json").read_text())["scores"]}
    assert scores["code pass@1"]["value"] == 0.0 and scores["code pass@1"]["n"] == 2
    assert scores["ifeval prompt_strict"]["n"] == 2
    items = [json.loads(line) for line in (out / "items/ifeval.jsonl").read_text().splitlines()]
    followed = sum(item["scores"]["instruction_strict"][0] for item in items)
    assert scores["ifeval instruction_strict"]["value"] == pytest.approx(followed / 3)
    assert [item["id"] for item in items] == ["5", "6"]


def test_bad_input_is_named(checkpoints: tuple[Path, Path], tmp_path: Path) -> None:
    def run(**blocks: Any) -> None:
        evaluate(EvaluationConfig.model_validate({"model": str(checkpoints[0]), **blocks}), tmp_path / "out")

    unknown = [{"prompt": "p", "instruction_id_list": ["punctuation:no_coma"], "kwargs": [{}]}]
    with pytest.raises(InputError, match=r"i\.jsonl', line 1: instruction 'punctuation:no_coma' is not one of"):
        run(ifeval={"prompts": write(tmp_path / "i.jsonl", unknown)})
    with pytest.raises(StageError, match="field 'test' is missing"):
        run(code={"problems": write(tmp_path / "p.jsonl", [{"task_id": 1, "prompt": "p", "entry_point": "f"}])})
    with pytest.raises(ConfigError, match="every k must lie between 1 and samples"):
        load_config(CodeConfig, {"problems": "p", "k": [10]})
    with pytest.raises(ConfigError, match="the same program"):
        load_config(CodeConfig, {"problems": "p", "samples": 4})


@pytest.mark.slow
def test_every_humaneval_solution_passes_and_a_stub_does_not() -> None:
    if not HUMANEVAL.is_file():
        pytest.skip(f"no HumanEval at {HUMANEVAL}")
    with gzip.open(HUMANEVAL, "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    config = SandboxConfig(wall_seconds=120)
    problems = [parse_problem(1, row) for row in rows]
    right = [problem.check(row["canonical_solution"], chat=False) for problem, row in zip(problems, rows)]
    assert [outcome.reason for outcome in run_many(right, config) if not outcome.passed] == []
    stubs = [problem.check("    return None\n", chat=False) for problem in problems]
    assert not any(outcome.passed for outcome in run_many(stubs, config))
