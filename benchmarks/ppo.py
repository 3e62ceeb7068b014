"""Samples a second of llmill's PPO against TRL 1.12's experimental PPO (the last one TRL had), in one run.

    python benchmarks/ppo.py                     # every size, two rounds each; about eight minutes on one core
    python benchmarks/ppo.py --size short        # one size; what was measured of the others is kept
    python benchmarks/ppo.py --quick             # one short round of one size; writes nothing

Both sides get the same models, prompts, batch sizes, passes and lengths; weights hardly move, so the completions stay
alike. On a CPU, seconds are CPU time with one thread, and memory is the peak of the process, libraries included; on a
GPU (used when there is one), wall time and allocated device memory. The first update of a run warms up and does not
count. TRL runs in an environment of its own. TRL pads every sequence to the longest prompt and the limit, so the sizes
differ in how much of that is real: completions that are mostly cut at the limit (`long`), that mostly end before it
(`short`), and a larger model on fewer sequences (`wide`). The figure is the geometric mean of the sizes' ratios of
samples a second.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from support.environment import REPOSITORY, commit, environment_versions, machine, make_environment, own_versions
from support.tables import print_table

HERE = Path(__file__).resolve().parent
REQUIREMENTS = HERE / "support" / "trl-requirements.txt"
RESULT = HERE / "results" / "ppo.json"
FIGURE = "samples a second of PPO against TRL 1.12"
GOAL = 1.5
MEMORY_GOAL = 0.7
WORDS = 2048
PHASES = ("generating", "scoring", "updating")
SETTINGS: dict[str, Any] = {
    "rollout": 128,
    "epochs": 2,
    "minibatches": 2,
    "micro": 64,
    "new_tokens": 64,
    "updates": 3,
    "learning_rate": 1e-7,
    "threads": 1,
    "hidden": 128,
    "layers": 3,
    "end_weight": 12,
}
"""`hidden` and `layers` shape all four models (about a million weights each). `end_weight` multiplies the embedding of
the end of a turn, which a random model otherwise hardly ever draws."""
SIZES: dict[str, dict[str, Any]] = {
    "long": {},
    "short": {"end_weight": 20},
    "wide": {"hidden": 256, "layers": 4, "rollout": 64, "minibatches": 2, "micro": 32, "end_weight": 9},
}
QUICK = {"rollout": 64, "minibatches": 2, "micro": 32, "new_tokens": 32, "updates": 2}


def main() -> int:
    """Measure both sides in turn, print the tables, keep the result of a full run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=SIZES, action="append", help="measure this one (may be given again)")
    parser.add_argument("--rounds", type=int, default=2, help="runs of both sides at each size, in turn")
    parser.add_argument("--quick", action="store_true", help="one short round; writes nothing")
    options = parser.parse_args()
    python = make_environment("trl", REQUIREMENTS)
    names = options.size or (["short"] if options.quick else list(SIZES))
    for name in names:
        sizes = {name: measure(name, python, 1 if options.quick else options.rounds, options.quick)}
        last = figure(sizes) if options.quick else save(sizes, python)
    print(json.dumps(last))
    return 0


def measure(name: str, python: Path, rounds: int, quick: bool) -> dict[str, Any]:
    """Both sides at one size."""
    runs: dict[str, list[dict[str, Any]]] = {"ours": [], "trl": []}
    with tempfile.TemporaryDirectory(prefix="ppo-") as folder:
        settings = {**SETTINGS, **SIZES[name], **(QUICK if quick else {})}
        given = {**settings, **write_inputs(Path(folder), settings)}
        for _ in range(rounds):
            runs["ours"].append(run_side(Path(sys.executable), "ours", given, Path(folder)))
            runs["trl"].append(run_side(python, "trl", given, Path(folder)))
    sides = {side: summarise(results, settings["rollout"]) for side, results in runs.items()}
    tokens = statistics.mean(update["tokens"] for run in runs["ours"] for update in run["updates"])
    print_sides(name, sides, settings, tokens)
    return {
        "ratio": round(sides["ours"]["samples_a_second"] / sides["trl"]["samples_a_second"], 3),
        "memory_ratio": round(sides["ours"]["peak_bytes"] / sides["trl"]["peak_bytes"], 3),
        "completion_tokens": round(tokens, 1),
        "sides": sides,
        "settings": settings,
        "commit": commit(),
    }


def figure(sizes: dict[str, Any]) -> dict[str, Any]:
    """The last line."""
    ratio = statistics.geometric_mean(size["ratio"] for size in sizes.values())
    return {"figure": FIGURE, "value": round(ratio, 2), "goal": GOAL, "unit": "x"}


def save(sizes: dict[str, Any], python: Path) -> dict[str, Any]:
    """Put the sizes measured now beside those measured before; returns the last line, of all."""
    before = json.loads(RESULT.read_text(encoding="utf-8")).get("sizes", {}) if RESULT.is_file() else {}
    known = {name: size for name in SIZES if (size := sizes.get(name, before.get(name))) is not None}
    last = figure(known)
    worst = max(size["memory_ratio"] for size in known.values())
    result = {**last, "peak_memory": {"worst_ratio": worst, "goal": MEMORY_GOAL}, "sizes": known}
    result |= {"machine": machine(), "versions": own_versions(["torch", "transformers"])}
    result["trl_versions"] = environment_versions(python, ["trl", "torch", "transformers", "accelerate"])
    RESULT.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return last


def run_side(python: Path, side: str, settings: dict[str, Any], folder: Path) -> dict[str, Any]:
    """One run of one side in a process of its own."""
    file = folder / "settings.json"
    file.write_text(json.dumps(settings))
    threads = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    quiet = {"HF_HUB_OFFLINE": "1", "TRL_EXPERIMENTAL_SILENCE": "1"}
    command = [str(python), str(HERE / "support" / "ppo_sides.py"), side, str(file)]
    path = {"PYTHONPATH": str(REPOSITORY)} if side == "ours" else {}
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **threads, **quiet, **path})
    if done.returncode:
        sys.exit(f"{side} failed:\n{done.stderr[-3000:]}")
    result: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return result


def summarise(results: list[dict[str, Any]], rollout: int) -> dict[str, Any]:
    """Medians over all updates but the first of each run."""
    updates = [update for result in results for update in result["updates"][1:]]
    summary: dict[str, Any] = {phase: statistics.median(u.get(phase, 0.0) for u in updates) for phase in PHASES}
    total = statistics.median(update["total"] for update in updates)
    summary |= {"seconds": total, "samples_a_second": rollout / total, "updates": len(updates)}
    summary |= {key: max(result[key] for result in results) for key in ("peak_bytes", "before_bytes")}
    return summary | {"clock": "wall, GPU" if results[0]["cuda"] else "CPU time, one thread"}


def print_sides(name: str, sides: dict[str, Any], settings: dict[str, Any], tokens: float) -> None:
    """Seconds by phase, samples a second, memory."""
    print(f"{name}: " + "{rollout} completions a rollout, up to {new_tokens} tokens".format(**settings), end="")
    print(" ({0:.0f} on average), {epochs} passes, {layers} layers of {hidden}".format(tokens, **settings))
    print(f"seconds: {sides['ours']['clock']}; medians of {sides['ours']['updates']} updates\n")
    rows = [("", *PHASES, "update", "samples/s", "peak MiB", "after imports")]
    for side, label in (("ours", "llmill"), ("trl", "TRL 1.12")):
        one = sides[side]
        seconds = [f"{one[phase]:.2f}" for phase in (*PHASES, "seconds")]
        memory = [f"{one[key] / 2**20:,.0f}" for key in ("peak_bytes", "before_bytes")]
        rows.append((label, *seconds, f"{one['samples_a_second']:.1f}", *memory))
    print_table(rows)
    speed = sides["ours"]["samples_a_second"] / sides["trl"]["samples_a_second"]
    memory_ratio = sides["ours"]["peak_bytes"] / sides["trl"]["peak_bytes"]
    print(f"\n{speed:.2f} times the samples a second (goal {GOAL}); {memory_ratio:.2f} of the peak memory "
          f"(goal {MEMORY_GOAL})\n")  # fmt: skip


def write_inputs(folder: Path, settings: dict[str, Any]) -> dict[str, str]:
    """A policy that often ends its turn, a reward model and prompts of 8 to 48 words; returns their places."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, LlamaForSequenceClassification, PreTrainedTokenizerFast

    words = ["<pad>", "<eos>", *(f"w{n}" for n in range(WORDS - 2))]
    raw = Tokenizer(models.WordLevel({word: n for n, word in enumerate(words)}, unk_token="<pad>"))
    raw.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, pad_token="<pad>", eos_token="<eos>")
    tokenizer.chat_template = (
        "{{ messages[0]['content'] }}{% if messages|length > 1 %} {{ messages[1]['content'] }} <eos>{% endif %}"
    )
    config = LlamaConfig(
        vocab_size=WORDS, hidden_size=settings["hidden"], intermediate_size=4 * settings["hidden"],
        num_hidden_layers=settings["layers"], num_attention_heads=4,
        num_key_value_heads=4, max_position_embeddings=128, pad_token_id=0, eos_token_id=1, bos_token_id=None,
        tie_word_embeddings=True,
    )  # fmt: skip
    torch.manual_seed(0)
    policy = LlamaForCausalLM(config)
    with torch.no_grad():
        # the end of a turn is likely in some contexts, not in others
        policy.get_input_embeddings().weight[1] *= settings["end_weight"]
    reward_config = LlamaConfig.from_dict({**config.to_dict(), "num_labels": 1})
    reward = LlamaForSequenceClassification(reward_config)
    for name, model in (("policy", policy), ("reward", reward)):
        model.save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)
    draw = random.Random(0)
    prompts = [{"prompt": " ".join(draw.choices(words[2:], k=draw.randint(8, 48)))} for _ in range(1024)]
    (folder / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in prompts))
    return {name: str(folder / file) for name, file in
            (("model", "policy"), ("reward", "reward"), ("prompts", "prompts.jsonl"))}  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
