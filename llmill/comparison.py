"""Two evaluations side by side: the paired difference of every metric they share."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from rich import box
from rich.table import Table
from rich.text import Text

from llmill.recipe.summary import format_value
from llmill.views.show import console, verdict_text
from millbase.config import suggest
from millbase.errors import ArtifactError, ConfigError


def print_comparison(scores_a: str | Path, scores_b: str | Path, correction: str = "holm") -> None:
    """Print A minus B with intervals on stdout. ArtifactError when they share no metric."""
    from evaluation.compare import compare, conclusion
    from evaluation.significance import LEVEL

    corrections = ("holm", "benjamini-hochberg", "none")
    if correction not in corrections:
        raise ConfigError(f"correction {correction!r}{suggest(correction, corrections)}")
    comparisons = compare(scores_a, scores_b, other=str(scores_b), correction=cast("Any", correction))
    if not comparisons:
        raise ArtifactError(f"{str(scores_a)!r} and {str(scores_b)!r} share no metric with items; nothing to compare")
    title = f"{scores_a} minus {scores_b}, item by item"
    table = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left")
    for column in ("task", "metric", "difference [95% interval]", "n", "p", "detectable", "the first is"):
        table.add_column(column, overflow="fold")
    for item in comparisons:
        verdict = conclusion(item)
        p, detectable = item.details.get("p_adjusted"), item.details.get("smallest_detectable")
        cells = [item.task, item.metric, format_value(item.value, item.ci95), str(item.n)]
        cells += ["?" if p is None else f"{p:.2g}", "?" if detectable is None else f"{detectable:.2g}"]
        table.add_row(*map(Text, cells), verdict_text(verdict))
    console().print(table)
    what = {"holm": "Holm", "benjamini-hochberg": "Benjamini and Hochberg", "none": "no correction"}[correction]
    print(f"p: paired test, adjusted for {len(comparisons)} comparisons by {what}; better or worse at {LEVEL:.0%}.")
    print("detectable: the smallest true difference that these items find with 80% power.")
