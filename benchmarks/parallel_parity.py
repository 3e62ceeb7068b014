"""Every layout against a single process: losses and gradient norms over ten steps in float32, for every model family.

    python benchmarks/parallel_parity.py            # the whole matrix, about ten minutes on two cores; kept in results/
    python benchmarks/parallel_parity.py --work DIR # goes on after a stop; give a new folder when the code changed
    python benchmarks/parallel_parity.py --quick    # a few layouts on two processes; under 50 s

Small models of each family (dense, tied with QK norms, mixture of experts, latent attention, multi-token prediction,
and all of these as in DeepSeek-V3) are trained from one initial state: on one process, and on each layout of tensor,
sequence, pipeline (plain, uneven, interleaved), data (ZeRO-0 to 3, with overlap), context and expert parallelism,
of recomputation, and of their combinations on up to four processes over gloo. The same code runs on GPUs over NCCL.
A layout is within the bound when no step's loss differs by more than 2e-5 nats and no step's gradient norm by more than
2e-5 of itself.

The figure is the share of layouts within the bound. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from support.environment import REPOSITORY, commit, machine, own_versions
from support.tables import print_table

from training.pretrain.parity import FAMILIES, STEPS, Outcome, measure
from training.pretrain.parity_cases import all_cases, compact_cases

RESULT = REPOSITORY / "benchmarks" / "results" / "parallel_parity.json"
FIGURE = "share of layouts that train the same model as one process"
BOUND = 2e-5


def main() -> int:
    """Print the matrix. Exit status 1 when a layout is out of the bound."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a few layouts, no result file")
    parser.add_argument("--family", choices=list(FAMILIES), action="append", help="only this family, no result file")
    parser.add_argument("--work", type=Path, help="folder for the curves; those of an interrupted run are taken")
    options = parser.parse_args()
    cases = compact_cases() if options.quick else all_cases()
    if options.family:
        cases = [case for case in cases if case.family in options.family]
    began = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="parity-") as folder:
        outcomes = measure(cases, options.work or Path(folder), resume=options.work is not None)
    print_matrix(outcomes)
    inside = [within(outcome) for outcome in outcomes]
    print(f"\n{sum(inside)} of {len(inside)} within {BOUND:g}, {STEPS} steps, {time.perf_counter() - began:.0f} s")
    last = {"figure": FIGURE, "value": round(sum(inside) / len(inside), 4), "goal": 1, "unit": "share"}
    if not options.quick and not options.family:
        result = {**last, "bound": BOUND, "steps": STEPS, "layouts": [row(outcome) for outcome in outcomes]}
        result |= {"commit": commit(), "machine": machine(), "versions": own_versions(["torch", "megatron-core"])}
        RESULT.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(last))
    return 0 if all(inside) else 1


def within(outcome: Outcome) -> bool:
    """True when loss and gradient norm stay within the bound (NaN does not)."""
    return outcome.loss <= BOUND and outcome.norm <= BOUND


def row(outcome: Outcome) -> dict[str, object]:
    """An outcome as it is kept."""
    case = outcome.case
    return {
        "family": case.family,
        "layout": case.layout + (" masked" if case.masked else ""),
        "processes": case.world_size,
        "loss": outcome.loss,
        "norm": outcome.norm,
        "within": within(outcome),
        "error": outcome.error,
    }


def print_matrix(outcomes: list[Outcome]) -> None:
    """Layouts down, families across: the larger of the two differences."""
    found = {(str(row(o)["layout"]), o.case.family): o for o in outcomes}
    layouts = list(dict.fromkeys(layout for layout, _ in found))
    rows = [("largest difference of loss or gradient norm", *FAMILIES)]
    for layout in layouts:
        cells = []
        for family in FAMILIES:
            outcome = found.get((layout, family))
            worst = "" if outcome is None else f"{max(outcome.loss, outcome.norm):.0e}"
            cells.append(worst if outcome is None or within(outcome) else f"{worst} NO {outcome.error[:60]}".strip())
        rows.append((layout, *cells))
    print_table(rows)


if __name__ == "__main__":
    sys.exit(main())
