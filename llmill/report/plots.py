"""Training curves as small SVG pictures that follow the page's light or dark colours."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib

matplotlib.use("svg")
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

# drawn in these colours, then replaced by the page's own; no curve uses them
_INK, _FAINT = "#010203", "#040506"
_CURVES = ("#0969da", "#bc4c00", "#1a7f37", "#8250df")
_MAX_POINTS = 300
PANELS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("loss", ("loss", "train_loss", "val_loss", "eval_loss")),
    ("bits per byte", ("bits_per_byte",)),
    ("pair accuracy", ("accuracy", "val_accuracy", "eval_accuracy")),
    ("reward", ("reward", "score")),
    ("KL from the reference", ("kl",)),
    ("reward margin", ("margin", "rewards/margins")),
    ("policy loss", ("policy_loss",)),
    ("value loss", ("value_loss",)),
)
"""Title of a panel -> the metrics drawn in it; panels without data are left out."""


@dataclass
class Panel:
    """One picture."""

    title: str
    svg: str
    last: str
    """The curves' last values in words, also for readers who do not see the picture."""


def training_panels(lines: Sequence[dict[str, Any]], limit: int = 6) -> list[Panel]:
    """At most ``limit`` panels for one stage's metrics."""
    panels = []
    for title, names in PANELS:
        curves = {name: _points(lines, name) for name in names}
        curves = {name: points for name, points in curves.items() if points}
        if any(len(points) > 1 for points in curves.values()):  # a single point is no curve
            last = ", ".join(f"{name} {points[-1][1]:.4g}" for name, points in curves.items())
            panels.append(Panel(title, draw(curves, title), last))
    return panels[:limit]


def _points(lines: Sequence[dict[str, Any]], name: str) -> list[tuple[float, float]]:
    points = [(line["step"], line[name]) for line in lines if isinstance(line.get(name), (int, float))]
    return _thin([(float(step), float(value)) for step, value in points if math.isfinite(value)])


def _thin(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """At most ``_MAX_POINTS`` points: means of equal runs of points, the last one kept as it is."""
    if len(points) <= _MAX_POINTS:
        return points
    size = math.ceil(len(points) / _MAX_POINTS)
    groups = [points[start : start + size] for start in range(0, len(points) - 1, size)]
    means = [(group[-1][0], sum(value for _, value in group) / len(group)) for group in groups]
    return [*means[:-1], points[-1]]


def draw(curves: dict[str, list[tuple[float, float]]], title: str) -> str:
    """An SVG element with the curves over steps."""
    settings: Any = {"svg.fonttype": "none", "svg.hashsalt": title, "font.family": "sans-serif", "font.size": 9}
    with matplotlib.rc_context(settings):
        figure = Figure(figsize=(3.6, 2.1))
        axes = figure.add_subplot()
        for (name, points), colour in zip(curves.items(), _CURVES, strict=False):
            steps, values = zip(*points, strict=True)
            axes.plot(steps, values, color=colour, linewidth=1.5, label=name, marker="o" if len(points) == 1 else None)
        _style(axes)
        if len(curves) > 1:
            axes.legend(frameon=False, labelcolor=_INK, fontsize=8)
        figure.subplots_adjust(left=0.17, right=0.98, top=0.96, bottom=0.2)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return _inline(buffer.getvalue(), title)


def _style(axes: Any) -> None:
    axes.set_xlabel("step", color=_INK, fontsize=8)
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.grid(True, color=_FAINT, linewidth=0.6)
    axes.tick_params(colors=_INK, length=0, labelsize=8)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(_FAINT)


def _inline(document: str, title: str) -> str:
    """The ``<svg>`` element alone, sized by the page, in its colours, labelled for screen readers."""
    svg = document[document.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*" height="[^"]*"|(<svg[^>]*?) width="[^"]*"', r"\1\2", svg, count=1)
    svg = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg, count=1)
    svg = svg.replace(_INK, "currentColor").replace(_FAINT, "var(--line)")
    label = re.sub(r"[^\w .-]", " ", title)
    return svg.replace("<svg", f'<svg role="img" aria-label="{label}"', 1)
