"""The runs of words of all evaluation sets, and which text of which item each one comes from."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from data_pipeline.decontaminate.config import DecontaminateConfig
from data_pipeline.decontaminate.evals import read_items
from data_pipeline.decontaminate.ngrams import Finder, finder, run_keys
from millbase.atomic import atomic_write
from millbase.errors import InputError


@dataclass(frozen=True)
class ContaminationIndex:
    """K distinct runs of words in T texts of the items of all sets.

    Built from the sets' files and the configuration alone; a row of `keys` means the same in every process.
    """

    keys: np.ndarray
    """uint64 [K] ascending."""
    lengths: np.ndarray
    """uint32 [K] words in each run."""
    offsets: np.ndarray
    """int64 [K + 1]: run k occurs in `texts[offsets[k]:offsets[k + 1]]`."""
    texts: np.ndarray
    """int32 [P] text of each occurrence."""
    places: np.ndarray
    """int32 [P] its first word in that text."""
    text_items: np.ndarray
    """int32 [T] item of each text."""
    text_words: np.ndarray
    """int32 [T] words of each text."""
    item_sets: np.ndarray
    """int32 [I] set of each item, items without any text long enough included."""
    item_names: list[str]
    """[I]"""
    set_names: list[str]

    @cached_property
    def finder(self) -> Finder:
        """Finds the runs in documents."""
        return finder(self.keys, self.lengths)

    def occurrences(self, rows: np.ndarray) -> np.ndarray:
        """int64 indices into `texts` and `places` of all occurrences of the runs `rows`."""
        starts, counts = self.offsets[rows], self.offsets[rows + 1] - self.offsets[rows]
        ends = np.cumsum(counts)
        return np.arange(ends[-1] if len(ends) else 0) + np.repeat(starts - ends + counts, counts)

    def save(self, path: Path) -> None:
        """Write the index to one file, whole or not at all."""
        names = json.dumps({"items": self.item_names, "sets": self.set_names}).encode()
        arrays = {name: getattr(self, name) for name in _ARRAYS}
        with atomic_write(path, "wb") as file:
            np.savez(file, names=np.frombuffer(names, dtype=np.uint8), **arrays)

    @classmethod
    def load(cls, path: Path) -> ContaminationIndex:
        """Read what `save` wrote."""
        with np.load(path, allow_pickle=False) as stored:
            names = json.loads(stored["names"].tobytes())
            arrays: dict[str, Any] = {name: stored[name] for name in _ARRAYS}
        return cls(**arrays, item_names=names["items"], set_names=names["sets"])


_ARRAYS = ("keys", "lengths", "offsets", "texts", "places", "text_items", "text_words", "item_sets")


def build_index(config: DecontaminateConfig) -> ContaminationIndex:
    """Read the evaluation sets of `config`.

    Raises InputError when a set cannot be read, or none of its texts has the words to be looked for.
    """
    collected = _Collector(config)
    for number, evaluation in enumerate(config.sets):
        before = len(collected.text_words)
        for item in read_items(evaluation):
            collected.add_item(number, item.name, item.texts)
        if len(collected.text_words) == before:
            raise InputError(
                f"evaluation set {evaluation.name!r}: no text in {evaluation.path!r} has {config.least_words} words or "
                "more; check its 'fields', or lower 'min_words'"
            )
    return collected.index([evaluation.name for evaluation in config.sets])


class _Collector:
    """Gathers the runs of all texts."""

    def __init__(self, config: DecontaminateConfig) -> None:
        self.config = config
        self._finder = finder(np.empty(0, np.uint64), np.empty(0, np.uint32))
        self.keys: list[np.ndarray] = []
        self.lengths: list[int] = []
        self.texts: list[int] = []
        self.places: list[np.ndarray] = []
        self.text_items: list[int] = []
        self.text_words: list[int] = []
        self.item_sets: list[int] = []
        self.item_names: list[str] = []

    def add_item(self, set_number: int, name: str, texts: list[str]) -> None:
        """Add an item of a set with all its texts."""
        for text in texts:
            for part in text.split("\n") if self.config.method == "paragraph" else [text]:
                self._add_text(len(self.item_names), part)
        self.item_sets.append(set_number)
        self.item_names.append(name)

    def _add_text(self, item: int, text: str) -> None:
        hashes = np.asarray(self._finder.words(text)[0])
        if len(hashes) < self.config.least_words:
            return
        length = len(hashes) if self.config.method == "paragraph" else min(self.config.run_words, len(hashes))
        keys = run_keys(hashes, length)
        self.keys.append(keys)
        self.lengths.append(length)
        self.places.append(np.arange(len(keys), dtype=np.int32))
        self.text_items.append(item)
        self.text_words.append(len(hashes))

    def index(self, set_names: list[str]) -> ContaminationIndex:
        """What was gathered."""
        counts = [len(keys) for keys in self.keys]
        all_keys = np.concatenate(self.keys) if self.keys else np.empty(0, np.uint64)
        all_lengths = np.repeat(np.array(self.lengths, dtype=np.uint32), counts)
        all_texts = np.repeat(np.arange(len(counts), dtype=np.int32), counts)
        all_places = np.concatenate(self.places) if self.places else np.empty(0, np.int32)
        keys, first, inverse = np.unique(all_keys, return_index=True, return_inverse=True)
        order = np.argsort(inverse, kind="stable")  # texts and places ascend within a run
        offsets = np.concatenate([[0], np.cumsum(np.bincount(inverse, minlength=len(keys)))]).astype(np.int64)
        return ContaminationIndex(
            keys=keys,
            lengths=all_lengths[first],
            offsets=offsets,
            texts=all_texts[order],
            places=all_places[order],
            text_items=np.array(self.text_items, dtype=np.int32),
            text_words=np.array(self.text_words, dtype=np.int32),
            item_sets=np.array(self.item_sets, dtype=np.int32),
            item_names=self.item_names,
            set_names=set_names,
        )
