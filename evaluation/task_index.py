"""Finding task files by name: the user's folder, and of the 14,000 tasks that lm-eval ships only those asked for.

lm-eval's own index of what it ships parses every file, which takes some ten seconds. Here the files are searched for
the lines that name a task, group or tag (under a second), and only the files of the names asked for are parsed.
"""

from __future__ import annotations

import difflib
import re
from functools import cache
from pathlib import Path
from typing import Any

import lm_eval.tasks
from lm_eval.tasks import TaskManager
from lm_eval.tasks._index import Kind, TaskIndex
from lm_eval.tasks._yaml_loader import load_yaml

from millbase.config import suggest
from millbase.errors import InputError

SHIPPED = Path(lm_eval.tasks.__file__).parent
_NAMED = re.compile(rb"""^["']?(?:task|group)["']?\s*:\s*["']?([^\s"'#\[{]+)""", re.MULTILINE)


@cache
def shipped_files() -> dict[Path, bytes]:
    """lm-eval's task files and what stands in them."""
    return {path: path.read_bytes() for path in sorted(SHIPPED.rglob("*.yaml"))}


@cache
def shipped_names() -> dict[str, Path]:
    """Task or group name to the file that defines it."""
    names: dict[str, Path] = {}
    for path, text in shipped_files().items():
        for match in _NAMED.finditer(text):
            names.setdefault(match.group(1).decode(), path)
    return names


def find_tasks(task_path: str | None, names: list[str]) -> TaskManager:
    """A manager that knows the folder's tasks and, of those lm-eval ships, the ones named (and their members).

    Raises InputError: no such folder, a name that is in neither (with the nearest one), a file that is not YAML.
    """
    if task_path is not None and not Path(task_path).is_dir():
        raise InputError(f"tasks.task_path {task_path!r} is not a folder; give the folder of the task files")
    manager = TaskManager(include_path=task_path, include_defaults=False)
    index = manager.task_index
    for name in [name for name in names if name not in index]:
        _check_yaml(name, task_path)
        _add_shipped(name, index)
        if name not in index:
            known = (list(index), sorted(shipped_names()))
            close = next((found for group in known if (found := difflib.get_close_matches(name, group, n=1))), [])
            raise InputError(f"unknown task {name!r}{suggest(name, close or sorted(index))}")
    for entry in [entry for entry in index.values() if entry.kind is Kind.GROUP]:
        for member in members(entry.cfg or {}):
            if member not in index:
                _add_shipped(member, index)
    return manager


def _add_shipped(name: str, index: dict[str, Any]) -> None:
    """Put a shipped task into the index; with a group or tag, its members too."""
    path = shipped_names().get(name)
    if path is not None:
        config = load_yaml(path, resolve_func=False)
        TaskIndex.process_cfg(config, path, index)
        for member in members(config):
            if member not in index:
                _add_shipped(member, index)
        return
    for file, text in shipped_files().items():
        if name.encode() in text:
            config = load_yaml(file, resolve_func=False)
            if name in TaskIndex._str_to_set(config.get("tag")):
                TaskIndex.process_cfg(config, file, index)


def members(config: dict[str, Any]) -> list[str]:
    """Names a group lists; inline definitions name themselves."""
    members = config.get("task")
    return [member for member in members if isinstance(member, str)] if isinstance(members, list) else []


def _check_yaml(name: str, task_path: str | None) -> None:
    """InputError when there is a file of that name that lm-eval passed over because it is not valid."""
    for file in Path(task_path).rglob(f"{name}.yaml") if task_path is not None else ():
        try:
            load_yaml(file, resolve_func=False)
        except Exception as error:
            reason = " ".join(str(error).split())
            raise InputError(f"{str(file)!r} is not a valid task file: {reason}") from error
