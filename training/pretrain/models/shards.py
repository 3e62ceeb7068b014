"""Tensors of a distributed checkpoint, read and written one at a time, without Megatron and in one process.

A torch_dist checkpoint is an index (`.metadata`) of chunks: which part of which whole tensor lies where in which file.
Equal layers are stacked in front, `[layers, ...]` and `[layers, experts, ...]`, each layer a chunk of its own.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from millbase.atomic import atomic_write, write_json
from millbase.errors import ArtifactError
from training.pretrain.checkpoint import check_safe


class CheckpointTensors:
    """The model's whole tensors in a distributed checkpoint written under any layout."""

    def __init__(self, directory: Path) -> None:
        """ArtifactError when there is no index, or it holds more than tensors."""
        from torch.distributed.checkpoint.filesystem import FileSystemReader
        from torch.distributed.checkpoint.metadata import TensorStorageMetadata

        check_safe(directory)
        self.directory = directory
        self._metadata = FileSystemReader(directory).read_metadata()
        self._items = {
            name: item
            for name, item in self._metadata.state_dict_metadata.items()
            if isinstance(item, TensorStorageMetadata) and not name.startswith("optimizer.")
        }

    @property
    def keys(self) -> list[str]:
        """Names of the model's tensors in the checkpoint, the optimizer's left out."""
        return sorted(self._items)

    def dtype(self, key: str) -> torch.dtype:
        """Type of a tensor's numbers."""
        found: torch.dtype = self._items[key].properties.dtype
        return found

    def read(self, name: str, index: tuple[int, ...] = ()) -> Tensor:
        """The whole tensor `name` (without numbers) of `index`, (layer,) or (layer, expert).

        ArtifactError when the checkpoint does not have it.
        """
        key, lead = name, index
        if key not in self._items and index:
            first, rest = name.split(".layers.", 1)
            key, lead = f"{first}.layers.{index[0]}.{rest}", index[1:]
        if key not in self._items:
            raise ArtifactError(
                f"{self.directory}: has no tensor {name!r} {index}; the checkpoint is of another model than its "
                "configuration says"
            )
        item = self._items[key]
        out = torch.empty(item.size[len(lead) :], dtype=item.properties.dtype)
        filled = 0
        for chunk in item.chunks:
            inside = all(
                start <= at < start + size for at, start, size in zip(lead, chunk.offsets, chunk.sizes, strict=False)
            )
            if inside:
                data = self._chunk(key, chunk.offsets)
                for at, start in zip(lead, chunk.offsets, strict=False):
                    data = data[at - start]
                view = out
                for axis, (start, size) in enumerate(zip(chunk.offsets[len(lead) :], data.shape, strict=True)):
                    view = view.narrow(axis, start, size)
                view.copy_(data)
                filled += data.numel()
        if filled != out.numel():
            raise ArtifactError(f"{self.directory}: tensor {name!r} {index} is not complete; use another checkpoint")
        return out

    def _chunk(self, key: str, offsets: Any) -> Tensor:
        from torch.distributed.checkpoint.metadata import MetadataIndex

        info = self._metadata.storage_data[MetadataIndex(key, offsets)]
        if getattr(info, "transform_descriptors", None):
            raise ArtifactError(f"{self.directory}: its tensors are compressed; save it without a transform")
        with (self.directory / info.relative_path).open("rb") as file:
            file.seek(info.offset)
            content = io.BytesIO(file.read(info.length))
        tensor: Tensor = torch.load(content, map_location="cpu", weights_only=True)
        return tensor


@dataclass(frozen=True)
class Chunk:
    """One tensor to be written: its place in a whole one, and how to make it."""

    key: str
    """Name in the checkpoint."""
    whole: tuple[int, ...]
    """Shape of the whole tensor, stacked dimensions included."""
    offsets: tuple[int, ...]
    sizes: tuple[int, ...]
    dtype: torch.dtype
    make: Callable[[], Tensor]
    """Gives the tensor; called when it is written, and then forgotten."""


def write_tensors(chunks: list[Chunk], directory: Path) -> None:
    """Write a distributed checkpoint of weights alone into the empty `directory`, one chunk in memory at a time."""
    from torch.distributed.checkpoint.filesystem import FileSystemWriter
    from torch.distributed.checkpoint.metadata import StorageMeta
    from torch.distributed.checkpoint.state_dict_saver import save

    class Writer(FileSystemWriter):
        def storage_meta(self) -> StorageMeta:
            return StorageMeta()  # where it was written, as a pickled path, is nobody's business

    writer = Writer(directory, thread_count=1)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "torch.distributed is disabled", UserWarning)
        save({}, storage_writer=writer, planner=_planner(chunks), no_dist=True)
    # What Megatron wants beside torch's files: the kind of the format, and what is not a tensor (nothing).
    write_json(directory / "metadata.json", _FORMAT)
    with atomic_write(directory / "common.pt", "wb") as file:
        torch.save({}, file)


_FORMAT = {
    "sharded_backend": "torch_dist",
    "sharded_backend_version": 1,
    "common_backend": "torch",
    "common_backend_version": 1,
}


def _planner(chunks: list[Chunk]) -> Any:
    """A planner of torch's that plans `chunks` and makes each when the writer comes to it."""
    from torch.distributed.checkpoint.default_planner import DefaultSavePlanner
    from torch.distributed.checkpoint.metadata import ChunkStorageMetadata, MetadataIndex, TensorProperties
    from torch.distributed.checkpoint.planner import SavePlan, TensorWriteData, WriteItem, WriteItemType

    makers = {(chunk.key, chunk.offsets): chunk for chunk in chunks}

    def item(chunk: Chunk) -> WriteItem:
        offsets = torch.Size(chunk.offsets)
        return WriteItem(
            index=MetadataIndex(chunk.key, offsets),
            type=WriteItemType.SHARD,
            tensor_data=TensorWriteData(
                chunk=ChunkStorageMetadata(offsets=offsets, sizes=torch.Size(chunk.sizes)),
                properties=TensorProperties(dtype=chunk.dtype),
                size=torch.Size(chunk.whole),
            ),
        )

    class Planner(DefaultSavePlanner):
        def create_local_plan(self) -> SavePlan:
            self.plan = SavePlan([item(chunk) for chunk in chunks])
            return self.plan

        def resolve_data(self, write_item: WriteItem) -> Tensor:
            chunk = makers[write_item.index.fqn, tuple(write_item.index.offset or ())]
            made = chunk.make().contiguous()
            assert made.numel() == torch.Size(chunk.sizes).numel(), f"{chunk.key}: {tuple(made.shape)}, {chunk.sizes}"
            return made.view(chunk.sizes)

    return Planner(flatten_state_dict=False, flatten_sharded_tensors=False)
