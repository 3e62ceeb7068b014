"""Does every layout train the same model? Losses and gradient norms of a layout against those of a single process.

    torchrun --nproc-per-node 2 -m training.pretrain.parity FOLDER/cases.json

runs, one after the other in the same processes, all cases that the file lists, and writes `FOLDER/NAME.json` for each.
`measure` starts it for every world size that is needed and compares.
"""

from __future__ import annotations

import gc
import json
import math
import os
import sys
import traceback
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from millbase.atomic import write_json
from millbase.errors import StageError
from millbase.launch import torchrun
from millbase.log import get_logger

logger = get_logger(__name__)

CASES_A_LAUNCH = 12
"""Cases that one set of processes runs, one after the other. A model with Megatron's distributed optimizer outlives its
layout and holds its process groups, and gloo has three threads for each."""
_CHANGES_THE_MODEL = ("model.", "optimizer.")
"""Settings that begin so are for the single process too."""
STEPS = 10
VOCABULARY = 250
"""Tokens; padded to 256 rows."""
SEQUENCE = 32

_DENSE = {"layers": 4, "hidden_size": 64, "ffn_hidden_size": 96, "heads": 4, "kv_heads": 2, "vocab_multiple": 64}
_MOE = {"experts": 4, "top_k": 2, "ffn_hidden_size": 64}
FAMILIES: dict[str, dict[str, Any]] = {
    "dense": {**_DENSE, "tied_embeddings": False},
    "tied": {**_DENSE, "qk_norm": True, "tied_embeddings": True},
    "moe": {**_DENSE, "qk_norm": True, "moe": _MOE},
    "mla": {
        **_DENSE,
        "mla": {"kv_rank": 16, "q_rank": 32, "nope_head_dim": 16, "rope_head_dim": 8, "value_head_dim": 16},
    },
    "mtp": {**_DENSE, "mtp": {"depth": 1, "loss_weight": 0.3}},
    "deepseek": {
        **_DENSE,
        "mla": {"kv_rank": 16, "q_rank": 32, "nope_head_dim": 16, "rope_head_dim": 8, "value_head_dim": 16},
        "moe": {**_MOE, "score": "sigmoid", "shared_experts": 1, "expert_bias": True, "balance_weight": 1e-3},
        "mtp": {"depth": 1, "loss_weight": 0.3},
    },
}
"""Small models of each family."""


@dataclass(frozen=True)
class Case:
    """A model on a layout."""

    family: str
    """A key of FAMILIES."""
    layout: str
    """What the layout is called."""
    parallel: dict[str, Any]
    """Fields of ParallelConfig."""
    settings: dict[str, Any] = field(default_factory=dict)
    """Other fields of PretrainConfig, dotted."""
    masked: bool = False
    """Documents are packed and masked from one another."""

    @property
    def name(self) -> str:
        """The case in file names and tables."""
        words = [self.family, *self.layout.split(), *(["masked"] if self.masked else [])]
        return "-".join(words)

    @property
    def world_size(self) -> int:
        """Processes it takes."""
        sizes = (self.parallel.get(name, 1) for name in ("tensor", "pipeline", "context", "data"))
        return math.prod(sizes)

    def reference(self) -> Case:
        """The same model in one process, without anything of a layout."""
        model = {name: value for name, value in self.settings.items() if name.startswith(_CHANGES_THE_MODEL)}
        words = ["single", *(f"{name}={value}" for name, value in model.items())]
        return Case(self.family, " ".join(words), {"zero": 0}, model, self.masked)


@dataclass(frozen=True)
class Outcome:
    """How far a layout is from the single process over all steps."""

    case: Case
    loss: float
    """Largest difference of the loss, nats; NaN when the layout failed."""
    norm: float
    """Largest relative difference of the gradient norm."""
    error: str = ""
    """Why it failed."""


def measure(cases: list[Case], folder: Path, resume: bool = False) -> list[Outcome]:
    """Run the cases and what they are compared with; `folder` keeps every curve.

    `resume`: curves that are in the folder already, of an interrupted measurement by the same code, are taken.
    """
    references = {case.reference().name: case.reference() for case in cases}
    everything = {**references, **{case.name: case for case in cases}}
    folder.mkdir(parents=True, exist_ok=True)
    missing = []
    for case in everything.values():
        configuration(case)  # raises what is wrong with it
        if not resume or "error" in _curve(folder, case.name):
            (folder / f"{case.name}.json").unlink(missing_ok=True)
            missing.append(case)
    for size in sorted({case.world_size for case in missing}):
        same = [case for case in missing if case.world_size == size]
        for first in range(0, len(same), CASES_A_LAUNCH):
            name = f"cases-{size}-{first}"
            write_json(folder / f"{name}.json", [asdict(case) for case in same[first : first + CASES_A_LAUNCH]])
            try:
                torchrun("training.pretrain.parity", size, [str(folder / f"{name}.json")], folder / f"logs-{name}")
            except StageError as error:
                logger.error("%s", error)
    return [_compare(case, folder) for case in cases]


def _compare(case: Case, folder: Path) -> Outcome:
    ours, theirs = (_curve(folder, name) for name in (case.name, case.reference().name))
    for curve in (theirs, ours):
        if "error" in curve:
            return Outcome(case, math.nan, math.nan, curve["error"])
    loss = max(abs(a - b) for a, b in zip(ours["loss"], theirs["loss"], strict=True))
    norm = max(abs(a - b) / b for a, b in zip(ours["norm"], theirs["norm"], strict=True))
    return Outcome(case, loss, norm)


def _curve(folder: Path, name: str) -> dict[str, Any]:
    file = folder / f"{name}.json"
    if not file.is_file():
        return {"error": "it did not run"}
    curve: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return curve


def configuration(case: Case) -> Any:
    """The case as a PretrainConfig."""
    from millbase.config import load_config
    from training.pretrain.config import PretrainConfig

    values: dict[str, Any] = {
        "data": {"tokens": "none", "sequence_length": SEQUENCE, "mask_across_documents": case.masked},
        "model": {"init_std": 0.05, **FAMILIES[case.family]},
        "parallel": case.parallel,
        "optimizer": {"learning_rate": 1e-3, "clip_grad": 1.0},
        "schedule": {"kind": "constant", "warmup_steps": 0},
        "steps": STEPS,
        "global_batch_size": 8,
        "micro_batch_size": 2,
        "seed": 1,
    }
    return load_config(PretrainConfig, values, [f"{key}={value}" for key, value in case.settings.items()])


def batches(config: Any, step: int, data_rank: int) -> Iterator[Any]:
    """Micro-batches of made-up sequences that have something to learn: each token is near the one before."""
    import torch

    from training.pretrain.data import Batch

    generator = torch.Generator().manual_seed(1000 + step)
    moves = torch.randint(0, 7, (config.global_batch_size, SEQUENCE + 1), generator=generator)
    rows = (
        moves.cumsum(1) + torch.randint(0, VOCABULARY, (config.global_batch_size, 1), generator=generator)
    ) % VOCABULARY
    counted = (torch.rand(config.global_batch_size, SEQUENCE, generator=generator) > 0.1).float()
    ends = torch.randint(0, 8, (config.global_batch_size, SEQUENCE), generator=generator) == 0
    segments = ends.long().cumsum(1) if config.data.mask_across_documents else None
    micro, replicas = config.micro_batch_size, config.parallel.data
    for start in range(data_rank * micro, config.global_batch_size, replicas * micro):
        part = slice(start, start + micro)
        yield Batch(
            rows[part, :-1].contiguous(),
            rows[part, 1:].contiguous(),
            counted[part],
            None if segments is None else segments[part],
        )


def run_case(case: Case) -> dict[str, Any]:
    """Train the case for its steps in the started processes; loss and gradient norm of each step."""
    import torch.distributed as dist
    from megatron.core import parallel_state
    from megatron.core.transformer.moe.moe_utils import get_moe_layer_wise_logging_tracker
    from megatron.core.transformer.multi_token_prediction import MTPLossLoggingHelper

    from training.pretrain.engine import Engine
    from training.pretrain.model import initialize_layout
    from training.pretrain.weights import initial_weights

    config = configuration(case)
    initialize_layout(config)
    try:
        engine = Engine(config, VOCABULARY, initial_weights(config.model, config.seed))
        curve: dict[str, Any] = {"loss": [], "norm": []}
        for step in range(STEPS):
            curve["loss"].append(engine.backward(batches(config, step, engine.data_rank), step).loss)
            curve["norm"].append(engine.update(step))
        dist.barrier()
        return curve
    finally:
        parallel_state.destroy_model_parallel()
        # Megatron keeps them for the process, as long as the first model was deep.
        get_moe_layer_wise_logging_tracker().clear()
        MTPLossLoggingHelper.tracker.clear()


def main() -> None:
    """Run every case of this world size."""
    from millbase.process import die_with_parent
    from training.pretrain import runtime
    from training.pretrain.worker import quiet

    die_with_parent()
    quiet()
    listed = Path(sys.argv[1])
    folder = listed.parent
    runtime.prepare(threads=1)
    import torch
    import torch.distributed as dist

    backend = "nccl" if torch.cuda.is_available() else "gloo"
    rank, ranks = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    cases = [Case(**values) for values in json.loads(listed.read_text(encoding="utf-8"))]
    for case in cases:
        # Groups of their own for each case: threads of gloo spin once their peers are gone.
        store = folder / f".store-{os.environ['TORCHELASTIC_RUN_ID']}-{case.name}"
        dist.init_process_group(backend, init_method=f"file://{store.resolve()}", rank=rank, world_size=ranks)
        try:
            result = run_case(case)
        except Exception as error:
            traceback.print_exc()
            write_json(folder / f"{case.name}.json", {"error": f"{type(error).__name__}: {error}"})
            # Other ranks may be waiting for this one in a collective: nothing can follow.
            os._exit(1)
        if rank == 0:
            write_json(folder / f"{case.name}.json", result)
        dist.destroy_process_group()
        # Models hang in cycles, and hold their groups with gloo's threads.
        gc.collect()


if __name__ == "__main__":
    main()
