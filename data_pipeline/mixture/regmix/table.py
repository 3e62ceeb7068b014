"""Proxy runs from files: the weights of each and its losses."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from typing import Any

import numpy as np

from data_pipeline.mixture.regmix.config import MixFitConfig
from data_pipeline.texts import read_records
from millbase.config import suggest
from millbase.errors import ConfigError, InputError
from millbase.files import open_file

WEIGHT, LOSS, RUN = "weight.", "loss.", "run"
_MIN_RUNS = 8


@dataclass(frozen=True)
class ProxyRuns:
    """R proxy runs over K sources, with losses on D validation domains."""

    sources: list[str]
    weights: np.ndarray
    """float64 [R, K], rows sum to 1."""
    domains: list[str]
    losses: np.ndarray
    """float64 [R, D]"""
    factors: np.ndarray
    """float64 [D] share of each domain in what is minimised."""

    @property
    def objective(self) -> np.ndarray:
        """float64 [R] what is minimised."""
        return np.asarray(self.losses @ self.factors)


def read_runs(config: MixFitConfig) -> ProxyRuns:
    """The runs of a configuration; those without losses (not finished) are left out.

    Raises InputError for rows that do not fit, and when fewer than 8 runs have losses; ConfigError for an objective
    over unknown domains.
    """
    rows = _rows(config.table)
    if config.losses is not None:
        rows = _join(rows, _rows(config.losses), config)
    sources, domains = (sorted({k for row in rows for k in row[kind]}) for kind in ("weights", "losses"))
    finished = [row for row in rows if row["losses"]]
    where = config.losses or config.table
    if not sources:
        raise InputError(f"{config.table!r} has no weights; expected columns {WEIGHT}SOURCE, or a mapping 'weights'")
    if len(finished) < _MIN_RUNS:
        raise InputError(
            f"{where!r} has losses of {len(finished)} runs, expected {_MIN_RUNS} or more; run more of them"
        )
    weights = np.array([[row["weights"].get(name, 0.0) for name in sources] for row in finished])
    totals = weights.sum(axis=1)
    for row, total in zip(finished, totals, strict=True):
        if not 0.98 <= total <= 1.02 or min(row["weights"].values()) < 0:
            raise InputError(
                f"{config.table!r}, run {row['run']}: weights add up to {total:.4g}, expected 1, none negative"
            )
        missing = [name for name in domains if name not in row["losses"]]
        if missing:
            raise InputError(f"{where!r}, run {row['run']}: no loss of domain {missing[0]!r}, which other runs have")
    losses = np.array([[row["losses"][name] for name in domains] for row in finished])
    if not np.isfinite(losses).all():
        bad = finished[int(np.flatnonzero(~np.isfinite(losses).all(axis=1))[0])]
        raise InputError(f"{where!r}, run {bad['run']}: a loss is not finite; leave the run out, its training diverged")
    return ProxyRuns(sources, weights / totals[:, None], domains, losses, _factors(domains, config))


def _factors(domains: list[str], config: MixFitConfig) -> np.ndarray:
    wanted = config.objective or dict.fromkeys(domains, 1.0)
    for name in wanted:
        if name not in domains:
            raise ConfigError(f"objective: no domain {name!r} among the losses{suggest(name, domains)}")
    factors = np.array([wanted.get(name, 0.0) for name in domains])
    if not factors.sum():
        raise ConfigError("objective: every weight is 0; give one domain more")
    return np.asarray(factors / factors.sum())


def _rows(path: str) -> list[dict[str, Any]]:
    rows = []
    for number, record in enumerate(_records(path)):
        if not isinstance(record, dict):
            raise InputError(
                f"{path!r}, row {number}: expected a mapping, found {type(record).__name__}; give CSV or JSONL"
            )
        flat = {f"{kind}.{key}": value for kind, name in (("weight", "weights"), ("loss", "losses"))
                for key, value in (record.get(name) or {}).items()}  # fmt: skip
        flat |= {key: value for key, value in record.items() if isinstance(key, str)}
        row: dict[str, Any] = {"run": str(record.get(RUN, number)), "weights": {}, "losses": {}}
        for kind, prefix in (("weights", WEIGHT), ("losses", LOSS)):
            for key, value in flat.items():
                if key.startswith(prefix) and value not in ("", None):
                    row[kind][key.removeprefix(prefix)] = _number(value, path, row["run"], key)
        rows.append(row)
    names = [row["run"] for row in rows]
    if len(set(names)) < len(names):
        raise InputError(f"{path!r}: run {max(set(names), key=names.count)} stands there twice; keep one of the rows")
    return rows


def _records(path: str) -> list[Any]:
    if not path.removesuffix(".gz").removesuffix(".zst").endswith(".csv"):
        return list(read_records(path))
    with open_file(path) as lines:
        return list(csv.DictReader(lines))


def _number(value: Any, path: str, run: str, key: str) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        raise InputError(f"{path!r}, run {run}: {key} is {value!r}, expected a number") from None


def _join(rows: list[dict[str, Any]], more: list[dict[str, Any]], config: MixFitConfig) -> list[dict[str, Any]]:
    losses = {row["run"]: row["losses"] for row in more}
    unknown = sorted(set(losses) - {row["run"] for row in rows})
    if unknown:
        raise InputError(f"{config.losses!r}: run {unknown[0]!r} is not in {config.table!r}; both name runs in 'run'")
    return [row | {"losses": {**row["losses"], **losses.get(row["run"], {})}} for row in rows]
