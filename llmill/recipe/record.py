"""``run.json``: what ran, with what, where, for how long and how much memory; rewritten atomically as it happens."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path
from typing import Any

from llmill.recipe.graph import Graph, Stage
from llmill.recipe.keys import Key
from llmill.recipe.process import Sample
from millbase.artifacts import open_artifact
from millbase.atomic import write_json
from millbase.errors import ArtifactError
from millbase.hashing import value_digest
from millbase.process import host_facts, package_versions

RECORD = "run.json"
SCHEMA_VERSION = 1


class RunRecord:
    """The record of the current run of a recipe; earlier figures of skipped stages are kept."""

    def __init__(self, graph: Graph, command: list[str]) -> None:
        self.path = graph.out / RECORD
        self.previous = read_record(self.path)
        self._graph = graph
        self.together = 0
        """Largest sum of resident memory over the stages that ran at once in this run."""
        self._now: dict[str, int] = {}
        self.data: dict[str, Any] = {
            "schema": SCHEMA_VERSION,
            "name": graph.recipe.name,
            "description": graph.recipe.description,
            "recipe": {"path": str(graph.path), "digest": value_digest(graph.recipe.to_dict())},
            "inputs": graph.recipe.inputs,
            "command": command,
            "status": "running",
            "started": time.time(),
            "ended": None,
            "git": git_state(),
            "versions": package_versions(),
            "host": host_facts(),
            "forced": [],
            "stages": {name: self._initial(stage) for name, stage in graph.stages.items()},
            "gates": [],
        }

    def _initial(self, stage: Stage) -> dict[str, Any]:
        kept = dict(self.previous.get("stages", {}).get(stage.name, {}))
        kept.update(kind=stage.kind.name, needs=list(stage.needs), config=stage.config.to_dict())
        if kept.get("status") == "skipped":
            kept["status"] = "finished"
        return {"status": "pending", "attempts": 0, "seconds": 0.0, "peak_rss_bytes": 0, **kept}

    def interrupted_force(self, start: str) -> tuple[list[str], list[str]] | None:
        """Of an interrupted run with the same ``--from``: stages it had still to rerun, and those of them it had begun.

        None when there was no such run.
        """
        forced = self.previous.get("forced") or {}
        if self.previous.get("status") == "finished" or not forced or forced.get("from") != start:
            return None
        return list(forced["pending"]), list(forced.get("begun", forced["pending"][:1]))

    def set_forced(self, start: str | None, pending: list[str], begun: list[str]) -> None:
        """Remember what ``--from`` still has to rerun, and which of it has begun."""
        self.data["forced"] = {"from": start, "pending": pending, "begun": begun} if start else {}

    def begin(self, name: str, key: Key, reason: str, log: Path) -> None:
        """A stage starts. Time of an earlier, interrupted attempt at the same key counts on."""
        stage = self.data["stages"][name]
        continued = stage["status"] in ("running", "interrupted") and stage.get("key") == key.digest
        before = stage["seconds"] if continued else 0.0
        peak = stage["peak_rss_bytes"] if continued else 0
        stage.update(
            status="running",
            reason=reason,
            key=key.digest,
            attempts=stage["attempts"] + 1 if continued else 1,
            started=time.time(),
            ended=None,
            seconds=before,
            seconds_before=before,
            peak_rss_bytes=peak,
            log=str(log),
            error=None,
        )
        self.write()

    def sample(self, name: str, sample: Sample) -> None:
        """A running stage's figures so far; written so that they survive a kill."""
        stage = self.data["stages"][name]
        stage["seconds"] = round(stage["seconds_before"] + sample.seconds, 3)
        stage["peak_rss_bytes"] = max(stage["peak_rss_bytes"], sample.peak_rss_bytes)
        self._now[name] = sample.rss_bytes
        self.together = max(self.together, sum(self._now.values()))

    def end(self, name: str, status: str, error: str | None = None) -> None:
        """A stage finished, failed or was interrupted."""
        stage = self.data["stages"][name]
        stage.update(status=status, ended=time.time(), error=error)
        stage.pop("seconds_before", None)
        self._now.pop(name, None)
        self._note_artifact(name)
        self.write()

    def skip(self, name: str, reason: str) -> None:
        """A stage was already finished; its figures are those of the run that made it."""
        self.data["stages"][name].update(status="skipped", reason=reason)
        self._note_artifact(name)
        self.write()

    def _note_artifact(self, name: str) -> None:
        try:
            manifest = open_artifact(self._graph.stages[name].out, verify=False)
        except ArtifactError:
            return
        artifact = {"path": str(manifest.path), "kind": manifest.kind, "digest": manifest.digest}
        self.data["stages"][name]["artifact"] = artifact

    def finish(self, status: str) -> None:
        """The run ended: ``finished``, ``failed`` or ``interrupted``. Collects the gates of all scores."""
        stages = self.data["stages"]
        for stage in stages.values():
            if stage["status"] == "running":  # left by a run that was killed, and not selected by this one
                stage["status"] = "interrupted"
        self.data.update(status=status, ended=time.time(), gates=collect_gates(self._graph))
        self.data["seconds"] = round(self.data["ended"] - self.data["started"], 3)
        self.data["stage_seconds"] = round(sum(stage["seconds"] for stage in stages.values()), 3)
        self.data["peak_rss_bytes"] = max(self.together, *(stage["peak_rss_bytes"] for stage in stages.values()))
        self.write()

    def write(self) -> None:
        """Write the record."""
        write_json(self.path, self.data)


def read_record(path: Path) -> dict[str, Any]:
    """An earlier record, or an empty mapping."""
    try:
        record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return record
    except (OSError, ValueError):
        return {}


def collect_gates(graph: Graph) -> list[dict[str, Any]]:
    """Gates of every finished ``scores`` artifact, each with the name of its stage."""
    return [{"stage": name, **gate} for name, stage in graph.stages.items() for gate in _gates(stage)]


def unmet_requirement(stage: Stage) -> str | None:
    """The first required gate of a finished stage that did not pass; None when all did, or it judges none."""
    return next((str(gate["name"]) for gate in _gates(stage) if gate.get("required") and not gate["passed"]), None)


def _gates(stage: Stage) -> list[dict[str, Any]]:
    try:
        manifest = open_artifact(stage.out, verify=False)
    except ArtifactError:
        return []
    if manifest.kind != "scores":
        return []
    gates: list[dict[str, Any]] = json.loads((manifest.path / "scores.json").read_text(encoding="utf-8"))["gates"]
    return gates


def git_state() -> dict[str, Any] | None:
    """Commit of the checkout the code runs from, and whether it has changes; None outside a checkout."""
    root = Path(__file__).resolve().parent.parent.parent

    def git(*words: str) -> str:
        done = subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True, check=True, timeout=10)
        return done.stdout.strip()

    try:
        return {"commit": git("rev-parse", "HEAD"), "dirty": bool(git("status", "--porcelain", "--untracked-files=no"))}
    except (OSError, subprocess.SubprocessError):
        return None
