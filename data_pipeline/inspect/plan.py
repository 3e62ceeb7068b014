"""What a full dump would take, estimated from a measured sample: core-hours, memory, disk, cost.

Every figure is the sample's mean for a page times the dump's pages; `assumptions` of the result say what that rests on.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field
from scipy import stats

from data_pipeline.corpus.build import build_corpus
from data_pipeline.corpus.config import CorpusConfig
from millbase.artifacts import Manifest, open_artifact
from millbase.config import Config, load_config, read_yaml
from millbase.errors import ArtifactError

_GIB = 2**30
_BYTES_A_DOCUMENT = 200
"""What a mixture and decontamination hold for each document; duplicates are sorted within `dedup.memory_bytes`."""
_LIKE_BYTES = 1.5
_ENOUGH_DOCUMENTS = 20_000
"""With fewer, start-up is most of what the part over all documents takes."""


class PlanConfig(Config):
    """The dump to plan for, and the machines."""

    dump: str = "CC-MAIN"
    """Name of the dump, for the table."""
    files: int = Field(default=90_000, ge=1)
    """WARC files of the dump; its listing of paths has as many lines."""
    pages: float = Field(default=3e9, gt=0)
    """Response records of the dump."""
    file_bytes: float = Field(default=1e9, gt=0)
    """Mean size of a WARC file as stored."""
    cores: int = Field(default=1000, ge=1)
    """Cores that read files at a time."""
    price: float = Field(default=0.04, ge=0)
    """Price of a core-hour."""


def plan_dump(config: PlanConfig, corpus: str | Path) -> dict[str, Any]:
    """Estimates as JSON values, from the `corpus` built of a sample of the dump.

    `steps`: CPU milliseconds a page with a 95% interval and core-hours of each step; `total`: core-hours, cost and
    hours of wall time; `by_bytes`: core-hours if cost followed the bytes read rather than the pages; `memory`, `disk`:
    bytes; `sample`: what was measured; `assumptions`: in words. Raises ArtifactError when the corpus holds no timings.
    """
    manifest = open_artifact(corpus, kind="corpus", verify=False)
    timings = json.loads((manifest.path / "timings.json").read_text(encoding="utf-8"))
    files = [file for file in timings.get("files", []) if "cpu_seconds" in file]
    if not files or not sum(file["read"] for file in files):
        raise ArtifactError(
            f"{str(corpus)!r} holds no timings by file: it was built by an older version; build the sample again"
        )
    steps = _steps(files, config.pages)
    overall = _overall(timings["overall"], manifest, config)
    hours = steps[-1]["core_hours"] + overall["core_hours"]
    low, high = steps[-1]["core_hours_ci95"] or (None, None)
    sample = _sample(files)
    by_bytes = sample["cpu_seconds"] / sample["bytes"] * config.files * config.file_bytes / 3600
    return {
        "dump": config.to_dict(),
        "sample": sample,
        "steps": steps,
        "overall": overall,
        "total": {
            "core_hours": hours,
            "core_hours_ci95": None if low is None else [low + overall["core_hours"], high + overall["core_hours"]],
            "cost": hours * config.price,
            "wall_hours": steps[-1]["core_hours"] / config.cores + overall["core_hours"],
        },
        "by_bytes": {"core_hours": by_bytes, "cost": by_bytes * config.price},
        "memory": {"worker": max(file["peak_rss_bytes"] for file in files), "overall": overall["memory_bytes"]},
        "disk": _disk(manifest, timings, config),
        "assumptions": _assumptions(config, sample, overall),
    }


def build_sample(inputs: list[str], config: str | Path | None, out: Path) -> Path:
    """Build the corpus that a plan measures, of the files `inputs`, with the steps of the configuration file `config`.

    One worker reads, so that nothing but other programs disturbs its CPU times.
    """
    values = {} if config is None else dict(read_yaml(config) or {})
    values |= {"sources": [{"name": "sample", "inputs": inputs}], "workers": 1, "truth": None}
    return build_corpus(load_config(CorpusConfig, values), out)


def _steps(files: Sequence[dict[str, Any]], pages: float) -> list[dict[str, Any]]:
    """A row for each step, one for what lies between them (writing, waiting for nobody), and the total."""
    names = list(dict.fromkeys(name for file in files for name in file["seconds"]))
    read = np.array([file["read"] for file in files], dtype=np.float64)
    columns = {name: np.array([file["seconds"].get(name, 0.0) for file in files]) for name in names}
    total = np.array([file["cpu_seconds"] for file in files])
    columns["other"] = np.maximum(total - sum(columns.values()), 0.0)
    columns["all"] = total
    rows = []
    for name, seconds in columns.items():
        mean, interval = ratio(seconds, read)
        hours = mean * pages / 3600
        bounds = None if interval is None else [bound * pages / 3600 for bound in interval]
        milliseconds = None if interval is None else [bound * 1000 for bound in interval]
        rows.append(
            {
                "step": name,
                "ms_a_page": mean * 1000,
                "ms_a_page_ci95": milliseconds,
                "core_hours": hours,
                "core_hours_ci95": bounds,
            }
        )
    return rows


def ratio(numerator: np.ndarray, denominator: np.ndarray) -> tuple[float, list[float] | None]:
    """sum / sum over files with its 95% interval, by the linearised variance of a ratio estimator over clusters and
    Student's t (Cochran, Sampling Techniques, section 6.3); no interval from a single file."""
    mean = float(numerator.sum() / denominator.sum())
    count = len(numerator)
    if count < 2:
        return mean, None
    residuals = numerator - mean * denominator
    error = math.sqrt(float((residuals**2).sum()) * count / (count - 1)) / float(denominator.sum())
    half = float(stats.t.ppf(0.975, count - 1)) * error
    return mean, [max(0.0, mean - half), mean + half]


def _overall(usage: dict[str, Any], manifest: Manifest, config: PlanConfig) -> dict[str, Any]:
    """The part over all documents: duplicates, mixture and shards, in one process."""
    reached = _documents_reached(manifest)
    scale = config.pages / manifest.stats["read"]
    settings = manifest.config
    limit = int(settings.get("dedup", {}).get("memory_bytes", 0))
    weighted = any(source.get("weight") for source in settings["sources"]) or settings.get("mixture", {}).get("weights")
    held = _BYTES_A_DOCUMENT if weighted or settings.get("decontaminate", {}).get("sets") else 0
    return {
        "core_hours": usage["cpu_seconds"] * scale / 3600,
        "documents": reached * scale,
        "sample_documents": reached,
        "mostly_start_up": reached < _ENOUGH_DOCUMENTS,
        "memory_bytes": usage["rss_before_bytes"] + limit + held * reached * scale,
        "bytes_a_document": held,
    }


def _documents_reached(manifest: Manifest) -> int:
    """Documents that came out of the steps that look at one page at a time."""
    rows = json.loads((manifest.path / "funnel.json").read_text(encoding="utf-8"))
    overall = ("decontaminate", "mixture")
    reached = (row["read"] for row in rows if row["step"] in overall or row["step"].endswith("_dedup"))
    return int(next(reached, rows[-1]["kept"]))


def _disk(manifest: Manifest, timings: dict[str, Any], config: PlanConfig) -> dict[str, float]:
    scale = config.pages / manifest.stats["read"]
    sizes = {"corpus": 0, "dropped": 0}
    for name, item in manifest.files.items():
        folder = name.partition("/")[0]
        if folder in ("data", "dropped"):
            sizes["corpus" if folder == "data" else "dropped"] += item["bytes"]
    work = timings.get("bytes", {}).get("tasks", 0)
    return {
        "input": config.files * config.file_bytes,
        "corpus": sizes["corpus"] * scale,
        "dropped": sizes["dropped"] * scale,
        "work_directory": work * scale,
        "at_most_at_once": (work + sum(sizes.values())) * scale,
    }


def _sample(files: Sequence[dict[str, Any]]) -> dict[str, Any]:
    names = ("read", "kept", "bytes", "cpu_seconds", "wall_seconds")
    sums = {name: sum(file[name] for file in files) for name in names}
    return {"files": len(files), **sums, "bytes_a_page": sums["bytes"] / sums["read"]}


def _assumptions(config: PlanConfig, sample: dict[str, Any], overall: dict[str, Any]) -> list[str]:
    wanted = config.files * config.file_bytes / config.pages
    lines = [
        f"the dump has {config.files:,} files, {config.pages:,.0f} pages and {config.file_bytes / 1e9:.2f} GB a file "
        "(--files, --pages, --file-gb)",
        "the dump's pages cost what the sample's did, on cores like this machine's; intervals are over the sample's "
        "files and know nothing of other machines",
        "reading, extraction and filters grow with the pages; waiting for the network is not counted",
        "the part over all documents grows with the documents; but for the comparison of signatures it runs in one "
        "process",
    ]
    if sample["files"] < 5:
        lines.append(f"the sample has only {sample['files']} files: take ten or more, of different segments")
    larger = sample["bytes_a_page"] / wanted
    if not 1 / _LIKE_BYTES < larger < _LIKE_BYTES:
        lines.append(
            f"the sample stores {sample['bytes_a_page'] / 1e3:.0f} kB a page, the dump {wanted / 1e3:.0f} kB: other "
            "pages; the estimate by bytes may be nearer"
        )
    if overall["mostly_start_up"]:
        lines.append(
            f"only {overall['sample_documents']:,} documents of the sample reached the part over all documents, and "
            f"much of its time is start-up: its hours are an upper bound; take {_ENOUGH_DOCUMENTS:,} or more"
        )
    each = f" and {overall['bytes_a_document']} bytes for each" if overall["bytes_a_document"] else ""
    lines.append(
        f"{overall['documents']:,.0f} documents reach that part; it holds dedup.memory_bytes{each} (by design, not "
        "measured at this size)"
    )
    return lines
