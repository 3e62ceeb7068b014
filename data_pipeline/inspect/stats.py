"""What a corpus is made of: funnel, languages, hosts, lengths, scores, and how close dropped pages were to the limit.

Tables are read a batch at a time, once; memory does not grow with the corpus.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data_pipeline.corpus.lookup import read_funnel
from data_pipeline.inspect.sketch import Distinct, Distribution, TopKeys
from data_pipeline.inspect.tables import read_batches, schema_of
from millbase.artifacts import open_artifact

_HOSTS_IN_MEMORY = 200_000
_HOST = r"^[A-Za-z][A-Za-z0-9+.-]*://(?:[^/?#@]*@)?(?P<host>[^/?#:]*)"
_LABELS = ("language", "source", "dump")


def corpus_stats(corpus: str | Path, hosts: int = 20, hosts_in_memory: int = _HOSTS_IN_MEMORY) -> dict[str, Any]:
    """Statistics of a corpus as JSON values.

    `documents`, `text_bytes`, `read`: totals. `funnel`: a row a step. `language`, `source`, `dump`: documents,
    characters and bytes of text of each. `hosts`: `distinct` (estimated beyond some thousands), `top`: pages read, kept
    and bytes of the `hosts` largest, `at_most_missing`: by how much `read` may be too low. `lengths` and `scores`:
    distributions of the kept documents. `dropped`: for each step and reason pages, threshold and the distribution of
    the value. Raises ArtifactError when `corpus` is none.
    """
    manifest = open_artifact(corpus, kind="corpus", verify=False)
    kept = _Kept(manifest.path / "data", hosts_in_memory)
    dropped = _count_dropped(manifest.path / "dropped", kept.hosts, kept.distinct_hosts)
    top = [{"host": host, "read": n[0], "kept": n[1], "bytes": n[2]} for host, n in kept.hosts.most(hosts)]
    return {
        "corpus": str(manifest.path),
        "read": manifest.stats["read"],
        "documents": manifest.stats["documents"],
        "text_bytes": manifest.stats["text_bytes"],
        "funnel": read_funnel(manifest.path),
        **{name: _table(name, kept.labels[name]) for name in _LABELS},
        "hosts": {"distinct": kept.distinct_hosts.estimate(), "at_most_missing": kept.hosts.error, "top": top},
        "lengths": {name: sketch.to_dict() for name, sketch in kept.lengths.items()},
        "scores": {name: sketch.to_dict() for name, sketch in sorted(kept.scores.items()) if sketch.count},
        "dropped": dropped,
    }


class _Kept:
    """Sums over the kept documents."""

    def __init__(self, folder: Path, hosts_in_memory: int) -> None:
        self.labels: dict[str, dict[str, list[int]]] = {name: {} for name in _LABELS}
        self.hosts = TopKeys(hosts_in_memory, width=3)
        self.distinct_hosts = Distinct()
        self.lengths = {"characters": Distribution(), "words": Distribution()}
        self.score_paths = _score_paths(schema_of(folder))
        self.scores = {".".join(path): Distribution() for path in self.score_paths}
        columns = {"text", "url", *_LABELS, *(path[0] for path in self.score_paths)}
        for batch in read_batches(folder, sorted(columns)):
            self._add(batch)

    def _add(self, batch: pa.RecordBatch) -> None:
        text = batch["text"]
        characters = pc.utf8_length(text).to_numpy(zero_copy_only=False).astype(np.int64)
        sizes = pc.binary_length(text).to_numpy(zero_copy_only=False).astype(np.int64)
        self.lengths["characters"].add(characters)
        # counting runs of white space is an order of magnitude faster than splitting
        self.lengths["words"].add(pc.count_substring_regex(text, r"\S+").to_numpy(zero_copy_only=False))
        for name in _LABELS:
            for key, rows in _groups(pc.fill_null(batch[name], "")):
                sums = self.labels[name].setdefault(key, [0, 0, 0])
                for index, number in enumerate((len(rows), characters[rows].sum(), sizes[rows].sum())):
                    sums[index] += int(number)
        for host, rows in _groups(hosts_of(batch["url"])):
            self.hosts.add(host, (len(rows), len(rows), int(sizes[rows].sum())))
            self.distinct_hosts.add(host)
        for path in self.score_paths:
            self.scores[".".join(path)].add(_values(batch, path))


def _count_dropped(folder: Path, hosts: TopKeys, distinct: Distinct) -> list[dict[str, Any]]:
    """One row for each step and reason, most frequent first within a step, steps in the order they are met."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for batch in read_batches(folder, ["url", "step", "reason", "value", "threshold"]):
        for host, rows in _groups(hosts_of(batch["url"])):
            hosts.add(host, (len(rows), 0, 0))
            distinct.add(host)
        values = batch["value"].to_numpy(zero_copy_only=False)
        thresholds = batch["threshold"].to_numpy(zero_copy_only=False)
        keys = pc.binary_join_element_wise(batch["step"], batch["reason"], "\0")
        for key, rows in _groups(keys):
            step, _, reason = key.partition("\0")
            entry = found.setdefault((step, reason), {"pages": 0, "threshold": None, "values": Distribution()})
            entry["pages"] += len(rows)
            entry["values"].add(values[rows])
            limits = thresholds[rows][np.isfinite(thresholds[rows])]
            if len(limits):
                entry["threshold"] = float(limits[0])
    ordered = sorted(found.items(), key=lambda item: (-item[1]["pages"], item[0]))
    return [
        {"step": step, "reason": reason, **entry, "values": entry["values"].to_dict()}
        for (step, reason), entry in ordered
    ]


def hosts_of(urls: pa.Array) -> pa.Array:
    """Lower-cased host of each URL; empty where there is none."""
    found = pc.struct_field(pc.extract_regex(urls, _HOST), "host")
    return pc.fill_null(pc.ascii_lower(found), "")


def _groups(keys: pa.Array) -> list[tuple[str, np.ndarray]]:
    """(key, rows that have it) of a string array."""
    encoded = keys.dictionary_encode()
    codes = encoded.indices.to_numpy(zero_copy_only=False)
    order = np.argsort(codes, kind="stable")
    bounds = np.searchsorted(codes[order], np.arange(len(encoded.dictionary) + 1))
    names = encoded.dictionary.to_pylist()
    return [(name, order[bounds[index] : bounds[index + 1]]) for index, name in enumerate(names)]


def _score_paths(schema: pa.Schema) -> list[tuple[str, ...]]:
    """Every column, or field of a struct, that holds floating-point numbers."""
    paths: list[tuple[str, ...]] = []
    for field in schema:
        if pa.types.is_floating(field.type):
            paths.append((field.name,))
        elif pa.types.is_struct(field.type):
            paths += [(field.name, inner.name) for inner in field.type if pa.types.is_floating(inner.type)]
    return paths


def _values(batch: pa.RecordBatch, path: tuple[str, ...]) -> np.ndarray:
    column = batch[path[0]]
    for name in path[1:]:
        column = pc.struct_field(column, name)
    return column.cast(pa.float64()).to_numpy(zero_copy_only=False)


def _table(name: str, rows: dict[str, list[int]]) -> list[dict[str, Any]]:
    ordered = sorted(rows.items(), key=lambda item: (-item[1][0], item[0]))
    return [{name: key, "documents": n[0], "characters": n[1], "bytes": n[2]} for key, n in ordered]
