"""For each stage: run it or skip it, and why."""

from __future__ import annotations

import json
import shutil
from collections.abc import Collection
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from llmill.recipe.graph import Graph, Stage
from llmill.recipe.keys import Digests, Key, stage_key
from millbase.artifacts import open_artifact, work_directory
from millbase.atomic import write_json
from millbase.errors import ArtifactError

STATE_DIRECTORY = ".llmill"


@dataclass(frozen=True)
class Decision:
    """What to do with one stage."""

    action: Literal["run", "skip", "maybe"]
    """``maybe``: it depends on what an upstream stage that must run will write (dry runs only)."""
    reason: str
    key: Key | None
    """None while upstream stages are unfinished."""


def decide(
    stage: Stage, graph: Graph, digests: Digests, *, forced: Collection[str] = (), ignore_code: bool = False
) -> Decision:
    """Decide about a stage whose upstream stages are finished. ArtifactError when they are not."""
    key = stage_key(stage, graph, digests)
    if stage.name in forced:
        return Decision("run", "asked for with --from", key)
    state = read_state(graph, stage.name)
    try:
        digest = open_artifact(stage.out, verify=False).digest
    except ArtifactError:
        resumed = work_directory(stage.out).is_dir() and _started(graph, stage.name) == key.digest
        return Decision("run", "continues where it stopped" if resumed else "has not run yet", key)
    if state is None or state["artifact"] != digest:
        return Decision("run", "its output was not made by this recipe", key)
    older = state["key"]
    compared = replace(key, code=older.get("code", "")) if ignore_code else key
    difference = compared.difference(older)
    return Decision("run", difference, key) if difference else Decision("skip", "nothing changed", key)


def plan(
    graph: Graph, digests: Digests, selected: Collection[str], forced: Collection[str], *, ignore_code: bool = False
) -> dict[str, Decision]:
    """Decisions for every selected stage as far as they can be known before anything runs."""
    decisions: dict[str, Decision] = {}
    for name, stage in graph.stages.items():
        if name not in selected:
            continue
        unsure = [other for other in stage.needs if decisions[other].action != "skip"]
        if name in forced:
            decisions[name] = Decision("run", "asked for with --from", None)
        elif not unsure:
            decisions[name] = decide(stage, graph, digests, ignore_code=ignore_code)
        elif read_state(graph, name) is None:
            decisions[name] = Decision("run", "has not run yet", None)
        else:
            decisions[name] = Decision("maybe", f"depends on what {', '.join(unsure)} will write", None)
    return decisions


def state_path(graph: Graph, name: str, what: str = "finished") -> Path:
    """Where the state of a stage is kept: ``finished``, ``started``, ``job`` or ``error``."""
    return graph.out / STATE_DIRECTORY / f"{name}.{what}.json"


def read_state(graph: Graph, name: str) -> dict[str, Any] | None:
    """``{"key": {...}, "artifact": digest}`` of the last finished build of a stage, or None."""
    try:
        state: dict[str, Any] = json.loads(state_path(graph, name).read_text(encoding="utf-8"))
        return state if {"key", "artifact"} <= state.keys() else None
    except (OSError, ValueError):
        return None


def _started(graph: Graph, name: str) -> str | None:
    try:
        return str(json.loads(state_path(graph, name, "started").read_text(encoding="utf-8"))["digest"])
    except (OSError, ValueError, KeyError):
        return None


def mark_started(graph: Graph, stage: Stage, key: Key, *, fresh: bool) -> None:
    """Before a stage runs: throw away half-done work of another key (or, with ``fresh``, any), note this one.

    ``create_artifact`` resumes work of equal configuration and inputs; it cannot know that the code changed.
    """
    if fresh or _started(graph, stage.name) != key.digest:
        shutil.rmtree(work_directory(stage.out), ignore_errors=True)
    write_json(state_path(graph, stage.name, "started"), {"digest": key.digest, "key": asdict(key)})
