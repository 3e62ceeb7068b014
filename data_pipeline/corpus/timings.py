"""What a build used: CPU time by step and file, and memory; in `timings.json`, for estimates of larger builds."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from data_pipeline.executors.tasks import peak_memory, usage_file
from data_pipeline.read import InputFile
from millbase.atomic import write_json

_FILES = 2000


@dataclass
class Usage:
    """What a part of the build used."""

    wall_seconds: float = 0.0
    cpu_seconds: float = 0.0
    """Of this process and those that it started and waited for."""
    peak_rss_bytes: int = 0
    rss_before_bytes: int = 0
    """Memory when the part began."""


@contextmanager
def measured() -> Iterator[Usage]:
    """Fill the Usage given with what the block used; its memory is the most this process ever held."""
    usage, wall, cpu = Usage(), time.perf_counter(), _cpu_seconds()
    usage.rss_before_bytes = int(psutil.Process().memory_info().rss)
    yield usage
    usage.wall_seconds = round(time.perf_counter() - wall, 3)
    usage.cpu_seconds = round(_cpu_seconds() - cpu, 3)
    usage.peak_rss_bytes = peak_memory()


def _cpu_seconds() -> float:
    return sum(os.times()[:4])


def add_timings(folder: Path, files: list[InputFile], overall: Usage) -> None:
    """Add `files` (evenly spread ones where there are many) and `overall`, the part after all files were read, to the
    `timings.json` in `folder`; scratch is still there."""
    timings = json.loads((folder / "timings.json").read_text(encoding="utf-8"))
    step = -(-len(files) // _FILES)
    timings["files"] = [_file(folder / "scratch", rank, files[rank].name) for rank in range(0, len(files), step)]
    timings["overall"] = vars(overall)
    timings["bytes"] = {"tasks": _size(folder / "scratch" / "tasks")}
    write_json(folder / "timings.json", timings)


def _file(scratch: Path, rank: int, name: str) -> dict[str, Any]:
    counts = json.loads((scratch / "tasks" / f"{rank:05d}.json").read_text())
    try:
        usage = json.loads(usage_file(scratch / "datatrove", rank).read_text())
    except (OSError, ValueError):
        usage = {}
    return {"name": name, **counts, **usage}


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.iterdir())
