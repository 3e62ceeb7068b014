"""Read a run's artifacts into plain values for the template."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from llmill.funnel import read_funnel
from llmill.recipe.record import RECORD, git_state, read_record
from llmill.report.config import ReportConfig
from millbase.artifacts import Manifest, open_artifact
from millbase.errors import ArtifactError
from millbase.metrics import read_metrics


@dataclass
class StageData:
    """One artifact of the run."""

    name: str
    kind: str
    """Kind of the artifact."""
    digest: str
    path: str
    seconds: float
    peak_rss_bytes: int | None
    stats: dict[str, Any]
    config: dict[str, Any]
    inputs: dict[str, str]
    """Name of the input -> digest."""


@dataclass
class ScoreTable:
    """Scores of all evaluations side by side."""

    stages: list[str]
    rows: list[dict[str, Any]]
    """``task``, ``metric``, ``higher_is_better``, ``cells``: one score or None per stage."""


@dataclass
class ReportData:
    """Everything the page shows."""

    title: str
    description: str
    status: str | None
    started: float | None
    seconds: float
    """Time during which a stage ran; stages that ran at once count once."""
    peak_rss_bytes: int
    git: dict[str, Any] | None
    versions: dict[str, str]
    host: dict[str, Any]
    stages: list[StageData]
    gates: list[dict[str, Any]]
    scores: ScoreTable
    comparisons: list[dict[str, Any]]
    samples: list[dict[str, Any]]
    """``prompt``, ``answer``, ``responses``: stage -> text."""
    sample_stages: list[str]
    funnels: dict[str, list[dict[str, Any]]]
    precision: dict[str, list[dict[str, Any]]]
    metrics: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    """Training stage -> lines of its metrics."""

    @property
    def gates_passed(self) -> int:
        """How many gates passed."""
        return sum(bool(gate["passed"]) for gate in self.gates)


def collect(config: ReportConfig) -> ReportData:
    """Read all artifacts that ``config`` names, digests verified. ArtifactError when one is missing or damaged."""
    record = read_record(Path(config.run) / RECORD) if config.run else {}
    manifests = {name: open_artifact(path) for name, path in config.artifacts.items()}
    stages = [_stage(name, manifest, record) for name, manifest in manifests.items()]
    evaluations = {name: _json(item, "scores.json") for name, item in manifests.items() if item.kind == "scores"}
    corpora = {name: item for name, item in manifests.items() if item.kind == "corpus"}
    newest = max(manifests.values(), key=lambda item: item.raw["finished"], default=None)
    samples, sample_stages = _samples(evaluations, config.max_samples)
    return ReportData(
        title=config.title or record.get("name") or "llmill",
        description=record.get("description", ""),
        status=record.get("status"),
        started=record.get("started") or min((item.raw["started"] for item in manifests.values()), default=None),
        seconds=_busy_seconds(stages, record),
        peak_rss_bytes=max((stage.peak_rss_bytes or 0 for stage in stages), default=0),
        git=record.get("git") or git_state(),
        versions=newest.raw["versions"] if newest else {},
        host=newest.raw["host"] if newest else {},
        stages=stages,
        gates=[{"stage": name, **gate} for name, scores in evaluations.items() for gate in scores.get("gates", [])],
        scores=_score_table(evaluations),
        comparisons=[
            {"stage": name, **item} for name, scores in evaluations.items() for item in scores.get("comparisons", [])
        ],
        samples=samples,
        sample_stages=sample_stages,
        funnels={name: read_funnel(item) for name, item in corpora.items()},
        precision={
            name: _precision(item, config.max_examples)
            for name, item in corpora.items()
            if "precision_recall.json" in item.files
        },
        metrics={
            name: read_metrics(item.path / "metrics.jsonl")
            for name, item in manifests.items()
            if "metrics.jsonl" in item.files
        },
    )


def _stage(name: str, manifest: Manifest, record: dict[str, Any]) -> StageData:
    ran = record.get("stages", {}).get(name, {})
    return StageData(
        name=name,
        kind=manifest.kind,
        digest=manifest.digest,
        path=str(manifest.path),
        seconds=float(ran.get("seconds") or manifest.raw["seconds"]),
        peak_rss_bytes=ran.get("peak_rss_bytes") or None,
        stats=manifest.stats,
        config=manifest.config,
        inputs={key: str(item["digest"]) for key, item in manifest.inputs.items()},
    )


def _busy_seconds(stages: list[StageData], record: dict[str, Any]) -> float:
    """Length of the union of the stages' times; those whose end the record does not know are added."""
    ends = {stage.name: record.get("stages", {}).get(stage.name, {}).get("ended") for stage in stages}
    total = sum(stage.seconds for stage in stages if ends[stage.name] is None)
    reached = float("-inf")
    known = [(float(ends[stage.name]), stage.seconds) for stage in stages if ends[stage.name] is not None]
    for start, end in sorted((end - seconds, end) for end, seconds in known):
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total


def _json(manifest: Manifest, name: str) -> Any:
    try:
        return json.loads((manifest.path / name).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ArtifactError(
            f"{str(manifest.path / name)!r} cannot be read ({error}); build the artifact again"
        ) from None


def _precision(manifest: Manifest, examples: int) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = _json(manifest, "precision_recall.json")
    return [{**row, "examples_wrong": row.get("examples_wrong", [])[:examples]} for row in rows]


def _score_table(evaluations: dict[str, dict[str, Any]]) -> ScoreTable:
    stages = list(evaluations)
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for name, scores in evaluations.items():
        for score in scores.get("scores", []):
            empty = {
                "task": score["task"],
                "metric": score["metric"],
                "higher_is_better": score.get("higher_is_better", True),
                "cells": dict.fromkeys(stages),
            }
            rows.setdefault((score["task"], score["metric"]), empty)["cells"][name] = score
    table = [{**row, "cells": [row["cells"][stage] for stage in stages]} for row in rows.values()]
    return ScoreTable(stages, table)


def _samples(evaluations: dict[str, dict[str, Any]], limit: int) -> tuple[list[dict[str, Any]], list[str]]:
    """Answers of all stages to the same prompt, side by side; prompts most stages answered stand first."""
    prompts: dict[str, dict[str, Any]] = {}
    for name, scores in evaluations.items():
        for sample in scores.get("samples", []):
            prompt = prompt_text(sample["prompt"])
            entry = prompts.setdefault(prompt, {"prompt": prompt, "answer": sample.get("answer"), "responses": {}})
            entry["responses"][name] = sample["response"]
    ordered = sorted(prompts.values(), key=lambda entry: -len(entry["responses"]))[:limit]
    stages = [name for name in evaluations if any(name in entry["responses"] for entry in ordered)]
    return ordered, stages


def prompt_text(prompt: Any) -> str:
    """A prompt as text: a string, or a list of chat messages."""
    if isinstance(prompt, str):
        return prompt
    return "\n".join(str(message["content"]) for message in prompt)
