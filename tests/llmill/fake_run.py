"""A small run as its artifacts lie on disk: crawl, corpus, token shards, checkpoints, scores. No model is involved."""

from __future__ import annotations

import io
import json
import math
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
from warcio.statusandheaders import StatusAndHeaders
from warcio.warcwriter import WARCWriter

from millbase.artifacts import create_artifact
from millbase.config import Config

HOSTILE = '<script>alert("x")</script> & <b>bold</b>'


class AnyConfig(Config):
    """Whatever the fake artifact should say it was made with."""

    note: str = ""
    """Told apart by this."""


@dataclass
class FakeRun:
    """Directories of the run."""

    root: Path
    pages: dict[str, str]
    """Document id -> URL."""

    def __getattr__(self, name: str) -> Path:
        return self.root / name


def make_run(root: Path, text: str = "The capital of Zorland is Melk.", whole: bool = False) -> FakeRun:
    """Write web, corpus, tokens, pretrain, eval_base, sft, eval_sft, ppo, eval_ppo below ``root``.

    ``whole``: the corpus records the crawl as one artifact instead of file by file.
    """
    pages = {f"doc{index}": f"https://site{index}.example/page" for index in range(6)}
    _write_web(root / "web", pages)
    _write_corpus(root / "corpus", root / "web", pages, whole)
    _write_tokens(root / "tokens", root / "corpus", list(pages))
    for name, source in (("pretrain", "tokens"), ("sft", "pretrain"), ("ppo", "sft")):
        _write_checkpoint(root / name, name, root / source)
    _write_scores(root / "eval_base", root / "pretrain", root / "tokens", "base", list(pages)[:3], 0.04, text)
    _write_scores(root / "eval_sft", root / "sft", None, "sft", [], 0.71, text)
    _write_scores(root / "eval_ppo", root / "ppo", None, "ppo", [], 0.74, text)
    return FakeRun(root, pages)


def _write_web(out: Path, pages: dict[str, str]) -> None:
    with create_artifact(out, kind="synthetic-web", config=AnyConfig()) as artifact:
        path = artifact.path / "crawl" / "web" / "part-0.warc.gz"
        path.parent.mkdir(parents=True)
        with open(path, "wb") as file:
            writer = WARCWriter(file, gzip=True)
            for name, url in pages.items():
                headers = StatusAndHeaders("200 OK", [("Content-Type", "text/html")], protocol="HTTP/1.1")
                body = f"<html><body><p>Page of {name}.</p></body></html>".encode()
                writer.write_record(
                    writer.create_warc_record(url, "response", payload=io.BytesIO(body), http_headers=headers)
                )


def record_offsets(path: Path) -> dict[str, tuple[int, int]]:
    """URL -> offset and length of its record, by warcio, the reference implementation."""
    from warcio.archiveiterator import ArchiveIterator

    found = {}
    with open(path, "rb") as file:
        records = ArchiveIterator(file)
        for record in records:
            url, offset = record.rec_headers.get_header("WARC-Target-URI"), records.get_record_offset()
            record.content_stream().read()
            found[url] = (offset, records.get_record_length())
    return found


def _write_corpus(out: Path, web: Path, pages: dict[str, str], whole: bool) -> None:
    warc = web / "crawl" / "web" / "part-0.warc.gz"
    offsets = record_offsets(warc)
    inputs: str | list[str] = str(web) if whole else [str(warc)]
    with create_artifact(out, kind="corpus", config=AnyConfig(), inputs={"warc": inputs}) as artifact:
        rows = [
            {
                "id": name,
                "text": f"Page of {name}.",
                "url": url,
                "source": "web",
                "warc_file": warc.name,
                "warc_offset": offsets[url][0],
                "warc_length": offsets[url][1],
            }
            for name, url in pages.items()
        ]
        artifact.stats["warc_root"] = f"{warc.parent}/"
        _write_arrow(artifact.path / "data" / "part-0.arrow", pa.Table.from_pylist(rows))
        funnel = [
            {"step": "read", "read": 1200, "dropped": 140, "kept": 1060, "reasons": {"pdf": 40, "empty": 100}},
            {"step": "url", "read": 1060, "dropped": 60, "kept": 1000, "reasons": {"blocked domain": 60}},
            {"step": "language", "read": 1000, "dropped": 180, "kept": 820, "reasons": {"de": 120, "fr": 60}},
            {"step": "gopher_quality", "read": 820, "dropped": 110, "kept": 710, "reasons": {"few stop words": 110}},
            {"step": "minhash_dedup", "read": 710, "dropped": 260, "kept": 450, "reasons": {"near duplicate": 260}},
        ]
        (artifact.path / "funnel.json").write_text(json.dumps(funnel))
        (artifact.path / "timings.json").write_text(json.dumps({step["step"]: 3.2 for step in funnel}))
        precision = [
            {
                "step": "language",
                "truth_positive": 178,
                "dropped": 180,
                "true_dropped": 176,
                "precision": 0.978,
                "recall": 0.989,
                "examples_wrong": [{"url": "https://a.example/?q=" + HOSTILE, "text": HOSTILE}],
            },
            {
                "step": "quality",
                "truth_positive": 0,
                "dropped": 0,
                "true_dropped": 0,
                "precision": None,
                "recall": None,
            },
        ]
        (artifact.path / "precision_recall.json").write_text(json.dumps(precision))


def _write_tokens(out: Path, corpus: Path, ids: list[str]) -> None:
    with create_artifact(out, kind="tokens", config=AnyConfig(), inputs={"corpus": corpus}) as artifact:
        for split, names in (("heldout", ids[:3]), ("train", ids[3:])):
            rows = [{"id": name, "source": "web", "bytes": 13, "tokens": [1, 2, 0]} for name in names]
            _write_arrow(artifact.path / split / "part-0.arrow", pa.Table.from_pylist(rows))


def _write_arrow(path: Path, table: pa.Table) -> None:
    path.parent.mkdir(parents=True)
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)


def _write_checkpoint(out: Path, stage: str, source: Path) -> None:
    rng = random.Random(stage)
    with create_artifact(
        out, kind="checkpoint", config=AnyConfig(note=stage), inputs={"source": source}, seed=1
    ) as artifact:
        (artifact.path / "hf").mkdir()
        (artifact.path / "hf" / "config.json").write_text(json.dumps({"stage": stage}))
        with open(artifact.path / "metrics.jsonl", "w") as file:
            for step in range(1, 400, 2):
                line: dict[str, Any] = {
                    "step": step,
                    "time": 0.0,
                    "loss": 5 * math.exp(-step / 90) + 1.6 + rng.gauss(0, 0.05),
                }
                if step % 25 == 0:
                    line["val_loss"] = line["loss"] + 0.08
                if stage == "ppo":
                    line |= {"reward": 2 - 3 * math.exp(-step / 120) + rng.gauss(0, 0.1), "kl": 0.002 * step}
                file.write(json.dumps(line) + "\n")
        artifact.stats["stage"] = stage


def _write_scores(
    out: Path, model: Path, tokens: Path | None, stage: str, documents: list[str], accuracy: float, text: str
) -> None:
    inputs = {"model": model, "tokens": tokens}
    given = {name: path for name, path in inputs.items() if path is not None}
    with create_artifact(out, kind="scores", config=AnyConfig(), inputs=given) as artifact:
        (artifact.path / "items").mkdir()
        items = [{"id": name, "prompt_hash": "0", "scores": {"bits_per_byte": [20.5, 13]}} for name in documents]
        lines = "".join(json.dumps(item) + "\n" for item in items)
        (artifact.path / "items" / "bits_per_byte.jsonl").write_text(lines)
        (artifact.path / "scores.json").write_text(json.dumps(_scores(stage, accuracy, text)))


def _scores(stage: str, accuracy: float, text: str) -> dict[str, Any]:
    interval = [accuracy - 0.04, accuracy + 0.04]
    score = {"value": accuracy, "stderr": 0.02, "ci95": interval, "n": 500, "higher_is_better": True}
    clean = {"contaminated": {"value": 0.07}, "score": {"value": 0.123, "ci95": [0.1, 0.2], "n": 465}, "unchecked": 0}
    return {
        "schema": 1,
        "stage": stage,
        "scores": [
            {"task": "world_instructions", "metric": "exact_match", "task_version": "1", **score},
            {"task": "world_facts_mc", "metric": "acc", "task_version": "1", **score, "details": {"clean": clean}},
        ],
        "comparisons": [
            {
                "name": "world_instructions exact_match vs previous",
                "task": "world_instructions",
                "metric": "exact_match",
                "kind": "paired_difference",
                "value": 0.67,
                "ci95": [0.63, 0.71],
                "n": 500,
                "null": 0.0,
                "verdict": "better" if stage != "base" else "no difference",
                "details": {"p_value": 0.0007, "p_adjusted": 0.0014},
            }
        ],
        "gates": [
            {
                "name": f"{stage}: exact match rises",
                "value": accuracy,
                "ci95": interval,
                "requirement": ">= 0.3",
                "passed": accuracy >= 0.3,
            }
        ],
        "samples": [
            {"prompt": "What is the capital of Zorland?", "response": f"{stage}: {text}", "answer": "Melk"},
            {"prompt": [{"role": "user", "content": HOSTILE}], "response": HOSTILE, "answer": None},
        ],
        "seconds": 12.3,
    }
