"""The reward for programs: each runs against its tests in the sandbox."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from millbase.verify.sandbox import Check, run_many
from training.posttrain.verifiable.config import CodeReward

_BLOCK = re.compile(r"```[a-zA-Z0-9_+-]*[ \t]*\n(.*?)(?:```|\Z)", re.DOTALL)


def score_code(config: CodeReward, texts: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> list[float]:
    """1 or 0, or the share of tests passed. ValueError where a row has no tests."""
    checks: list[Check] = []
    owners: list[int] = []
    for i, (text, row) in enumerate(zip(texts, rows, strict=True)):
        tests = _tests(row, config.column)
        if config.score == "all":
            tests = ["\n".join(tests)]
        entry, prelude = row.get("entry_point"), str(row.get("prelude") or "")
        names = (str(entry),) if entry else ()
        program = program_of(text, names)
        checks += [Check(program, test, prelude, names) for test in tests]
        owners += [i] * len(tests)
    outcomes = run_many(checks, config.sandbox, config.workers)
    passed, tried = [0] * len(texts), [0] * len(texts)
    for owner, outcome in zip(owners, outcomes, strict=True):
        tried[owner] += 1
        passed[owner] += outcome.passed
    return [right / total for right, total in zip(passed, tried, strict=True)]


def program_of(text: str, names: Sequence[str] = ()) -> str:
    """The program in a completion: the last code block that defines all `names`, else the last block, else all of
    it."""
    blocks = _BLOCK.findall(text)
    defining = [b for b in blocks if all(re.search(rf"^(?:def|class) {re.escape(name)}\b", b, re.M) for name in names)]
    return str((defining or blocks or [text])[-1])


def _tests(row: Mapping[str, Any], column: str) -> list[str]:
    value = row.get(column)
    tests = [value] if isinstance(value, str) else value
    if not isinstance(tests, list) or not tests or not all(isinstance(t, str) and t.strip() for t in tests):
        raise ValueError(
            f"the prompt row's {column!r} is {value!r}; expected a text or a list of texts with Python code"
        )
    return tests
