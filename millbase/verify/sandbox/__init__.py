"""Runs programs that nobody has read, such as those a model wrote, where they can do no harm.

    from millbase.verify.sandbox import SandboxConfig, check_solution, run_program
    check_solution("def add(a, b): return a + b", "assert add(1, 2) == 3", SandboxConfig()).passed

`describe()` says which of the kernel's mechanisms is used on this machine and what it guarantees; docs/sandbox.md has
the table. Without one, nothing runs unless `allow_unsandboxed` says so.
"""

from millbase.verify.sandbox.config import Check, Outcome, SandboxConfig
from millbase.verify.sandbox.probe import describe, find_mechanism
from millbase.verify.sandbox.run import check_solution, run_many, run_program

__all__ = [
    "Check",
    "Outcome",
    "SandboxConfig",
    "check_solution",
    "describe",
    "find_mechanism",
    "run_many",
    "run_program",
]
