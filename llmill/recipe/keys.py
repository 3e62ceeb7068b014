"""When is a finished stage still good: its key, a digest of all that its output depends on.

A key has four parts, kept apart so that a change can be explained:
kind, the resolved configuration (paths of other stages left out), the digests of everything it reads (artifacts of
other stages, files outside the run by content), and the version of the code it runs (``code.py``).
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import fsspec

from llmill.recipe.code import code_version
from llmill.recipe.graph import Graph, Stage
from llmill.recipe.paths import expand, is_below, is_path_like, strings
from millbase.artifacts import MANIFEST, open_artifact
from millbase.atomic import write_json
from millbase.errors import ArtifactError
from millbase.hashing import file_digest, value_digest


@dataclass(frozen=True)
class Key:
    """What a stage's output depends on."""

    kind: str
    config: dict[str, Any]
    """Resolved configuration; directories of the run are written as ``${stage}``."""
    inputs: dict[str, str]
    """Name -> digest: upstream stages as ``${stage}``, other inputs by path."""
    code: str

    @property
    def digest(self) -> str:
        """One digest over all parts."""
        return value_digest(asdict(self))

    def difference(self, older: Mapping[str, Any]) -> str:
        """In words, the first thing that changed since ``older`` (a key as a mapping); empty when nothing did."""
        mine = asdict(self)
        if mine["kind"] != older.get("kind"):
            return f"its kind changed from {older.get('kind')!r} to {self.kind!r}"
        for name in sorted({*self.inputs, *older.get("inputs", {})}):
            if self.inputs.get(name) != older.get("inputs", {}).get(name):
                return f"{name.removeprefix('${').removesuffix('}')} changed"
        changed = _changed_fields(older.get("config", {}), self.config)
        if changed:
            return f"its configuration changed: {changed}"
        return "its code changed" if self.code != older.get("code") else ""


def _changed_fields(old: Any, new: Any, prefix: str = "") -> str:
    if isinstance(old, dict) and isinstance(new, dict):
        for name in [*new, *(name for name in old if name not in new)]:
            found = _changed_fields(old.get(name), new.get(name), f"{prefix}.{name}" if prefix else name)
            if found:
                return found
        return ""
    return f"{prefix}: {_short(old)} -> {_short(new)}" if old != new else ""


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 40 else text[:37] + "..."


class Digests:
    """Content digests of outside files, remembered by path, size and modification time."""

    def __init__(self, cache: Path) -> None:
        self._path = cache
        try:
            self._known: dict[str, list[Any]] = json.loads(cache.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            self._known = {}
        self._dirty = False

    def file(self, path: str) -> str:
        """Digest of one local file."""
        name = os.path.abspath(path)
        state = os.stat(name)
        stamp = [state.st_size, state.st_mtime_ns]
        known = self._known.get(name)
        if known and known[:2] == stamp:
            return str(known[2])
        digest = file_digest(name)
        self._known[name] = [*stamp, digest]
        self._dirty = True
        return digest

    def path(self, path: str) -> str:
        """Digest of a file, an artifact, or a directory (names and contents)."""
        if not os.path.isdir(path):
            return self.file(path)
        if (Path(path) / MANIFEST).is_file():
            return open_artifact(path, verify=False).digest
        files = sorted(item for item in Path(path).rglob("*") if item.is_file())
        return value_digest({str(item.relative_to(path)): self.file(str(item)) for item in files})

    def save(self) -> None:
        """Write the cache back when it grew."""
        if self._dirty:
            write_json(self._path, self._known)
            self._dirty = False


def stage_key(stage: Stage, graph: Graph, digests: Digests) -> Key:
    """The key of a stage whose upstream stages are all finished.

    Raises ArtifactError when one is not.
    """
    config = stage.config.to_dict()
    inputs = {f"${{{name}}}": open_artifact(graph.stages[name].out, verify=False).digest for name in stage.needs}
    for text in dict.fromkeys(strings(config)):
        if is_path_like(text) and not is_below(text, [graph.out]):
            inputs.update(_outside(text, digests))
    module = stage.kind.build.partition(":")[0]
    return Key(stage.kind.name, _without_run(config, graph.out), inputs, code_version(module))


def _outside(text: str, digests: Digests) -> dict[str, str]:
    if "://" in text:
        return {text: _remote_state(text)}
    return {path: digests.path(path) for path in expand(text)}


def _remote_state(url: str) -> str:
    """What the remote storage says identifies the file's state (size, time, ETag), without reading it."""
    try:
        filesystem, path = fsspec.core.url_to_fs(url)
        paths = filesystem.glob(path) if any(mark in path for mark in "*?[") else [path]
        return value_digest([[item, filesystem.ukey(item)] for item in sorted(paths)])
    except (OSError, ImportError, ValueError) as error:
        raise ArtifactError(
            f"cannot ask for the state of {url!r} ({error}); check the address and your credentials"
        ) from None


def _without_run(value: Any, run: Path) -> Any:
    """Paths below the run directory become ``${stage}/...``, so that moving a run reruns nothing."""
    if isinstance(value, dict):
        return {key: _without_run(item, run) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_run(item, run) for item in value]
    if not isinstance(value, str):
        return value
    if value == str(run):
        return "${run}"
    return re.sub(rf"^{re.escape(str(run))}/([a-z][a-z0-9_-]*)", r"${\1}", value)
