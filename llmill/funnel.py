"""The funnel of a corpus as a table: what each step read, dropped and kept, and the commonest reasons."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from llmill.views.show import console
from millbase.artifacts import Manifest, open_artifact

_REASONS_SHOWN = 4


def read_funnel(corpus: Manifest) -> list[dict[str, Any]]:
    """Rows of the funnel in the order of the steps, each with the ``seconds`` of work it took (None: not known)."""
    rows = json.loads((corpus.path / "funnel.json").read_text(encoding="utf-8"))
    timings = corpus.path / "timings.json"
    seconds = json.loads(timings.read_text(encoding="utf-8")) if timings.is_file() else {}
    return [{**row, "seconds": seconds.get(row["step"])} for row in rows]


def print_funnel(corpus: str | Path) -> None:
    """Print the funnel on stdout. ArtifactError when ``corpus`` is not a corpus."""
    manifest = open_artifact(corpus, kind="corpus", verify=False)
    steps = read_funnel(manifest)
    total = steps[0]["read"] if steps else 0
    table = Table(box=box.SIMPLE_HEAD, title=str(manifest.path), title_justify="left")
    table.add_column("step")
    for column in ("read", "dropped", "kept", "of all"):
        table.add_column(column, justify="right")
    table.add_column("reasons", overflow="fold")
    for step in steps:
        reasons = sorted(step.get("reasons", {}).items(), key=lambda item: (-item[1], item[0]))
        words = ", ".join(f"{reason} {count:,}" for reason, count in reasons[:_REASONS_SHOWN])
        more = f" and {len(reasons) - _REASONS_SHOWN} more" if len(reasons) > _REASONS_SHOWN else ""
        share = f"{step['kept'] / total:.1%}" if total else "-"
        numbers = [f"{step[name]:,}" for name in ("read", "dropped", "kept")]
        table.add_row(step["step"], *numbers, share, Text(words + more))
    console().print(table)
