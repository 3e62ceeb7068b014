"""The recipe file: a name, inputs that can be set from the command line, and stages.

name: demo
inputs:
  crawl: [crawl/*.warc.gz]        # llmill run RECIPE inputs.crawl='a/*.warc.gz,b/*.warc.gz'
stages:
  corpus:
    run: corpus                   # a stage kind
    file: ../corpus/web.yaml      # optional, relative to the recipe
    config: {warc: "${input.crawl}"}
    set: {minhash.threshold: 0.8} # dotted keys, applied last
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import Field

from llmill.recipe.rounds import Rounds, comes_after, stage_name
from millbase.config import Config, apply_override, load_config, parse_override, read_yaml, suggest
from millbase.errors import ConfigError

_NAME = re.compile(r"^[a-z][a-z0-9_-]*$")
_RESERVED = {"inputs", "input", "run", "logs", "rounds", "round"}


class StageSpec(Config):
    """One stage of a recipe."""

    run: str
    """Stage kind (``llmill run --help`` lists them), or ``my_module:function``."""
    file: str | None = None
    """YAML file with the stage's configuration, relative to the recipe."""
    config: dict[str, Any] = Field(default_factory=dict)
    """Configuration fields; they override those of ``file``."""
    set: dict[str, Any] = Field(default_factory=dict)
    """Dotted keys that override single nested fields."""


class RoundsSpec(Config):
    """Stages that run several times, each round on what the one before made (``rounds.py``)."""

    count: int = Field(default=1, ge=1)
    """How many rounds; a larger number adds some and reruns none."""
    first: dict[str, str] = Field(default_factory=dict)
    """What ``${previous.NAME}`` is in the first round."""
    stages: dict[str, StageSpec]
    """Stages of every round; ``NAME`` of round 2 is called ``r2-NAME``."""


class Recipe(Config):
    """A graph of stages."""

    name: str
    """Name of the run; its directory is ``runs/NAME`` unless ``--out`` says otherwise."""
    description: str = ""
    """What the recipe is for."""
    inputs: dict[str, Any] = Field(default_factory=dict)
    """Named inputs with their defaults, used as ``${input.NAME}``; null: must be given on the command line."""
    jobs: int = Field(default=1, ge=1)
    """Stages that may run at once, when they do not need one another."""
    rounds: RoundsSpec | None = None
    """Stages that run several times."""
    stages: dict[str, StageSpec] = Field(default_factory=dict)
    """Stages by name; ``${NAME}`` in a configuration is that stage's output directory and an edge of the graph."""


def read_recipe(path: str | Path, overrides: Sequence[str] = ()) -> tuple[Recipe, dict[str, dict[str, Any]]]:
    """Parse a recipe, apply ``stage.key=value`` and ``inputs.name=value`` overrides.

    Returns the recipe (inputs final, rounds written out) and each stage's configuration, references not yet filled in.
    Raises ConfigError: not a recipe, unknown key, stage, input, or a missing ``file``.
    """
    path = Path(path)
    raw = read_yaml(path)
    if not isinstance(raw, dict) or not {"stages", "rounds"} & raw.keys():
        raise ConfigError(f"{path} is not a recipe: expected a mapping with 'name' and 'stages'")
    raw.setdefault("name", path.stem)
    recipe = load_config(Recipe, raw, where=str(path))
    _check_names(recipe, path)
    templates = set() if recipe.rounds is None else set(recipe.rounds.stages)
    overrides, recipe = _count_rounds(recipe, overrides, path)
    recipe, configs = _write_out(recipe, path)
    inputs = dict(recipe.inputs)
    for text in overrides:
        keys, value = parse_override(text)
        if keys[0] in templates:  # of every round
            assert recipe.rounds is not None
            for number in range(1, recipe.rounds.count + 1):
                _apply(recipe, configs, inputs, [stage_name(keys[0], number), *keys[1:]], value, text)
            continue
        _apply(recipe, configs, inputs, keys, value, text)
    missing = [name for name, value in inputs.items() if value is None]
    if missing:
        raise ConfigError(f"{path}: input {missing[0]!r} has no default; give inputs.{missing[0]}=...")
    return recipe.model_copy(update={"inputs": inputs}), configs


def _count_rounds(recipe: Recipe, overrides: Sequence[str], path: Path) -> tuple[list[str], Recipe]:
    """The overrides without ``rounds.count=N``, and the recipe with that count."""
    rest = [text for text in overrides if parse_override(text)[0] != ["rounds", "count"]]
    counts = [parse_override(text)[1] for text in overrides if text not in rest]
    if not counts:
        return rest, recipe
    if recipe.rounds is None:
        raise ConfigError(f"override rounds.count={counts[-1]}: {path} has no rounds")
    values = {**recipe.rounds.model_dump(), "count": counts[-1]}
    return rest, recipe.model_copy(update={"rounds": load_config(RoundsSpec, values, where="rounds")})


def _write_out(recipe: Recipe, path: Path) -> tuple[Recipe, dict[str, dict[str, Any]]]:
    """The recipe with every round's stages among its own, before those that refer to them; and all configurations."""
    configs = {name: _stage_values(name, spec, path) for name, spec in recipe.stages.items()}
    if recipe.rounds is None:
        return recipe, configs
    given = recipe.rounds
    rounds = Rounds(given.stages, given.count, given.first, str(path))
    after = {name for name, values in configs.items() if comes_after(values)}
    stages = {name: spec for name, spec in recipe.stages.items() if name not in after}
    values = {name: configs[name] for name in stages}
    for number in range(1, given.count + 1):
        for template, spec in given.stages.items():
            name = stage_name(template, number)
            stages[name] = spec
            values[name] = rounds.inside(_stage_values(template, spec, path), number)
    stages.update({name: recipe.stages[name] for name in recipe.stages if name in after})
    values.update({name: rounds.outside(configs[name]) for name in recipe.stages if name in after})
    return recipe.model_copy(update={"stages": stages}), values


def _check_names(recipe: Recipe, path: Path) -> None:
    rounds = {} if recipe.rounds is None else recipe.rounds.stages
    if not recipe.stages and not rounds:
        raise ConfigError(f"{path}: the recipe has no stages")
    for name in recipe.stages:
        if name in rounds or (rounds and re.match(r"^r\d+-", name)):
            raise ConfigError(f"{path}: stage name {name!r} is that of a stage of the rounds; give it another one")
    for name in [*recipe.stages, *rounds]:
        if not _NAME.match(name) or name in _RESERVED:
            rule = "lower-case letters, digits, '-' and '_', starting with a letter"
            raise ConfigError(
                f"{path}: stage name {name!r}: expected {rule}, and none of {', '.join(sorted(_RESERVED))}"
            )


def _stage_values(name: str, spec: StageSpec, path: Path) -> dict[str, Any]:
    values: dict[str, Any] = {}
    if spec.file is not None:
        file = path.parent / spec.file
        if not file.is_file():
            raise ConfigError(f"{path}: stage {name!r}: file {str(file)!r} does not exist (paths start at the recipe)")
        loaded = read_yaml(file)
        if not isinstance(loaded, dict):
            raise ConfigError(f"{file}: expected a mapping of configuration fields")
        values = loaded
    merge(values, spec.config)
    for key, value in spec.set.items():
        apply_override(values, key.split("."), value)
    return values


def merge(target: dict[str, Any], extra: dict[str, Any]) -> None:
    """Deep-merge ``extra`` into ``target`` in place: mappings merge, everything else replaces."""
    for key, value in extra.items():
        if isinstance(value, dict) and isinstance(target.get(key), dict):
            merge(target[key], value)
        else:
            target[key] = value


def _apply(
    recipe: Recipe, configs: dict[str, dict[str, Any]], inputs: dict[str, Any], keys: list[str], value: Any, text: str
) -> None:
    head, rest = keys[0], keys[1:]
    if head in ("inputs", "input"):
        if len(rest) != 1 or rest[0] not in inputs:
            hint = suggest(".".join(rest), sorted(inputs)) if inputs else "; this recipe has no inputs"
            raise ConfigError(f"override {text!r}: unknown input{hint}")
        inputs[rest[0]] = _as_list(value) if isinstance(recipe.inputs[rest[0]], list) else value
        return
    if head not in configs:
        known = [*recipe.stages, *(recipe.rounds.stages if recipe.rounds else []), "inputs"]
        raise ConfigError(f"override {text!r}: {head!r} names no stage{suggest(head, known)}")
    if not rest:
        raise ConfigError(f"override {text!r}: expected STAGE.KEY=VALUE")
    apply_override(configs[head], rest, value)


def _as_list(value: Any) -> Any:
    """``"a,b"`` -> ``["a", "b"]``: an input that is a list can be given with commas."""
    if isinstance(value, list):
        return value
    return [part.strip() for part in str(value).split(",") if part.strip()]
