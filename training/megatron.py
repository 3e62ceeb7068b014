"""The public loader of Megatron models, on any layout and without an export.

    torchrun --nproc-per-node 4 my_script.py       # from training.megatron import load_megatron
    model = load_megatron("runs/demo/pretrain", tensor=2, pipeline=2)

Apart from `training.load`, so that what opens exported models alone does not depend on the pretrainer's sources.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from training.pretrain.models.source import find_model

if TYPE_CHECKING:
    from training.pretrain.models.inference import MegatronModel


def load_megatron(
    path: str | Path, tensor: int = 1, pipeline: int = 1, dtype: str | None = None, threads: int = 1
) -> MegatronModel:
    """Load a model into Megatron without exporting it; `.logits(input_ids)` as of `load_model`'s.

    Args:
        path: a `checkpoint` artifact (its `megatron/` folder is read), a checkpoint of an unfinished run, or a Hugging
            Face folder; the layout that wrote it does not matter.
        tensor, pipeline: the layout to build; over 1, torchrun must have started that many processes.
        dtype: `float32` or `bfloat16`; default as stored.
        threads: CPU threads of each process.

    Raises as `load_model`, and InputError when the number of processes is another.
    """
    from training.pretrain.models.inference import MegatronModel

    source = find_model(path, verify=os.environ.get("RANK", "0") == "0")
    return MegatronModel(source, tensor, pipeline, dtype, threads)
