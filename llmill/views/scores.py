"""One evaluation on the terminal: its scores with their intervals, its comparisons, its gates."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.text import Text

from llmill.recipe.summary import format_value, print_gates
from llmill.views.show import console, print_table, verdict_text


def print_scores(path: str | Path, stderr: bool = False) -> None:
    """Print the scores artifact `path`. ArtifactError when it is none."""
    from evaluation.scores import Comparison, read_scores

    found = read_scores(path)
    document = found.document
    rows = [_score(one) for one in found.scores]
    print_table(f"{path}", ("task", "metric", "score [95% interval]", "n"), rows, stderr=stderr)
    compared = [Comparison(**{**row, "ci95": tuple(row["ci95"])}) for row in document["comparisons"]]
    if compared:
        columns = ("what", "difference or ratio [95% interval]", "n", "this model is")
        print_table("comparisons", columns, [_comparison(one) for one in compared], stderr=stderr)
    output = console(stderr)
    print_gates(output, [{"stage": document["stage"], **gate} for gate in document["gates"]])
    for file, count in document["skipped"].items():
        output.print(Text(f"{count} rows of {file} could not be used"))


def _comparison(one: Any) -> list[object]:
    from evaluation.compare import conclusion

    # those that were tested together by the adjusted p, the others by their interval
    tested = "p_adjusted" in one.details
    verdict = conclusion(one) if tested else one.verdict.replace("no difference", "cannot tell")
    return [one.name, format_value(one.value, one.ci95), one.n, verdict_text(verdict)]


def _score(one: Any) -> list[object]:
    clean = (one.details or {}).get("clean")
    shown = format_value(one.value, one.ci95)
    if clean and clean.get("value") is not None:
        shown += f", {format_value(clean['value'])} without contaminated items"
    return [one.task, "" if one.metric == one.task else one.metric, shown, one.n]
