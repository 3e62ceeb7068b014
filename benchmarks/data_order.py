"""Data order: which positions of the training keep their tokens when the run around them changes; against Megatron.

    python benchmarks/data_order.py            # a minute or two on two cores; writes the result file
    python benchmarks/data_order.py --quick    # fewer positions; under 50 s

Three sources of 400 short documents, windows of 64 tokens, the same documents for both sides. Each row is a change that
must not move the positions it names: a longer run, another number of replicas, another micro-batch or batch, other
weights or a further source from a position on, a restart. Ours is `training.pretrain`'s data; Megatron's is
`BlendedMegatronDatasetBuilder` over `GPTDataset`, which has no weights from a position on, so it is given the new
weights and asked for the positions before it. Rows that Megatron's builder does not know of are left empty.

The figure is the share of positions that ours keeps, over all rows. Beside it: the processor time of reading a batch,
and its share of a training step.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from support.environment import REPOSITORY, commit, machine, own_versions
from support.tables import print_table

from millbase.artifacts import create_artifact
from millbase.config import Config, load_config
from training.pretrain import PretrainConfig
from training.pretrain.data import TrainingData

RESULT = REPOSITORY / "benchmarks" / "results" / "data_order.json"
FIGURE = "share of positions that keep their tokens over all changes that must keep them"
GOAL = 1.0
LENGTH, BATCH = 64, 8
STEP_SECONDS = 2.41
"""Processor seconds of a step of the demo's model over 32 sequences of 256 tokens (docs/pretrain.md)."""

Rows = list[tuple[int, ...]]


class Documents(Config):
    """What the synthetic tokens artifact is made of."""

    base: int
    """First token id."""
    count: int = 400
    """Documents."""
    longest: int = 60
    """Tokens of the longest."""


def documents(config: Documents) -> list[np.ndarray]:
    """Documents of 20 tokens and more; document d repeats token `base + d` and ends with token 0."""
    rng = np.random.default_rng(1)
    lengths = rng.integers(20, config.longest, config.count)
    return [np.append(np.full(n - 1, config.base + d % 4000), 0).astype(np.uint16) for d, n in enumerate(lengths)]


def write_tokens(out: Path, config: Documents) -> Path:
    """A `tokens` artifact as `llmill tokens build` writes it, without a tokenizer."""
    schema = pa.schema(
        [("id", pa.string()), ("source", pa.string()), ("bytes", pa.int64()), ("tokens", pa.large_list(pa.uint16()))]
    )
    rows = documents(config)
    with create_artifact(out, kind="tokens", config=config, seed=0) as artifact:
        (artifact.path / "train").mkdir()
        columns = [[f"d{n}" for n in range(len(rows))], ["made"] * len(rows), [len(r) for r in rows], rows]
        batch = pa.record_batch([pa.array(c, f.type) for c, f in zip(columns, schema, strict=True)], schema=schema)
        with pa.ipc.new_file(str(artifact.path / "train" / "shard-00000.arrow"), schema) as writer:
            writer.write_batch(batch)
    return out


class Ours:
    """Sequences in the order of training."""

    def __init__(self, sources: list[Path]) -> None:
        self.sources = sources

    def order(self, count: int, weights: list[float], schedule: Any = (), first: int = 0, **fields: Any) -> Rows:
        """Sequences `first` to `count`, gathered from the micro-batches of every rank."""
        sources = [
            {"name": f"s{n}", "tokens": str(path), "weight": weight}
            for n, (path, weight) in enumerate(zip(self.sources, weights, strict=False))
        ]
        values: dict[str, Any] = {
            "data": {
                "tokens": str(self.sources[0]), "sequence_length": LENGTH, "sources": sources,
                "schedule": list(schedule),
            },
            "global_batch_size": BATCH, "micro_batch_size": 2, "steps": 10**6, "seed": 7,
            "schedule": {"warmup_steps": 0},
        }  # fmt: skip
        config = load_config(PretrainConfig, values | fields)
        data, found = TrainingData(config), []
        for step in range(first // config.global_batch_size, -(-count // config.global_batch_size)):
            ranks = [[b.tokens for b in data.step(step, rank)] for rank in range(config.parallel.data)]
            found += [row for group in zip(*ranks, strict=True) for micro in group for row in micro.tolist()]
        data.close()
        return [tuple(row) for row in found[: count - first]]


class Megatron:
    """The same of Megatron-core's own blended dataset."""

    def __init__(self, folder: Path, sources: list[Documents]) -> None:
        from megatron.core.datasets.indexed_dataset import IndexedDatasetBuilder, get_bin_path, get_idx_path

        self.folder, self.prefixes = folder, []
        for number, config in enumerate(sources):
            prefix = str(folder / f"m{number}")
            builder = IndexedDatasetBuilder(get_bin_path(prefix), dtype=np.int32)
            for document in documents(config):
                builder.add_document(torch.from_numpy(document.astype(np.int32)), [len(document)])
            builder.finalize(get_idx_path(prefix))
            self.prefixes.append(prefix)

    def order(self, count: int, weights: list[float], **_: Any) -> Rows:
        """The first `count` samples of a run of `count` samples."""
        from megatron.core.datasets.blended_megatron_dataset_builder import BlendedMegatronDatasetBuilder
        from megatron.core.datasets.gpt_dataset import GPTDataset, GPTDatasetConfig

        shutil.rmtree(self.folder / "cache", ignore_errors=True)
        several = len(weights) > 1
        config = GPTDatasetConfig(
            random_seed=7, sequence_length=LENGTH, split="100,0,0", path_to_cache=str(self.folder / "cache"),
            blend=(self.prefixes[: len(weights)], weights if several else None), tokenizer=_Tokenizer(),
            reset_position_ids=False, reset_attention_mask=False, eod_mask_loss=False, create_attention_mask=False,
        )  # fmt: skip
        data = BlendedMegatronDatasetBuilder(GPTDataset, [count, 0, 0], lambda: True, config).build()[0]
        return [tuple(data[i]["tokens"].tolist()) for i in range(min(count, len(data)))]


class _Tokenizer:
    eod = pad = eos = bos = 0
    vocab_size = 65_536
    unique_identifiers = {"made": "up"}


def changes(n: int) -> list[tuple[str, int, dict[str, Any], dict[str, Any], bool]]:
    """(what changes, positions to keep, before, after, whether Megatron's builder knows it). An epoch of one source has
    about 240 sequences."""
    one, two = [1.0], [0.5, 0.5]
    middle = n // 2
    return [
        ("longer, same epoch", n, {"count": n, "weights": one}, {"count": 2 * n, "weights": one}, True),
        ("longer, over the end of an epoch", n, {"count": n, "weights": one}, {"count": 4 * n, "weights": one}, True),
        ("longer, 2 to 3 epochs", 4 * n, {"count": 4 * n, "weights": one}, {"count": 7 * n, "weights": one}, True),
        ("two sources, longer", 2 * n, {"count": 2 * n, "weights": two}, {"count": 3 * n, "weights": two}, True),
        ("two sources, longer over epochs", 2 * n, {"count": 2 * n, "weights": two}, {"count": 7 * n, "weights": two},
         True),
        (".5/.5 to .6/.4 from a position on", middle, {"count": 2 * n, "weights": two},
         {"count": 2 * n, "weights": two, "schedule": [{"from_sequence": middle, "weights": {"s0": 0.6, "s1": 0.4}}]},
         True),
        ("a third source from a position on", middle, {"count": 2 * n, "weights": two},
         {"count": 2 * n, "weights": [0.5, 0.5, 0.0],
          "schedule": [{"from_sequence": middle, "weights": {"s0": 0.45, "s1": 0.45, "s2": 0.1}}]}, True),
        ("a source used up earlier", middle, {"count": 2 * n, "weights": two},
         {"count": 2 * n, "weights": two, "schedule": [{"from_sequence": middle, "weights": {"s1": 0}}]}, False),
        *((f"{replicas} replicas", n, {"count": n, "weights": two},
           {"count": n, "weights": two, "parallel": {"data": replicas}}, False) for replicas in (2, 4)),
        *((f"micro-batch {micro}", n, {"count": n, "weights": two},
           {"count": n, "weights": two, "micro_batch_size": micro}, False) for micro in (1, 8)),
        *((f"batch {size}", n, {"count": n, "weights": two},
           {"count": n, "weights": two, "global_batch_size": size}, False) for size in (4, 32)),
    ]  # fmt: skip


NEW_WEIGHTS = {
    ".5/.5 to .6/.4 from a position on": [0.6, 0.4],
    "a third source from a position on": [0.45, 0.45, 0.1],
}
"""What Megatron's builder is given in these rows."""


def kept(before: Rows, after: Rows, positions: int) -> int:
    """Positions among the first `positions` that hold the same tokens."""
    return sum(a == b for a, b in zip(before[:positions], after[:positions], strict=False))


def compare(ours: Ours, theirs: Megatron, n: int) -> list[dict[str, Any]]:
    """One result for each change, and for restarts."""
    found = []
    for name, positions, before, after, known in changes(n):
        result = {"change": name, "positions": positions}
        result["ours"] = kept(ours.order(**before), ours.order(**after), positions)
        if known:
            weights = NEW_WEIGHTS.get(name, after["weights"])
            result["megatron"] = kept(theirs.order(**before), theirs.order(after["count"], weights), positions)
        found.append(result)
    whole = ours.order(3 * n, [0.5, 0.3, 0.2])
    for stop in (1, n // (2 * BATCH), 2 * n // BATCH):
        resumed = ours.order(3 * n, [0.5, 0.3, 0.2], first=stop * BATCH)
        rest = 3 * n - stop * BATCH
        result = {"change": f"restart at step {stop}", "positions": rest}
        found.append({**result, "ours": kept(whole[stop * BATCH :], resumed, rest)})
    return found


def reading(folder: Path) -> list[dict[str, Any]]:
    """Processor seconds of reading batches, without and with the thread that reads ahead."""
    path = write_tokens(folder / "long", Documents(base=1, count=20_000, longest=2_000))
    found = []
    for length, sequences in ((256, 32), (4096, 32)):
        data = {"tokens": str(path), "sequence_length": length, "prefetch": 0}
        values = {"data": data, "global_batch_size": sequences, "micro_batch_size": 8, "steps": 10**6}
        batches = TrainingData(load_config(PretrainConfig, values))
        list(batches.step(0, 0))
        began, steps = time.process_time(), 20
        for step in range(1, steps + 1):
            list(batches.step(step, 0))
        seconds = (time.process_time() - began) / steps
        found.append({"length": length, "tokens": length * sequences, "seconds": seconds})
    return found


def main() -> int:
    """Print the tables and the figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer positions, no result file")
    options = parser.parse_args()
    warnings.filterwarnings("ignore", message=".*(Transformer Engine|pad token id).*", category=UserWarning)
    os.environ.update(RANK="0", WORLD_SIZE="1", MASTER_ADDR="127.0.0.1", MASTER_PORT=str(_free_port()))
    torch.distributed.init_process_group("gloo")
    with tempfile.TemporaryDirectory(prefix="llmill-order-") as name:
        folder = Path(name)
        configs = [Documents(base=4000 * (n + 1)) for n in range(3)]
        ours = Ours([write_tokens(folder / f"s{n}", config) for n, config in enumerate(configs)])
        found = compare(ours, Megatron(folder, configs), 40 if options.quick else 100)
        read = reading(folder)
    torch.distributed.destroy_process_group()
    share = _share(found, "ours")
    _print(found, read)
    last = {"figure": FIGURE, "value": round(share, 4), "goal": GOAL, "unit": "share"}
    if not options.quick:
        result = {**last, "megatron": round(_share(found, "megatron"), 4), "changes": found, "reading": read}
        result |= {"commit": commit(), "machine": machine(), "versions": own_versions(["megatron-core", "numpy"])}
        RESULT.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(last))
    return 0


def _share(found: list[dict[str, Any]], side: str) -> float:
    rows = [row for row in found if side in row]
    return sum(row[side] for row in rows) / sum(row["positions"] for row in rows)


def _print(found: list[dict[str, Any]], read: list[dict[str, Any]]) -> None:
    show: Callable[[dict[str, Any], str], str] = lambda row, side: (  # noqa: E731
        f"{row[side]}/{row['positions']}" if side in row else "-"
    )
    print_table(
        [["change", "ours", "Megatron"], *([row["change"], show(row, "ours"), show(row, "megatron")] for row in found)]
    )
    print()
    print_table(
        [
            ["reading a batch", "processor ms", "tokens/s", "share of a step"],
            *(
                [
                    f"{row['tokens'] // row['length']} x {row['length']} tokens",
                    f"{1000 * row['seconds']:.2f}",
                    f"{row['tokens'] / row['seconds']:,.0f}",
                    f"{100 * row['seconds'] / STEP_SECONDS:.2f}%" if row["length"] == 256 else "-",
                ]
                for row in read
            ),
        ]
    )
    print()


def _free_port() -> int:
    import socket

    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


if __name__ == "__main__":
    sys.exit(main())
