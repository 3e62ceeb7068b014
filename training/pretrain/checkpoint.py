"""Checkpoints of a run: Megatron's distributed format plus a small JSON of where the run stands.

    checkpoints/step_00000200/     torch_dist shards of weights and optimizer, state.json, complete.json

A checkpoint is written under another name and renamed when every rank is done and all is on the disk. It counts as
complete when each file has the size and digest that `complete.json` says; the newest complete one is the latest.
"""

from __future__ import annotations

import io
import json
import os
import pickle
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from enum import Enum, EnumType
from pathlib import Path
from typing import Any, cast

from millbase.atomic import atomic_write, fsync_directory, fsync_tree
from millbase.errors import ArtifactError
from millbase.hashing import file_digest
from millbase.log import get_logger

logger = get_logger(__name__)

STATE = "state.json"
COMPLETE = "complete.json"
METADATA = ".metadata"
_PREFIX = "step_"


@dataclass(frozen=True)
class RunState:
    """Where a run stands, and what must fit for another to continue it."""

    step: int
    """Optimizer steps done."""
    identity: dict[str, Any]
    """`PretrainConfig.identity()`."""
    dataset_digest: str
    tokenizer_digest: str
    vocab_size: int
    sequences: int = 0
    """Sequences of the order that the steps took, skipped ones included."""
    order: list[Any] = field(default_factory=list)
    """`TrainingOrder.past(sequences)`: what decided which tokens those were."""
    passed_over: list[list[int]] = field(default_factory=list)
    """Steps done that were not trained on, as `[[first, after], ...]`."""
    stage: dict[str, Any] = field(default_factory=dict)
    """Sequence length and batch size of the steps."""
    history: list[dict[str, int]] = field(default_factory=list)
    """`data.history` of the run."""
    guard: dict[str, Any] = field(default_factory=dict)
    """`Guard.state()`."""

    def write(self, directory: Path) -> None:
        """As `state.json` in a checkpoint."""
        with atomic_write(directory / STATE, "w") as file:
            json.dump(asdict(self), file, indent=1, sort_keys=True)

    @staticmethod
    def read(directory: Path) -> RunState:
        """ArtifactError when the folder holds no checkpoint of ours."""
        try:
            return RunState(**json.loads((directory / STATE).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            raise ArtifactError(f"{directory}: not a pretraining checkpoint ({error}); check the path") from None


def step_directory(checkpoints: Path, step: int) -> Path:
    """Folder of the checkpoint after `step` optimizer steps."""
    return checkpoints / f"{_PREFIX}{step:08d}"


def complete_checkpoints(checkpoints: Path, verify: bool = True) -> list[Path]:
    """Complete checkpoints, oldest first. `verify`: also compare the digests of their files."""
    found = sorted(p for p in checkpoints.glob(f"{_PREFIX}*") if (p / COMPLETE).is_file())
    return [p for p in found if not verify or is_complete(p)]


def latest_checkpoint(
    checkpoints: Path,
    fits: Callable[[Path], bool] = lambda _: True,
    damage_of: Callable[[Path], str | None] | None = None,
) -> Path | None:
    """The newest checkpoint that fits and whose files are whole; warns of each that is not whole, naming the file.

    `damage_of` stands in for `damaged_file`, where ranks share the work.
    """
    for directory in reversed(complete_checkpoints(checkpoints, verify=False)):
        if not fits(directory):
            continue
        damage = (damage_of or damaged_file)(directory)
        if damage is None:
            return directory
        logger.warning("%s: damaged (%s), the checkpoint before it is used", directory, damage)
    return None


def is_complete(directory: Path) -> bool:
    """True when every file the checkpoint was finished with is there, unchanged."""
    return damaged_file(directory) is None


def damaged_file(directory: Path, part: int = 0, parts: int = 1) -> str | None:
    """What is wrong with a finished checkpoint, by size and digest of every file; None when nothing is.

    Of `parts` that share the work, this is number `part`.
    """
    try:
        listed = json.loads((directory / COMPLETE).read_text(encoding="utf-8"))
        for name in sorted(listed)[part::parts]:
            file, item = directory / name, listed[name]
            if not file.is_file():
                return f"{name} is missing"
            if file.stat().st_size != item["bytes"] or file_digest(file) != item["digest"]:
                return f"{name} changed"
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return f"{COMPLETE} cannot be read: {error}"
    return None


def digests(temporary: Path, part: int = 0, parts: int = 1) -> dict[str, dict[str, Any]]:
    """Size and digest of the files of a written checkpoint; of `parts` that share the work, this is number `part`."""
    files = sorted(p for p in temporary.rglob("*") if p.is_file() and p.name != COMPLETE)[part::parts]
    return {p.relative_to(temporary).as_posix(): {"bytes": p.stat().st_size, "digest": file_digest(p)} for p in files}


def finish(temporary: Path, final: Path, listed: dict[str, dict[str, Any]] | None = None) -> None:
    """Flush and rename a written checkpoint; one rank calls this after all are done. `listed`: from `digests`."""
    listed = digests(temporary) if listed is None else listed
    with atomic_write(temporary / COMPLETE, "w") as file:
        json.dump(listed, file, indent=1)
    fsync_tree(temporary)
    shutil.rmtree(final, ignore_errors=True)
    os.rename(temporary, final)
    fsync_directory(final.parent)


def prune(checkpoints: Path, keep: int, keep_every: int | None = None) -> None:
    """Delete all but the newest `keep` checkpoints and multiples of `keep_every`, and what interrupted saves left."""
    for directory in complete_checkpoints(checkpoints, verify=False)[:-keep]:
        if keep_every is None or step_of(directory) % keep_every:
            _delete(directory)
    for directory in checkpoints.glob(f".{_PREFIX}*"):
        shutil.rmtree(directory, ignore_errors=True)


def step_of(directory: Path) -> int:
    """Steps done at a checkpoint."""
    return int(directory.name.removeprefix(_PREFIX))


def delete_after(checkpoints: Path, step: int) -> None:
    """Delete the checkpoints of more than `step` steps: a run that went back trains those steps otherwise."""
    for directory in complete_checkpoints(checkpoints, verify=False):
        if step_of(directory) > step:
            _delete(directory)


def _delete(directory: Path) -> None:
    """Delete a checkpoint. It loses its name first: killed half-way, it must not pass for a checkpoint."""
    dying = directory.parent / f".{directory.name}.deleted"
    shutil.rmtree(dying, ignore_errors=True)
    os.rename(directory, dying)
    shutil.rmtree(dying, ignore_errors=True)


_SAFE_GLOBALS = {
    ("torch", "Size"),
    ("torch.serialization", "_get_layout"),
    ("torch.distributed.checkpoint.metadata", "Metadata"),
    ("torch.distributed.checkpoint.metadata", "MetadataIndex"),
    ("torch.distributed.checkpoint.metadata", "StorageMeta"),
    ("torch.distributed.checkpoint.metadata", "ChunkStorageMetadata"),
    ("torch.distributed.checkpoint.metadata", "TensorStorageMetadata"),
    ("torch.distributed.checkpoint.metadata", "BytesStorageMetadata"),
    ("torch.distributed.checkpoint.metadata", "TensorProperties"),
    ("torch.distributed.checkpoint.metadata", "_MEM_FORMAT_ENCODING"),
    ("torch.distributed.checkpoint.filesystem", "_StorageInfo"),
    ("torch.distributed.checkpoint.planner", "SavePlan"),
    ("torch.distributed.checkpoint.planner", "TensorWriteData"),
    ("torch.distributed.checkpoint.planner", "WriteItem"),
    ("torch.distributed.checkpoint.planner", "WriteItemType"),
}


def _enum_member(owner: Any, name: str) -> Enum:
    """What `getattr` means in the pickles of Python before 3.11.4, which write a member of an enumeration so."""
    if isinstance(owner, EnumType) and name in owner.__members__:
        return cast(Enum, owner[name])
    raise pickle.UnpicklingError(f"it asks for {name!r} of {owner!r}, which a checkpoint has no use for")


class _MetadataUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("builtins", "getattr"):
            return _enum_member
        dtype = module == "torch" and name in ("float32", "bfloat16", "float16", "int64", "int32", "uint8", "bool")
        if dtype or (module, name) in _SAFE_GLOBALS:
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"it names {module}.{name}, which a checkpoint has no use for")


def _read_index(directory: Path) -> Any:
    return _MetadataUnpickler(io.BytesIO((directory / METADATA).read_bytes())).load()


def saved_names(directory: Path) -> set[str]:
    """The names of the whole tensors in a checkpoint."""
    return set(_read_index(directory).state_dict_metadata)


def check_written(directory: Path) -> None:
    """OSError when a file of a checkpoint is shorter than its index says, whatever its writer reported."""
    ends: dict[str, int] = {}
    for place in _read_index(directory).storage_data.values():
        ends[place.relative_path] = max(ends.get(place.relative_path, 0), place.offset + place.length)
    for name, end in sorted(ends.items()):
        size = (directory / name).stat().st_size
        if size < end:
            raise OSError(f"{name} has {size} of {end} bytes")


def check_safe(directory: Path) -> None:
    """Refuse a checkpoint whose pickled index could run code.

    torch_dist keeps its index (`.metadata`) as a pickle, which torch unpickles without a check. We first read it with
    an unpickler that knows the index's own classes only, and we refuse entries that are pickled objects instead of
    tensors. The tensors and `common.pt` are read by torch with weights_only; `common.pt` is tried here, for a message.

    Raises:
        ArtifactError: no index, a damaged one, or one that names anything else.
    """
    file = directory / METADATA
    try:
        metadata = _read_index(directory)
        objects = [
            name for name, item in metadata.state_dict_metadata.items() if type(item).__name__ == "BytesStorageMetadata"
        ]
    except Exception as error:  # a damaged pickle can raise anything
        raise ArtifactError(f"{file}: not loaded, {error}; use a checkpoint from a source you trust") from None
    if objects:
        raise ArtifactError(
            f"{file}: not loaded, {objects[0]} is a pickled object and not a tensor; use a checkpoint of this project"
        )
    common = directory / "common.pt"
    if common.is_file():
        import torch

        try:
            torch.load(common, map_location="cpu", weights_only=True)
        except Exception as error:  # as above
            reason = str(error).strip().splitlines() or [type(error).__name__]
            raise ArtifactError(
                f"{common}: not loaded, {reason[0][:200]}; use a checkpoint from a source you trust"
            ) from None
