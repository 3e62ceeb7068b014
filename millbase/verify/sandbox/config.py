"""What a program in the sandbox may use, and what came out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Self

from pydantic import Field, model_validator

from millbase.config import Config

Mechanism = Literal["namespaces", "bubblewrap", "landlock", "none"]
Status = Literal["passed", "failed", "ok", "error", "crashed", "timeout", "cpu", "output", "disk"]


class SandboxConfig(Config):
    """Limits of one program; the same for the test that examines it."""

    mechanism: Literal["auto", "namespaces", "bubblewrap", "landlock"] = "auto"
    """How programs are confined; `auto` takes the first of this order that holds when tried on this machine."""
    allow_unsandboxed: bool = False
    """Run programs with resource limits only when no mechanism works: they can read and send what this user can."""
    wall_seconds: float = Field(default=10.0, gt=0)
    """Time from start to end, that of Python's start included."""
    cpu_seconds: int = Field(default=8, gt=0)
    """Processor time of the program, in whole seconds as the kernel counts."""
    memory_bytes: int = Field(default=512 << 20, ge=64 << 20)
    """Address space of each process; more is a MemoryError to the program."""
    processes: int = Field(default=1, gt=0, le=256)
    """Most processes and threads of the program at once; with 1 it can start neither (and cannot run other programs).
    More than 1 needs namespaces or bubblewrap, and memory is bounded by that many times `memory_bytes`."""
    output_bytes: int = Field(default=1 << 20, gt=0)
    """Most bytes written to standard output and error, each; more ends the program."""
    disk_bytes: int = Field(default=16 << 20, ge=4096)
    """Most bytes of files in the program's folder, which is deleted afterwards."""
    packages: list[str] = []
    """Directories of Python packages that programs may import, read-only; by default the standard library alone."""

    @model_validator(mode="after")
    def _countable(self) -> Self:
        if self.processes > 1 and self.mechanism == "landlock":
            raise ValueError("landlock cannot count processes: processes must be 1, or use another mechanism")
        return self


@dataclass(frozen=True)
class Check:
    """A program and the test that says whether it is right."""

    program: str
    test: str
    """Python code that raises when the program is wrong. It reads and calls what the program defines by name."""
    prelude: str = ""
    """Code the test may rely on, such as the helpers a task's prompt defines; it is not taken from the program."""
    names: tuple[str, ...] = ()
    """What is tested: these come from the program even where the prelude defines them too."""


@dataclass(frozen=True)
class Outcome:
    """What happened to one program."""

    status: Status
    """`passed` or `failed` of a check, `ok` or `error` (exit status) of a run, `crashed` (by a signal), or the limit
    that ended it: `timeout` (wall clock), `cpu`, `output`, `disk`."""
    exit_code: int | None
    """Exit status; minus the signal's number when one ended it; None when it was stopped, or did not end by itself."""
    stdout: str
    stderr: str
    seconds: float
    """Wall-clock time."""
    reason: str
    """Why a check failed."""
    mechanism: Mechanism
    """What confined it."""

    @property
    def passed(self) -> bool:
        """Whether a check was passed, or a run ended with status 0."""
        return self.status in ("passed", "ok")
