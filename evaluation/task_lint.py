"""Finds the mistakes in task files that lm-eval passes over or reports from deep inside, each with the way out.

llmill tasks lint configs/evaluation/tasks
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import yaml
from lm_eval.api.registry import AGGREGATION_REGISTRY, METRIC_REGISTRY
from lm_eval.config.group import GroupConfig
from lm_eval.config.task import FewshotConfig, TaskConfig
from lm_eval.tasks._yaml_loader import load_yaml

from evaluation.task_data import DATASETS_FILE
from millbase.config import suggest
from millbase.errors import ConfigError

OUTPUT_TYPES = ("loglikelihood", "loglikelihood_rolling", "generate_until", "multiple_choice")
TASK_KEYS = frozenset(item.name for item in fields(TaskConfig)) | {"include", "class", "group", "task_list"}
GROUP_KEYS = frozenset(item.name for item in fields(GroupConfig)) | TASK_KEYS
SHOT_KEYS = frozenset(item.name for item in fields(FewshotConfig))
FILTER_KEYS = frozenset({"name", "filter"})
GENERATION_KEYS = frozenset({"until", "max_gen_toks", "do_sample", "temperature", "top_p", "top_k"})
SAMPLERS = ("default", "first_n")


@dataclass(frozen=True)
class Problem:
    """A mistake in a task file."""

    file: Path
    key: str
    message: str

    def __str__(self) -> str:
        return f"{str(self.file)!r}: {self.message}"


def refuse(problems: list[Problem]) -> None:
    """ConfigError with the first problem, and how many more there are."""
    if problems:
        more = f" (and {len(problems) - 1} more: llmill tasks lint)" if len(problems) > 1 else ""
        raise ConfigError(f"{problems[0]}{more}")


def lint_folder(folder: Path) -> list[Problem]:
    """Every problem of every task file below a folder, in the files' order; names defined twice too."""
    problems: list[Problem] = []
    names: dict[str, Path] = {}
    for file in sorted(folder.rglob("*.yaml")):
        if file.name == DATASETS_FILE:
            continue
        found = lint_file(file, folder)
        problems += found
        name = _load(file)[0].get("task")
        if isinstance(name, str):
            if name in names:
                problems.append(
                    Problem(file, "task", f"task {name!r} is also defined in {str(names[name])!r}; rename one")
                )
            names[name] = file
    return problems


def lint_file(file: Path, root: Path | None = None) -> list[Problem]:
    """Problems of one task file; `root` is the folder its includes must stay in."""
    config, error = _load(file)
    if error:
        return [Problem(file, "", error)]
    problems = list(_escapes(file, root or file.parent))
    if isinstance(config.get("task"), list) or ("group" in config and "task" not in config):
        return problems + list(_unknown(file, config, GROUP_KEYS, ""))
    problems += _unknown(file, config, TASK_KEYS, "")
    if "task" in config and "class" not in config:  # without a task it is something for others to include
        problems += _whole_task(file, config)
    problems += _parts(file, config)
    return problems


def _load(file: Path) -> tuple[dict[str, Any], str]:
    try:
        return load_yaml(file, resolve_func=False), ""
    except (OSError, ValueError, yaml.YAMLError) as error:
        return {}, f"not a valid task file: {' '.join(str(error).split())}"


def _unknown(file: Path, config: dict[str, Any], known: frozenset[str], where: str) -> Iterable[Problem]:
    for key in config:
        if key not in known:
            place = f" in {where}" if where else ""
            yield Problem(file, str(key), f"unknown key {str(key)!r}{place}{suggest(str(key), sorted(known))}")


def _escapes(file: Path, root: Path) -> Iterable[Problem]:
    """Includes that lead out of the folder of task files: they break where only the folder is copied."""
    raw = yaml.load(file.read_text(encoding="utf-8"), Loader=_Loader)
    included = raw.get("include") if isinstance(raw, dict) else None
    for name in [included] if isinstance(included, str) else included or []:
        if not (file.parent / name).resolve().is_relative_to(root.resolve()):
            yield Problem(file, "include", f"include {name!r} leads out of {str(root)!r}; copy that file into it")


def _whole_task(file: Path, config: dict[str, Any]) -> Iterable[Problem]:
    kind = config.get("output_type", "generate_until")
    if kind not in OUTPUT_TYPES:
        yield Problem(file, "output_type", f"output_type {kind!r} is not known{suggest(str(kind), OUTPUT_TYPES)}")
    if not (config.get("test_split") or config.get("validation_split")):
        yield Problem(file, "test_split", "neither test_split nor validation_split says what is scored; name one")
    if (config.get("metadata") or {}).get("version") is None:
        yield Problem(file, "metadata", "no metadata.version; give one, and raise it whenever scores change meaning")
    shots = config.get("fewshot_config") or {}
    source = config.get("fewshot_split") or config.get("training_split") or shots.get("split") or shots.get("samples")
    if int(config.get("num_fewshot") or 0) > 0 and not source:
        yield Problem(
            file,
            "fewshot_split",
            f"takes {config['num_fewshot']} few-shot examples but names no fewshot_split, so scored items would "
            "stand among their own examples; set fewshot_split or num_fewshot: 0",
        )
    files = (config.get("dataset_kwargs") or {}).get("data_files")
    if isinstance(files, dict):
        for key in ("test_split", "validation_split", "training_split", "fewshot_split"):
            if config.get(key) and config[key] not in files:
                named = suggest(str(config[key]), sorted(files))
                yield Problem(file, key, f"{key} {config[key]!r} is no split of dataset_kwargs.data_files{named}")
    for name in _strings(files):
        if ".." in Path(name).parts:
            yield Problem(
                file,
                "data_files",
                f"data file {name!r} climbs out of its folder with '..'; name it below the data folder",
            )


def _parts(file: Path, config: dict[str, Any]) -> Iterable[Problem]:
    """Keys and names inside lists and mappings of a task."""
    for key, known in (("fewshot_config", SHOT_KEYS), ("generation_kwargs", GENERATION_KEYS)):
        if isinstance(config.get(key), dict):
            yield from _unknown(file, config[key], known, key)
    sampler = (
        (config.get("fewshot_config") or {}).get("sampler") if isinstance(config.get("fewshot_config"), dict) else None
    )
    if isinstance(sampler, str) and sampler not in SAMPLERS:
        yield Problem(file, "sampler", f"fewshot_config.sampler {sampler!r} is not known{suggest(sampler, SAMPLERS)}")
    for item in config.get("filter_list") or []:
        if isinstance(item, dict):
            yield from _unknown(file, item, FILTER_KEYS, "filter_list")
    for item in config.get("metric_list") or []:
        if not isinstance(item, dict) or "metric" not in item:
            yield Problem(file, "metric_list", f"metric_list: {item!r} has no key 'metric'")
            continue
        for key, registry in (("metric", METRIC_REGISTRY), ("aggregation", AGGREGATION_REGISTRY)):
            name = item.get(key)
            if (
                isinstance(name, str)
                and not name.startswith("!")
                and name not in registry
                and not item.get("hf_evaluate")
            ):
                yield Problem(file, key, f"metric_list: {key} {name!r} is not known{suggest(name, sorted(registry))}")


def _strings(value: Any) -> list[str]:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        return [text for item in value for text in _strings(item)]
    return [value] if isinstance(value, str) else []


class _Loader(yaml.SafeLoader):
    """Reads `!function` as text: linting runs no code."""


_Loader.add_constructor("!function", lambda loader, node: f"!function {node.value}")


@dataclass(frozen=True)
class Described:
    """What a task file says about its task."""

    name: str
    version: str
    kind: str
    shots: int
    about: str
    """First line of the comment at its top."""


def describe_folder(folder: Path) -> list[Described]:
    """The tasks of a folder, by name; files that cannot be read are left to `lint_folder`."""
    found = []
    for file in sorted(folder.rglob("*.yaml")):
        config, error = _load(file)
        if error or not isinstance(config.get("task"), str):
            continue
        first = file.read_text(encoding="utf-8").partition("\n")[0]
        found.append(
            Described(
                name=config["task"],
                version=str((config.get("metadata") or {}).get("version", "?")),
                kind=str(config.get("output_type", "generate_until")),
                shots=int(config.get("num_fewshot") or 0),
                about=first.removeprefix("#").strip() if first.startswith("#") else "",
            )
        )
    return sorted(found, key=lambda task: task.name)
