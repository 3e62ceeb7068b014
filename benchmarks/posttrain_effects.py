"""What each post-training method does to a 1M-parameter model that adds two-digit numbers.

    python benchmarks/posttrain_effects.py                    # every method, three seeds each
    python benchmarks/posttrain_effects.py --method ppo       # one; the others' results are kept
    python benchmarks/posttrain_effects.py --method ppo --seed 11    # one seed of it; its other seeds are kept
    python benchmarks/posttrain_effects.py --quick            # one seed, a few updates: shows that everything runs

All start from one model, made by SFT and stopped while many answers are wrong (`support/sums.py`; made once).
Settings were chosen with another seed on problems set aside for it; figures are on held-out problems. Intervals are
Student's t over the three seeds. The figure is the share of methods that reach their goal.
"""

from __future__ import annotations

import argparse
import importlib
import itertools
import json
import math
import pkgutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from support import effects
from support.environment import commit, machine, own_versions
from support.sums import start_model
from support.tables import print_table

from evaluation.statistics import mean

RESULT = Path(__file__).resolve().parent / "results" / "posttrain_effects.json"
FIGURE = "share of post-training methods that reach their goal on two-digit sums"
SEEDS = (11, 12, 13)
"""Fresh: none of them was used to choose a setting."""


def main() -> int:
    """Measure the methods asked for and print everything known."""
    names = sorted(module.name for module in pkgutil.iter_modules(effects.__path__))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--method", choices=names, action="append", help="measure this one (may be given again)")
    parser.add_argument("--seed", type=int, choices=SEEDS, action="append", help="this seed only (may be given again)")
    parser.add_argument("--work", type=Path, help="keep the runs in this folder, and go on with those that are there")
    parser.add_argument("--quick", action="store_true", help="one seed, a few updates; writes nothing")
    options = parser.parse_args()
    chosen = options.method or names
    seeds = SEEDS[:1] if options.quick else tuple(options.seed or SEEDS)
    known: dict[str, Any] = {}
    for name, seed in itertools.product(chosen, seeds):
        run = measure(name, seed, options.quick, options.work)
        known = {**known, name: summary(name, {seed: run})} if options.quick else save(name, seed, run)
    print_methods(known)
    last = figure(known)
    print(json.dumps(last))
    return 0


def measure(name: str, seed: int, quick: bool, kept: Path | None) -> dict[str, float]:
    """One method's measures of one seed, its runs in a folder of `kept`, where they go on if they were stopped."""
    method = importlib.import_module(f"support.effects.{name}")
    with tempfile.TemporaryDirectory(prefix=f"effects-{name}-") as folder:
        work = Path(folder) if kept is None else kept / f"{name}-{seed}{'-quick' * quick}"
        work.mkdir(parents=True, exist_ok=True)
        run: dict[str, float] = method.run(start_model(), seed, work, quick)
    print(f"{name}, seed {seed}: {json.dumps({key: round(value, 3) for key, value in run.items()})}", flush=True)
    return run


def summary(name: str, by_seed: dict[int, dict[str, float]]) -> dict[str, Any]:
    """Means and 95% intervals over seeds, and whether the goal is reached."""
    method = importlib.import_module(f"support.effects.{name}")
    runs = list(by_seed.values())
    measures = {}
    for key in runs[0]:
        values = [run[key] for run in runs]
        estimate = mean(values)
        bounds = [bound if math.isfinite(bound) else None for bound in (estimate.low, estimate.high)]  # of one seed
        measures[key] = {"mean": estimate.value, "low": bounds[0], "high": bounds[1], "seeds": values}
    means = {key: value["mean"] for key, value in measures.items()}
    reached = bool(method.reached(means)) and list(by_seed) == list(SEEDS)
    return {"goal": method.GOAL, "reached": reached, "seeds": list(by_seed), "measures": measures, "commit": commit()}


def save(name: str, seed: int, run: dict[str, float]) -> dict[str, Any]:
    """Put what was measured now beside what was measured before; returns all methods."""
    methods = json.loads(RESULT.read_text(encoding="utf-8"))["methods"] if RESULT.is_file() else {}
    old = methods.get(name, {"seeds": [], "measures": {}})
    before = {seed: {key: value["seeds"][n] for key, value in old["measures"].items()}
              for n, seed in enumerate(old["seeds"])}  # fmt: skip
    # runs of a method that measured something else then say nothing about it now
    before = {one: kept for one, kept in before.items() if kept.keys() == run.keys()} | {seed: run}
    methods[name] = summary(name, {seed: before[seed] for seed in SEEDS if seed in before})
    methods = dict(sorted(methods.items()))
    result = {**figure(methods), "methods": methods, "machine": machine()}
    result["versions"] = own_versions(["torch", "transformers", "trl", "peft"])
    RESULT.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return methods


def figure(methods: dict[str, Any]) -> dict[str, Any]:
    """The last line."""
    share = sum(method["reached"] for method in methods.values()) / len(methods)
    return {"figure": FIGURE, "value": round(share, 3), "goal": 1.0, "unit": "share"}


def print_methods(methods: dict[str, Any]) -> None:
    """Every measure with its interval."""
    rows = [("method", "measure", "mean", "95% interval", "seeds")]
    for name, method in methods.items():
        for key, value in method["measures"].items():
            interval = "one seed" if value["low"] is None else f"{value['low']:.2f} to {value['high']:.2f}"
            rows.append((name, key, f"{value['mean']:.2f}", interval, " ".join(f"{v:.2f}" for v in value["seeds"])))
        rows.append((name, "goal", method["goal"], "", "reached" if method["reached"] else "NOT reached"))
    print_table(rows)


if __name__ == "__main__":
    sys.exit(main())
