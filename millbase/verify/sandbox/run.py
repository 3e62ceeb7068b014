"""Run programs and check solutions: the sandbox's public functions."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from millbase.process import available_cores
from millbase.verify.sandbox.config import Check, Outcome, SandboxConfig
from millbase.verify.sandbox.probe import find_mechanism
from millbase.verify.sandbox.process import run_in


def run_program(source: str, config: SandboxConfig, stdin: str = "") -> Outcome:
    """Run a Python program as a script.

    Raises ConfigError when nothing can confine it here and `allow_unsandboxed` is false.
    """
    return run_in(find_mechanism(config), config, source, None, stdin)


def check_solution(
    program: str, test: str, config: SandboxConfig, *, prelude: str = "", names: Sequence[str] = ()
) -> Outcome:
    """Whether a program passes a test; see `Check` for the arguments.

    The test runs in a process of its own and calls the program's functions over a pipe; it compares values that its
    own side rebuilt from plain data. A program can therefore pass only by answering right: it cannot exit early, patch
    `assert`, define odd `__eq__`, or find out what the test expects. What the test asks of functions that are not in
    `names` and that only the program defines is the program's own word.

    Raises ConfigError when nothing can confine it here and `allow_unsandboxed` is false.
    """
    return _check(Check(program, test, prelude, tuple(names)), config)


def run_many(checks: Sequence[Check], config: SandboxConfig, workers: int | None = None) -> list[Outcome]:
    """Check many solutions at once (default: one per core); outcomes in the order of the checks."""
    if not checks:
        return []
    find_mechanism(config)  # once, before the threads
    with ThreadPoolExecutor(min(workers or available_cores(), len(checks))) as pool:
        return list(pool.map(lambda check: _check(check, config), checks))


def _check(check: Check, config: SandboxConfig) -> Outcome:
    return run_in(find_mechanism(config), config, check.program, check)
