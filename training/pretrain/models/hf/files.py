"""Weights in safetensors files: read one tensor at a time, written in files of limited size."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from millbase.errors import InputError

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"


class HFWeights:
    """The tensors of a Hugging Face folder by name; each is read from its memory-mapped file when it is asked for."""

    def __init__(self, folder: Path) -> None:
        """InputError when the folder has no safetensors weights (pickled ones are not read), or files are missing."""
        self.folder = folder
        if (folder / INDEX).is_file():
            try:
                self._files = dict(json.loads((folder / INDEX).read_text(encoding="utf-8"))["weight_map"])
            except (ValueError, KeyError, TypeError) as error:
                raise InputError(f"{folder / INDEX}: not a readable index ({error}); fetch the model again") from None
        elif (folder / SINGLE).is_file():
            self._files = dict.fromkeys(self._open(SINGLE).keys(), SINGLE)
        else:
            raise InputError(f"{folder}: no {SINGLE}; pickled weights are not read, convert them to safetensors")
        missing = sorted({name for name in self._files.values() if not (folder / name).is_file()})
        if missing:
            raise InputError(f"{folder}: {missing[0]} is missing, its index names it; fetch the model again")
        self._names = {_canonical(name): name for name in self._files}
        self._handles: dict[str, Any] = {}
        self.read: set[str] = set()
        """Names (as in the files) that were asked for so far."""

    def __contains__(self, name: str) -> bool:
        return _canonical(name) in self._names

    @property
    def names(self) -> list[str]:
        """All names, as they stand in the files."""
        return sorted(self._files)

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of a tensor, without reading it."""
        handle, stored = self._find(name)
        return tuple(handle.get_slice(stored).get_shape())

    def dtype(self, name: str) -> torch.dtype:
        """Type of a tensor's numbers."""
        handle, stored = self._find(name)
        found: torch.dtype = _DTYPES[handle.get_slice(stored).get_dtype()]
        return found

    def tensor(self, name: str) -> Tensor:
        """One tensor; InputError when the files have none of that name."""
        handle, stored = self._find(name)
        self.read.add(stored)
        found: Tensor = handle.get_tensor(stored)
        return found

    def _find(self, name: str) -> tuple[Any, str]:
        stored = self._names.get(_canonical(name))
        if stored is None:
            raise InputError(f"{self.folder}: its weights have no {name!r}; they do not fit its config.json")
        file = self._files[stored]
        if file not in self._handles:
            self._handles[file] = self._open(file)
        return self._handles[file], stored

    def _open(self, file: str) -> Any:
        from safetensors import SafetensorError, safe_open

        try:
            return safe_open(self.folder / file, "pt")
        except (SafetensorError, OSError) as error:
            raise InputError(f"{self.folder / file}: not readable ({error}); fetch the model again") from None


_DTYPES = {"F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16, "F64": torch.float64}
_PREFIXES = ("model.", "transformer.", "bert.")


def _canonical(name: str) -> str:
    """Old files leave out the model's name in front (GPT-2) and call a norm's weight gamma (BERT)."""
    for prefix in _PREFIXES:
        name = name.removeprefix(prefix)
    if name.endswith((".gamma", ".beta")):
        name = name.removesuffix(".gamma") + ".weight" if name.endswith(".gamma") else name[:-5] + ".bias"
    return name


class HFWriter:
    """Writes tensors, in the order they come, into safetensors files with an index, holding one file at a time."""

    def __init__(self, folder: Path, file_bytes: int) -> None:
        """`file_bytes`: a file is closed before it would grow over this (a single larger tensor gets its own)."""
        self.folder, self.file_bytes = folder, file_bytes
        self._pending: dict[str, Tensor] = {}
        self._pending_bytes = 0
        self._written: list[list[str]] = []
        self.total_bytes = 0

    def add(self, tensors: Iterable[tuple[str, Tensor]]) -> None:
        """Take tensors in; they may be written at once or with later ones."""
        for name, tensor in tensors:
            size = tensor.numel() * tensor.element_size()
            if self._pending and self._pending_bytes + size > self.file_bytes:
                self._flush()
            # a copy of its own: views would be written whole, or refused
            self._pending[name] = tensor.contiguous().clone()
            self._pending_bytes += size
            self.total_bytes += size

    def finish(self) -> None:
        """Write the rest, and the index when there is more than one file."""
        self._flush()
        count = len(self._written)
        if count == 1:
            self._part(0).rename(self.folder / SINGLE)
            return
        places: dict[str, str] = {}
        for number, names in enumerate(self._written):
            final = f"model-{number + 1:05d}-of-{count:05d}.safetensors"
            self._part(number).rename(self.folder / final)
            places |= dict.fromkeys(names, final)
        index = {"metadata": {"total_size": self.total_bytes}, "weight_map": dict(sorted(places.items()))}
        (self.folder / INDEX).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")

    def _part(self, number: int) -> Path:
        return self.folder / f"part-{number:05d}.safetensors"

    def _flush(self) -> None:
        from safetensors.torch import save_file

        if not self._pending:
            return
        save_file(self._pending, self._part(len(self._written)), metadata={"format": "pt"})
        self._written.append(list(self._pending))
        self._pending, self._pending_bytes = {}, 0
