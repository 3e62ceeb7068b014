"""The two sides of `corpus_build.py`: each runs its pipeline over a folder of WARC files and says what it cost."""

from __future__ import annotations

import json
import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.environment import REPOSITORY
from support.measure import measure

CONFIG = REPOSITORY / "configs" / "corpus" / "real.yaml"
# What stands in the names of datatrove's steps -> our names of steps that do the same.
STEPS = {
    "Warc": "read",
    "Url-filter": "url",
    "Trafilatura": "extract",
    "Language ID": "language",
    "Gopher Repetition": "gopher_repetition",
    "Gopher Quality": "gopher_quality",
    "C4 Quality": "c4",
    "FineWeb Quality": "fineweb",
    "Jsonl": "jsonl (written, read again)",
    "MinHash": "minhash_dedup",
}


@dataclass(frozen=True)
class Run:
    """One run over a folder of pages."""

    cpu: float
    """CPU seconds of all processes."""
    wall: float
    kept: dict[str, int]
    """Pages left after the `filters`, and after the removal of `duplicates` where that is done."""
    steps: dict[str, float]
    """CPU seconds of each step, over all workers."""


class Ours:
    """`llmill corpus build` with the configuration for real pages."""

    def __init__(self, folder: Path, workers: int) -> None:
        self.folder, self.workers = folder, workers

    def run(self, pages: str) -> Run:
        """Build a corpus of the files in the folder `pages`."""
        out = _fresh(self.folder / "ours")
        command = [sys.executable, "-m", "llmill", "corpus", "build", str(CONFIG), "--out", str(out)]
        command += [f"sources.0.inputs={self.folder / pages}/*.warc.gz", f"workers={self.workers}"]
        cost = measure(command, self.folder / f"ours-{pages}.log", _environment(), REPOSITORY)
        rows = json.loads((out / "funnel.json").read_text())
        filters = next(row["kept"] for row in rows if row["step"] == "fineweb")
        timings = json.loads((out / "timings.json").read_text())
        steps = {step: seconds for step, seconds in timings.items() if isinstance(seconds, float)}
        return Run(cost.cpu, cost.wall, {"filters": filters, "duplicates": rows[-1]["kept"]}, steps)


class FineWeb:
    """datatrove's FineWeb pipeline, run by `python`, that of its own environment."""

    def __init__(self, folder: Path, workers: int, python: Path) -> None:
        self.folder, self.workers, self.python = folder, workers, python

    def run(self, pages: str) -> Run:
        """Filter the files in the folder `pages` and compute signatures of what is left."""
        out = _fresh(self.folder / "datatrove")
        place_language_model(out / "assets")
        command = [str(self.python), str(REPOSITORY / "benchmarks" / "support" / "fineweb.py")]
        command += [str(self.folder / pages), str(out), "--workers", str(self.workers)]
        environment = _environment(HF_ASSETS_CACHE=str(out / "assets"))
        cost = measure(command, self.folder / f"datatrove-{pages}.log", environment)
        parts: dict[str, list[dict[str, Any]]] = json.loads((out / "steps.json").read_text())
        steps: dict[str, float] = {}
        for step in [step for part in parts.values() for step in part]:
            name = next(ours for theirs, ours in STEPS.items() if theirs.lower() in step["name"].lower())
            steps[name] = steps.get(name, 0.0) + step["seconds"]
        return Run(cost.cpu, cost.wall, {"filters": int(parts["base"][-1]["stats"]["total"])}, steps)


def place_language_model(assets: Path) -> None:
    """Put the lid.176 that we use where datatrove looks for the one that it would download."""
    from data_pipeline.language import find_model

    name = "https:__dl.fbaipublicfiles.com_fasttext_supervised-models_lid.176.bin"
    target = assets / "datatrove" / "lid" / "ft176" / name
    target.parent.mkdir(parents=True)
    shutil.copyfile(find_model(None), target)
    target.with_name(f"{name}.completed").touch()


def _fresh(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    return folder


def _environment(**more: str) -> dict[str, str]:
    """One thread for each worker, and no network."""
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    return {**os.environ, **threads, "HF_HUB_OFFLINE": "1", **more}
