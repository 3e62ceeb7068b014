"""The mixtures of proxy runs, each as a configuration of `llmill corpus mix`, and a script that runs them.

llmill corpus mix-candidates corpus=runs/corpus runs=64 run_bytes=4e8 --out runs/candidates
"""

from __future__ import annotations

import csv
import shlex
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import yaml

from data_pipeline.mixture.regmix.config import CandidatesConfig, DrawConfig
from data_pipeline.mixture.regmix.draw import as_mixture, draw_mixtures, natural
from data_pipeline.texts import corpus_files
from data_pipeline.write.columns import string_column
from data_pipeline.write.derived import open_table
from millbase.artifacts import Manifest, create_artifact, open_artifact
from millbase.atomic import atomic_write
from millbase.errors import InputError

KIND = "mixture-candidates"
RUN = "run"
WEIGHT = "weight."


def write_candidates(config: CandidatesConfig, out: str | Path) -> Path:
    """Write the `mixture-candidates` artifact `out`: `candidates.csv`, `runs/000.yaml`, ..., and `commands.sh`.

    Raises ArtifactError for a bad corpus, InputError when it has one source only, ConfigError for impossible limits.
    """
    inputs: dict[str, str | Path | list[str] | None] = {"corpus": config.corpus, "recipe": config.recipe}
    with create_artifact(out, kind=KIND, config=config, inputs=inputs, seed=config.seed) as artifact:
        sizes = dict(config.sizes)
        if config.corpus is not None:
            sizes = source_sizes(open_artifact(config.corpus, kind="corpus", verify=False), config.column)
        if len(sizes) < 2:
            raise InputError(f"a mixture needs two sources or more, found {', '.join(sizes) or 'none'}")
        names = list(sizes)
        weights = _draw(config, sizes)
        with atomic_write(artifact.path / "candidates.csv") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow([RUN, *(f"{WEIGHT}{name}" for name in names)])
            for number, row in enumerate(weights):
                writer.writerow([f"{number:03d}", *(f"{value:.6f}" for value in row)])
        _write_runs(config, names, weights, artifact.path, Path(out))
        artifact.stats.update(runs=len(weights), sources=sizes)
    return Path(out)


def source_sizes(corpus: Manifest, column: str) -> dict[str, float]:
    """Bytes of text by the values of a column, largest first."""
    sizes: Counter[str] = Counter()
    for file in corpus_files(corpus):
        table = open_table(file)
        part = pa.table(
            {"name": string_column(table, column), "bytes": pc.binary_length(table["text"]).cast(pa.int64())}
        )
        for row in part.group_by("name").aggregate([("bytes", "sum")]).to_pylist():
            sizes[row["name"]] += row["bytes_sum"]
    return {name: float(size) for name, size in sorted(sizes.items(), key=lambda item: (-item[1], item[0])) if size}


def _draw(config: CandidatesConfig, sizes: dict[str, float]) -> np.ndarray:
    """float64 [runs, K]; the first row is the natural mixture."""
    draw = config.draw
    if config.run_bytes is not None:
        epochs = {name: config.max_epochs * size / config.run_bytes for name, size in sizes.items()}
        limits = {n: min(limit, draw.max_weights.get(n, 1.0)) for n, limit in epochs.items() if limit < 1}
        draw = DrawConfig(**{**draw.to_dict(), "max_weights": {**draw.max_weights, **limits}})
    generator = np.random.default_rng([config.seed, 1])
    prior = natural(sizes, config.temperature)
    others = draw_mixtures(list(sizes), prior, config.runs - 1, draw, generator)
    return np.concatenate([natural(sizes)[None], others])


def _write_runs(config: CandidatesConfig, names: list[str], weights: np.ndarray, folder: Path, out: Path) -> None:
    (folder / "runs").mkdir(exist_ok=True)
    commands = [
        "#!/bin/sh",
        "# one proxy run after the other; each line may as well run on a machine of its own",
        "set -e",
    ]
    for number, row in enumerate(weights):
        mixture: dict[str, Any] = {"column": config.column, **as_mixture(names, row), "max_epochs": config.max_epochs}
        if config.run_bytes is not None:
            mixture["total_bytes"] = config.run_bytes
        content = {"corpus": config.corpus or "SET THIS", "mixture": mixture, "seed": config.seed}
        with atomic_write(folder / "runs" / f"{number:03d}.yaml") as file:
            yaml.safe_dump(content, file, sort_keys=False, allow_unicode=True)
        commands.append(_command(config, mixture, number, out))
    with atomic_write(folder / "commands.sh") as file:
        file.write("\n".join(commands) + "\n")


def _command(config: CandidatesConfig, mixture: dict[str, Any], number: int, out: Path) -> str:
    if config.recipe is None:
        return shlex.join(
            ["llmill", "corpus", "mix", f"{out}/runs/{number:03d}.yaml", "--out", f"{out}-{number:03d}/corpus"]
        )
    fields = [
        f"{config.mix_stage}.mixture.{key}={yaml.safe_dump(value, default_flow_style=True, width=10**6).strip()}"
        for key, value in mixture.items()
    ]
    fields = [field.removesuffix("\n...") for field in fields]
    return shlex.join(["llmill", "run", config.recipe, "--out", f"{out}-{number:03d}", *fields])
