"""How fast a step was: tokens and floating-point operations a second, share of the peak (MFU), memory."""

from __future__ import annotations

import time

import torch
import torch.distributed as dist

from training.plan.flops import train_flops_per_token
from training.plan.hardware import match_device
from training.pretrain.config import PretrainConfig

_SIZE, _REPEATS = 768, 3


class Speed:
    """Turns tokens and seconds into the figures of a step; made on all ranks together."""

    def __init__(self, config: PretrainConfig, vocab_size: int) -> None:
        """Finds the peak of this device: published for known GPUs in bfloat16, else a measured matrix product."""
        causal = config.model.masked_lm is None
        self.flops_per_token = train_flops_per_token(config.model, vocab_size, config.data.sequence_length, causal)
        known = match_device(torch.cuda.get_device_name()) if torch.cuda.is_available() else None
        published = known is not None and config.dtype == "bfloat16"
        peak = known.peak if known is not None and published else measured_peak(config)
        total = torch.tensor(peak, dtype=torch.float64, device=torch.cuda.current_device())
        dist.all_reduce(total)
        self.peak = float(total)
        """Floating-point operations a second of all ranks together."""
        self.peak_source = f"published for {known.name}" if known is not None and published else "measured product"

    def metrics(self, tokens: float, seconds: float) -> dict[str, float]:
        """Figures of a step of `tokens` tokens, all ranks together; memory is this rank's peak, in GiB."""
        rate = tokens / seconds
        flops = rate * self.flops_per_token
        return {
            "tokens_per_second": rate,
            "tflops": flops / 1e12,
            "mfu": flops / self.peak,
            "memory_gib": peak_memory() / 2**30,
        }


def measured_peak(config: PretrainConfig) -> float:
    """Operations a second of a square matrix product on this rank, in the types of the training; best of three."""
    device = torch.cuda.current_device()
    size = _SIZE if str(device) == "cpu" else 8 * _SIZE
    dtype = getattr(torch, config.dtype)
    a = torch.ones(size, size, dtype=dtype, device=device)
    torch.set_float32_matmul_precision(config.matmul_precision)
    try:
        torch.mm(a, a)
        best = float("inf")
        for _ in range(_REPEATS):
            torch.cuda.synchronize()
            began = time.perf_counter()
            torch.mm(a, a)
            torch.cuda.synchronize()
            best = min(best, time.perf_counter() - began)
    finally:
        torch.set_float32_matmul_precision("highest")
    return float(2 * size**3 / best)


def peak_memory() -> int:
    """Most bytes that were in use at a time: of the GPU, else of this process."""
    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated())
    with open("/proc/self/status", encoding="ascii", errors="replace") as status:
        return next((int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM:")), 0)
