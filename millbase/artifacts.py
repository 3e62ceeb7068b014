"""Artifacts: directories that appear whole or not at all, with a manifest that says how they were made.

A stage writes into a work directory beside the output. When it succeeds, every file is digested, the
manifest is written, all is flushed, and the directory takes its final name. When it fails or is killed,
the work directory stays, so the same command can go on where it stopped; a different configuration or
different inputs empty it first. A mistake found before any work was done leaves nothing behind.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from millbase.atomic import fsync_directory, fsync_tree, write_json
from millbase.config import Config
from millbase.errors import ArtifactError, StageError, UserError
from millbase.hashing import file_digest, value_digest
from millbase.process import host_facts, package_versions

SCHEMA_VERSION = 1
MANIFEST = "manifest.json"
SCRATCH = "scratch"
_WORK_KEY = ".work.json"
_RETIRED = ".scratch.retired"


@dataclass(frozen=True)
class Manifest:
    """What ``manifest.json`` says, plus where it was found."""

    path: Path
    kind: str
    digest: str
    """Digest of kind, file names and file contents: equal artifacts have equal digests, wherever they lie."""
    config: dict[str, Any]
    inputs: dict[str, dict[str, Any]]
    """name -> ``{"path", "kind", "digest"}`` (kind is ``file`` for plain files)."""
    files: dict[str, dict[str, Any]]
    """relative name -> ``{"bytes", "digest"}``."""
    stats: dict[str, Any]
    seed: int | None
    raw: dict[str, Any] = field(repr=False)


@dataclass
class OpenArtifact:
    """An artifact being written."""

    path: Path
    """The work directory; write files here."""
    stats: dict[str, Any] = field(default_factory=dict)
    """JSON values that land in the manifest."""
    resumed: bool = False
    """True when an interrupted run of the same configuration and inputs left work here."""

    @property
    def scratch(self) -> Path:
        """A directory for intermediate files: kept over a crash, deleted at the end."""
        path = self.path / SCRATCH
        path.mkdir(exist_ok=True)
        return path


def work_directory(out: str | Path) -> Path:
    """Where a stage that will become ``out`` does its work."""
    out = Path(out)
    return out.parent / f".{out.name}.work"


@contextmanager
def create_artifact(
    out: str | Path,
    *,
    kind: str,
    config: Config,
    inputs: Mapping[str, str | Path | list[str] | Manifest | None] | None = None,
    seed: int | None = None,
) -> Iterator[OpenArtifact]:
    """Write the artifact ``out``; see the module's docstring.

    ``inputs`` name artifacts (their manifest is verified and its digest recorded), plain files, or are manifests of
    artifacts that the caller has just verified.
    Raises ArtifactError when an input is damaged or ``out`` is something that is not an artifact of ours,
    and StageError when another process is writing the same artifact.
    """
    out = Path(out)
    if out.exists() and not (out / MANIFEST).is_file():
        raise ArtifactError(
            f"{str(out)!r} exists and is not an llmill artifact (no {MANIFEST}); give another output path"
        )
    started = time.time()
    resolved = _resolve_inputs(inputs or {})
    work = work_directory(out)
    work.parent.mkdir(parents=True, exist_ok=True)
    with _exclusive(work):
        key = value_digest(
            {
                "kind": kind,
                "config": config.to_dict(),
                "inputs": {name: item["digest"] for name, item in resolved.items()},
            }
        )
        resumed = _prepare(work, key)
        artifact = OpenArtifact(path=work, resumed=resumed)
        try:
            yield artifact
        except UserError:
            if not resumed and not _holds_work(work):
                shutil.rmtree(work, ignore_errors=True)
            raise
        _finish(artifact, out, kind, config, resolved, seed, started)


@contextmanager
def _exclusive(work: Path) -> Iterator[None]:
    """Hold a lock so that two processes never write one artifact; the kernel drops it when a holder dies."""
    import fcntl

    lock = work.parent / f"{work.name}.lock"
    with open(lock, "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # a holder that just ended unlinked the file we opened: then our lock guards nothing
            if not lock.exists() or os.fstat(file.fileno()).st_ino != lock.stat().st_ino:
                raise BlockingIOError
        except BlockingIOError:
            raise StageError(
                f"another process is writing {str(work)!r}; wait for it or stop it, then start again"
            ) from None
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)


def _prepare(work: Path, key: str) -> bool:
    """Make the work directory; True when it holds earlier work of the same key."""
    try:
        previous = json.loads((work / _WORK_KEY).read_text())["key"] if work.is_dir() else None
    except (OSError, ValueError, KeyError):
        previous = None
    if previous == key:
        _remove_leftovers(work)
        return True
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    write_json(work / _WORK_KEY, {"key": key})
    return False


def _remove_leftovers(work: Path) -> None:
    """Remove what a killed run left that no later run looks at."""
    shutil.rmtree(work / _RETIRED, ignore_errors=True)
    (work / MANIFEST).unlink(missing_ok=True)
    for file in work.rglob(".*.tmp"):  # of `atomic_write`
        file.unlink(missing_ok=True)


def _holds_work(work: Path) -> bool:
    """True when a stage wrote anything but logs: then it is kept for the next attempt."""
    return any(file.is_file() and file.name != _WORK_KEY and file.suffix != ".log" for file in work.rglob("*"))


def _resolve_inputs(inputs: Mapping[str, str | Path | list[str] | Manifest | None]) -> dict[str, dict[str, Any]]:
    resolved: dict[str, dict[str, Any]] = {}
    for name, value in inputs.items():
        if value is None:
            continue
        if isinstance(value, (list, tuple)):
            resolved.update({f"{name}.{index}": describe_input(item) for index, item in enumerate(value)})
        elif isinstance(value, Manifest):
            resolved[name] = {"path": str(value.path), "kind": value.kind, "digest": value.digest}
        else:
            resolved[name] = describe_input(value)
    return resolved


def describe_input(path: str | Path) -> dict[str, Any]:
    """``{"path", "kind", "digest"}`` of an artifact directory, a directory of files, or a file."""
    text = str(path)
    if "://" in text:
        return {"path": text, "kind": "remote", "digest": value_digest(text)}
    path = Path(path)
    owner = path if (path / MANIFEST).is_file() else path.parent if (path.parent / MANIFEST).is_file() else None
    if owner is not None and path.is_dir():
        manifest = open_artifact(owner)
        return {"path": text, "kind": manifest.kind, "digest": manifest.digest}
    if path.is_file():
        return {"path": text, "kind": "file", "digest": file_digest(path)}
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.is_file())
        digest = value_digest({str(file.relative_to(path)): file_digest(file) for file in files})
        return {"path": text, "kind": "directory", "digest": digest}
    raise ArtifactError(f"input {text!r} does not exist; check the path")


def _finish(
    artifact: OpenArtifact,
    out: Path,
    kind: str,
    config: Config,
    inputs: dict[str, dict[str, Any]],
    seed: int | None,
    started: float,
) -> None:
    work = artifact.path
    (work / MANIFEST).unlink(missing_ok=True)
    files = {}
    for file in sorted(item for item in work.rglob("*") if item.is_file()):
        name = file.relative_to(work).as_posix()
        if name != _WORK_KEY and not name.startswith(f"{SCRATCH}/"):
            files[name] = {"bytes": file.stat().st_size, "digest": file_digest(file)}
    finished = time.time()
    manifest = {
        "kind": kind,
        "schema_version": SCHEMA_VERSION,
        "digest": artifact_digest(kind, files),
        "config": config.to_dict(),
        "config_class": f"{type(config).__module__}.{type(config).__qualname__}",
        "inputs": inputs,
        "stats": artifact.stats,
        "seed": seed,
        "files": files,
        "started": started,
        "finished": finished,
        "seconds": round(finished - started, 3),
        "versions": package_versions(),
        "host": host_facts(),
    }
    write_json(work / MANIFEST, manifest)
    fsync_tree(work)
    # Only now, for digests of a large artifact take long and a kill until here costs nothing that was done. Scratch
    # goes in one step: a later run must find all of it or none.
    if (work / SCRATCH).exists():
        os.rename(work / SCRATCH, work / _RETIRED)
        shutil.rmtree(work / _RETIRED)
    (work / _WORK_KEY).unlink(missing_ok=True)
    replaced = out.parent / f".{out.name}.replaced"
    shutil.rmtree(replaced, ignore_errors=True)
    if out.exists():
        os.rename(out, replaced)
    os.rename(work, out)
    fsync_directory(out.parent)
    shutil.rmtree(replaced, ignore_errors=True)


def artifact_digest(kind: str, files: Mapping[str, Mapping[str, Any]]) -> str:
    """Digest of an artifact from its kind and its files' digests.

    Event files and metrics carry wall-clock times, so they are listed and checked but left out here: two
    runs that made the same model are the same artifact.
    """
    stable = {name: item["digest"] for name, item in files.items() if not is_telemetry(name)}
    return value_digest({"kind": kind, "schema_version": SCHEMA_VERSION, "files": stable})


def is_telemetry(name: str) -> bool:
    """True for files that record how a run went (with clock times), not what it made."""
    return name.startswith("tensorboard/") or name.rsplit("/", 1)[-1] in ("metrics.jsonl", "run.json", "timings.json")


def open_artifact(path: str | Path, kind: str | tuple[str, ...] | None = None, verify: bool = True) -> Manifest:
    """Read the manifest of a finished artifact; with ``verify`` also check size and digest of every file.

    Raises ArtifactError naming what is wrong: no such directory, unfinished, of another kind, changed files.
    """
    path = Path(path)
    if not (path / MANIFEST).is_file():
        raise ArtifactError(_why_missing(path))
    try:
        raw = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
        manifest = Manifest(
            path=path,
            kind=raw["kind"],
            digest=raw["digest"],
            config=raw["config"],
            inputs=raw["inputs"],
            files=raw["files"],
            stats=raw["stats"],
            seed=raw["seed"],
            raw=raw,
        )
    except (ValueError, KeyError) as error:
        raise ArtifactError(f"{str(path / MANIFEST)!r} is damaged ({error}); build the artifact again") from None
    if raw["schema_version"] > SCHEMA_VERSION:
        raise ArtifactError(
            f"{str(path)!r} has schema version {raw['schema_version']}, "
            f"this llmill reads {SCHEMA_VERSION}; upgrade llmill"
        )
    kinds = (kind,) if isinstance(kind, str) else kind
    if kinds and manifest.kind not in kinds:
        raise ArtifactError(
            f"{str(path)!r} is a {manifest.kind!r} artifact, "
            f"expected {' or '.join(map(repr, kinds))}; give the right directory"
        )
    if verify:
        _verify(manifest)
    return manifest


def _why_missing(path: Path) -> str:
    if work_directory(path).is_dir():
        work = str(work_directory(path))
        return f"{str(path)!r} is unfinished (its work directory is {work!r}); run its stage again to finish it"
    if not path.exists():
        return f"artifact {str(path)!r} does not exist; check the path or run the stage that makes it"
    return f"{str(path)!r} is not an llmill artifact: it holds no {MANIFEST}"


def _verify(manifest: Manifest) -> None:
    for name, item in manifest.files.items():
        file = manifest.path / name
        if not file.is_file():
            raise ArtifactError(f"{str(file)!r} is listed in the manifest and missing; build the artifact again")
        if file.stat().st_size != item["bytes"] or file_digest(file) != item["digest"]:
            raise ArtifactError(
                f"{str(file)!r} changed since it was written (its digest differs from the manifest); "
                "build the artifact again"
            )
    expected = artifact_digest(manifest.kind, manifest.files)
    if expected != manifest.digest:
        raise ArtifactError(
            f"{str(manifest.path / MANIFEST)!r} was edited (its digest does not fit its files); "
            "build the artifact again"
        )
