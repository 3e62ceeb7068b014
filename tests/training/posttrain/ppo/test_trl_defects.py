"""What the last PPO trainer of TRL (1.12, experimental) got wrong, each seen by running it; here it must be right.

Some of these have their test where the subject is tested; `docs/ppo.md` lists all of them with the names.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from millbase.metrics import read_metrics
from training.posttrain.ppo import PpoConfig, train_ppo
from training.posttrain.ppo.advantages import whiten
from training.posttrain.ppo.trainer import PpoTrainer

MakeTrainer = Callable[..., PpoTrainer]
MakeConfig = Callable[..., PpoConfig]


def one_update(trainer: PpoTrainer) -> Any:
    return trainer.updater.update(trainer.maker.make(0, 0.1), 0)


class Shapes(TorchDispatchMode):
    """Notes the size and type of every tensor that any operation makes."""

    def __init__(self) -> None:
        super().__init__()
        self.largest, self.types = 0, set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor):
            self.largest = max(self.largest, result.numel())
            if func in (torch.ops.aten.mm.default, torch.ops.aten.addmm.default, torch.ops.aten.bmm.default):
                self.types.add(result.dtype)
        return result


def test_full_logits_never_exist(make_trainer: MakeTrainer) -> None:
    trainer = make_trainer("logit_chunk=8", "micro_batch_size=16", "max_new_tokens=24")
    with Shapes() as shapes:
        rollout = trainer.maker.make(0, 0.1)
        trainer.updater.update(rollout, 0)
    vocabulary = trainer.networks.policy.model.config.vocab_size
    tokens = int(rollout.mask.sum())
    weights = max(p.numel() for p in trainer.networks.policy.model.parameters())
    assert tokens > 100
    # one step of sampling has [16, V]; hidden states of the whole batch are smaller than that times a layer's width
    assert shapes.largest <= max(weights, 16 * vocabulary, 16 * max(rollout.total_lengths) * 96)
    assert shapes.largest < tokens * vocabulary


def test_gradient_checkpointing_recomputes(make_trainer: MakeTrainer, monkeypatch: pytest.MonkeyPatch) -> None:
    counts = []
    for extra in ("gradient_checkpointing=false", "gradient_checkpointing=true"):
        trainer = make_trainer(extra)
        rollout = trainer.maker.make(0, 0.1)
        calls = [0]
        layer = trainer.networks.policy.model.model.layers[0].mlp

        def counting(module: Any, args: Any, calls: list[int] = calls) -> None:
            calls[0] += 1

        layer.register_forward_pre_hook(counting)
        trainer.updater.update(rollout, 0)
        counts.append(calls[0])
    assert counts == [1, 2], "one forward pass, and with checkpointing one more in the backward pass"


def test_sampling_keeps_its_cache_under_gradient_checkpointing(make_trainer: MakeTrainer) -> None:
    rollouts = [make_trainer(f"gradient_checkpointing={on}").maker.make(0, 0.1) for on in ("true", "false")]
    assert rollouts[0].completions == rollouts[1].completions
    difference = (rollouts[0].logp - rollouts[0].sampler_logp).abs().max()
    assert float(difference) < 1e-4


def test_bfloat16_is_used(make_trainer: MakeTrainer) -> None:
    for precision, wanted in (("float32", torch.float32), ("bfloat16", torch.bfloat16)):
        trainer = make_trainer(f"precision={precision}")
        rollout = trainer.maker.make(0, 0.1)
        with Shapes() as shapes:
            trainer.updater.update(rollout, 0)
        assert wanted in shapes.types and (precision == "bfloat16" or torch.bfloat16 not in shapes.types)
        assert all(p.dtype == torch.float32 for p in trainer.networks.policy.model.parameters())
        assert rollout.logp.dtype == torch.float32


def test_updates_and_metrics_are_as_many_as_asked_for(make_config: MakeConfig, tmp_path: Path) -> None:
    out = train_ppo(make_config("updates=3", "sample_every=2", "sample_count=1"), tmp_path / "ppo")
    assert [line["step"] for line in read_metrics(out / "metrics.jsonl")] == [1, 2, 3]


def test_the_last_step_of_a_pass_is_one_step(make_trainer: MakeTrainer) -> None:
    """A last minibatch that is cut into micro-batches must not become as many steps."""
    trainer = make_trainer("minibatches=1", "epochs=3", "micro_batch_size=4")
    assert one_update(trainer).policy_steps == 3
    assert {int(state["step"]) for state in trainer.updater.policy_optimizer.state.values()} == {3}


@pytest.mark.parametrize("which", ["policy", "critic"])
def test_gradients_do_not_depend_on_accumulation(make_trainer: MakeTrainer, which: str) -> None:
    """One micro-batch of 16 against 16 of one and 4 of 4 (TRL: 17% apart); 1e-5 of the gradient's norm."""
    found = []
    for micro in (16, 1, 4):
        trainer = make_trainer(f"micro_batch_size={micro}", "policy.entropy_coef=0.01", "kl.loss_coef=0.1")
        trainer.updater._accumulate(trainer.maker.make(0, 0.1), list(range(16)), 0, 0, Anything())
        weights = getattr(trainer.networks, which).trained().values()
        found.append(torch.cat([weight.grad.reshape(-1).double() for weight in weights]))
    for gradient in found[1:]:
        assert float((gradient - found[0]).norm() / found[0].norm()) < 1e-5


class Anything:
    """Stands in for the result of an update whose policy moves."""

    policy_moves = True

    def __init__(self) -> None:
        self.steps: list[Any] = []


def test_whitening_is_over_the_whole_batch_not_each_process() -> None:
    """Halves with different levels keep their difference; whitened one by one it would be gone."""
    advantages = torch.cat([torch.randn(8, 5), torch.randn(8, 5) + 5])
    mask = torch.ones(16, 5, dtype=torch.bool)
    white = whiten(advantages, mask)
    assert float(white[8:].mean() - white[:8].mean()) > 1.5


def test_pad_equal_to_eos_trains_the_end(make_trainer: MakeTrainer) -> None:
    """The gradient of the loss reaches the log-probability of the end-of-turn token."""
    trainer = make_trainer()
    tokenizer = trainer.networks.tokenizer
    tokenizer.pad_token = tokenizer.eos_token
    rollout = trainer.maker.make(0, 0.1)
    ended = [i for i, completion in enumerate(rollout.completions) if completion.finished]
    packed = rollout.pack(ended)
    ends = packed.targets == tokenizer.eos_token_id
    assert int(ends.sum()) == len(ended) > 0
    assert (rollout.advantages[packed.where][ends] != 0).all()
