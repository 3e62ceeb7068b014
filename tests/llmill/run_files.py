"""What a run of the tiny recipe left behind."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def trace(run: Path = Path("runs/tiny")) -> list[str]:
    """``name started|resumed`` of every stage execution so far, in order."""
    path = run / "trace.txt"
    return [line.rpartition(" ")[0] for line in path.read_text().splitlines()] if path.exists() else []


def record(run: Path = Path("runs/tiny")) -> dict[str, Any]:
    """The run's record."""
    data: dict[str, Any] = json.loads((run / "run.json").read_text())
    return data
