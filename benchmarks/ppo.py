"""Samples a second of llmill's PPO against TRL 1.12's experimental PPO (the last one TRL had), in one run.

    python benchmarks/ppo.py            # two rounds, about eight minutes on one core
    python benchmarks/ppo.py --quick    # one short round

Both sides get the same model of a million weights, reward model, prompts, batch sizes, passes and lengths; weights
hardly move, so the completions stay alike. On a CPU, seconds are CPU time with one thread, and memory is the peak of
the process, libraries included; on a GPU (used when there is one), wall time and allocated device memory. The first
update of a run warms up and does not count. TRL runs in an environment of its own. The figure is the ratio of samples
a second.
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
}
QUICK = {"rollout": 64, "minibatches": 2, "micro": 32, "new_tokens": 32, "updates": 2}


def main() -> int:
    """Measure both sides in turn, print the table, keep the result of a full run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one short round; writes nothing")
    options = parser.parse_args()
    python = make_environment("trl", REQUIREMENTS)
    with tempfile.TemporaryDirectory(prefix="ppo-") as name:
        folder = Path(name)
        settings = {**SETTINGS, **(QUICK if options.quick else {}), **write_inputs(folder)}
        runs: dict[str, list[dict[str, Any]]] = {"ours": [], "trl": []}
        for _ in range(1 if options.quick else 2):
            runs["ours"].append(run_side(Path(sys.executable), "ours", settings, folder))
            runs["trl"].append(run_side(python, "trl", settings, folder))
    sides = {side: summarise(results, settings["rollout"]) for side, results in runs.items()}
    print_sides(sides, settings)
    ratio = sides["ours"]["samples_a_second"] / sides["trl"]["samples_a_second"]
    last = {"figure": FIGURE, "value": round(ratio, 2), "goal": GOAL, "unit": "x"}
    if not options.quick:
        memory = {"ratio": round(sides["ours"]["peak_bytes"] / sides["trl"]["peak_bytes"], 3), "goal": MEMORY_GOAL}
        kept = {key: settings[key] for key in SETTINGS}
        result = {**last, "peak_memory": memory, "sides": sides, "settings": kept, "commit": commit()}
        result |= {"machine": machine(), "versions": own_versions(["torch", "transformers"])}
        result["trl_versions"] = environment_versions(python, ["trl", "torch", "transformers", "accelerate"])
        RESULT.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(last))
    return 0


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


def print_sides(sides: dict[str, Any], settings: dict[str, Any]) -> None:
    """Seconds by phase, samples a second, memory."""
    print("{rollout} completions a rollout, up to {new_tokens} tokens, {epochs} passes".format(**settings))
    print(f"seconds: {sides['ours']['clock']}; medians of {sides['ours']['updates']} updates\n")
    rows = [("", *PHASES, "update", "samples/s", "peak MiB", "after imports")]
    for side, name in (("ours", "llmill"), ("trl", "TRL 1.12")):
        one = sides[side]
        seconds = [f"{one[phase]:.2f}" for phase in (*PHASES, "seconds")]
        memory = [f"{one[key] / 2**20:,.0f}" for key in ("peak_bytes", "before_bytes")]
        rows.append((name, *seconds, f"{one['samples_a_second']:.1f}", *memory))
    print_table(rows)
    print(
        f"\npeak memory {sides['ours']['peak_bytes'] / sides['trl']['peak_bytes']:.2f} of TRL's (goal {MEMORY_GOAL})\n"
    )


def write_inputs(folder: Path) -> dict[str, str]:
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
        vocab_size=WORDS, hidden_size=128, intermediate_size=512, num_hidden_layers=3, num_attention_heads=4,
        num_key_value_heads=4, max_position_embeddings=128, pad_token_id=0, eos_token_id=1, bos_token_id=None,
        tie_word_embeddings=True,
    )  # fmt: skip
    torch.manual_seed(0)
    policy = LlamaForCausalLM(config)
    with torch.no_grad():
        policy.get_input_embeddings().weight[1] *= 12  # the end of a turn is likely in some contexts, not in others
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
