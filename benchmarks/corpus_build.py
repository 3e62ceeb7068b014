"""Pages per core-second of our corpus build against datatrove's FineWeb pipeline, on the same real pages.

    python benchmarks/corpus_build.py            # all pages, about six minutes on two cores; writes the result file
    python benchmarks/corpus_build.py --quick    # every so-many-th page, under 50 s

Both read the same WARC files, run with as many workers on the same cores, and write everything afresh. The stages are
FineWeb's: WARC, URL filter with the UT1 lists, extraction, language, Gopher repetition, Gopher quality, C4, FineWeb,
MinHash signature. datatrove's side is `support/fineweb.py`, in an environment of its own, made on first use; ours is
`llmill corpus build` with `configs/corpus/real.yaml`, which beyond those stages removes duplicates, and writes the
corpus and a row with the reason for each page that it drops.

Counted is CPU time, user and system, of all processes. Start-up (imports, lists, models) is measured by the same
commands on one page for each worker. The figure leaves it out on both sides, for a worker of a real build reads
millions of pages; the ratio with it, on these few pages, is printed too. Ours runs twice, before and after
datatrove's, and the mean counts.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from support.environment import REPOSITORY, commit, environment_versions, machine, make_environment, own_versions
from support.sides import FineWeb, Ours
from support.tables import print_table
from support.warc import sample_pages, write_start_pages

DATA = REPOSITORY.parent / "shared" / "data" / "warc"
RESULT = REPOSITORY / "benchmarks" / "results" / "corpus_build.json"
REQUIREMENTS = REPOSITORY / "benchmarks" / "support" / "datatrove-requirements.txt"
FIGURE = "pages per core-second against datatrove's FineWeb pipeline"
GOAL = 12
QUICK_PAGES = 240
OUR_PACKAGES = ["llmill", "datatrove", "fastwarc", "resiliparse", "fasttext", "pyarrow", "numpy"]
THEIR_PACKAGES = ["datatrove", "trafilatura", "spacy", "fasttext-numpy2-wheel", "warcio", "lxml", "numpy"]


def main() -> int:
    """Print the costs of both and their ratio. Exit status 1 when there are no pages to read."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_PAGES} pages, and no result file")
    parser.add_argument("--pages", type=int, help="a sample of so many pages, evenly spread, instead of all")
    parser.add_argument("--data", type=Path, default=DATA, help="folder of .warc.gz files")
    parser.add_argument("--workers", type=int, default=2, help="workers, and cores, of each side")
    parser.add_argument("--keep", type=Path, help="work in this new folder and leave it there")
    options = parser.parse_args()
    files = sorted(options.data.glob("*.warc.gz"))
    if not files:
        print(f"no .warc.gz file in {options.data}; give the folder with --data", file=sys.stderr)
        return 1
    python = make_environment("datatrove", REQUIREMENTS)
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.workers])
    folder = options.keep or Path(tempfile.mkdtemp(prefix="corpus-build-"))
    try:
        result = compare(files, folder, python, options.workers, QUICK_PAGES if options.quick else options.pages)
    finally:
        if not options.keep:
            shutil.rmtree(folder, ignore_errors=True)
    print_result(result)
    if not options.quick:
        RESULT.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps({key: result[key] for key in ("figure", "value", "goal", "unit")}))
    return 0


def compare(files: list[Path], folder: Path, python: Path, workers: int, pages: int | None) -> dict[str, Any]:
    """Run both on `files`, or on `pages` pages of them, working in `folder`; all that the result file holds."""
    count = sample_pages(files, folder / "pages", parts=workers, pages=pages)
    write_start_pages(folder / "start", workers)
    sides = {"ours": Ours(folder, workers), "datatrove": FineWeb(folder, workers, python)}
    start = {name: side.run("start") for name, side in sides.items()}
    first, theirs, second = (sides[name].run("pages") for name in ("ours", "datatrove", "ours"))
    total = {"ours": (first.cpu + second.cpu) / 2, "datatrove": theirs.cpu}
    work = {name: total[name] - start[name].cpu for name in sides}
    steps = {
        name: {step: seconds - start[name].steps.get(step, 0.0) for step, seconds in run.steps.items()}
        for name, run in (("ours", second), ("datatrove", theirs))
    }
    return {
        "figure": FIGURE,
        "value": round(work["datatrove"] / work["ours"], 2),
        "goal": GOAL,
        "unit": "x",
        "value_with_start_up": round(total["datatrove"] / total["ours"], 2),
        "pages": count,
        "workers": workers,
        "pages_per_core_second": {name: round(count / seconds, 1) for name, seconds in work.items()},
        "cpu_seconds": {name: round(seconds, 2) for name, seconds in total.items()},
        "cpu_seconds_of_our_runs": [round(run.cpu, 2) for run in (first, second)],
        "start_up_cpu_seconds": {name: round(run.cpu, 2) for name, run in start.items()},
        "wall_seconds": {"ours": round(second.wall, 1), "datatrove": round(theirs.wall, 1)},
        "kept": {"ours": second.kept, "datatrove": theirs.kept},
        "step_cpu_seconds": {name: {k: round(v, 2) for k, v in values.items()} for name, values in steps.items()},
        "command": "python benchmarks/corpus_build.py" + (f" --pages {pages}" if pages else ""),
        "commit": commit(),
        "machine": machine(),
        "versions": {"ours": own_versions(OUR_PACKAGES), "datatrove": environment_versions(python, THEIR_PACKAGES)},
    }


def print_result(result: dict[str, Any]) -> None:
    """Costs of the steps side by side, then the sums."""
    pages, total, start = result["pages"], result["cpu_seconds"], result["start_up_cpu_seconds"]
    ours, theirs = result["step_cpu_seconds"]["ours"], result["step_cpu_seconds"]["datatrove"]
    work = {name: total[name] - start[name] for name in total}
    rows = [("CPU milliseconds a page", "ours", "datatrove", "ratio")]

    def add(name: str, left: float, right: float) -> None:
        ratio = f"{right / left:.1f}" if left > 1e-4 * work["ours"] and right else "-"
        rows.append((name, f"{left / pages * 1e3:.3f}", f"{right / pages * 1e3:.3f}", ratio))

    for step in [*ours, *(step for step in theirs if step not in ours)]:
        add(step, ours.get(step, 0.0), theirs.get(step, 0.0))
    add("all else", work["ours"] - sum(ours.values()), work["datatrove"] - sum(theirs.values()))
    add("together", work["ours"], work["datatrove"])
    add("start-up", start["ours"], start["datatrove"])
    add("with start-up", total["ours"], total["datatrove"])
    print_table(rows)
    speed, kept = result["pages_per_core_second"], result["kept"]
    print(f"\n{pages} pages, {result['workers']} workers on as many cores")
    print(f"kept by the filters: ours {kept['ours']['filters']}, datatrove {kept['datatrove']['filters']}; ", end="")
    print(f"after removal of duplicates: ours {kept['ours']['duplicates']}")
    print(f"start-up: ours {start['ours']} s of CPU time, datatrove {start['datatrove']} s")
    print(
        f"pages per core-second: ours {speed['ours']}, datatrove {speed['datatrove']}: {result['value']}x "
        f"({result['value_with_start_up']}x with start-up)\n"
    )


if __name__ == "__main__":
    sys.exit(main())
