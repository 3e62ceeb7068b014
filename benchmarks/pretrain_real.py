"""A small Llama from real pages and books, in minutes on two cores: bits per byte of books it never saw.

    python benchmarks/pretrain_real.py           # about 1,800 seconds of processor time; goes on after a stop
    python benchmarks/pretrain_real.py --quick   # twenty short books and thirty steps, under 50 seconds

English pages of ../shared/data/warc go through the corpus pipeline, the books of ../shared/data/text are divided by
title: every eighth (of a hash) is held out. Tokenizer, token shards, pretraining (`llmill pretrain`, one rank of two
threads) and scoring (`llmill evaluate`, each book from its start, 256 tokens at a time) are the product's own. Beside
the model stand xz -9e and zstd -19 on the same bytes of the held-out books, and an interpolated modified Kneser-Ney
5-gram model over the same tokens, trained on all training text (the Llama sees only the share that its steps reach).
The figure is the model's bits per byte over those of the better compressor: below 1 is better. Other load on the
machine makes wall time meaningless; processor time is printed. The last line is JSON.
"""

from __future__ import annotations

import argparse
import gzip
import json
import lzma
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import xxhash
import zstandard

from data_pipeline.perplexity import kneser_ney
from millbase.artifacts import create_artifact
from millbase.config import Config

REPOSITORY = Path(__file__).resolve().parent.parent
RESULT = REPOSITORY / "benchmarks" / "results" / "pretrain_real.json"
WARCS = ("wcxb_dev", "wcxb_test", "fundus_tests", "fundus_evaluation", "scrapinghub_aeb", "newspaper4k_tests")
MODEL = {
    "layers": 8,
    "hidden_size": 320,
    "ffn_hidden_size": 896,
    "heads": 5,
    "kv_heads": 5,
    "tied_embeddings": True,
}
HELDOUT_BYTES = 150_000
"""Of each held-out book, from its start."""


class Books(Config):
    """What a corpus of books was made of."""

    titles: list[str]
    """Their titles."""
    bytes_each: int | None = None
    """Taken of each; null for all."""


def read_books(data: Path) -> tuple[list[dict[str, str]], list[dict[str, str]]]:
    """(training, held-out) books; the side is chosen by a hash of the title."""
    with gzip.open(data / "text" / "classic_books_en.jsonl.gz", "rt", encoding="utf-8") as lines:
        books = [json.loads(line) for line in lines]
    sides: tuple[list[dict[str, str]], list[dict[str, str]]] = ([], [])
    for book in sorted(books, key=lambda one: one["id"]):
        sides[xxhash.xxh64_intdigest(book["title"].strip().encode()) % 8 == 0].append(book)
    return sides


def write_books(books: list[dict[str, str]], out: Path, limit: int | None = None) -> Path:
    """A `corpus` artifact of whole books."""
    if (out / "manifest.json").is_file():
        return out
    config = Books(titles=[book["title"] for book in books], bytes_each=limit)
    with create_artifact(out, kind="corpus", config=config) as artifact:
        (artifact.path / "data").mkdir(exist_ok=True)
        names = ("id", "text", "url", "source", "warc_file")
        rows = [(b["id"], cut(b["text"], limit), f"book:{b['id']}", "books", "") for b in books]
        columns = {name: pa.array([row[at] for row in rows], pa.string()) for at, name in enumerate(names)}
        zeros = pa.array([0] * len(rows), pa.int64())
        table = pa.table(columns | {"warc_offset": zeros, "warc_length": zeros})
        with pa.ipc.new_file(str(artifact.path / "data" / "00000.arrow"), table.schema) as writer:
            writer.write_table(table)
        artifact.stats.update(documents=len(rows))
    return out


def cut(text: str, limit: int | None) -> str:
    return text if limit is None else text.encode()[:limit].decode(errors="ignore")


def llmill(*words: str, cwd: Path) -> float:
    """Run a command of ours; its processor seconds, of all its processes."""
    before = os.times()
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run([sys.executable, "-m", "llmill", *words], cwd=cwd, env=environment)
    if done.returncode:
        sys.exit(done.returncode)  # 75: stopped on request; the same command goes on
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


def prepare(data: Path, work: Path, quick: bool) -> dict[str, Any]:
    """Corpora, tokenizer and token shards; what is there stays."""
    training, heldout = read_books(data)
    if quick:
        training, heldout = sorted(training, key=lambda one: len(one["text"]))[:20], heldout[:2]
    write_books(training, work / "books", 60_000 if quick else None)
    write_books(heldout, work / "unseen", 20_000 if quick else HELDOUT_BYTES)
    if not quick:
        config = str(REPOSITORY / "configs/corpus/real.yaml")
        inputs = ",".join(str(data / "warc" / f"{name}.warc.gz") for name in WARCS)
        made(work / "web", "corpus", "build", config, f"sources=[{{name: web, inputs: [{inputs}]}}]")
    books, texts = work / "books", work / "books.jsonl"
    with texts.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps({"text": cut(book["text"], 60_000 if quick else None)}) + "\n" for book in training)
    source = f"texts=[{{path: '{texts}'}}]" if quick else f"corpus={work / 'web'}"
    words = [source] if quick else [source, f"texts=[{{path: '{texts}'}}]"]
    made(work / "tokenizer", "tokenizer", "train", *words, f"vocab_size={1024 if quick else 8192}")
    for name, share in (
        ("books", "heldout_documents=2"),
        ("web", "heldout_documents=20"),
        ("unseen", "heldout_share=0"),
    ):
        if (work / name).is_dir():
            place = work / f"{name}_tokens"
            made(place, "tokens", "build", f"corpus={work / name}", f"tokenizer={work / 'tokenizer'}", share)
    return {
        "training_books": len(training),
        "heldout_books": [book["title"].strip() for book in heldout],
        "books": str(books),
    }


def made(out: Path, *words: str) -> None:
    if not (out / "manifest.json").is_file():
        llmill(*words, "--out", str(out), cwd=out.parent)


def train(work: Path, steps: int, quick: bool) -> dict[str, Any]:
    """Pretrain, going on where an earlier start stopped; processor seconds of all starts."""
    out, ledger = work / f"model_{steps}", work / f"cpu_seconds_{steps}.json"
    model = MODEL | (
        {"layers": 2, "hidden_size": 64, "ffn_hidden_size": 128, "heads": 2, "kv_heads": 2} if quick else {}
    )
    config: dict[str, Any] = {
        "data": {"tokens": str(work / "books_tokens"), "sequence_length": 256},
        "model": model,
        "parallel": {"threads": 1 if quick else 2},
        "optimizer": {"learning_rate": 2.5e-3},
        "schedule": {"kind": "wsd", "warmup_steps": max(1, steps // 20), "decay_fraction": 0.3},
        "steps": steps,
        "global_batch_size": 8,
        "micro_batch_size": 4,
        "matmul_precision": "medium",
        "evaluation": {"every_steps": max(1, steps // 4), "tokens": 16384},
        "checkpoint": {"every_steps": max(1, steps // 10)},
    }
    if not quick:
        names = ("books", "web")
        config["data"]["sources"] = [
            {"name": name, "tokens": str(work / f"{name}_tokens"), "weight": weight}
            for name, weight in zip(names, (0.7, 0.3))
        ]
    (work / "pretrain.yaml").write_text(json.dumps(config))
    spent = float(json.loads(ledger.read_text())) if ledger.is_file() else 0.0
    if not (out / "manifest.json").is_file():
        before = time.monotonic()
        try:
            llmill("pretrain", str(work / "pretrain.yaml"), "--out", str(out), cwd=work)
        finally:
            used = os.times()
            spent += used.children_user + used.children_system
            ledger.write_text(json.dumps(spent))
            print(
                f"pretraining: {spent:,.0f} s of processor time so far, {time.monotonic() - before:,.0f} s by the clock"
            )
    manifest = json.loads((out / "manifest.json").read_text())
    stats = manifest["stats"]
    return {"model": str(out), "cpu_seconds": spent, "tokens": stats["tokens"], "parameters": stats["parameters"]}


def score(work: Path, model: str) -> dict[str, float]:
    """Bits, bytes and bits per byte of the held-out books by the product's own evaluation."""
    out = work / f"scores_{Path(model).name}"
    if not (out / "manifest.json").is_file():
        block = f"bits_per_byte={{tokens: '{work / 'unseen_tokens'}', split: train}}"
        llmill("evaluate", f"model={model}", block, "--out", str(out), cwd=work)
    bits = size = 0.0
    for line in (out / "items" / "bits_per_byte.jsonl").read_text().splitlines():
        own, length = json.loads(line)["scores"]["bits_per_byte"]
        bits, size = bits + own, size + length
    return {"bits_per_byte": bits / size, "bytes": size}


def documents(tokens: Path) -> Iterator[np.ndarray]:
    """Token ids of every training document of an artifact, without the end mark."""
    for shard in sorted((tokens / "train").glob("*.arrow")):
        table = pa.ipc.open_file(pa.memory_map(str(shard))).read_all()
        for row in table["tokens"]:
            yield row.values.to_numpy()[:-1].astype(np.int64)


def five_gram(work: Path, size: float) -> float:
    """Bits per byte of the held-out books under a 5-gram model of all training tokens."""
    artifacts = [path for path in (work / "books_tokens", work / "web_tokens") if path.is_dir()]
    lines = (" ".join(map(str, ids.tolist())) for path in artifacts for ids in documents(path))
    model = kneser_ney.train(lines, 5)
    numbers = {word: number for number, word in enumerate(model.vocabulary)}
    bits = sum(ngram_bits(model, numbers, ids) for ids in documents(work / "unseen_tokens"))
    return bits / size


def ngram_bits(model: kneser_ney.Model, numbers: dict[str, int], ids: np.ndarray) -> float:
    """-log2 of the probability of one document: for each token the longest n-gram known, else backoff times shorter."""
    words = np.array([1, *(numbers.get(str(token), 0) for token in ids.tolist())], dtype=np.int64)
    vocabulary = len(model.vocabulary)
    probability, rows = model.orders[0].probability[words], words
    for below, this in zip(model.orders, model.orders[1:]):
        context = np.concatenate([[-1], rows[:-1]])
        keys = np.where(context >= 0, context * vocabulary + words, -1)
        known = this.prefix * vocabulary + this.word  # sorted: rows are numbered so
        at = np.minimum(np.searchsorted(known, keys), len(known) - 1)
        found = known[at] == keys
        backed = np.where(context >= 0, below.backoff[np.maximum(context, 0)], 1.0) * probability
        probability = np.where(found, this.probability[at], backed)
        rows = np.where(found, at, -1)
    return float(-np.log2(probability[1:]).sum())


def compressed(work: Path) -> dict[str, float]:
    """Bits per byte of the held-out books, one file, under two compressors that have seen nothing else."""
    file = pa.ipc.open_file(pa.memory_map(str(work / "unseen" / "data" / "00000.arrow"))).read_all()
    text = "".join(file["text"].to_pylist()).encode()
    sizes = {
        "xz -9e": len(lzma.compress(text, preset=9 | lzma.PRESET_EXTREME)),
        "zstd -19": len(zstandard.ZstdCompressor(level=19).compress(text)),
    }
    return {name: 8 * size / len(text) for name, size in sizes.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a small run that shows that all parts work")
    parser.add_argument("--steps", type=int, help="optimizer steps of 2,048 tokens (default 1900; with --quick 30)")
    parser.add_argument("--work", type=Path, help="folder for everything made (default runs/benchmark/pretrain_real)")
    parser.add_argument("--prepare", action="store_true", help="stop once the token shards are there")
    arguments = parser.parse_args()
    signal.signal(
        signal.SIGUSR1, signal.SIG_IGN
    )  # for the pretraining below, which saves and ends; call again to go on
    data = Path(os.environ.get("LLMILL_TEST_DATA", REPOSITORY.parent / "shared" / "data"))
    if not (data / "text" / "classic_books_en.jsonl.gz").is_file():
        print(f"skipped: real pages and books are not in {data} (LLMILL_TEST_DATA names another folder)")
        print(json.dumps({"figure": "pretrain_real", "value": None, "goal": 1.0, "unit": "x of the better compressor"}))
        return
    name = "pretrain_real_quick" if arguments.quick else "pretrain_real"
    work = (arguments.work or REPOSITORY / "runs" / "benchmark" / name).resolve()
    work.mkdir(parents=True, exist_ok=True)
    made_of = prepare(data, work, arguments.quick)
    if arguments.prepare:
        return
    trained = train(work, arguments.steps or (30 if arguments.quick else 1900), arguments.quick)
    own = score(work, trained["model"])
    others = {**compressed(work), "5-gram": five_gram(work, own["bytes"])}
    report(arguments, made_of, trained, own, others)


def report(
    arguments: argparse.Namespace,
    made_of: dict[str, Any],
    trained: dict[str, Any],
    own: dict[str, float],
    others: dict[str, float],
) -> None:
    """The table, the committed result of a full run, and the last line."""
    rows = {"Llama": own["bits_per_byte"], **others}
    print(f"\n{len(made_of['heldout_books'])} held-out books, {own['bytes']:,.0f} bytes, bits per byte:")
    for name, value in sorted(rows.items(), key=lambda item: item[1]):
        print(f"  {name:10s} {value:.4f}")
    print(
        f"Llama: {trained['parameters']:,} weights, {trained['tokens']:,} tokens, {trained['cpu_seconds']:,.0f} s of "
        "processor time"
    )
    best = min(others[name] for name in ("xz -9e", "zstd -19"))
    value = own["bits_per_byte"] / best
    assert math.isfinite(value)
    line = {"figure": "pretrain_real", "value": round(value, 4), "goal": 1.0, "unit": "x of the better compressor"}
    if not arguments.quick:
        details = {
            "bits_per_byte": rows,
            "bytes": own["bytes"],
            **made_of,
            **trained,
            "machine": "two CPU cores, shared",
        }
        for path in ("books", "model"):
            details.pop(path, None)
        RESULT.write_text(json.dumps(line | details, indent=1, ensure_ascii=False) + "\n")
    print(json.dumps(line))


if __name__ == "__main__":
    main()
