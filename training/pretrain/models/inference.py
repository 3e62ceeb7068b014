"""A Megatron model for reading only: weights from any checkpoint, any tensor and pipeline layout, no optimizer.

In one plain process, or in each of `tensor * pipeline` processes that torchrun started.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
import torch.nn.functional as F

from millbase.errors import InputError
from training.pretrain.models.source import ModelSource

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class MegatronModel:
    """Gives logits. All ranks call it together, with the same tokens."""

    def __init__(self, source: ModelSource, tensor: int, pipeline: int, dtype: str | None, threads: int) -> None:
        """Build this rank's part and fill it. The process must not have built anything of Megatron before."""
        from training.pretrain import runtime

        runtime.prepare(threads)
        from training.pretrain.config import PretrainConfig

        self.source = source
        self.vocab_size = source.vocab_size
        self.max_length = source.sequence_length
        self.path = source.folder
        # Megatron wants sequence parallelism where experts meet tensor parallelism; it then cuts sequences evenly.
        self._multiple = tensor if source.model.moe else 1
        config = PretrainConfig.model_validate(
            {
                "data": {"tokens": "", "sequence_length": -(-source.sequence_length // tensor) * tensor},
                "model": source.model.to_dict(),
                "parallel": {
                    "tensor": tensor,
                    "pipeline": pipeline,
                    "sequence_parallel": self._multiple > 1,
                    "threads": threads,
                },
                "dtype": dtype or ("bfloat16" if source.dtype == "bfloat16" else "float32"),
                "global_batch_size": 1,
                "micro_batch_size": 1,
            }
        )
        _connect(tensor * pipeline)
        from training.pretrain.model import build_model, initialize_layout
        from training.pretrain.weights import fill

        initialize_layout(config)
        self.config = config
        [self.stage] = build_model(config, source.vocab_size)
        weights = source.weights()
        fill(self.stage, lambda name, index, shape: _padded(weights(name, index, shape), shape))
        self.stage.eval()

    @functools.cached_property
    def digest(self) -> str:
        """The artifact's digest; for a folder without a manifest, a digest of its files."""
        return self.source.digest

    @functools.cached_property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The tokenizer beside the weights; InputError when there is none."""
        from transformers import AutoTokenizer

        if self.source.tokenizer is None:
            raise InputError(f"{self.path}: no tokenizer beside it; put tokenizer.json into its hf/ folder")
        return AutoTokenizer.from_pretrained(self.source.tokenizer)

    @torch.no_grad()
    def logits(self, input_ids: torch.Tensor) -> torch.Tensor:
        """Next-token logits of `[B, T]` ids, `[B, T, V]` float32 on every rank (an encoder's: of each token itself).

        Rows shorter than the others are padded on the right by the caller: a decoder's earlier positions do not see it.
        """
        from megatron.core import parallel_state
        from megatron.core.pipeline_parallel.schedules import get_forward_backward_func
        from megatron.core.tensor_parallel.mappings import gather_from_tensor_model_parallel_region

        device = torch.cuda.current_device()
        length = input_ids.size(1)
        tokens = F.pad(input_ids.to(device), (0, -length % self._multiple))
        kept: list[torch.Tensor] = []

        def keep(output: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, dict[str, Any]]:
            kept.append(output)
            return output.new_zeros(()), torch.zeros((), dtype=torch.int, device=output.device), {}

        def step(batches: Any, stage: Any) -> tuple[torch.Tensor, Any]:
            ids = next(batches)
            return stage(ids, torch.arange(ids.size(1), device=ids.device).expand_as(ids), None), keep

        get_forward_backward_func()(
            forward_step_func=step,
            data_iterator=iter([tokens]),
            model=self.stage,
            num_microbatches=1,
            seq_length=tokens.size(1),
            micro_batch_size=tokens.size(0),
            forward_only=True,
        )
        result = torch.empty((*input_ids.shape, self.vocab_size), device=device)
        if kept:
            whole = gather_from_tensor_model_parallel_region(kept[0])
            result.copy_(whole[:, :length, : self.vocab_size])
        group = parallel_state.get_pipeline_model_parallel_group()
        dist.broadcast(result, parallel_state.get_pipeline_model_parallel_last_rank(), group=group)
        return result


def _connect(ranks: int) -> None:
    """Join the other ranks; alone, make a group of one. Does nothing when that has been done."""
    if not dist.is_initialized():
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        if dist.is_torchelastic_launched():
            dist.init_process_group(backend)
        else:
            alone = torch._C._distributed_c10d.HashStore()
            dist.init_process_group(backend, store=alone, rank=0, world_size=1)
    if dist.get_world_size() != ranks:
        raise InputError(
            f"tensor * pipeline is {ranks}, but {dist.get_world_size()} processes run; start as many with torchrun"
        )


def _padded(tensor: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
    if tensor.size(0) >= shape[0]:
        return tensor[: shape[0]]
    return torch.cat([tensor, tensor.new_zeros(shape[0] - tensor.size(0), *shape[1:])])
