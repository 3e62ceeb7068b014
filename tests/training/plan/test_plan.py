"""The planner's parts against each other and against the pretrainer: weights of ranks, layouts found, checks."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import training.plan
from millbase.errors import ConfigError, InputError
from tests.training.plan.published import DEEPSEEK, GPT3, LLAMA_7B, MIXTRAL, llama
from training.plan.communication import boundary_traffic, group_rate, micro_batch_traffic, replica_traffic
from training.plan.estimate import Run, plan_run
from training.plan.fits import check_memory, layout_of, run_of
from training.plan.flops import train_flops_per_token
from training.plan.hardware import find_gpu, known_gpus, match_device
from training.plan.layout import Layout, Precision, stage_layers
from training.plan.memory import padded, rank_weights
from training.plan.posttrain import Stage, pass_bytes, plan_stage, stage_of, state_bytes
from training.plan.read import read_pretrain, stage_kind
from training.plan.search import overrides, search, shapes, summary
from training.pretrain.config import PretrainConfig
from training.pretrain.parameters import parameter_counts

H100 = find_gpu("h100")
PLAN = Path(training.plan.__file__).parent


def test_nothing_imports_torch() -> None:
    modules = [f"training.plan.{file.stem}" for file in PLAN.glob("*.py") if file.stem != "__init__"]
    assert len(modules) > 8
    code = f"import sys, {', '.join(modules)}; print('torch' in sys.modules or 'transformers' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True, cwd=PLAN.parent.parent).strip() == "False"


@pytest.mark.parametrize("model", [GPT3, LLAMA_7B, MIXTRAL, DEEPSEEK], ids=["gpt3", "llama", "mixtral", "deepseek"])
@pytest.mark.parametrize("pipeline", [1, 2])
def test_stages_hold_the_whole_model(model, pipeline: int) -> None:
    """Weights of all stages are those of the model with its padding, once (and a copy of a tied embedding)."""
    layout = Layout(pipeline=pipeline)
    held = sum(rank_weights(model, 50_257, layout, rank).total for rank in range(pipeline))
    counts = parameter_counts(model, padded(model, 50_257))
    copy = counts.embedding if model.tied_embeddings and pipeline > 1 else 0
    assert held == pytest.approx(counts.total + counts.mtp + copy)


def test_tensor_and_expert_parallelism_split_what_they_can() -> None:
    counts = parameter_counts(MIXTRAL, 32_000)
    experts = counts.parts["experts"]
    layout = Layout(tensor=2, expert=4, expert_tensor=1, data=4, sequence_parallel=True)
    one = rank_weights(MIXTRAL, 32_000, layout, 0)
    assert one.experts == experts / 4
    whole = counts.parts["norms"] + counts.parts["router"] + counts.head
    assert one.dense == pytest.approx((counts.total - experts - whole) / 2 + whole)
    assert layout.expert_replicas == 2 and layout.replicas == 4


def test_layers_are_dealt_as_megatron_deals_them() -> None:
    assert stage_layers(llama(8, 64, 128, 2, 2), Layout(pipeline=2, chunks=2)) == [[0, 1, 4, 5], [2, 3, 6, 7]]
    uneven = Layout(pipeline=4, first_stage_layers=1, last_stage_layers=1)
    assert stage_layers(llama(8, 64, 128, 2, 2), uneven) == [[0], [1, 2, 3], [4, 5, 6], [7]]


def test_flops_of_experts_and_masks() -> None:
    """Mixtral: two of eight experts count. Causal attention costs half; an encoder's does not."""
    dense = replace_experts(2)
    routed = train_flops_per_token(MIXTRAL, 32_000, 4096)
    router = 3 * 2 * 4096 * 8 * 32
    assert routed - router == pytest.approx(train_flops_per_token(dense, 32_000, 4096))
    uncut = train_flops_per_token(LLAMA_7B, 32_000, 4096, causal=False)
    scores = 3 * 4 * 4096 * 4096 * 32
    assert uncut - train_flops_per_token(LLAMA_7B, 32_000, 4096) == pytest.approx(scores * (4096 - 4097 / 2) / 4096)
    # 6N counts the input embedding's weights, which multiply nothing, and no attention
    counts = parameter_counts(LLAMA_7B, 32_000)
    matrices = counts.total - counts.embedding - counts.parts["norms"] - counts.head
    assert uncut == pytest.approx(6 * matrices + scores)


def replace_experts(count: int):
    return llama(32, 4096, 14336 * count, 32, 8)


def test_volumes_of_communication() -> None:
    """By hand: a 7B model, tensor 2, two replicas."""
    layout = Layout(tensor=2, data=2, sequence_parallel=True)
    tensor = micro_batch_traffic(LLAMA_7B, 2048, layout, Precision(), H100, list(range(32)))
    assert [one.kind for one in tensor] == ["tensor"] and tensor[0].link == "node"
    assert tensor[0].bytes == 32 * (8 + 2) * 2048 * 4096 * 2 / 2
    weights = rank_weights(LLAMA_7B, 32_000, layout, 0)
    (sums,) = replica_traffic(weights, layout, Precision(), H100, 4)
    assert sums.bytes == pytest.approx(weights.total * (4 + 2) / 2)
    (gathered,) = replica_traffic(weights, replace(layout, zero=3), Precision(), H100, 4)
    assert gathered.bytes == pytest.approx(4 * weights.total * (2 + 2 + 4) / 2)
    (summed,) = replica_traffic(weights, replace(layout, zero=2), Precision(), H100, 4)
    assert summed.bytes == pytest.approx(weights.total * (4 * 4 + 2) / 2)
    (plain,) = replica_traffic(weights, replace(layout, zero=0), Precision(), H100, 4)
    assert plain.bytes == pytest.approx(weights.total * 4)
    sent = boundary_traffic(LLAMA_7B, 2048, Layout(pipeline=2), Precision(), H100)
    assert sent is not None and sent.bytes == 2 * 2048 * 4096 * 2
    context = micro_batch_traffic(LLAMA_7B, 2048, Layout(context=2), Precision(), H100, list(range(32)))
    assert context[0].bytes == 32 * 3 * 2048 * 2 * 4096 * 2 / 2
    spread = Layout(expert=4, data=4)
    routed = micro_batch_traffic(MIXTRAL, 2048, spread, Precision(), H100, list(range(32)))
    assert routed[0].kind == "expert" and routed[0].bytes == 32 * 4 * 2 * 2048 * 4096 * 2 * 3 / 4


def test_groups_use_the_links_they_have() -> None:
    assert group_rate(H100, 8, 1)[1] == "node"
    rate, link = group_rate(H100, 16, 8)  # one rank of the group a node: one card
    assert link == "network" and rate == pytest.approx(50e9 * 0.8)
    assert group_rate(H100, 16, 1)[0] == pytest.approx(400e9 * 0.8)  # eight cards
    assert group_rate(find_gpu("rtx4090"), 8, 1)[1] == "network"  # four in a machine


def config(**fields) -> PretrainConfig:
    return PretrainConfig.model_validate({"data": {"tokens": "nowhere", "sequence_length": 4096}, **fields})


LLAMA_8B = llama(32, 4096, 14336, 32, 8).to_dict()


def test_found_layouts_are_ones_that_the_pretrainer_takes() -> None:
    """Every shape looked at passes the pretrainer's own checks, experts included."""
    for model, gpus in ((LLAMA_8B, 32), (MIXTRAL.to_dict(), 16)):
        base = config(model=model, global_batch_size=128, micro_batch_size=1, dtype="bfloat16")
        run = run_of(base, 32_000)
        looked_at = list(shapes(run, gpus, H100))
        assert len(looked_at) > 100
        for layout in looked_at[:: len(looked_at) // 60]:
            assert layout.ranks == gpus
            words = [word.strip("'") for word in overrides(layout).split()]
            fields = base.to_dict() | {"micro_batch_size": layout.micro_batch}
            for word in words[:-1]:
                key, value = word.removeprefix("parallel.").split("=")
                fields["parallel"][key] = json.loads(value)
            again = layout_of(PretrainConfig.model_validate(fields))
            assert replace(again, overlap=layout.overlap) == replace(layout, recompute_modules=again.recompute_modules)


def test_search_ranks_what_fits_and_says_why() -> None:
    run = run_of(config(model=LLAMA_8B, global_batch_size=128, micro_batch_size=1, dtype="bfloat16"), 128_256)
    found = search(run, 16, H100)
    times = [one.time.total for one in found if one.time]
    assert times == sorted(times) and len(times) > 20
    assert all(one.memory.total <= H100.memory_bytes for one in found if one.time)
    told = summary(run, found, H100, top=3)
    assert len(told["best"]) == 3 and told["fit"] == len(times) and told["tried"] == len(found)
    assert any("mostly" in line for line in told["why"])
    small = find_gpu("tflops=100,memory=4,bandwidth=500,link=30,network=2")
    nothing = summary(run, search(run, 1, small), small)
    assert nothing["fit"] == 0 and "no layout fits 4 GiB" in nothing["why"][0]
    # less memory: something is computed again, or split further
    tight = search(run, 8, find_gpu("h100:memory=40"))
    assert tight[0].time and tight[0].time.total > search(run, 8, H100)[0].time.total


def test_more_recomputation_less_memory_more_time() -> None:
    run = Run(LLAMA_7B, 32_000, 4096, 64, 1e12)
    plain = Layout(data=8)
    memory = [run.memory(replace(plain, recompute=kind)) for kind in ("none", "selective", "full")]
    assert memory[0].activations > memory[1].activations > memory[2].activations
    times = [run.time(replace(plain, recompute=kind), H100) for kind in ("none", "selective", "full")]
    assert times[0].total < times[1].total < times[2].total
    assert times[2].recompute == pytest.approx(times[2].compute / 3, rel=0.1)
    block = replace(plain, recompute="full", recompute_method="block", recompute_layers=16)
    between = run.memory(block)
    assert memory[2].activations < between.activations < memory[0].activations


def test_every_figure_is_there_and_adds_up() -> None:
    layout = Layout(tensor=2, pipeline=2, chunks=2, data=4, sequence_parallel=True, expert=2, expert_tensor=2)
    found = plan_run(Run(MIXTRAL, 32_000, 4096, 64, 1e12), layout, H100, price=2.0)
    json.dumps(found, allow_nan=False)
    time, memory = found["time"], found["memory"]
    assert sum(time["seconds"].values()) == pytest.approx(time["step_seconds"])
    assert sum(memory["gib"].values()) == pytest.approx(memory["total"])
    assert memory["total"] == pytest.approx(max(memory["stages"]))
    assert time["cost"] == pytest.approx(2 * time["gpu_hours"])
    assert time["gpu_hours"] == pytest.approx(time["days"] * 24 * layout.ranks)
    assert time["bubble_share"] == pytest.approx(1 / (2 * 16))
    assert {one["kind"] for one in found["communication"]} == {"tensor", "pipeline", "expert", "data", "data (experts)"}


def test_table_of_devices() -> None:
    assert {"a100-40", "a100-80", "h100", "h200", "b200", "mi300x", "l40s", "rtx4090"} <= set(known_gpus())
    assert all(gpu.source and gpu.names for gpu in known_gpus().values())
    assert find_gpu("h100:network=25").network == 25 and find_gpu("A100").name == "a100-80"
    named = {"NVIDIA H100 80GB HBM3": "h100", "NVIDIA GB200": "gb200", "NVIDIA B200": "b200", "Tesla V9": None}
    assert {name: gpu.name if (gpu := match_device(name)) else None for name in named} == named
    with pytest.raises(ConfigError, match="did you mean 'h100'"):
        find_gpu("h10")
    with pytest.raises(ConfigError, match="unknown key 'memry'"):
        find_gpu("h100:memry=3")


def test_a_run_that_does_not_fit_is_refused_in_one_line() -> None:
    large = config(model=LLAMA_8B, micro_batch_size=8, dtype="bfloat16")
    with pytest.raises(
        InputError, match=r"does not fit: a rank of pipeline stage 0 needs about .* GPU has 79\.0; lower"
    ):
        check_memory(large, 128_256, 79 * 2**30)
    check_memory(config(micro_batch_size=8), 4096, 8 * 2**30, "CPU rank")
    with pytest.raises(InputError, match="and a CPU rank has"):
        check_memory(config(micro_batch_size=8), 4096, 0.5 * 2**30, "CPU rank")


def test_devices_that_the_layout_cannot_use() -> None:
    with pytest.raises(ConfigError, match=r"--gpus 6 is not divisible by tensor 4"):
        read_pretrain({"parallel": {"tensor": 4}}, "x.yaml", 6)
    assert read_pretrain({"parallel": {"tensor": 2}}, "x.yaml", 8).parallel.data == 4


def test_stages_of_post_training() -> None:
    assert stage_kind({"model": "runs/sft", "reward": {}}, None, None) == "ppo"
    assert stage_kind({"model": "runs/sft", "reward": {}, "method": "dapo"}, None, None) == "grpo"
    assert stage_kind({"model": "runs/sft", "reward": {}}, "grpo_demo.yaml", None) == "grpo"
    assert stage_kind({"model": "runs/sft"}, "dpo_demo.yaml", None) == "dpo"
    assert stage_kind({"model": {"layers": 2}}, "x.yaml", None) == "pretrain"
    with pytest.raises(ConfigError, match="give --stage"):
        stage_kind({"model": "runs/sft"}, "mine.yaml", None)
    count = parameter_counts(LLAMA_7B, 32_000).total
    sft = Stage("sft", LLAMA_7B, 32_000, rows=1, length=2048)
    assert sum(state_bytes(sft).values()) == 16 * count
    assert sum(state_bytes(replace(sft, kind="dpo")).values()) == 20 * count
    assert sum(state_bytes(replace(sft, kind="dpo", reference=False)).values()) == 16 * count
    # LoRA of LLaMA-7B at rank 8 on every linear layer: 20.0 million weights (peft prints 19,988,480)
    adapted = replace(sft, lora_rank=8)
    assert (sum(state_bytes(adapted).values()) - 4 * count) / 16 == pytest.approx(19_988_480)
    plans = [plan_stage(replace(sft, checkpointing=again), H100, 8) for again in (False, True)]
    assert plans[0]["pass_gib"]["activations"] > 5 * plans[1]["pass_gib"]["activations"]
    assert not plans[0]["fits"] and plans[0]["fits_sharded"]


def test_stages_that_sample_by_hand() -> None:
    for name, kind in (
        ("online_dpo_sums.yaml", "online-dpo"),
        ("reject-sums.yaml", "reject"),
        ("my_feedback.yaml", "feedback"),
        ("critique.yaml", "critique"),
        ("kto_demo.yaml", "kto"),
        ("prm_demo.yaml", "prm"),
    ):
        assert stage_kind({"model": "runs/sft", "reward": {}}, name, None) == kind
    assert stage_kind({"model": "runs/sft", "reward": {}, "prompts_per_update": 8}, "a.yaml", None) == "online-dpo"
    count = parameter_counts(LLAMA_7B, 32_000).total
    # a key and a value of 4,096 in half precision in 32 layers: half a MiB a token (as Kwon et al. 2023, section 3)
    fields = {"max_prompt_length": 1024, "max_new_tokens": 1024, "sampling_batch_size": 16}
    reject = plan_stage(stage_of("reject", {**fields, "reward": {"model": "rm"}}, LLAMA_7B, 32_000, 2.0), H100, 1)
    assert reject["states_gb"] == pytest.approx(2 * 2 * count / 1e9)  # the policy and the reward model, nothing trained
    assert reject["sampling_gib"] == pytest.approx(16 * 2048 * 2**19 / 2**30) and not reject["pass_gib"]
    assert reject["fits"]
    judged = stage_of("feedback", {**fields, "judge": {"model": "judge"}}, LLAMA_7B, 32_000, 2.0)
    assert sum(state_bytes(judged).values()) == 4 * count
    served = stage_of("feedback", {**fields, "judge": {"server": {"url": "x"}}}, LLAMA_7B, 32_000, 2.0)
    assert sum(state_bytes(served).values()) == 2 * count
    online = stage_of("online-dpo", {**fields, "micro_batch_size": 2}, LLAMA_7B, 32_000, 2.0)
    assert sum(state_bytes(online).values()) == 18 * count
    pairs, rows = (pass_bytes(replace(online, kind=kind))["activations"] for kind in ("online-dpo", "grpo"))
    assert pairs == pytest.approx(2 * rows)
