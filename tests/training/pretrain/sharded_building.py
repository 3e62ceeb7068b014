"""How much of a model two ranks of ZeRO-3 hold while it is built, for a test.

    python sharded_building.py RANK FOLDER CONFIG.json

Prints a line of JSON: numbers of the whole model, numbers held at the end, whether parameters had values before,
the most numbers of whole tensors that were alive at once, and whether the rows held are those of the whole tensors.
"""
# ruff: noqa: E402 - the runtime must be prepared before Megatron is imported

import json
import sys
import weakref
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from training.pretrain import runtime

runtime.prepare(threads=1)

from millbase.config import load_config
from training.pretrain.config import PretrainConfig
from training.pretrain.model import build_model, initialize_layout
from training.pretrain.replicas import replicate
from training.pretrain.weights import initial_weights


def main() -> None:
    """Build as `Engine` does, and look."""
    rank, folder = int(sys.argv[1]), Path(sys.argv[2])
    config = load_config(PretrainConfig, json.loads(Path(sys.argv[3]).read_text()))
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    initialize_layout(config)
    (chunk,) = build_model(config, 128)
    meta = all(param.is_meta for param in chunk.parameters())
    whole = {name: param.numel() for name, param in chunk.named_parameters()}
    marks = sum(hasattr(param, "tensor_model_parallel") for param in chunk.parameters())
    given, alive = initial_weights(config.model, config.seed), dict[int, int]()
    most = 0

    def watched(name: str, index: tuple[int, ...], shape: tuple[int, ...]) -> torch.Tensor:
        nonlocal most
        tensor = given(name, index, shape)
        alive[id(tensor)] = tensor.numel()
        weakref.finalize(tensor, alive.pop, id(tensor))
        most = max(most, sum(alive.values()))
        return tensor

    (replica,) = replicate(config, [chunk], watched)
    held = {one.name: one for one in replica.held}
    embedding = held["embedding.word_embeddings.weight"]
    wanted = given("embedding.word_embeddings.weight", (), (128, config.model.hidden_size))
    rows: Any = wanted[embedding.first : embedding.first + embedding.rows.size(0)]
    found = {
        "whole": sum(whole.values()),
        "largest": max(whole.values()),
        "held": sum(one.rows.numel() for one in held.values()),
        "without_values": meta,
        "most_at_once": most,
        "same_rows": torch.equal(embedding.rows, rows),
        "marks_kept": marks == sum(hasattr(one.param, "tensor_model_parallel") for one in held.values()) > 0,
    }
    print(json.dumps(found), flush=True)
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
