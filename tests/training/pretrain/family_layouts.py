"""Every family on tensor 2 x pipeline 2 (experts over 2 ranks): into a checkpoint of that layout and out again.

torchrun --nproc-per-node 4 tests/training/pretrain/family_layouts.py FOLDER [FAMILY ...]    rank 0 prints one JSON line
"""

# ruff: noqa: E402 - the runtime must be prepared before Megatron is imported
from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from training.pretrain import runtime

runtime.prepare(threads=1)

import torch
import torch.distributed as dist
from megatron.core.transformer.moe.moe_utils import get_moe_layer_wise_logging_tracker

from millbase.config import load_config
from tests.training.pretrain.conftest import write_tokenizer
from tests.training.pretrain.families import FAMILIES, LENGTH, SHAPE, VOCAB, random_hf
from training.pretrain.checkpoint import RunState
from training.pretrain.config import PretrainConfig
from training.pretrain.convert import ImportConfig, import_model
from training.pretrain.data import Batch
from training.pretrain.engine import Engine
from training.pretrain.export import load_hf, write_hf
from training.pretrain.model import initialize_layout
from training.pretrain.models.source import find_model
from training.pretrain.weights import Whole, fill, starting_weights


def configuration(name: str) -> PretrainConfig:
    parallel: dict[str, Any] = {"tensor": 2, "pipeline": 2}
    if "moe" in FAMILIES[name]:
        parallel |= {"expert": 2, "expert_tensor": 1, "sequence_parallel": True}
    values = {
        "data": {"tokens": "none", "sequence_length": LENGTH},
        "model": SHAPE | FAMILIES[name],
        "parallel": parallel,
        "global_batch_size": 2,
        "micro_batch_size": 2,
    }
    return load_config(PretrainConfig, values)


def batch() -> Batch:
    tokens = torch.randint(0, VOCAB, (2, LENGTH), generator=torch.Generator().manual_seed(1))
    return Batch(tokens, tokens, torch.ones(tokens.shape), None)


def start_from(config: PretrainConfig, path: Path) -> Whole:
    checkpoint = config.checkpoint.model_copy(update={"weights_from": str(path)})
    return starting_weights(config.model_copy(update={"checkpoint": checkpoint}), VOCAB)


def check(name: str, folder: Path) -> dict[str, float]:
    """Largest differences of logits: files -> this layout; after a step of training its checkpoint -> files, and ->
    the same layout again; files -> checkpoint -> this layout."""
    config, one, main = configuration(name), batch(), dist.get_rank() == 0
    get_moe_layer_wise_logging_tracker().clear()  # sized for the first model of a process
    theirs = folder / "theirs"
    reference = random_hf(config.model)
    if main:
        reference.save_pretrained(theirs)
        write_tokenizer(theirs)
        (folder / "saved").mkdir()
        import_model(ImportConfig(model=str(theirs)), folder / "imported")
    dist.barrier()
    with torch.no_grad():
        expected = reference(one.tokens).logits
    engine = Engine(config, VOCAB, start_from(config, theirs))
    loaded = float((engine.logits(one, VOCAB) - expected).abs().max())
    engine.backward(iter([one]), 0)
    engine.update(0)
    trained = engine.logits(one, VOCAB)
    engine.save(folder / "saved")
    dist.barrier()
    exported = 0.0
    if main:
        state = RunState(1, config.identity(), "", "", VOCAB, stage=config.stage())
        state.write(folder / "saved")
        source = find_model(folder / "saved")
        write_hf(source.folder, folder / "ours", source.model, VOCAB, LENGTH, "float32", theirs, {}, file_bytes=300_000)
        with torch.no_grad():
            again = load_hf(folder / "ours", source.model, "float32")(one.tokens).logits
        exported = float((again - trained).abs().max())
    for chunk in engine.chunks:
        for weight in chunk.parameters():
            weight.data.zero_()
    engine.load(folder / "saved")
    resumed = float((engine.logits(one, VOCAB) - trained).abs().max())
    for chunk in engine.chunks:
        fill(chunk, start_from(config, folder / "imported"))
    imported = float((engine.logits(one, VOCAB) - expected).abs().max())
    moved = float((trained - expected).abs().max())
    return {"loaded": loaded, "exported": exported, "resumed": resumed, "imported": imported, "moved": moved}


def main() -> None:
    folder, names = Path(sys.argv[1]), sys.argv[2:] or list(FAMILIES)
    dist.init_process_group("gloo")
    initialize_layout(configuration("mixtral"))
    torch.manual_seed(0)
    result = {}
    for name in names:
        (folder / name).mkdir(exist_ok=True)
        dist.barrier()
        result[name] = check(name, folder / name)
        if dist.get_rank() == 0:
            print(name, result[name], file=sys.stderr, flush=True)
    if dist.get_rank() == 0:
        print(json.dumps(result), flush=True)
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
