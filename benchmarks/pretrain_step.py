"""Tokens a second of our pretrainer on one rank against a plain transformers loop; on a GPU, the MFU of a 1B Llama.

    python benchmarks/pretrain_step.py            # a 10M Llama on one CPU thread, five minutes; writes the result file
    python benchmarks/pretrain_step.py --quick    # fewer steps; under 50 s
    python benchmarks/pretrain_step.py --gpu      # on a GPU: a 1B Llama in bfloat16, sequences of 4,096

CPU: the same Llama (8 layers of width 256, vocabulary 8,190), the same batch of 8 x 256 tokens, float32, AdamW,
clipping at 1. The plain loop is LlamaForCausalLM with SDPA, cross entropy on its logits, torch.optim.AdamW (its own
choice of implementation). Ours is the engine of the pretrainer at TP = PP = 1 with all it does: the schedule, float32
gradient buffers, the optimizer that saves for every layout, loss summed over ranks. Both in one process, step by
step in turn, CPU time of the process; the median of steps. Both start from the same weights, and their first losses
must agree.

GPU: the engine on one rank, with the measured peak of a large bfloat16 product as 100%. Operations count the causal
half of the attention only. Transformer Engine is used when it is installed. UNMEASURED so far: no GPU was at hand.

The figure is ours over the plain loop, tokens a CPU second. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from support.environment import REPOSITORY, commit, machine, own_versions
from support.tables import print_table

RESULT = REPOSITORY / "benchmarks" / "results" / "pretrain_step.json"
FIGURE = "tokens a second of the pretrainer against a plain transformers loop, one CPU thread"
GOAL = 1.0
VOCABULARY = 8190
SMALL = {
    "layers": 8,
    "hidden_size": 256,
    "ffn_hidden_size": 688,
    "heads": 8,
    "kv_heads": 4,
    "tied_embeddings": False,
    "norm_epsilon": 1e-6,
}
ONE_BILLION = {
    "layers": 16,
    "hidden_size": 2048,
    "ffn_hidden_size": 8192,
    "heads": 32,
    "kv_heads": 8,
    "rope_theta": 500_000.0,
}
"""Llama 3.2 1B."""


def main() -> int:
    """Print the table of the machine's kind."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer steps, no result file")
    parser.add_argument("--gpu", action="store_true", help="the 1B model on a GPU")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of both")
    parser.add_argument("--micro-batch", type=int, default=4, help="--gpu: sequences at a time")
    options = parser.parse_args()
    from training.pretrain import runtime

    runtime.prepare(options.threads)
    import torch

    if options.gpu and not torch.cuda.is_available():
        print("--gpu needs a GPU and this machine has none", file=sys.stderr)
        return 1
    last = on_gpu(options.micro_batch) if options.gpu else on_cpu(4 if options.quick else 20, options.threads)
    if not options.quick and not options.gpu:
        result = {**last, "commit": commit(), "machine": machine(), "gpu": "unmeasured"}
        result |= {"versions": own_versions(["torch", "megatron-core", "transformers"])}
        RESULT.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps({name: last[name] for name in ("figure", "value", "goal", "unit")}))
    return 0


def engine(model: dict[str, Any], vocabulary: int, length: int, batch: int, **settings: Any) -> Any:
    """The pretrainer's engine on one rank."""
    import torch
    import torch.distributed as dist

    from millbase.config import load_config
    from training.pretrain.config import PretrainConfig
    from training.pretrain.engine import Engine
    from training.pretrain.model import initialize_layout
    from training.pretrain.weights import starting_weights

    values = {
        "data": {"tokens": "none", "sequence_length": length},
        "model": model,
        "optimizer": {"learning_rate": 1e-3, "weight_decay": 0.01, "beta2": 0.999},
        "schedule": {"kind": "constant", "warmup_steps": 0},
        "steps": 1000,
        "global_batch_size": batch,
        **settings,
    }
    config = load_config(PretrainConfig, values)
    store = Path(tempfile.mkdtemp(prefix="step-")) / "store"
    kind = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    dist.init_process_group(kind, init_method=f"file://{store}", rank=0, world_size=1)
    initialize_layout(config)
    return Engine(config, vocabulary, starting_weights(config, vocabulary))


def on_cpu(steps: int, threads: int) -> dict[str, Any]:
    """Both loops in turn; CPU and wall time of a step of each."""
    import torch

    from training.pretrain.data import Batch

    batch, length = 8, 256
    model = plain_model()
    with tempfile.TemporaryDirectory(prefix="step-") as start:
        model.save_pretrained(start)
        weights = {"weights_from": start}
        ours = engine(SMALL, VOCABULARY, length, batch, micro_batch_size=batch, checkpoint=weights)
    rows = torch.randint(0, VOCABULARY, (batch, length + 1), generator=torch.Generator().manual_seed(0))
    tokens, labels = rows[:, :-1].contiguous(), rows[:, 1:].contiguous()
    micro = Batch(tokens, labels, torch.ones(batch, length))
    done = iter(range(1000))

    def our_step() -> float:
        step = next(done)
        loss = ours.backward(iter([micro]), step).loss
        ours.update(step)
        return float(loss)

    loops = {"plain transformers loop": plain_loop(model, tokens, labels), "llmill": our_step}
    first = {name: loop() for name, loop in loops.items()}
    if abs(first["llmill"] - first["plain transformers loop"]) > 1e-4:
        raise RuntimeError(f"the two do not train the same model: first losses {first}")
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in loops}
    for number in range(steps + 1):
        for name, loop in loops.items():
            cpu, wall = time.process_time(), time.perf_counter()
            loop()
            if number:  # the first step warms up
                times[name].append((time.process_time() - cpu, time.perf_counter() - wall))
    cost = {name: tuple(statistics.median(column) for column in zip(*found)) for name, found in times.items()}
    size = batch * length
    rows_ = [("", "tokens a CPU second", "tokens a second", "CPU ms a step")]
    rows_ += [
        (name, f"{size / cpu:,.0f}", f"{size / wall:,.0f}", f"{cpu * 1e3:,.0f}") for name, (cpu, wall) in cost.items()
    ]
    print(f"{sum(p.numel() for p in ours.chunks[0].parameters()):,} weights, {threads} thread, {steps} steps of each\n")
    print_table(rows_)
    plain, mine = cost["plain transformers loop"], cost["llmill"]
    print()
    return {
        "figure": FIGURE,
        "value": round(plain[0] / mine[0], 3),
        "goal": GOAL,
        "unit": "x",
        "wall": round(plain[1] / mine[1], 3),
        "tokens_per_cpu_second": {name: round(size / cpu) for name, (cpu, _) in cost.items()},
        "threads": threads,
    }


def plain_model() -> Any:
    """The same Llama in transformers, with its own initial weights."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=VOCABULARY,
            hidden_size=SMALL["hidden_size"],
            intermediate_size=SMALL["ffn_hidden_size"],
            num_hidden_layers=SMALL["layers"],
            num_attention_heads=SMALL["heads"],
            num_key_value_heads=SMALL["kv_heads"],
            rms_norm_eps=SMALL["norm_epsilon"],
            tie_word_embeddings=SMALL["tied_embeddings"],
            use_cache=False,
            attn_implementation="sdpa",
        )
    )


def plain_loop(model: Any, tokens: Any, labels: Any) -> Callable[[], float]:
    """A step of the loop that anyone would write."""
    import torch
    import torch.nn.functional as F

    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.01)

    def step() -> float:
        optimizer.zero_grad()
        logits = model(input_ids=tokens).logits
        loss = F.cross_entropy(logits.float().view(-1, VOCABULARY), labels.view(-1))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        return float(loss)

    return step


def on_gpu(micro: int) -> dict[str, Any]:
    """Steps of the 1B model, and what share of the measured peak they reach."""
    import torch

    from training.plan.flops import train_flops_per_token
    from training.pretrain.data import Batch
    from training.pretrain.hardware import implementation

    length, batch, vocabulary = 4096, 4 * micro, 128_256
    ours = engine(ONE_BILLION, vocabulary, length, batch, micro_batch_size=micro, dtype="bfloat16")
    rows = torch.randint(0, vocabulary, (batch, length + 1))
    parts = [
        Batch(part[:, :-1].contiguous(), part[:, 1:].contiguous(), torch.ones(micro, length))
        for part in rows.split(micro)
    ]
    seconds = []
    for step in range(12):
        torch.cuda.synchronize()
        began = time.perf_counter()
        ours.backward(iter(parts), step)
        ours.update(step)
        torch.cuda.synchronize()
        seconds.append(time.perf_counter() - began)
    fast = statistics.median(seconds[4:])  # the first steps compile
    rate = batch * length / fast
    peak, flops = matmul_peak(), train_flops_per_token(ours.config.model, vocabulary, length)
    share = rate * flops / peak
    print_table(
        [
            ("", ""),
            ("GPU", torch.cuda.get_device_name()),
            ("kernels", implementation(ours.config)),
            ("tokens a second", f"{rate:,.0f}"),
            ("measured bfloat16 peak, TFLOP/s", f"{peak / 1e12:.0f}"),
            ("reached, TFLOP/s", f"{rate * flops / 1e12:.0f}"),
            ("memory, GiB", f"{torch.cuda.max_memory_allocated() / 2**30:.1f}"),
        ]
    )
    figure = "MFU of a 1B Llama in bfloat16, sequence 4,096, against the measured peak"
    return {"figure": figure, "value": round(share, 3), "goal": 0.55, "unit": "share"}


def matmul_peak() -> float:
    """Operations a second of the best of some products of square bfloat16 matrices."""
    import torch

    size, best = 8192, 0.0
    a, b = (torch.randn(size, size, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    for _ in range(10):
        torch.cuda.synchronize()
        began = time.perf_counter()
        for _ in range(10):
            a @ b
        torch.cuda.synchronize()
        best = max(best, 10 * 2 * size**3 / (time.perf_counter() - began))
    return best


if __name__ == "__main__":
    sys.exit(main())
