"""The planner against published figures; each test names its source and its bound."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.training.plan.published import GPT3, LLAMA3_405B, LLAMA_7B, LLAMA_65B, gpt, llama
from training.plan.estimate import Run, mfu, plan_run
from training.plan.flops import compute_optimal, six_nd, train_flops_per_token
from training.plan.hardware import find_gpu
from training.plan.layout import Layout, Precision
from training.plan.memory import RankWeights, kept_activations, layer_activations, states
from training.plan.posttrain import Stage, state_bytes
from training.pretrain.parameters import parameter_counts

A100, H100 = find_gpu("a100-80"), find_gpu("h100")
CLASSIC = Precision(weights=2, gradients=2, optimizer=12)
PAPER = Precision(dropout=True, flash=False)
"""The models of Korthikanti et al.: dropout, attention that stores its scores."""

# Korthikanti et al. 2022, tables 3 and 5: model, pipeline, interleaving, batch, micro-batch, GPUs, seconds of an
# iteration with full recomputation, and with sequence parallelism and selective recomputation, and the latter's MFU
MEGATRON = {
    "22B": (gpt(48, 6144, 64), 1, 1, 4, 4, 8, 1.42, 1.10, 0.415),
    "175B": (GPT3, 8, 3, 64, 1, 64, 18.13, 13.75, 0.514),
    "530B": (gpt(105, 20480, 128), 35, 3, 280, 1, 280, 49.05, 37.83, 0.560),
    "1T": (gpt(128, 25600, 160), 64, 1, 512, 1, 512, 94.42, 71.49, 0.563),
}


def test_gpt3_flops() -> None:
    """Brown et al. 2020, table D.1: 174,600M parameters, 300B tokens, 3.14e23 FLOPs. Bound: 0.2%."""
    counts = parameter_counts(GPT3, 50_257)
    assert counts.total == pytest.approx(174.6e9, rel=0.002)
    assert six_nd(counts.total, 300e9) == pytest.approx(3.14e23, rel=0.002)


def test_16_bytes_a_parameter_of_mixed_precision_adam() -> None:
    """Rajbhandari et al. 2020 (ZeRO), section 3.1: 2 + 2 + 12 bytes; 1.5 billion parameters take at least 24 GB."""
    assert CLASSIC.per_weight == 16
    assert 1.5e9 * CLASSIC.per_weight == pytest.approx(24e9)


@pytest.mark.parametrize(
    ("replicas", "expected"),
    [
        (4, {7.5: (52.5, 41.3, 30), 128: (896, 704, 512), 1000: (7000, 5500, 4000)}),
        (16, {7.5: (35.6, 21.6, 7.5), 128: (608, 368, 128), 1000: (4750, 2875, 1000)}),
        (64, {7.5: (31.4, 16.6, 1.88), 128: (536, 284, 32), 1000: (4187, 2218, 250)}),
        (256, {7.5: (30.4, 15.4, 0.47), 128: (518, 263, 8), 1000: (4046, 2054, 62.5)}),
        (1024, {7.5: (30.1, 15.1, 0.12), 128: (513, 257, 2), 1000: (4011, 2013, 15.6)}),
    ],
)
def test_zero_table(replicas: int, expected: dict[float, tuple[float, float, float]]) -> None:
    """Rajbhandari et al. 2020, table 1: GB a device with stages 1, 2 and 3. Bound: the rounding of the table."""
    for billions, row in expected.items():
        for stage, published in zip((1, 2, 3), row):
            weights = RankWeights(dense=billions * 1e9, experts=0, matrices=0)
            found = sum(states(weights, Layout(data=replicas, zero=stage), CLASSIC)) / 1e9
            assert found == pytest.approx(published, rel=0.01, abs=0.06), f"{billions}B, {replicas} devices, {stage}"


@pytest.mark.parametrize("replicas", [1, 4, 64])
def test_megatrons_own_bytes(replicas: int) -> None:
    """Megatron-core's guide to the distributed optimizer: bytes a parameter 18 and 6 + 12/d in bfloat16 with float32
    gradients, 16 and 8 + 8/d in float32. Exact."""
    weights = RankWeights(dense=1.0, experts=0, matrices=0)
    for dtype, plain, spread in (
        ("bfloat16", 18, 6 + 12 / replicas),
        ("float32", 16, 8 + 8 / replicas),
    ):
        kept = Precision.of(dtype)
        assert sum(states(weights, Layout(data=replicas, zero=0), kept)) == pytest.approx(plain)
        assert sum(states(weights, Layout(data=replicas, zero=1), kept)) == pytest.approx(spread)


@pytest.mark.parametrize(
    ("parameters", "flops", "tokens"),
    [
        (400e6, 1.92e19, 8.0e9),
        (1e9, 1.21e20, 20.2e9),
        (10e9, 1.23e22, 205.1e9),
        (67e9, 5.76e23, 1.5e12),
        (175e9, 3.85e24, 3.7e12),
        (1e12, 1.27e26, 21.2e12),
    ],
)
def test_chinchilla(parameters: float, flops: float, tokens: float) -> None:
    """Hoffmann et al. 2022, table 3. Bound: 12% for 20 tokens a parameter, 7% for the model a budget buys."""
    model = LLAMA_7B
    found = compute_optimal(model, 32_000, flops)
    assert found["tokens"] == 20 * parameter_counts(model, 32_000).active
    assert 20 * parameters == pytest.approx(tokens, rel=0.12)
    assert found["parameters_for_budget"] == pytest.approx(parameters, rel=0.07)
    assert found["tokens_for_budget"] == pytest.approx(tokens, rel=0.12)


@pytest.mark.parametrize(
    ("tensor", "sequence", "recompute", "formula"),
    [
        (1, False, "none", lambda t, x: 34 + x),
        (8, False, "none", lambda t, x: 10 + 24 / t + x / t),
        (8, True, "none", lambda t, x: (34 + x) / t),
        (8, False, "selective", lambda t, x: 10 + 24 / t),
        (8, True, "selective", lambda t, x: 34 / t),
        (8, True, "full", lambda t, x: 2 / t),
    ],
)
@pytest.mark.parametrize("name", MEGATRON)
def test_activation_memory(name: str, tensor: int, sequence: bool, recompute: str, formula) -> None:
    """Korthikanti et al. 2022, table 2: bytes of a layer over s b h, with x = 5 a s / h. Exact. (Full recomputation:
    the layer's input, 2 s b h, which sequence parallelism leaves split.)"""
    model, _, _, batch, micro, *_ = MEGATRON[name]
    layout = Layout(tensor=tensor, sequence_parallel=sequence, micro_batch=micro, recompute=recompute, zero=0)
    scale = 2048 * micro * model.hidden_size
    if recompute == "full":
        found = Run(model, 51_200, 2048, batch, 1.0, PAPER).memory(layout).parts
    else:
        found = kept_activations(layer_activations(model, 0, 2048, layout, PAPER), model, layout)
    assert sum(found.values()) / scale == pytest.approx(formula(tensor, 5 * model.heads * 2048 / model.hidden_size))


def test_selective_recomputation_saves_70_and_65_percent() -> None:
    """Korthikanti et al. 2022, section 5: of GPT-3's and MT-NLG's activations. Bound: half a point."""
    for name, memory in (("175B", 0.70), ("530B", 0.65)):
        model = MEGATRON[name][0]
        layout = Layout(tensor=8, sequence_parallel=True, recompute="selective")
        full = layer_activations(model, 0, 2048, layout, PAPER)
        saved = 1 - sum(kept_activations(full, model, layout).values()) / sum(full.values())
        assert saved == pytest.approx(memory, abs=0.005)


def test_interleaving_keeps_more_micro_batches() -> None:
    """Korthikanti et al. 2022, section 4.2.3: the first stage keeps L layers with 1F1B, L (1 + (p - 1) / (p m))
    interleaved. Exact."""
    for size, chunks in ((8, 1), (8, 3), (35, 3)):
        flight = Layout(pipeline=size, chunks=chunks).in_flight(0, 10_000)
        expected = size if chunks == 1 else size * (1 + (size - 1) / (size * chunks))
        assert flight == pytest.approx(expected)


@pytest.mark.parametrize("name", MEGATRON)
def test_model_flops_and_mfu(name: str) -> None:
    """Korthikanti et al. 2022, appendix A, equation 7: 72 B L s h^2 (1 + s / 6h + v / 12hL), exact; and the MFU of
    table 5 from its iteration times, within 0.2 points."""
    model, _, _, batch, _, gpus, _, seconds, published = MEGATRON[name]
    hidden, layers, length = model.hidden_size, model.layers, 2048
    whole = 72 * batch * layers * length * hidden**2
    whole *= 1 + length / (6 * hidden) + 51_200 / (12 * hidden * layers)
    run = Run(model, 51_200, length, batch, 1.0, PAPER)
    assert train_flops_per_token(model, 51_200, length, causal=False) * run.tokens_per_step == pytest.approx(whole)
    assert mfu(run, seconds, gpus, A100, causal=False) == pytest.approx(published, abs=0.002)


@pytest.mark.parametrize("name", MEGATRON)
def test_iteration_time(name: str) -> None:
    """Korthikanti et al. 2022, table 5: iterations on A100s in a DGX cluster. Bound: 10%."""
    model, pipeline, chunks, batch, micro, gpus, full, selective, _ = MEGATRON[name]
    run = Run(model, 51_200, 2048, batch, 1.0, PAPER)
    plain = Layout(8, pipeline, chunks, micro_batch=micro, recompute="full", scatter_gather=True)
    better = replace(plain, sequence_parallel=True, recompute="selective")
    assert plain.ranks == gpus
    assert run.time(plain, A100).total == pytest.approx(full, rel=0.10)
    assert run.time(better, A100).total == pytest.approx(selective, rel=0.10)
    # they fitted, with full recomputation off, into 80 GB
    assert run.memory(better).total < 80 * 2**30


@pytest.mark.parametrize(
    ("model", "tokens", "layout", "published", "low", "high"),
    [
        (LLAMA_7B, 1.0e12, Layout(data=256), 82_432, 0.60, 1.0),
        (
            llama(40, 5120, 13824, 40, 40),
            1.0e12,
            Layout(tensor=2, data=128, sequence_parallel=True, micro_batch=2),
            135_168,
            0.70,
            1.0,
        ),
        (
            LLAMA_65B,
            1.4e12,
            Layout(tensor=8, pipeline=4, data=64, sequence_parallel=True),
            1_022_362,
            0.85,
            1.15,
        ),
    ],
    ids=["7B", "13B", "65B"],
)
def test_llama_gpu_hours(model, tokens: float, layout: Layout, published: int, low: float, high: float) -> None:
    """Touvron et al. 2023 (LLaMA), table 15: GPU-hours on A100-80GB, batches of 4M tokens (table 2). The paper tells no
    layouts; these are ours. Its hours are 3,370, 2,055 and 380 tokens a second and GPU (the last is the throughput that
    section 2.4 gives, so they hold no restarts or waiting): MFU 45%, 53%, 49%. LLM Foundry measured 4,641 and 2,262 for
    7B and 13B on that GPU (below), so the 7B run left a quarter of its time unused, and the plan is of a run that does
    not. Bounds: 65B within 15%; 7B and 13B at 60% and 70% of the published hours or more, and never above them."""
    run = Run(model, 32_000, 2048, 2048, tokens)
    plan = plan_run(run, layout, A100)
    assert plan["memory"]["fits"]
    assert low <= plan["time"]["gpu_hours"] / published <= high


@pytest.mark.parametrize(
    ("model", "length", "micro", "count", "recompute", "published"),
    [
        (gpt(24, 2048, 16), 2048, 14, 4, "none", 20_513),
        (gpt(32, 2560, 20), 2048, 10, 2, "none", 10_811),
        (gpt(32, 4096, 32), 2048, 6, 2, "none", 4_641),
        (gpt(40, 5120, 40), 2048, 2, 3, "none", 2_262),
        (gpt(32, 4096, 32), 4096, 16, 2, "full", 3_684),
        (gpt(32, 4096, 32), 8192, 8, 2, "full", 3_206),
        (gpt(40, 5120, 40), 4096, 10, 3, "full", 2_060),
        (gpt(48, 7168, 56), 2048, 3, 21, "full", 916),
    ],
    ids=["1B", "3B", "7B", "13B", "7B 4096", "7B 8192", "13B 4096", "30B"],
)
def test_llm_foundry_throughput(model, length: int, micro: int, count: int, recompute: str, published: int) -> None:
    """MosaicML's LLM Foundry, scripts/train/benchmarking/README.md: MPT models on eight A100-80GB, FSDP (ZeRO-3),
    tokens a second and GPU. None of the planner's constants was chosen for these. Bounds: within 8% where layers are
    recomputed; without, the plan is 5% to 25% too fast."""
    run = Run(model, 50_368, length, 8 * micro * count, 1e12)
    time = plan_run(run, Layout(data=8, zero=3, micro_batch=micro, recompute=recompute), A100)["time"]
    low, high = (0.92, 1.08) if recompute == "full" else (1.05, 1.25)
    assert low <= time["tokens_per_second_per_gpu"] / published <= high


def test_llama_65b_throughput() -> None:
    """Touvron et al. 2023, section 2.4: 380 tokens a second and GPU on 2,048 A100s, 21 days. Bound: 10%."""
    run = Run(LLAMA_65B, 32_000, 2048, 2048, 1.4e12)
    time = plan_run(run, Layout(tensor=8, pipeline=4, data=64, sequence_parallel=True), A100)["time"]
    assert time["tokens_per_second_per_gpu"] == pytest.approx(380, rel=0.10)
    assert time["days"] == pytest.approx(21, rel=0.10)


@pytest.mark.parametrize(
    ("context", "data", "length", "batch", "published"),
    [(1, 64, 8192, 2048, 0.43), (1, 128, 8192, 2048, 0.41), (16, 8, 131_072, 128, 0.38)],
    ids=["8192 GPUs", "16384 GPUs", "16384 GPUs, 128K"],
)
def test_llama3_405b_mfu(context: int, data: int, length: int, batch: int, published: float) -> None:
    """Llama Team 2024, table 4: BF16 MFU 43%, 41%, 38% with TP 8, PP 16, and a layer fewer on the first and last stage.
    How many chunks a rank has is not told; 4 here. Bound: 4 points; all lie in or near 38-43%."""
    layout = Layout(
        tensor=8,
        pipeline=16,
        chunks=4,
        context=context,
        data=data,
        sequence_parallel=True,
        zero=2,
        first_stage_layers=7,
        last_stage_layers=7,
    )
    run = Run(LLAMA3_405B, 128_256, length, batch, 15.6e12)
    assert mfu(run, run.time(layout, H100).total, layout.ranks, H100) == pytest.approx(published, abs=0.04)


def test_llama3_405b_work() -> None:
    """Llama Team 2024, section 3: 3.8e25 FLOPs, 15.6T tokens. Bound: 1%."""
    assert six_nd(parameter_counts(LLAMA3_405B, 128_256).total, 15.6e12) == pytest.approx(3.8e25, rel=0.01)


def test_ppo_with_four_7b_models() -> None:
    """Two trained models at 16 bytes a weight, two frozen in half precision: about 240 GB at 7B (the figure our users
    know). Bound: 5%. Ours keep frozen models in float32: 40 bytes a weight."""
    half = Stage("ppo", LLAMA_7B, 32_000, rows=1, length=512, reward=True, frozen_bytes=2.0)
    assert sum(state_bytes(half).values()) == pytest.approx(240e9, rel=0.05)
    ours = state_bytes(replace(half, frozen_bytes=4.0))
    assert set(ours) == {"policy", "value model", "reference", "reward model"}
    assert sum(ours.values()) == pytest.approx(40 * parameter_counts(LLAMA_7B, 32_000).total)
