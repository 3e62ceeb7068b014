"""Megatron-core 0.16 without Transformer Engine and Apex (`mend_without_te`), and without a GPU (`use_cpu`).

`prepare()` once in a process, before anything of Megatron is built. With a GPU, `use_cpu` changes nothing, and with
Transformer Engine or Apex installed, `mend_without_te` changes nothing: the same training code runs everywhere.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any

import torch
import torch.utils._device

from training.pretrain.fused import bias_swiglu, rotary
from training.pretrain.runtime_experts import mend_balancing, use_cpu_for_experts


def prepare(threads: int) -> None:
    """Make Megatron-core usable in this process; `threads` is the number of CPU threads torch may use."""
    torch.set_num_threads(threads)
    if not torch.cuda.is_available():
        _import_uncompiled()
        use_cpu()
    else:
        _compile_rotary()
    mend_without_te()
    save_without_manager()


def save_without_manager() -> None:
    """Let Megatron's checkpoint writer return its results through a plain queue.

    We save synchronously, in this process. Megatron would start a manager process for the queue all the same: seconds
    of imports for each rank, and a process that outlives a killed rank.
    """
    import queue

    import megatron.core.dist_checkpointing.strategies.filesystem_async as writer

    assert hasattr(writer, "_results_queue"), "Megatron's writer changed; read save_without_manager again"
    writer._results_queue = queue.Queue()


def _import_uncompiled() -> None:
    """Import Megatron with its small fused functions left as they are.

    They are decorated with torch.compile, which loads the whole compiler at import (seconds for each rank) and would
    compile at the first call, for nothing gained on a CPU. On a GPU the fusions stay.
    """
    assert "megatron.core" not in sys.modules, "prepare() must come before Megatron is imported"
    original = torch.compile

    def leave(function: Any = None, **_: Any) -> Any:
        return function if function is not None else lambda decorated: decorated

    _set(torch, "compile", leave)
    try:
        import megatron.core  # noqa: F401
    finally:
        _set(torch, "compile", original)


def _compile_rotary() -> None:
    """Make one kernel of Megatron's rotation of queries and keys, which is seven without Apex."""
    import megatron.core.models.common.embeddings.rope_utils as rope

    _set(rope, "_apply_rotary_pos_emb_bshd", torch.compile(rope._apply_rotary_pos_emb_bshd))


def mend_without_te() -> None:
    """Give Megatron what it expects of Apex or Transformer Engine, and mend what it gets wrong without them."""
    _mend_optimizer()
    import megatron.core.tensor_parallel.mappings as mappings
    import megatron.core.tensor_parallel.random as recompute
    import megatron.core.transformer.moe.moe_utils as moe
    import megatron.core.transformer.multi_latent_attention as latent

    # Megatron sums a contiguous copy and returns the tensor it was given: nothing is summed when they differ.
    mappings._reduce = _reduce
    if not recompute.HAVE_TE:
        # Its argument is False where no fp8 is meant, and it asks whether that is None.
        checkpoint = recompute.CheckpointWithoutOutput.__init__
        _set(recompute.CheckpointWithoutOutput, "__init__", lambda self, fp8=None: checkpoint(self, fp8 or None))
    mend_balancing()
    skip_collectives_of_one()
    if not moe.HAVE_TE:
        # The router looks the name up without asking whether there is one; and latent attention thinks there is.
        moe.te_general_gemm = None
        latent.HAVE_TE = False


def _reduce(tensor: torch.Tensor, group: Any) -> torch.Tensor:
    """Sum over the ranks of `group`."""
    if group.size() == 1:
        return tensor
    total = tensor.contiguous()
    torch.distributed.all_reduce(total, group=group)
    return total


def _mend_optimizer() -> None:
    import megatron.core.optimizer as optimizer
    import megatron.core.optimizer.clip_grads as clip
    import megatron.core.optimizer.distrib_optimizer as distributed
    from megatron.core.utils import local_multi_tensor_l2_norm, local_multi_tensor_scale

    from training.pretrain.optimizer import FusedAdam

    if optimizer.USING_PYTORCH_OPTIMIZER:
        # The distributed optimizer cannot reload a checkpoint when its inner optimizer is torch's AdamW, which keeps
        # `step` for each parameter; Apex keeps it for each group, and that path works.
        optimizer.Adam, optimizer.USING_PYTORCH_OPTIMIZER = FusedAdam, False
        distributed.Adam, distributed.HAVE_APEX_OR_TE, distributed.USING_APEX_OPTIMIZER = FusedAdam, True, True
    # The fallbacks copy the norm of every gradient to the host, one after the other, and scale in a Python loop.
    if clip.l2_norm_impl is local_multi_tensor_l2_norm:
        clip.l2_norm_impl = _l2_norm
    if clip.multi_tensor_scale_impl is local_multi_tensor_scale:
        clip.multi_tensor_scale_impl = _scale


def skip_collectives_of_one() -> None:
    """Let a single replica neither scatter nor gather: each would copy a whole buffer onto itself."""
    import megatron.core.distributed.param_and_grad_buffer as buffer

    def alone(original: Callable[..., Any]) -> Callable[..., Any]:
        def collective(output: torch.Tensor, inputs: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
            if output.data_ptr() == inputs.data_ptr() and output.numel() == inputs.numel():
                return None
            return original(output, inputs, *args, **kwargs)

        return collective

    for name in ("dist_reduce_scatter_func", "dist_all_gather_func"):
        setattr(buffer, name, alone(getattr(buffer, name)))


def _l2_norm(_chunk: int, _overflow: Any, lists: list[list[torch.Tensor]], *_: Any) -> tuple[torch.Tensor, None]:
    """Euclidean norm over all tensors of `lists[0]`, shape `[1]`; the signature of Apex's multi_tensor_l2norm."""
    return torch.stack(torch._foreach_norm(lists[0])).norm().view(1), None


def _scale(_chunk: int, _overflow: Any, lists: list[list[torch.Tensor]], scale: float) -> None:
    """`lists[1] = lists[0] * scale`; the signature of Apex's multi_tensor_scale."""
    if all(a is b for a, b in zip(*lists, strict=True)):
        torch._foreach_mul_(lists[0], scale)
        return
    torch._foreach_copy_(lists[1], torch._foreach_mul(lists[0], scale))


def use_cpu() -> None:
    """Point Megatron's hard-wired "cuda" device at the CPU. Does nothing when there is a GPU."""
    if torch.cuda.is_available():
        return
    import megatron.core.tensor_parallel.random as rng

    # `with torch.device("meta")`, with which transformers loads models, knows the factories by identity and looks them
    # up once: it must find torch's own, which ours call, or some of a loaded model's buffers stay unset.
    torch.utils._device._device_constructors()
    cpu = torch.device("cpu")
    # Megatron makes tensors on "cuda" or on `current_device()`.
    for name in ("empty", "zeros", "ones", "tensor"):
        setattr(torch, name, _on_cpu(getattr(torch, name)))
    _set(torch.Tensor, "cuda", lambda self, *args, **kwargs: self)
    _set(torch.Tensor, "type", _cuda_type_for_megatron(torch.Tensor.type))
    _set(torch.cuda, "current_device", lambda: cpu)
    _set(torch.cuda, "synchronize", lambda *args: None)
    # Random states are kept per device; here the CPU's generator is the only one.
    _set(torch.cuda, "manual_seed", torch.default_generator.manual_seed)
    _set(torch.cuda, "get_rng_state", lambda *args: torch.get_rng_state())
    _set(rng, "_get_cuda_rng_state", lambda *args, **kwargs: torch.get_rng_state())
    _set(rng, "_set_cuda_rng_state", lambda state, *args, **kwargs: torch.set_rng_state(state))
    use_cpu_for_experts()
    import megatron.core.models.common.embeddings.rope_utils as rope
    import megatron.core.transformer.mlp as mlp

    _set(mlp, "bias_swiglu_impl", bias_swiglu)
    _set(rope, "_apply_rotary_pos_emb_bshd", rotary(rope._apply_rotary_pos_emb_bshd))


def _set(owner: Any, name: str, value: Any) -> None:
    setattr(owner, name, value)


def _on_cpu(factory: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    @functools.wraps(factory)
    def wrapped(*args: Any, **kwargs: Any) -> torch.Tensor:
        if str(kwargs.get("device", "cpu")).startswith("cuda"):
            kwargs["device"] = torch.device("cpu")
        if kwargs.get("pin_memory"):
            kwargs["pin_memory"] = False
        return factory(*args, **kwargs)

    return wrapped


def _cuda_type_for_megatron(original: Callable[..., Any]) -> Callable[..., Any]:
    """Megatron's optimizers sort parameters by comparing `.type()` with "torch.cuda.FloatTensor" and the like."""

    def type_(self: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        result = original(self, *args, **kwargs)
        if isinstance(result, str):
            caller = sys._getframe(1).f_globals.get("__name__", "")
            if caller.startswith("megatron."):
                return result.replace("torch.", "torch.cuda.")
        return result

    return type_
