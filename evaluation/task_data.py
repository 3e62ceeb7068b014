"""The data of lm-eval tasks in local files: beside the task file, below a data folder, or as `datasets.yaml` says.

`datasets.load_dataset("json")` refuses files of unlike columns, keeps a converted copy in the user's cache, and reports
a broken line without its number. JSONL files are therefore read here (and CSV files of published data sets, whose
fields are text); other formats are left to it.
"""

from __future__ import annotations

import csv
import glob
import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import datasets
import yaml

from millbase.errors import ConfigError, InputError
from millbase.files import open_file

DATASETS_FILE = "datasets.yaml"
_LOADERS = ("json", "csv", "parquet", "arrow", "text")
_JSONL = (".jsonl", ".jsonl.gz", ".jsonl.zst")
_CSV = (".csv", ".csv.gz")
_SPLITS = ("training_split", "validation_split", "test_split", "fewshot_split")

Datasets = Mapping[str, str | Mapping[str, str]]
"""Name of a published data set to the pattern of its files, `{name}` the configuration and `{split}` the split; or to
one pattern for each split."""


def read_datasets(path: str | Path) -> Datasets:
    """Where published data sets lie, from a YAML file. InputError when it cannot be read or is not such a mapping."""
    try:
        raw = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise InputError(f"{str(path)!r} cannot be read as YAML: {' '.join(str(error).split())}") from None
    for name, where in (raw or {}).items():
        patterns = list(where.values()) if isinstance(where, dict) else [where]
        if not all(isinstance(pattern, str) for pattern in patterns):
            raise InputError(f"{str(path)!r}: {name!r} must be a file pattern, or one for each split")
    return raw or {}


def localise(
    config: dict[str, Any], task_file: Path, data_path: str | None, cache: Path, datasets_map: Datasets | None = None
) -> None:
    """Point a task's configuration, in place, at absolute data files.

    `cache` is where `datasets` converts formats other than JSONL. Raises InputError when a file is in neither
    place, ConfigError when a name climbs out of the folder it is looked up in.
    """
    options = dict(config.get("dataset_kwargs") or {})
    if config.get("dataset_path") in (datasets_map or {}):
        _from_map(config, task_file, data_path, datasets_map or {})
        return
    if config.get("dataset_path") not in _LOADERS or "data_files" not in options:
        return
    files = _resolve(options["data_files"], task_file, data_path)
    if set(options) == {"data_files"} and all(name.endswith(_JSONL) for name in _leaves(files)):
        splits = files if isinstance(files, dict) else {"train": files}  # what `datasets` calls a lone file
        config["custom_dataset"] = partial(read_splits, splits)
        config["dataset_kwargs"] = None
        return
    config["dataset_kwargs"] = {"cache_dir": str(cache), **options, "data_files": files}


def _from_map(config: dict[str, Any], task_file: Path, data_path: str | None, datasets_map: Datasets) -> None:
    """A published task's splits from local files; splits that are not there are forgotten."""
    dataset, name = str(config["dataset_path"]), str(config.get("dataset_name") or "default")
    where = datasets_map[dataset]
    shots = config.get("fewshot_config") or {}
    wanted = {str(config[key]) for key in _SPLITS if config.get(key)} | (
        {str(shots["split"])} if shots.get("split") else set()
    )
    files: dict[str, list[str]] = {}
    looked = []
    for split in sorted(wanted):
        pattern = where if isinstance(where, str) else where.get(split)
        if pattern is None:
            continue
        looked.append(pattern.format(name=name, split=split))
        try:
            files[split] = _leaves(_resolve(looked[-1], task_file, data_path))
        except InputError:
            continue
    for key in _SPLITS:
        if config.get(key) and config[key] not in files:
            config[key] = None
    if config.get("test_split") is None and config.get("validation_split") is None:
        raise InputError(
            f"task {config.get('task')!r}: data set {dataset!r} ({name}) is not there: looked for "
            f"{', '.join(map(repr, looked)) or 'no file'} below {data_path!r}; set tasks.data_path, or mend the "
            "entry in datasets.yaml"
        )
    config["custom_dataset"] = partial(read_splits, files)
    config["dataset_kwargs"] = None


def read_splits(splits: Mapping[str, Any], /, **_: Any) -> datasets.DatasetDict:
    """Every split from its JSONL files; a field that only some rows have is None in the others.

    lm-eval passes the task's metadata as keywords, which are not needed. Raises InputError naming file and line.
    """
    return datasets.DatasetDict({name: _dataset(list(_leaves(files)), name) for name, files in splits.items()})


def _dataset(files: list[str], split: str) -> datasets.Dataset:
    rows = [row for file in files for row in _rows(file)]
    names = dict.fromkeys(name for row in rows for name in row)
    if not rows:
        raise InputError(f"no rows in split {split!r}: {', '.join(map(repr, files))} are empty")
    try:
        return datasets.Dataset.from_dict({name: [row.get(name) for row in rows] for name in names})
    except Exception as error:  # pyarrow's errors for a column of unlike types have no common base
        raise InputError(f"{files[0]!r}: a field holds values of unlike types: {error}") from error


def _rows(file: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    try:
        with open_file(file) as lines:
            if file.endswith(_CSV):
                return [{name: value for name, value in row.items() if name} for row in csv.DictReader(lines)]
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    try:
                        rows.append(json.loads(line))
                    except ValueError as error:
                        raise InputError(f"{file!r}, line {number}: not JSON ({error}); mend the task's data") from None
                    if not isinstance(rows[-1], dict):
                        raise InputError(f"{file!r}, line {number}: expected a JSON object; mend the task's data")
    except (OSError, EOFError, UnicodeDecodeError, csv.Error) as error:
        kind = "CSV" if file.endswith(_CSV) else "JSONL"
        raise InputError(f"{file!r} cannot be read as UTF-8 {kind}: {error}") from None
    return rows


def _resolve(value: Any, task_file: Path, data_path: str | None) -> Any:
    """Absolute paths, globs expanded: beside the task file, else below `data_path`."""
    if isinstance(value, Mapping):
        return {key: _resolve(item, task_file, data_path) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [found for item in value for found in _leaves(_resolve(item, task_file, data_path))]
    text = str(value)
    if "://" in text:
        return text
    if ".." in Path(text).parts:
        raise ConfigError(
            f"{str(task_file)!r}: data file {text!r} climbs out of its folder with '..'; name it below the task file's "
            "folder or tasks.data_path"
        )
    folders = [task_file.parent, *([Path(data_path).resolve()] if data_path else [])]
    for folder in folders:
        path = folder / text  # an absolute `text` stays as it is
        if path.is_file():
            return str(path)
        if found := sorted(glob.glob(str(path))):
            return found
    looked = " and ".join(repr(str(folder)) for folder in folders)
    raise InputError(f"{str(task_file)!r}: data file {text!r} is not in {looked}; set tasks.data_path to its folder")


def _leaves(files: Any) -> list[str]:
    if isinstance(files, Mapping):
        return [leaf for item in files.values() for leaf in _leaves(item)]
    if isinstance(files, (list, tuple)):
        return [leaf for item in files for leaf in _leaves(item)]
    return [str(files)]
