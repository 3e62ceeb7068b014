"""HumanEval's and MBPP's problems: what the model is asked, and how its answer becomes a program and a check."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from millbase.verify.sandbox import Check

HUMANEVAL_STOPS = ("\nclass", "\ndef", "\n#", "\nif", "\nprint")
"""Where a completed function ends (Chen et al. 2021, section 2.2)."""
MBPP_STOPS = ("[DONE]",)
_FENCE = re.compile(r"```[a-zA-Z0-9_+-]*[ \t]*\n(.*?)(?:```|\Z)", re.DOTALL)


@dataclass(frozen=True)
class Problem:
    """One problem."""

    id: str
    prompt: str
    """What a base model completes."""
    question: str
    """What a chat model is asked."""
    stops: tuple[str, ...]
    test: str
    prelude: str
    """Helpers that the prompt defines, for the test."""
    names: tuple[str, ...]
    """What the program must define."""
    starts_program: bool
    """Whether the program begins with the prompt (HumanEval), or is the completion alone (MBPP)."""

    def check(self, answer: str, *, chat: bool) -> Check:
        """The check of what a model wrote."""
        program = self._from_chat(answer) if chat else self.prompt + answer if self.starts_program else answer
        return Check(program, self.test, self.prelude, self.names)

    def _from_chat(self, answer: str) -> str:
        blocks = _FENCE.findall(answer)
        defining = [block for block in blocks if any(re.search(rf"^def {name}\b", block, re.M) for name in self.names)]
        code = (defining or blocks or [answer])[-1 if not defining else 0]
        if not self.starts_program:
            return code
        whole = any(re.search(rf"^def {name}\b", code, re.M) for name in self.names)
        # imports and helpers of the prompt hold, whether the model repeats them or not
        return f"{self.prompt}    pass\n\n{code}" if whole else self.prompt + code


def parse_problem(line: int, row: dict[str, Any]) -> Problem:
    """A row of either format. KeyError names what is missing, TypeError what is not text."""
    return _humaneval(row) if "entry_point" in row else _mbpp(line, row)


def _humaneval(row: dict[str, Any]) -> Problem:
    prompt, entry, test = _text(row, "prompt"), _text(row, "entry_point"), _text(row, "test")
    question = (
        f"Complete this Python function. Answer with the whole function in one code block.\n\n```python\n{prompt}```"
    )
    return Problem(
        id=str(row["task_id"]),
        prompt=prompt,
        question=question,
        stops=HUMANEVAL_STOPS,
        test=f"{test}\ncheck({entry})",
        prelude=prompt,
        names=(entry,),
        starts_program=True,
    )


def _mbpp(line: int, row: dict[str, Any]) -> Problem:
    task = _text(row, "text" if "text" in row else "prompt")
    tests = row["test_list"]
    if not isinstance(tests, list) or not tests or not all(isinstance(test, str) for test in tests):
        raise TypeError("test_list is not a list of texts")
    imports = row.get("test_imports") or []
    setup = "\n".join([str(row.get("test_setup_code") or ""), *map(str, imports)])
    asked = "\n".join(tests)
    question = (
        f"You are an expert Python programmer, and here is your task: {task} "
        f"Your code should pass these tests:\n\n{asked}\n"
    )
    return Problem(
        id=str(row.get("task_id", line)),
        prompt=f"{question}[BEGIN]\n",
        question=question,
        stops=MBPP_STOPS,
        test=f"{setup}\n{asked}",
        prelude="",
        names=(),
        starts_program=False,
    )


def _text(row: dict[str, Any], field: str) -> str:
    value = row[field]
    if not isinstance(value, str):
        raise TypeError(f"{field} is not text")
    return value
