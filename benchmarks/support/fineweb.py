"""datatrove's FineWeb pipeline, after its examples/fineweb.py step by step; runs in an environment of datatrove's own.

    python fineweb.py INPUT_FOLDER OUTPUT_FOLDER --workers 2

Base processing of WARC files to JSONL, then MinHash signatures of that JSONL, as the example has it. What differs:

- The local executor, one task for each worker, so that every worker loads the block lists once.
- No exclusion writers.
- `LanguageFilter(["en"])`: the example dates from when that was the default.
- Trafilatura may take 20 s for a page instead of 1 s: the limit is wall time, and would drop pages on a busy machine.
- tldextract uses the public suffix list in its package and does not ask the network for a newer one.

Steps are timed in CPU time instead of wall time, the extraction with that of the process it runs in.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from pathlib import Path
from types import SimpleNamespace

import datatrove.utils.stats
from datatrove.data import DocumentsPipeline
from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.dedup import MinhashDedupSignature
from datatrove.pipeline.dedup.minhash import MinhashConfig
from datatrove.pipeline.extractors import Trafilatura
from datatrove.pipeline.filters import (
    C4QualityFilter,
    FineWebQualityFilter,
    GopherQualityFilter,
    GopherRepetitionFilter,
    LanguageFilter,
    URLFilter,
)
from datatrove.pipeline.readers import JsonlReader, WarcReader
from datatrove.pipeline.writers.jsonl import JsonlWriter
from datatrove.utils.hashing import HashConfig
from tldextract import TLDExtract

# Every process that runs a step imports this file, so all of them time with this clock.
datatrove.utils.stats.time = SimpleNamespace(perf_counter=time.process_time)


class MeasuredTrafilatura(Trafilatura):
    """Trafilatura that adds the CPU time of its sandbox process, known once that ended, to its own."""

    def run(self, data: DocumentsPipeline, rank: int = 0, world_size: int = 1) -> DocumentsPipeline:
        before = _children()
        yield from super().run(data, rank, world_size)
        self.stats.time_stats.total += _children() - before


def main() -> None:
    """Run both parts and write `steps.json`: for each part and step, its CPU seconds and the documents it passed on."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("input", help="folder of WARC files")
    parser.add_argument("output", type=Path)
    parser.add_argument("--workers", type=int, default=1)
    options = parser.parse_args()
    parts = {"base": base_processing(options.input, options.output), "minhash": signatures(options.output)}
    for name, pipeline in parts.items():
        LocalPipelineExecutor(
            pipeline, tasks=options.workers, workers=options.workers, logging_dir=str(options.output / "logs" / name)
        ).run()
    steps = {name: read_steps(options.output / "logs" / name) for name in parts}
    (options.output / "steps.json").write_text(json.dumps(steps, indent=1, ensure_ascii=False))


def base_processing(source: str, output: Path) -> list:
    """Steps from WARC to filtered JSONL."""
    urls = URLFilter()
    urls.tldextractor = TLDExtract(suffix_list_urls=())
    return [
        WarcReader(source, glob_pattern="*.warc.gz", default_metadata={"dump": "BENCHMARK"}),
        urls,
        MeasuredTrafilatura(favour_precision=True, timeout=20),
        LanguageFilter(["en"]),
        GopherRepetitionFilter(),
        GopherQualityFilter(),
        C4QualityFilter(filter_no_terminal_punct=False),
        FineWebQualityFilter(),
        JsonlWriter(str(output / "output")),
    ]


def signatures(output: Path) -> list:
    """Steps from filtered JSONL to MinHash signatures."""
    config = MinhashConfig(hash_config=HashConfig(precision=64), num_buckets=14, hashes_per_bucket=8, n_grams=5)
    return [
        JsonlReader(str(output / "output")),
        MinhashDedupSignature(output_folder=str(output / "signatures"), config=config),
    ]


def read_steps(logs: Path) -> list[dict]:
    """Steps with their seconds and statistics, summed over tasks."""
    steps: list[dict] = []
    for file in sorted((logs / "stats").glob("*.json")):
        for place, step in enumerate(json.loads(file.read_text())):
            if len(steps) <= place:
                steps.append({"name": step["name"], "seconds": 0.0, "stats": {}})
            seconds = step["time_stats"]
            steps[place]["seconds"] += seconds["total"] if isinstance(seconds, dict) else seconds
            for key, value in step["stats"].items():
                total = value["total"] if isinstance(value, dict) else value
                steps[place]["stats"][key] = steps[place]["stats"].get(key, 0) + total
    return steps


def _children() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    main()
