"""MinHash: speed from text to signature, precision and recall of duplicates, memory; against datatrove and datasketch.

    python benchmarks/minhash.py            # about ten minutes on two cores; writes the result file
    python benchmarks/minhash.py --quick    # fewer pages, no 200,000 documents; under 50 s

Speed: the main texts of real pages through our `Fingerprint` step (which also hashes the whole text), datatrove's
`MinhashDedupSignature` (FineWeb's settings, files written to disk) and datasketch's `update_batch` on shingles cut by a
regular expression. CPU time of one process after a warm-up; 14 x 8 permutations over 5-word shingles for all.

Duplicates: manual pages of two Debian releases, for which all pairs of exact Jaccard similarity of 0.3 and more are
known. Pairs in one group are compared with the pairs at or above a threshold T: ours verifies candidates with
`min_similarity = T - 0.1`, two standard errors of the estimate; datatrove's four stages and datasketch's
`MinHashLSH` cannot verify. Each with several seeds.

Memory: a corpus of 200,000 documents of 500 words, a fifth of them exact or near copies, through `llmill corpus build`
with two workers and `dedup.memory_bytes` of 128 MiB; the peak is of the process that compares them all.

The figure is datatrove's CPU time over ours. The last line is JSON.
"""

from __future__ import annotations

import argparse
import gzip
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from loguru import logger
from support.environment import REPOSITORY, commit, machine, own_versions
from support.measure import measure
from support.neardup import Pairs, datasketch_groups, datasketch_signature, datatrove_groups, our_groups, read_pairs
from support.tables import print_table

DATA = REPOSITORY.parent / "shared" / "data"
RESULT = REPOSITORY / "benchmarks" / "results" / "minhash.json"
FIGURE = "text to MinHash signature, speed against datatrove's step"
GOAL = 50
THRESHOLDS = (0.7, 0.75, 0.8)
DOCUMENTS, WORDS, MEMORY = 200_000, 500, 128 << 20


def main() -> int:
    """Print the three tables. Exit status 1 where the data is absent."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer pages and seeds, no memory run, no result file")
    parser.add_argument("--data", type=Path, default=DATA, help="folder with extraction/ and neardup/")
    options = parser.parse_args()
    logger.disable("datatrove")
    gold = sorted((options.data / "extraction").glob("*.gold.jsonl.gz"))
    neardup = options.data / "neardup" / "debian_versions"
    if not gold or not neardup.is_dir():
        print(
            f"no extraction/*.gold.jsonl.gz or neardup/ in {options.data}; give the folder with --data", file=sys.stderr
        )
        return 1
    speed = compare_speed(page_texts(gold, 150 if options.quick else 300))
    print_speed(speed)
    pairs = read_pairs(neardup, part=5 if options.quick else 1)
    duplicates = compare_duplicates(pairs, seeds=2 if options.quick else 3)
    print_duplicates(duplicates, pairs)
    ratio = speed["datatrove"]["microseconds"] / speed["ours"]["microseconds"]
    last = {"figure": FIGURE, "value": round(ratio, 1), "goal": GOAL, "unit": "x"}
    if not options.quick:
        memory = memory_run()
        print_memory(memory)
        result = {**last, "speed": speed, "duplicates": duplicates, "memory": memory, "commit": commit()}
        result |= {"machine": machine(), "versions": own_versions(["datatrove", "datasketch", "numpy", "spacy"])}
        RESULT.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(last))
    return 0


def page_texts(files: list[Path], count: int) -> list[str]:
    """Main texts of about `count` pages, evenly from all files."""
    texts = [json.loads(line)["text"] for file in files for line in gzip.open(file, "rt", encoding="utf-8")]
    texts = [text for text in texts if text]
    return texts[:: max(1, len(texts) // count)]


def compare_speed(texts: list[str]) -> dict[str, Any]:
    """CPU microseconds a page of each side."""
    from datatrove.data import Document
    from datatrove.pipeline.dedup import MinhashDedupSignature
    from datatrove.pipeline.dedup.minhash import MinhashConfig
    from datatrove.utils.hashing import HashConfig

    from data_pipeline.dedup import DedupConfig, Fingerprint
    from data_pipeline.minhash import MinHashConfig, MinHasher

    def documents() -> list[Document]:
        return [Document(text=text, id=str(n), metadata={"url": ""}) for n, text in enumerate(texts)]

    hasher, step = MinHasher(MinHashConfig()), Fingerprint(DedupConfig())
    folder = Path(tempfile.mkdtemp(prefix="minhash-"))
    theirs = MinhashDedupSignature(str(folder), MinhashConfig(hash_config=HashConfig(precision=64, hash_fc="sha1")))
    repeat = 10
    sides: dict[str, tuple[Callable[[], Any], Callable[[], Any], int]] = {
        "ours": (lambda: list(step.run(documents()[:5])), lambda: [list(step.run(d)) for d in made], repeat),
        "ours, signatures only": (
            lambda: hasher.signatures(texts[:5]),
            lambda: [hasher.signatures(texts) for _ in range(repeat)],
            repeat,
        ),
        "datatrove": (lambda: theirs.run(documents()[:5]), lambda: theirs.run(documents()), 1),
        "datasketch": (
            lambda: datasketch_signature(texts[0], 1),
            lambda: [datasketch_signature(text, 1) for text in texts],
            1,
        ),
    }
    made = [documents() for _ in range(repeat)]
    result: dict[str, Any] = {}
    try:
        for name, (warm_up, work, times) in sides.items():
            warm_up()
            started = time.process_time()
            work()
            result[name] = {"microseconds": (time.process_time() - started) / times / len(texts) * 1e6}
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return result | {"pages": len(texts), "characters": sum(map(len, texts)) / len(texts)}


def print_speed(speed: dict[str, Any]) -> None:
    """Cost of a page for each side."""
    print(f"{speed['pages']} pages of {speed['characters']:,.0f} characters on average, one process\n")
    rows = [("", "microseconds a page", "pages/s", "ours is faster")]
    for name in ("ours", "ours, signatures only", "datatrove", "datasketch"):
        cost = speed[name]["microseconds"]
        rows.append((name, f"{cost:,.0f}", f"{1e6 / cost:,.0f}", f"{cost / speed['ours']['microseconds']:,.1f}x"))
    print_table(rows)
    print()


def compare_duplicates(pairs: Pairs, seeds: int) -> list[dict[str, Any]]:
    """Precision and recall of each side at each threshold, means over seeds."""
    shingles: dict[str, Any] = {}  # datatrove's, which take nearly all of its time and do not depend on the seed
    peers = {
        "datatrove": [datatrove_groups(pairs, seed, shingles) for seed in range(1, seeds + 1)],
        "datasketch": [datasketch_groups(pairs, seed) for seed in range(1, seeds + 1)],
    }
    rows = []
    for threshold in THRESHOLDS:
        limit = round(threshold - 0.1, 2)
        sides = {"ours": [our_groups(pairs, seed, limit) for seed in range(seeds)], **peers}
        for name, runs in sides.items():
            measured = np.array([pairs.precision_recall(labels, threshold) for labels in runs])
            mean = measured.mean(axis=0)
            error = measured.std(axis=0, ddof=1) / np.sqrt(len(runs))
            row = {"threshold": threshold, "side": name, "precision": mean[0], "recall": mean[1]}
            row |= {"precision_error": error[0], "recall_error": error[1], "seeds": seeds}
            rows.append({key: round(value, 4) if isinstance(value, float) else value for key, value in row.items()})
    return rows


def print_duplicates(rows: list[dict[str, Any]], pairs: Pairs) -> None:
    """Precision and recall."""
    print(
        f"{len(pairs.texts):,} manual pages, {len(pairs.similarity):,} pairs of similarity 0.3 and more; over seeds\n"
    )
    table = [("pairs of similarity", "side", "precision", "recall")]
    for row in rows:
        cells = (f"{row[key]:.3f} ± {row[f'{key}_error']:.3f}" for key in ("precision", "recall"))
        table.append((f">= {row['threshold']}", row["side"], *cells))
    print_table(table)
    print()


def memory_run() -> dict[str, Any]:
    """Build a corpus of 200,000 documents; seconds and memory."""
    folder = Path(tempfile.mkdtemp(prefix="minhash-memory-"))
    try:
        # by another process: on Linux the peak of a command counts from the memory of the process that starts it
        code = "import sys, minhash; minhash.write_documents(minhash.Path(sys.argv[1]))"
        here = Path(__file__).resolve().parent
        subprocess.run([sys.executable, "-c", code, str(folder / "documents")], check=True, cwd=here)
        steps = ("url", "language", "gopher_repetition", "gopher_quality", "c4", "fineweb")
        config: dict[str, Any] = {step: {"enabled": False} for step in steps}
        config |= {"sources": [{"inputs": str(folder / "documents" / "*.parquet")}], "workers": 2}
        config["dedup"] = {"memory_bytes": MEMORY}
        (folder / "config.yaml").write_text(json.dumps(config))
        command = [sys.executable, "-m", "llmill", "corpus", "build", str(folder / "config.yaml")]
        cost = measure([*command, "--out", str(folder / "corpus")], folder / "log", cwd=REPOSITORY)
        timings = json.loads((folder / "corpus" / "timings.json").read_text())
        funnel = json.loads((folder / "corpus" / "funnel.json").read_text())
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    steps_of = {row["step"]: row["dropped"] for row in funnel}
    overall = timings["overall"]
    return {
        "documents": DOCUMENTS,
        "words": WORDS,
        "memory_bytes": MEMORY,
        "exact_copies": steps_of["exact_dedup"],
        "near_copies": steps_of["minhash_dedup"],
        "build_seconds": round(cost.wall, 1),
        "build_cpu_seconds": round(cost.cpu, 1),
        "comparing_seconds": round(sum(timings[step] for step in ("exact_dedup", "minhash_dedup")), 1),
        "rss_before_bytes": overall["rss_before_bytes"],
        "peak_rss_bytes": overall["peak_rss_bytes"],
    }


def write_documents(folder: Path) -> None:
    """200,000 documents of 500 words: a tenth exact copies, a tenth copies with three words changed."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder.mkdir(parents=True)
    draw = np.random.default_rng(0)
    words = np.array([f"{a}{b}{c}" for a in ("st", "br", "k", "m") for b in "aeiou" for c in ("nd", "rl", "t", "sk")])
    words = np.array([one + two for one in words for two in words])
    part = DOCUMENTS // 8
    for number in range(8):
        chosen = draw.integers(0, len(words), (part, WORDS))
        chosen[:: part // (part // 10)] = chosen[1 :: part // (part // 10)]
        near = chosen[2::10].copy()
        near[:, draw.integers(0, WORDS, 3)] = draw.integers(0, len(words), (len(near), 3))
        chosen[3::10] = near
        texts = [" ".join(row) + "." for row in words[chosen]]
        ids = [f"{number}-{n}" for n in range(part)]
        pq.write_table(pa.table({"id": ids, "text": texts}), folder / f"{number}.parquet")


def print_memory(memory: dict[str, Any]) -> None:
    """What the build of 200,000 documents took."""
    budget, peak, before = (memory[key] / (1 << 20) for key in ("memory_bytes", "peak_rss_bytes", "rss_before_bytes"))
    print(f"{memory['documents']:,} documents of {memory['words']} words, memory_bytes {budget:.0f} MiB, two workers")
    print(f"  {memory['exact_copies']:,} exact and {memory['near_copies']:,} near copies found")
    print(f"  build {memory['build_seconds']} s, {memory['build_cpu_seconds']} s of CPU time; comparing", end=" ")
    print(f"{memory['comparing_seconds']} s; peak {peak:,.0f} MiB, of which {before:,.0f} MiB before comparing")
    print()


if __name__ == "__main__":
    sys.exit(main())
