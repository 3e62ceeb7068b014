"""How many gates the demo passes: reads the last demo run and prints every gate; with no run, makes one.

    python benchmarks/demo.py                  # the run in runs/demo (make demo), about 12 minutes when there is none
    python benchmarks/demo.py --run runs/mine  # another run directory
    python benchmarks/demo.py --quick          # never makes a run: says that there is none

The figure is the share of gates passed, goal 1. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parent.parent
RECIPE = REPOSITORY / "configs" / "recipes" / "demo.yaml"


def main() -> int:
    """Print the gates. Exit status 1 when there is no finished run to read."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, default=REPOSITORY / "runs" / "demo", help="run directory")
    parser.add_argument("--quick", action="store_true", help="only read a run, never make one")
    options = parser.parse_args()
    record = read_run(options.run)
    if record is None and not options.quick:
        make_run(options.run)
        record = read_run(options.run)
    if record is None:
        print(f"no finished demo run in {options.run}; make one with: make demo", file=sys.stderr)
        return 1
    print_gates(record, options.run)
    gates = record["gates"]
    share = sum(bool(gate["passed"]) for gate in gates) / len(gates)
    print(json.dumps({"figure": "demo gates passed", "value": round(share, 4), "goal": 1.0, "unit": "share"}))
    return 0


def read_run(directory: Path) -> dict[str, Any] | None:
    """The record of a finished run with gates, or None."""
    try:
        record: dict[str, Any] = json.loads((directory / "run.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return record if record["status"] == "finished" and record["gates"] else None


def make_run(directory: Path) -> None:
    """Run the demo recipe; its own exit status says whether gates failed, which is for us to count, not to stop at."""
    command = [sys.executable, "-m", "llmill", "run", str(RECIPE), "--out", str(directory)]
    status = subprocess.run(command, cwd=REPOSITORY, stdout=sys.stderr, check=False).returncode
    if status not in (0, 3):
        sys.exit(f"the demo run failed with exit status {status}; its record is {directory / 'run.json'}")


def print_gates(record: dict[str, Any], directory: Path) -> None:
    """The run in a line, then a row per gate."""
    commit = (record.get("git") or {}).get("commit", "unknown")[:10]
    memory = record["peak_rss_bytes"] / 2**30
    print(f"{directory}: commit {commit}, {record['stage_seconds']:.0f} s of stages, peak {memory:.2f} GiB\n")
    rows = [("verdict", "stage", "value", "95% interval", "required", "gate")]
    for gate in record["gates"]:
        low, high = gate.get("ci95") or (None, None)
        interval = f"[{low:.4g}, {high:.4g}]" if low is not None and high is not None else "-"
        value = gate.get("value")
        rows.append(
            (
                "passed" if gate["passed"] else "FAILED",
                gate["stage"],
                f"{value:.4g}" if isinstance(value, (int, float)) else "-",
                interval,
                str(gate.get("requirement", "")),
                gate["name"],
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]) - 1)]
    for row in rows:
        print("  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[-1]]))
    print()


if __name__ == "__main__":
    sys.exit(main())
