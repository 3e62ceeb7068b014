"""Every verifiable reward, by name and as a function; what a failure costs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from millbase.errors import ConfigError, InputError, StageError
from millbase.verify.sandbox import probe
from millbase.verify.sandbox.config import SandboxConfig
from training.posttrain import verifiable
from training.posttrain.ppo.prompts import Prompt
from training.posttrain.ppo.rewards import FunctionReward, find_function, score
from training.posttrain.verifiable import SCORERS, VerifiableReward, VerifiableSource, load_verifiable
from training.posttrain.verifiable.programs import program_of

ADAPTER: TypeAdapter[Any] = TypeAdapter(VerifiableReward)


def source(check: str, **settings: Any) -> VerifiableSource:
    return VerifiableSource(ADAPTER.validate_python({"check": check, **settings}))


def scores(check: str, texts: list[str], rows: list[dict[str, Any]] | None = None, **settings: Any) -> list[float]:
    prompts = [Prompt([], [], row) for row in rows or [{}] * len(texts)]
    return source(check, **settings).score(prompts, texts)


def test_numeric() -> None:
    rows = [{"answer": "18"}] * 5 + [{"answer": "She has 9 * 2 = 18 eggs.\n#### 18"}]
    texts = ["\\boxed{18}", "The answer is $18.", "so 9 * 2 = 18 eggs", "17", "eighteen", "#### 18.0"]
    assert scores("numeric", texts, rows) == [1, 1, 1, 0, 0, 1]
    assert scores("numeric", texts, rows, extract="stated") == [1, 1, 0, 0, 0, 1]
    assert scores("numeric", ["18", " 18\n", "18 eggs"], rows[:3], extract="whole") == [1, 1, 0]
    assert scores("numeric", ["3.1416", "3.2"], [{"answer": "3.14159"}] * 2, tolerance=1e-3) == [1, 0]
    assert scores("numeric", ["3.1416"], [{"answer": "3.14159"}]) == [0]
    assert scores("numeric", ["5"], [{"sum": 5}], column="sum") == [1]


def test_maths() -> None:
    rows = [{"answer": "\\frac{1}{2}"}, {"answer": "x^2+2x+1"}, {"answer": "x^2+2x+1"}, {"answer": "7"}]
    texts = ["The answer is 0.5", "\\boxed{(x+1)^2}", "\\boxed{(x-1)^2}", "7"]
    assert scores("maths", texts, rows) == [1, 1, 0, 1]
    assert scores("maths", ["I think 7"], [{"answer": "7"}], extract="stated") == [0]


def test_code() -> None:
    good, bad = "```python\ndef add(a, b):\n    return a + b\n```", "```\ndef add(a, b):\n    return a * b\n```"
    tests = ["assert add(1, 2) == 3", "assert add(2, 2) == 4"]
    rows: list[dict[str, Any]] = [{"tests": tests, "entry_point": "add"}] * 2
    assert scores("code", [good, bad], rows) == [1, 0]
    assert scores("code", [good, bad], rows, score="share") == [1, 0.5]
    assert scores("code", ["def add(a, b): return a + b"], [{"tests": "assert add(1, 2) == 3"}]) == [1]
    # a program cannot pass by leaving early, nor reach a file of this machine
    cheat = "```\nimport sys\nsys.exit(0)\n```"
    spy = f"```\ndef add(a, b):\n    return len(open({str(Path(__file__))!r}).read()) and a + b\n```"
    assert scores("code", [cheat, spy], rows) == [0, 0]


def test_programs_are_taken_out_of_a_completion() -> None:
    text = "First:\n```python\nx = 1\n```\nThen:\n```python\ndef f(): ...\n```\nUse it:\n```\nf()\n```"
    assert program_of(text) == "f()\n"
    assert program_of(text, ("f",)) == "def f(): ...\n"
    assert program_of("def f(): ...") == "def f(): ..."
    assert program_of("```python\ndef f():\n    return 1\n", ("f",)) == "def f():\n    return 1\n", "cut off"


def test_code_is_refused_where_nothing_confines_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "_problem", lambda mechanism, processes: "not on this machine")
    config = ADAPTER.validate_python({"check": "code"})
    with pytest.raises(ConfigError, match="programs cannot be confined"):
        load_verifiable([config])
    allowed = ADAPTER.validate_python({"check": "code", "sandbox": SandboxConfig(allow_unsandboxed=True)})
    assert [one.name for one in load_verifiable([allowed])] == ["code"]


def test_format() -> None:
    pattern = "<think>.+</think>\\s*<answer>.+</answer>"
    texts = ["<think>a\nb</think><answer>4</answer>\n", "so <think>a</think><answer>4</answer>", "<answer>4</answer>"]
    assert scores("format", texts, pattern=pattern) == [1, 0, 0]
    assert scores("format", texts, pattern=pattern, whole=False) == [1, 1, 0]


def test_an_expression_that_explodes_is_a_failure_not_a_hang() -> None:
    slow = source("format", pattern="(a|aa)+$", timeout_seconds=0.2)
    with pytest.raises(StageError, match=r"'format' failed: .* took more than 0\.2 s"):
        slow.score([Prompt([], [], {})], ["a" * 60 + "b"])
    kept = score(slow, [Prompt([], [], {})] * 2, ["aaa", "a" * 60 + "b"], "zero")
    assert kept.values == [1, 0] and list(kept.errors) == [1]


def test_contains() -> None:
    rows = [{"answer": "Paris"}] * 4 + [{"answer": ["four", "4"]}]
    texts = ["It is paris.", "Parisian", "London", "Paris", "that makes 4"]
    assert scores("contains", texts, rows) == [1, 0, 0, 1, 1]


def test_instructions() -> None:
    row = {
        "instruction_id_list": ["punctuation:no_comma", "length_constraints:number_words"],
        "kwargs": [{}, {"relation": "at least", "num_words": 3}],
    }
    texts = ["one two three", "one, two, three", "one"]
    assert scores("instructions", texts, [row] * 3) == [1, 0, 0]
    assert scores("instructions", texts, [row] * 3, score="share") == [1, 0.5, 0.5]
    fixed = {"punctuation:no_comma": {}}
    assert scores("instructions", texts, instructions=fixed) == [1, 0, 1]
    # the reference does not count marks such as #; a reward does
    marks = {"keywords:letter_frequency": {"letter": "#", "let_frequency": 2, "let_relation": "at least"}}
    assert scores("instructions", ["## title"], instructions=marks) == [1]


def test_length() -> None:
    texts = ["a", "a b c", "a b c d e", "a b c d e f g h"]
    assert scores("length", texts, minimum=2, maximum=4) == [-1, 0, -1, -1]
    assert scores("length", texts, minimum=2, maximum=4, margin=2) == [-0.5, 0, -0.5, -1]
    assert scores("length", ["abc", "abcdef"], maximum=4, margin=4, unit="characters") == [0, -0.5]


@pytest.mark.parametrize(
    ("check", "settings", "row"),
    [
        ("numeric", {}, {"answer": "a few"}),
        ("maths", {}, {"answer": None}),
        ("code", {}, {"tests": []}),
        ("contains", {}, {"answer": " "}),
        ("instructions", {}, {"instruction_id_list": ["no:such"]}),
    ],
)
def test_a_row_that_cannot_be_checked_is_a_failure(check: str, settings: dict[str, Any], row: dict[str, Any]) -> None:
    with pytest.raises(StageError, match=f"verifiable reward {check!r} failed"):
        scores(check, ["5"], [row], **settings)


def test_a_failure_costs_no_other_completion_its_score() -> None:
    prompts = [Prompt([], [], {"answer": answer}) for answer in ("1", None, "3")]
    kept = score(source("numeric"), prompts, ["1", "2", "3"], "skip")
    assert kept.values == [1, 0, 1] and "has no 'answer'" in kept.errors[1]


def test_missing_columns_are_found_before_training() -> None:
    prompts = [Prompt([], [], {"answer": "1"}), Prompt([], [], {"solution": "2"})]
    with pytest.raises(InputError, match=r"reads the column 'answer', which 1 of 2 .*columns: answer, solution"):
        source("maths").check_prompts(prompts)
    source("length", maximum=3).check_prompts(prompts)


def test_names_must_differ() -> None:
    given = [{"check": "format", "pattern": "a"}, {"check": "format", "pattern": "b"}]
    with pytest.raises(ConfigError, match="two entries called 'format'"):
        load_verifiable([ADAPTER.validate_python(one) for one in given])
    named = [ADAPTER.validate_python({**one, "name": f"f{i}"}) for i, one in enumerate(given)]
    assert [one.name for one in load_verifiable(named)] == ["f0", "f1"]


@pytest.mark.parametrize("name", ["maths", "numeric", "contains", "code", "instructions"])
def test_ready_functions_work_as_ppos_reward_functions(name: str) -> None:
    """`reward.functions: [training.posttrain.verifiable:maths]`."""
    assert name in SCORERS
    row = {
        "answer": "4",
        "tests": "assert f() == 4",
        "instruction_id_list": ["punctuation:no_comma"],
    }
    text = {"code": "def f(): return 4", "instructions": "a, b"}.get(name, "the answer is 4")
    function = find_function(f"training.posttrain.verifiable:{name}")
    reward = FunctionReward(name, function, 1.0)
    assert reward.score([Prompt([{"role": "user", "content": "?"}], [], row)], [text]) == [
        float(name != "instructions")
    ]


def test_importing_the_configuration_is_light(repository: Path) -> None:

    script = (
        "import sys, training.posttrain.verifiable.config; print([m for m in ('torch', 'sympy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=repository, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []
    assert verifiable.__all__
