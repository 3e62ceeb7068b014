"""Low-rank adapters: one model in memory is policy, critic and reference; what is saved is plain and equal to it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

from millbase.errors import ConfigError
from training.posttrain.ppo import PpoConfig
from training.posttrain.ppo.distributed import single_process
from training.posttrain.ppo.trainer import PpoTrainer

LORA = 'lora={"rank": 4, "alpha": 8}'
MakeTrainer = Callable[..., PpoTrainer]


def one_update(trainer: PpoTrainer, number: int = 0) -> Any:
    return trainer.updater.update(trainer.maker.make(number, 0.1), number)


def test_reference_is_the_policy_with_its_adapter_off(make_trainer: MakeTrainer) -> None:
    trainer = make_trainer(LORA, "policy.learning_rate=1e-2")
    networks = trainer.networks
    assert networks.reference.model is networks.policy.model is networks.critic.model
    frozen = {name: p.clone() for name, p in networks.policy.model.named_parameters() if "lora" not in name}
    rollout = trainer.maker.make(0, 0.1)
    assert rollout.measured_kl == pytest.approx(0, abs=1e-6), "a new adapter changes nothing"
    result = one_update(trainer)
    assert result.policy_grad_norm > 0 and result.critic_grad_norm > 0
    for name, parameter in networks.policy.model.named_parameters():
        if "lora" not in name:
            assert torch.equal(parameter, frozen[name]), name
    assert trainer.maker.make(1, 0.1).measured_kl > 1e-4, "policy and reference are two by now"


def test_first_ratio_is_exactly_one_with_adapters(make_trainer: MakeTrainer) -> None:
    trainer = make_trainer(LORA, "minibatches=2", "micro_batch_size=4", "policy.learning_rate=1e-2")
    one_update(trainer)
    second = one_update(trainer, 1)
    assert second.steps[0].approx_kl == 0 and second.steps[0].ratio == second.steps[0].policy_tokens


def test_policy_and_critic_do_not_touch_each_other(make_trainer: MakeTrainer) -> None:
    trainer = make_trainer(LORA, "policy.learning_rate=0", "epochs=2")
    policy = {name: p.clone() for name, p in trainer.networks.policy.trained().items()}
    critic = {name: p.clone() for name, p in trainer.networks.critic.trained().items()}
    assert not set(policy) & set(critic) and policy and critic
    one_update(trainer)
    assert all(torch.equal(p, policy[name]) for name, p in trainer.networks.policy.trained().items())
    assert any(not torch.equal(p, critic[name]) for name, p in trainer.networks.critic.trained().items())


@pytest.mark.parametrize("critic", ["policy", "reward"])
def test_saved_models_equal_those_trained(
    make_config: Callable[..., PpoConfig], reward_folder: Path, tmp_path: Path, critic: str
) -> None:
    config = make_config(LORA, f"reward.model={reward_folder}", f"critic.init={critic}", "policy.learning_rate=1e-2")
    work, scratch = tmp_path / "work", tmp_path / "scratch"
    work.mkdir()
    scratch.mkdir()
    trainer = PpoTrainer(config, work, scratch, single_process("cpu"))
    one_update(trainer)
    packed = trainer.maker.make(1, 0.1).pack([0, 1])
    with torch.no_grad():
        logits = trainer.networks.policy.head(trainer.networks.policy.hidden(packed.ids))
        values = trainer.networks.critic.values(packed.ids, packed.rows, packed.columns)
    trainer._save_models()
    policy = AutoModelForCausalLM.from_pretrained(work / "hf").eval()
    value = AutoModelForSequenceClassification.from_pretrained(work / "critic").eval()
    with torch.no_grad():
        torch.testing.assert_close(policy(input_ids=packed.ids).logits, logits, rtol=1e-4, atol=1e-5)
        hidden = value.model(input_ids=packed.ids).last_hidden_state[packed.rows, packed.columns]
        torch.testing.assert_close(value.score(hidden)[:, 0], values, rtol=1e-4, atol=1e-5)


def test_gradient_checkpointing_gives_the_same_gradients(make_trainer: MakeTrainer) -> None:
    """Activations are computed again in the backward pass, with the adapter of the forward pass still on."""
    found = []
    for extra in ("gradient_checkpointing=false", "gradient_checkpointing=true"):
        trainer = make_trainer(LORA, extra, "policy.entropy_coef=0.01", "epochs=2")
        one_update(trainer)  # a second pass with other weights: the first gradients of half the adapter are zero
        weights = {**trainer.networks.policy.trained(), **trainer.networks.critic.trained()}
        assert len(weights) > 20 and all(weight.grad is not None for weight in weights.values())
        found.append({name: weight.grad for name, weight in weights.items()})
    for name, gradient in found[0].items():
        torch.testing.assert_close(found[1][name], gradient, rtol=1e-3, atol=1e-5)


def test_dropout_of_adapters_is_refused(make_config: Callable[..., PpoConfig]) -> None:
    with pytest.raises(ConfigError, match=r"lora\.dropout = 0\.1"):
        make_config('lora={"rank": 4, "dropout": 0.1}')
