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

from millbase.config import Config, apply_override, load_config, parse_override, read_yaml, suggest
from millbase.errors import ConfigError

_NAME = re.compile(r"^[a-z][a-z0-9_-]*$")
_RESERVED = {"inputs", "input", "run", "logs"}


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
    stages: dict[str, StageSpec]
    """Stages by name; ``${NAME}`` in a configuration is that stage's output directory and an edge of the graph."""


def read_recipe(path: str | Path, overrides: Sequence[str] = ()) -> tuple[Recipe, dict[str, dict[str, Any]]]:
    """Parse a recipe, apply ``stage.key=value`` and ``inputs.name=value`` overrides.

    Returns the recipe (inputs final) and each stage's configuration before references are filled in.
    Raises ConfigError: not a recipe, unknown key, stage, input, or a missing ``file``.
    """
    path = Path(path)
    raw = read_yaml(path)
    if not isinstance(raw, dict) or "stages" not in raw:
        raise ConfigError(f"{path} is not a recipe: expected a mapping with 'name' and 'stages'")
    raw.setdefault("name", path.stem)
    recipe = load_config(Recipe, raw, where=str(path))
    _check_names(recipe, path)
    configs = {name: _stage_values(name, spec, path) for name, spec in recipe.stages.items()}
    inputs = dict(recipe.inputs)
    for text in overrides:
        keys, value = parse_override(text)
        _apply(recipe, configs, inputs, keys, value, text)
    missing = [name for name, value in inputs.items() if value is None]
    if missing:
        raise ConfigError(f"{path}: input {missing[0]!r} has no default; give inputs.{missing[0]}=...")
    return recipe.model_copy(update={"inputs": inputs}), configs


def _check_names(recipe: Recipe, path: Path) -> None:
    if not recipe.stages:
        raise ConfigError(f"{path}: the recipe has no stages")
    for name in recipe.stages:
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
        raise ConfigError(f"override {text!r}: {head!r} names no stage{suggest(head, [*recipe.stages, 'inputs'])}")
    if not rest:
        raise ConfigError(f"override {text!r}: expected STAGE.KEY=VALUE")
    apply_override(configs[head], rest, value)


def _as_list(value: Any) -> Any:
    """``"a,b"`` -> ``["a", "b"]``: an input that is a list can be given with commas."""
    if isinstance(value, list):
        return value
    return [part.strip() for part in str(value).split(",") if part.strip()]
