"""Tiny stages for the runner's tests: they write text, wait, fail, take memory, or write gates, as they are told.

The tests copy this file into the working directory and name its functions in recipes, as a user would.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from pydantic import Field

from millbase.artifacts import create_artifact
from millbase.config import Config
from millbase.errors import InputError


class TextConfig(Config):
    """Writes words into a file."""

    text: str = "hello"
    """What to write."""
    sources: list[str] = Field(default_factory=list)
    """Directories of other stages, or files, whose text stands first."""
    data_path: str | None = None
    """A folder to read."""
    upper: bool = False
    """Whether to write capitals."""
    pause: float = 0.0
    """Seconds to wait between the two halves of the work."""
    fail: str | None = None
    """``user``, ``bug``, ``kill``: how to fail."""
    gates: list[dict[str, Any]] = Field(default_factory=list)
    """Gates to write into scores.json."""


def build_text(config: TextConfig, out: str | Path) -> Path:
    """Write ``text.txt``: the sources' texts, then our own; the first half survives a kill."""
    artifacts = {f"s{index}": source for index, source in enumerate(config.sources)}
    with create_artifact(out, kind="scores" if config.gates else "text", config=config, inputs=artifacts) as artifact:
        _fail(config)
        half = artifact.path / "half.txt"
        trace = Path(out).parent / "trace.txt"
        with open(trace, "a") as file:
            file.write(f"{Path(out).name} {'resumed' if half.exists() else 'started'} {os.getpid()}\n")
        if not half.exists():
            parts = [_read(Path(source)) for source in config.sources]
            half.write_text(" ".join([*parts, config.text]))
        time.sleep(config.pause)
        text = half.read_text()
        (artifact.path / "text.txt").write_text(text.upper() if config.upper else text)
        if config.gates:
            (artifact.path / "scores.json").write_text(json.dumps({"schema": 1, "gates": config.gates}))
    return Path(out)


def build_with_child(config: TextConfig, out: str | Path) -> Path:
    """Start a child that outlives a careless parent, then wait."""
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    Path(out).parent.joinpath("child.pid").write_text(str(child.pid))
    time.sleep(config.pause)
    return build_text(config, out)


def _read(path: Path) -> str:
    return (path / "text.txt").read_text() if path.is_dir() else path.read_text()


def _fail(config: TextConfig) -> None:
    if config.fail == "user":
        raise InputError("file 'x' is empty; give one with text")
    if config.fail == "bug":
        raise ZeroDivisionError("by nought")
    if config.fail == "kill":
        os.kill(os.getpid(), signal.SIGKILL)


class MeetConfig(TextConfig):
    """Writes words, and says when it starts and ends; waits for what is told to happen meanwhile."""

    meet: list[str] = Field(default_factory=list)
    """Stages that must have started before this one goes on."""
    until_failed: str | None = None
    """A stage whose failure must stand in the record before this one goes on."""


def build_meeting(config: MeetConfig, out: str | Path) -> Path:
    """``build_text`` that appends its start and its end to ``events.txt`` and waits for other stages."""
    run, name = Path(out).parent, Path(out).name
    _event(run, f"{name} start {os.getpid()}")
    print(f"this is {name}\nand still \x1b[1m{name}\x1b[0m", flush=True)
    for other in config.meet:
        _wait(lambda other=other: f"{other} start" in (run / "events.txt").read_text())
    if config.until_failed:
        _wait(lambda: _status(run, config.until_failed) == "failed")
    build_text(config, out)
    _event(run, f"{name} end {os.getpid()}")
    return Path(out)


def _event(run: Path, line: str) -> None:
    with open(run / "events.txt", "a") as file:
        file.write(f"{line}\n")


def _status(run: Path, stage: str | None) -> str:
    return json.loads((run / "run.json").read_text())["stages"][stage]["status"]


def _wait(condition: Any) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        if time.monotonic() > deadline:
            raise InputError("nobody came")
        time.sleep(0.02)
