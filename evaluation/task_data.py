"""The data of local lm-eval tasks: files beside the task file or below a data folder, read without the hub's loader.

`datasets.load_dataset("json")` refuses files of unlike columns, keeps a converted copy in the user's cache, and reports
a broken line without its number. JSONL files are therefore read here; other formats are left to it.
"""

from __future__ import annotations

import glob
import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import datasets

from millbase.errors import InputError
from millbase.files import open_file

_LOADERS = ("json", "csv", "parquet", "arrow", "text")
_JSONL = (".jsonl", ".jsonl.gz", ".jsonl.zst")


def localise(config: dict[str, Any], task_file: Path, data_path: str | None, cache: Path) -> None:
    """Point a task's configuration, in place, at absolute data files.

    `cache` is where `datasets` converts formats other than JSONL. Raises InputError when a file is in neither place.
    """
    options = dict(config.get("dataset_kwargs") or {})
    if config.get("dataset_path") not in _LOADERS or "data_files" not in options:
        return
    files = _resolve(options["data_files"], task_file, data_path)
    if set(options) == {"data_files"} and all(name.endswith(_JSONL) for name in _leaves(files)):
        splits = files if isinstance(files, dict) else {"train": files}  # what `datasets` calls a lone file
        config["custom_dataset"] = partial(read_splits, splits)
        config["dataset_kwargs"] = None
        return
    config["dataset_kwargs"] = {"cache_dir": str(cache), **options, "data_files": files}


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
    rows = []
    try:
        with open_file(file) as lines:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    try:
                        rows.append(json.loads(line))
                    except ValueError as error:
                        raise InputError(f"{file!r}, line {number}: not JSON ({error}); mend the task's data") from None
                    if not isinstance(rows[-1], dict):
                        raise InputError(f"{file!r}, line {number}: expected a JSON object; mend the task's data")
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise InputError(f"{file!r} cannot be read as UTF-8 JSONL: {error}") from None
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
