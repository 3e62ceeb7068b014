"""Write the report artifact: collect, draw, fill the template."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import jinja2

from llmill.recipe.record import RECORD, read_record
from llmill.recipe.summary import format_value
from llmill.report.collect import ReportData, collect
from llmill.report.config import ReportConfig
from llmill.report.plots import training_panels
from millbase.artifacts import create_artifact, open_artifact
from millbase.atomic import atomic_write
from millbase.errors import ArtifactError, ConfigError

_TEMPLATES = Path(__file__).parent / "templates"


def build_report(config: ReportConfig, out: str | Path) -> Path:
    """Write ``index.html``: one page that needs nothing else, no network. Returns ``out``.

    Raises ArtifactError when an artifact is missing or damaged, ConfigError when none is named.
    """
    if not config.artifacts:
        raise ConfigError("artifacts is empty: name at least one artifact to report on")
    with create_artifact(out, kind="report", config=config, inputs=dict(config.artifacts)) as artifact:
        data = collect(config)
        with atomic_write(artifact.path / "index.html") as file:
            file.write(render(data))
        artifact.stats.update(gates=len(data.gates), gates_passed=data.gates_passed)
    return Path(out)


def config_for_run(run: str | Path) -> ReportConfig:
    """The report of everything that a run directory has finished. ArtifactError when it is not a run."""
    run = Path(run)
    record = read_record(run / RECORD)
    if not record:
        raise ArtifactError(f"{str(run)!r} is not a run directory: it holds no {RECORD}; give the --out of llmill run")
    artifacts = {}
    for name in record["stages"]:
        try:
            if open_artifact(run / name, verify=False).kind != "report":
                artifacts[name] = str(run / name)
        except ArtifactError:
            continue
    return ReportConfig(artifacts=artifacts, run=str(run))


def render(data: ReportData) -> str:
    """The page. Every value is escaped; only our own pictures and style sheet are inserted as they are."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(number=_number, interval=_interval, duration=_duration, size=_size, moment=_moment)
    environment.filters.update(percent=_percent, short=_short_digest, value=format_value)
    panels = {name: training_panels(lines) for name, lines in data.metrics.items()}
    return environment.get_template("page.html.jinja").render(
        data=data,
        panels={name: items for name, items in panels.items() if items},
        style=(_TEMPLATES / "style.css").read_text(encoding="utf-8"),
    )


def _number(value: Any) -> str:
    return format_value(value)


def _interval(item: Any) -> str:
    ci = item.get("ci95") or (None, None)
    return f"[{format_value(ci[0])}, {format_value(ci[1])}]" if ci[0] is not None and ci[1] is not None else ""


def _percent(value: Any) -> str:
    return "-" if value is None else f"{100 * value:.1f}%"


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def _size(count: float | None) -> str:
    if count is None:
        return "-"
    return f"{count / 2**30:.2f} GiB" if count >= 2**30 else f"{count / 2**20:,.0f} MiB"


def _moment(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.gmtime(seconds))


def _short_digest(digest: str) -> str:
    return digest.partition(":")[2][:12] or digest[:12]
