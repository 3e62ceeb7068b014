"""One side of the PPO comparison, run in a process and an environment of its own; `benchmarks/ppo.py` starts it.

    python ppo_sides.py ours SETTINGS.json      # llmill's PPO; prints one line of JSON
    python ppo_sides.py trl SETTINGS.json       # TRL's experimental PPO

Both sides take the same model, reward model, prompts and settings, and give for every update the seconds spent
generating, scoring (reward model, log-probabilities, reference, values, advantages) and updating. Seconds are CPU time
on a CPU, which other load on the machine hardly touches, and wall time on a GPU. This file must not import llmill
before it knows its side: TRL's environment does not have it.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

CUDA = torch.cuda.is_available()
Phases = dict[str, float]


def now() -> float:
    """Seconds: process CPU time on a CPU, wall time after synchronising on a GPU."""
    if CUDA:
        torch.cuda.synchronize()
        return time.perf_counter()
    return time.process_time()


def peak_memory() -> int:
    """Bytes: of the process on a CPU, allocated on the device on a GPU."""
    if CUDA:
        return int(torch.cuda.max_memory_allocated())
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


class Clock:
    """Adds up the time spent in wrapped functions, by phase; nested calls count for the outer one."""

    def __init__(self) -> None:
        self.spent: Phases = {}
        self.inside = False

    def wrap(self, owner: Any, name: str, phase: str) -> None:
        """Time every call of `owner.name`."""
        function: Callable[..., Any] = getattr(owner, name)

        def timed(*args: Any, **kwargs: Any) -> Any:
            if self.inside:
                return function(*args, **kwargs)
            self.inside, began = True, now()
            try:
                return function(*args, **kwargs)
            finally:
                self.inside = False
                self.spent[phase] = self.spent.get(phase, 0.0) + now() - began

        setattr(owner, name, timed)

    def take(self) -> Phases:
        """What was spent since the last call."""
        spent, self.spent = self.spent, {}
        return spent


def ours(settings: dict[str, Any]) -> list[Phases]:
    """llmill's trainer: the loop that `llmill ppo` runs."""
    from millbase.process import keep_freed_memory
    from training.posttrain.ppo import PpoConfig
    from training.posttrain.ppo.distributed import single_process
    from training.posttrain.ppo.engines import OwnSampler
    from training.posttrain.ppo.trainer import PpoTrainer
    from training.posttrain.ppo.update import Updater

    config = PpoConfig.model_validate(
        {
            "model": settings["model"],
            "prompts": settings["prompts"],
            "reward": {"model": settings["reward"], "batch_size": settings["micro"], "missing_eos_penalty": 1.0},
            "kl": {"coef": 0.05},
            "policy": {"learning_rate": settings["learning_rate"], "warmup_updates": 0},
            "critic": {"learning_rate": settings["learning_rate"], "warmup_updates": 0, "init": "policy"},
            "schedule": "constant",
            "updates": settings["updates"],
            "rollout_size": settings["rollout"],
            "epochs": settings["epochs"],
            "minibatches": settings["minibatches"],
            "micro_batch_size": settings["micro"],
            "sampling_batch_size": settings["micro"],
            "max_new_tokens": settings["new_tokens"],
            "sample_count": 0,
            "threads": settings["threads"],
        }
    )
    keep_freed_memory()  # as `llmill ppo` does
    clock, updates = Clock(), []
    clock.wrap(OwnSampler, "draw", "generating")
    clock.wrap(Updater, "update", "updating")
    update = PpoTrainer._update

    def timed(self: Any, *args: Any) -> Any:
        began = now()
        result = update(self, *args)
        updates.append(_phases(clock.take(), now() - began) | {"tokens": result["response_length"]})
        return result

    PpoTrainer._update = timed  # type: ignore[method-assign]
    with tempfile.TemporaryDirectory() as folder:
        torch.set_num_threads(settings["threads"])
        PpoTrainer(config, Path(folder), Path(folder), single_process()).run()
    return updates


def trl(settings: dict[str, Any]) -> list[Phases]:
    """TRL's trainer with the same numbers."""
    import trl.experimental.ppo.ppo_trainer as module
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer
    from trl.experimental.ppo import PPOConfig, PPOTrainer

    torch.set_num_threads(settings["threads"])
    tokenizer = AutoTokenizer.from_pretrained(settings["model"], padding_side="left")
    policy, reference = (AutoModelForCausalLM.from_pretrained(settings["model"]) for _ in range(2))
    reward = AutoModelForSequenceClassification.from_pretrained(settings["reward"], num_labels=1)
    value = AutoModelForSequenceClassification.from_pretrained(settings["model"], num_labels=1)
    texts = [json.loads(line)["prompt"] for line in Path(settings["prompts"]).read_text().splitlines()]
    ids = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
    clock, updates = Clock(), []
    clock.wrap(module, "batch_generation", "generating")
    with tempfile.TemporaryDirectory() as folder:
        arguments = PPOConfig(
            output_dir=folder,
            per_device_train_batch_size=settings["micro"],
            gradient_accumulation_steps=settings["rollout"] // settings["micro"],
            num_mini_batches=settings["minibatches"],
            num_ppo_epochs=settings["epochs"],
            local_rollout_forward_batch_size=settings["micro"],
            total_episodes=settings["rollout"] * settings["updates"],
            response_length=settings["new_tokens"],
            temperature=1.0,
            kl_coef=0.05,
            learning_rate=settings["learning_rate"],
            lr_scheduler_type="constant",
            stop_token="eos",
            missing_eos_penalty=1.0,
            num_sample_generations=0,
            save_strategy="no",
            report_to="none",
            use_cpu=not CUDA,
            bf16=False,
            gradient_checkpointing=False,
            disable_tqdm=True,
        )
        trainer = PPOTrainer(
            args=arguments, processing_class=tokenizer, model=policy, ref_model=reference, reward_model=reward,
            value_model=value, train_dataset=Dataset.from_dict({"input_ids": ids}),
            eval_dataset=Dataset.from_dict({"input_ids": ids[:8]}),
        )  # fmt: skip
        began = now()
        # the optimizer steps start with the first shuffle of a pass, and end with the log of the update
        marks: dict[str, float] = {}
        permutation, log = module.np.random.permutation, trainer.log

        def shuffled(*args: Any) -> Any:
            marks.setdefault("updating", now())
            return permutation(*args)

        def logged(metrics: dict[str, float], *args: Any, **kwargs: Any) -> None:
            nonlocal began
            end = now()
            spent = clock.take() | {"updating": end - marks.pop("updating")}
            updates.append(_phases(spent, end - began))
            began = now()
            log(metrics, *args, **kwargs)

        module.np.random.permutation, trainer.log = shuffled, logged
        trainer.train()
    return updates


def _phases(spent: Phases, total: float) -> Phases:
    scoring = total - spent.get("generating", 0.0) - spent.get("updating", 0.0)
    return {"total": total, **spent, "scoring": scoring}


def main() -> None:
    """Run the side asked for; the last line printed is its result."""
    side, settings = sys.argv[1], json.loads(Path(sys.argv[2]).read_text())
    before = peak_memory()
    updates = {"ours": ours, "trl": trl}[side](settings)
    print(json.dumps({"updates": updates, "peak_bytes": peak_memory(), "before_bytes": before, "cuda": CUDA}))


if __name__ == "__main__":
    main()
