"""From a recipe to a graph of stages: edges, a fixed order, and every configuration validated before anything runs."""

from __future__ import annotations

import graphlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmill.recipe.paths import check_exists
from llmill.recipe.references import find_references, substitute
from llmill.recipe.schema import Recipe, read_recipe
from llmill.registry import StageKind, get_kind
from millbase.config import Config, load_config, suggest
from millbase.errors import ConfigError


@dataclass(frozen=True)
class Stage:
    """One stage, ready to run."""

    name: str
    kind: StageKind
    config: Config
    needs: tuple[str, ...]
    """Stages whose outputs its configuration refers to."""
    out: Path
    """Its output directory."""
    reads_run: bool = False
    """Whether its configuration names ``${run}``: then it waits for every stage before it."""


@dataclass(frozen=True)
class Graph:
    """A validated recipe in the directory it runs in."""

    recipe: Recipe
    path: Path
    """The recipe file."""
    out: Path
    """The run directory."""
    stages: dict[str, Stage]
    """In the order they run."""

    def require(self, name: str) -> Stage:
        """The stage called ``name``; ConfigError suggests the nearest one."""
        if name not in self.stages:
            raise ConfigError(f"{self.path} has no stage {name!r}{suggest(name, list(self.stages))}")
        return self.stages[name]

    def ancestors(self, name: str) -> set[str]:
        """``name`` and every stage it needs, directly or not."""
        found, queue = set(), [self.require(name).name]
        while queue:
            current = queue.pop()
            if current not in found:
                found.add(current)
                queue.extend(self.stages[current].needs)
        return found

    def descendants(self, name: str) -> set[str]:
        """``name`` and every stage that needs it, directly or not."""
        self.require(name)
        return {other for other in self.stages if name in self.ancestors(other)}


def load_graph(path: str | Path, overrides: Sequence[str] = (), out: str | Path | None = None) -> Graph:
    """Read and validate a recipe: names, references, cycles, every stage's configuration, existence of input files.

    ``out``: the run directory, ``runs/<name>`` when None. Raises ConfigError or InputError with one line.
    """
    path = Path(path)
    recipe, values = read_recipe(path, overrides)
    run = Path(out) if out is not None else Path("runs") / recipe.name
    needs = {name: _edges(name, values[name], recipe, path) for name in recipe.stages}
    order = _order(needs, path)
    stages = {}
    for name in order:
        kind = get_kind(recipe.stages[name].run)
        config = _config(name, kind, values[name], recipe, run, path)
        stages[name] = Stage(name, kind, config, needs[name], run / name, "run" in find_references(values[name]))
    produced = [stage.out for stage in stages.values()]
    for stage in stages.values():
        check_exists(stage.config.to_dict(), [*produced, run], f"{path}: stage {stage.name!r}")
    return Graph(recipe, path, run, stages)


def _edges(name: str, values: dict[str, Any], recipe: Recipe, path: Path) -> tuple[str, ...]:
    edges: dict[str, None] = {}
    for reference in find_references(values):
        if reference in recipe.stages:
            edges[reference] = None
        elif reference != "run" and not _is_input(reference, recipe):
            known = [*recipe.stages, *(f"input.{key}" for key in recipe.inputs), "run"]
            raise ConfigError(
                f"{path}: stage {name!r}: '${{{reference}}}' names no stage or input{suggest(reference, known)}"
            )
    return tuple(edges)


def _is_input(reference: str, recipe: Recipe) -> bool:
    head, _, rest = reference.partition(".")
    return head == "input" and rest in recipe.inputs


def _order(needs: dict[str, tuple[str, ...]], path: Path) -> list[str]:
    """Topological order; among stages that could run, the one that stands first in the file."""
    position = {name: index for index, name in enumerate(needs)}
    sorter = graphlib.TopologicalSorter(needs)
    try:
        sorter.prepare()
    except graphlib.CycleError as error:
        raise ConfigError(f"{path}: stages need each other in a circle: {' -> '.join(error.args[1])}") from None
    order: list[str] = []
    ready: list[str] = []
    while sorter.is_active():
        ready = sorted([*ready, *sorter.get_ready()], key=position.__getitem__)
        order.append(ready.pop(0))
        sorter.done(order[-1])
    return order


def _config(name: str, kind: StageKind, values: dict[str, Any], recipe: Recipe, run: Path, path: Path) -> Config:
    def lookup(reference: str) -> Any:
        if reference == "run":
            return os.fspath(run)
        if reference in recipe.stages:
            return os.fspath(run / reference)
        return recipe.inputs[reference.partition(".")[2]]

    where = f"{path}: stage {name!r}"
    return load_config(kind.config_class(), substitute(values, lookup), where=where)
