"""The plan of a training run as tables."""

from __future__ import annotations

from typing import Any

from llmill.views.show import console, print_table


def print_training(plan: dict[str, Any]) -> None:
    """All tables of `training.plan.estimate.plan_run`, and what they rest on."""
    layout, gpu = plan["layout"], plan["gpu"]
    words = [f"{name} {value}" for name, value in layout.items() if value not in (1, False, "none") or name == "data"]
    _say(f"{plan['gpus']:,} x {gpu['name']}: {', '.join(words)}\n")
    _print_model(plan["parameters"], plan["work"])
    _print_memory(plan["memory"])
    _print_time(plan["time"], plan["communication"])
    _assumptions(plan["assumptions"])


def _print_model(parameters: dict[str, Any], work: dict[str, Any]) -> None:
    optimal = work["compute_optimal"]
    rows = [["parameters", count(parameters["total"])]]
    if parameters["active"] != parameters["total"]:
        rows.append(["parameters a token meets", count(parameters["active"])])
    if parameters["multi_token"]:
        rows.append(["of multi-token prediction, besides", count(parameters["multi_token"])])
    rows += [
        ["tokens", f"{count(work['tokens'])}  ({work['tokens_per_parameter']:,.1f} a parameter)"],
        ["compute-optimal tokens", f"{count(optimal['tokens'])}  (20 a parameter, Hoffmann et al. 2022)"],
        [
            "the same work, compute-optimal",
            f"{count(optimal['parameters_for_budget'])} parameters on {count(optimal['tokens_for_budget'])} tokens",
        ],
        ["FLOPs, 6ND", f"{work['six_nd']:.3e}"],
        ["FLOPs, exact", f"{work['exact']:.3e}"],
        ["FLOPs, masked attention too", f"{work['exact_uncut_attention']:.3e}"],
    ]
    print_table("Model and work", ["what", "how much"], rows)
    forward = work["forward_per_token_by_part"]
    total = sum(forward.values())
    parts = [[name, f"{value / total:.1%}"] for name, value in forward.items()]
    print_table("Where the forward pass goes", ["part", "share"], parts)


def _print_memory(memory: dict[str, Any]) -> None:
    rows = [[name, round(value, 2)] for name, value in memory["gib"].items()]
    rows.append(["total", round(memory["total"], 2)])
    verdict = "fits" if memory["fits"] else "DOES NOT FIT"
    print_table(f"GiB of a GPU of pipeline stage {memory['stage']}, the fullest", ["what", "GiB"], rows)
    stages = ", ".join(f"{value:.1f}" for value in memory["stages"])
    _say(
        f"{verdict}: {memory['total']:.1f} of {memory['capacity']:g} GiB; {memory['bytes_per_parameter']:.2f} bytes of "
        f"state a weight held; {memory['micro_batches_in_flight']:g} micro-batches in flight"
        + (f"; stages: {stages}" if len(memory["stages"]) > 1 else "")
        + "\n"
    )


def _print_time(time: dict[str, Any], communication: list[dict[str, Any]]) -> None:
    rows = [[name, round(value, 4), f"{value / time['step_seconds']:.1%}"] for name, value in time["seconds"].items()]
    rows.append(["total", round(time["step_seconds"], 4), ""])
    print_table("A step, seconds", ["part", "s", "share"], rows)
    if communication:
        rows = [
            [one["kind"], one["what"], round(one["bytes"] / 1e9, 3), round(one["seconds"], 4), one["link"]]
            for one in communication
        ]
        print_table("Sent by one GPU in a step", ["kind", "what", "GB", "s alone", "over"], rows)
    rows = [
        ["MFU", f"{time['mfu']:.1%}  ({time['mfu_uncut_attention']:.1%} as PaLM counts)"],
        ["TFLOP/s a GPU", f"{time['tflops_per_gpu']:,.0f}"],
        ["tokens/s a GPU", f"{time['tokens_per_second_per_gpu']:,.0f}"],
        ["pipeline bubble", f"{time['bubble_share']:.1%} of the work, {time['micro_batches']:,} micro-batches"],
        ["steps", f"{time['steps']:,.0f}"],
        ["days", f"{time['days']:,.2f}"],
        ["GPU-hours", f"{time['gpu_hours']:,.0f}"],
    ]
    if time["cost"] is not None:
        rows.append(["cost", f"{time['cost']:,.0f}"])
    print_table("In all", ["what", "how much"], rows)


def print_search(found: dict[str, Any]) -> None:
    """The best layouts and the reasons."""
    names = [
        "tensor",
        "pipeline",
        "virtual_pipeline",
        "context",
        "expert",
        "data",
        "zero",
        "micro_batch_size",
        "recompute",
    ]
    rows = [
        [
            *(row[name] for name in names),
            round(row["step_seconds"], 3),
            f"{row['mfu']:.1%}",
            round(row["memory_gib"], 1),
        ]
        for row in found["best"]
    ]
    heads = ["tensor", "pipeline", "virtual", "context", "expert", "data", "zero", "micro", "recompute"]
    print_table(f"{found['fit']:,} of {found['tried']:,} layouts fit", [*heads, "step s", "MFU", "GiB"], rows)
    _say("Why:")
    for line in found["why"]:
        _say(f"- {line}")
    if found["best"]:
        _say(f"\nllmill pretrain CONFIG.yaml {found['best'][0]['overrides']} --out ...")


def print_stage(plan: dict[str, Any]) -> None:
    """The memory of a post-training stage."""
    gpu = plan["gpu"]
    _say(f"{plan['stage']} of {count(plan['parameters']['total'])} parameters on {gpu['name']}\n")
    rows = [[name, round(value, 2)] for name, value in plan["states_gib"].items()]
    rows += [[name, round(value, 2)] for name, value in plan["pass_gib"].items()]
    if plan["sampling_gib"]:
        rows.append(["keys and values of sampling (in turn with the passes)", round(plan["sampling_gib"], 2)])
    rows.append(["total, with driver and gaps", round(plan["total"], 2)])
    print_table("GiB of one process", ["what", "GiB"], rows)
    _say(
        f"states: {plan['states_gb']:.1f} GB, {plan['states_bytes_per_parameter']:.1f} bytes a parameter; "
        f"{'fits' if plan['fits'] else 'DOES NOT FIT'} {gpu['memory']:g} GiB"
    )
    if plan["gpus"] > 1:
        verdict = "would fit" if plan["fits_sharded"] else "would not fit either"
        _say(f"with states sharded over {plan['gpus']} (ZeRO-3): {plan['total_sharded']:.1f} GiB each, {verdict}")
    print()
    _assumptions(plan["assumptions"])


def count(value: float) -> str:
    """A large number with a word: 6.74 billion."""
    for size, word in ((1e15, " quadrillion"), (1e12, " trillion"), (1e9, " billion"), (1e6, " million")):
        if value >= size:
            return f"{value / size:,.2f}{word}"
    return f"{value:,.0f}"


def _assumptions(lines: list[str]) -> None:
    _say("This assumes:")
    for line in lines:
        _say(f"- {line}")


def _say(text: str) -> None:
    console().print(text, markup=False, soft_wrap=True)
