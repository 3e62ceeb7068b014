"""Optimizer steps on a rollout: each known defect of earlier PPO trainers is a test here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from training.posttrain.ppo import loss
from training.posttrain.ppo.config import PpoConfig
from training.posttrain.ppo.trainer import PpoTrainer

MakeTrainer = Callable[..., PpoTrainer]


def one_update(trainer: PpoTrainer, number: int = 0) -> Any:
    return trainer.updater.update(trainer.maker.make(number, trainer.controller.coef), number)


def moved(trainer: PpoTrainer, which: str = "policy") -> dict[str, torch.Tensor]:
    """Change of each weight after one update."""
    model = getattr(trainer.networks, which).model
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    one_update(trainer)
    return {name: tensor - before[name] for name, tensor in model.state_dict().items()}


def test_ratio_of_the_first_step_is_exactly_one(make_trainer: MakeTrainer, monkeypatch: pytest.MonkeyPatch) -> None:
    ratios: list[torch.Tensor] = []
    original = loss.policy_loss

    def spy(logp: torch.Tensor, old_logp: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        ratios.append((logp - old_logp).detach().exp())
        return original(logp, old_logp, *args, **kwargs)

    monkeypatch.setattr("training.posttrain.ppo.update.policy_loss", spy)
    trainer = make_trainer("minibatches=2", "micro_batch_size=4", "epochs=2")
    result = one_update(trainer)
    assert len(ratios) == 8
    assert all((ratio == 1).all() for ratio in ratios[:2]), "first optimizer step: two micro-batches"
    assert all((ratio != 1).any() for ratio in ratios[2:]), "the policy has moved by then"
    assert result.steps[0].approx_kl == 0 and result.steps[0].clipped == 0


@pytest.mark.parametrize("micro", [2, 4, 5])
def test_cutting_into_micro_batches_changes_nothing(make_trainer: MakeTrainer, micro: int) -> None:
    # the large epsilon keeps Adam near plain gradients; the large rates keep changes far above the weights' rounding
    rates = ("policy.learning_rate=1", "critic.learning_rate=1")
    settings = ("policy.entropy_coef=0.01", "adam_epsilon=1.0", *rates)
    whole = {w: moved(make_trainer("micro_batch_size=16", *settings), w) for w in ("policy", "critic")}
    cut = {w: moved(make_trainer(f"micro_batch_size={micro}", *settings), w) for w in ("policy", "critic")}
    for which, changes in whole.items():
        for name, change in changes.items():
            largest = float(change.abs().max())
            assert float((cut[which][name] - change).abs().max()) <= 1e-4 * largest + 1e-12, (which, name)
    assert float(whole["policy"]["model.norm.weight"].abs().max()) > 0


@pytest.mark.parametrize(("minibatches", "epochs"), [(1, 1), (4, 1), (2, 3)])
def test_number_of_optimizer_steps(make_trainer: MakeTrainer, minibatches: int, epochs: int) -> None:
    trainer = make_trainer(f"minibatches={minibatches}", f"epochs={epochs}", "micro_batch_size=2")
    result = one_update(trainer)
    assert result.policy_steps == result.critic_steps == minibatches * epochs
    steps = {int(state["step"]) for state in trainer.updater.policy_optimizer.state.values()}
    assert steps == {minibatches * epochs}


def test_every_completion_token_counts_and_no_other(make_trainer: MakeTrainer) -> None:
    trainer = make_trainer("minibatches=2", "micro_batch_size=3")
    rollout = trainer.maker.make(0, 0.1)
    result = trainer.updater.update(rollout, 0)
    tokens = sum(len(completion.tokens) for completion in rollout.completions)
    assert sum(step.policy_tokens for step in result.steps) == tokens == int(rollout.mask.sum())
    assert sum(step.value_tokens for step in result.steps) == tokens


def test_gradient_clipping(make_trainer: MakeTrainer) -> None:
    free = moved(make_trainer("max_grad_norm=1e9", "adam_epsilon=1.0"))
    held = moved(make_trainer("max_grad_norm=1e-6", "adam_epsilon=1.0"))
    size = [float(sum(change.abs().sum() for change in changes.values())) for changes in (free, held)]
    assert size[0] > 0 and size[1] < 1e-3 * size[0]


def test_end_of_turn_is_trained_when_it_is_also_the_padding(make_trainer: MakeTrainer) -> None:
    plain, shared = make_trainer(), make_trainer()
    shared.networks.tokenizer.pad_token = shared.networks.tokenizer.eos_token
    eos = shared.networks.tokenizer.eos_token_id
    rollout = shared.maker.make(0, 0.1)
    finished = [i for i, completion in enumerate(rollout.completions) if completion.finished]
    assert 0 < len(finished) < len(rollout.completions)
    for i in finished:
        assert rollout.completions[i].tokens[-1] == eos
    packed = rollout.pack(list(range(16)))
    assert int((packed.targets == eos).sum()) == len(finished)
    changes = [moved(trainer) for trainer in (plain, shared)]
    for name, change in changes[0].items():
        assert torch.equal(change, changes[1][name]), "which token pads must not matter at all"


def test_reward_lands_on_the_end_of_turn_token(make_trainer: MakeTrainer) -> None:
    trainer = make_trainer("gamma=1", "lam=1", "whiten_advantages=false", "reward.normalize=none", "kl.coef=0")
    rollout = trainer.maker.make(0, 0.0)
    for i, completion in enumerate(rollout.completions):
        last = len(completion.tokens) - 1
        expected = float(rollout.scores[i]) - (0.0 if completion.finished else 1.0)
        assert float(rollout.returns[i, last]) == pytest.approx(expected, abs=1e-5)
        assert rollout.returns[i, : last + 1].tolist() == pytest.approx([expected] * (last + 1), abs=1e-5)
        assert (rollout.returns[i, last + 1 :] == 0).all()


def test_penalty_for_a_missing_end(make_trainer: MakeTrainer) -> None:
    trainer = make_trainer("reward.missing_eos_penalty=2.5", "reward.normalize=none", "reward.clip=null")
    rollout = trainer.maker.make(0, 0.0)
    for i, completion in enumerate(rollout.completions):
        difference = float(rollout.scores[i] - rollout.normalized_scores[i])
        assert difference == pytest.approx(0.0 if completion.finished else 2.5)


def test_log_probabilities_agree_with_the_sampler_and_the_model(make_trainer: MakeTrainer) -> None:
    trainer = make_trainer("temperature=0.8", "micro_batch_size=4")
    rollout = trainer.maker.make(0, 0.1)
    model = trainer.networks.policy.model
    for i, (prompt, completion) in enumerate(zip(rollout.prompts, rollout.completions, strict=True)):
        ids = torch.tensor([prompt.tokens + completion.tokens])
        with torch.no_grad():
            logps = (model(input_ids=ids).logits[0, len(prompt.tokens) - 1 : -1] / 0.8).log_softmax(-1)
        expected = logps.gather(1, torch.tensor(completion.tokens)[:, None])[:, 0]
        count = len(completion.tokens)
        torch.testing.assert_close(rollout.logp[i, :count], expected, rtol=1e-4, atol=2e-5)
        torch.testing.assert_close(rollout.sampler_logp[i, :count], expected, rtol=1e-4, atol=2e-5)
        torch.testing.assert_close(rollout.reference_logp[i, :count], expected, rtol=1e-4, atol=2e-5)
    assert rollout.measured_kl == pytest.approx(0, abs=1e-5), "the policy is still the reference"


def test_values_are_those_of_the_critic_at_the_same_positions(make_trainer: MakeTrainer, reward_folder: Any) -> None:
    trainer = make_trainer(f"reward.model={reward_folder}", "critic.head=keep", "micro_batch_size=5")
    critic = trainer.networks.critic.model
    rollout = trainer.maker.make(0, 0.1)
    prompt, completion = rollout.prompts[3], rollout.completions[3]
    with torch.no_grad():
        hidden = critic.model(input_ids=torch.tensor([prompt.tokens + completion.tokens])).last_hidden_state
        expected = critic.score(hidden)[0, len(prompt.tokens) - 1 : -1, 0]
    torch.testing.assert_close(rollout.values[3, : len(completion.tokens)], expected, rtol=1e-4, atol=1e-5)


def test_separate_learning_rates(make_trainer: MakeTrainer) -> None:
    frozen_policy = make_trainer("policy.learning_rate=0", "critic.learning_rate=1e-3")
    assert all((change == 0).all() for change in moved(frozen_policy).values())
    frozen_policy = make_trainer("policy.learning_rate=0", "critic.learning_rate=1e-3")
    assert any((change != 0).any() for change in moved(frozen_policy, "critic").values())


def test_critic_pretraining_leaves_the_policy_alone(make_trainer: MakeTrainer) -> None:
    trainer = make_trainer("critic.pretrain_updates=1")
    before = {name: tensor.clone() for name, tensor in trainer.networks.policy.model.state_dict().items()}
    first = one_update(trainer, 0)
    assert first.policy_steps == 0 and first.critic_steps == 1
    assert all(torch.equal(tensor, before[name]) for name, tensor in trainer.networks.policy.model.state_dict().items())
    second = one_update(trainer, 1)
    assert second.policy_steps == 1


def test_kl_stop_ends_the_policys_part_only(make_trainer: MakeTrainer) -> None:
    trainer = make_trainer("epochs=6", "kl.stop=1e-4", "policy.learning_rate=1e-2")
    result = one_update(trainer)
    assert 1 <= result.policy_steps < 6
    assert result.critic_steps == 6
    assert result.steps[result.policy_steps].approx_kl / result.steps[result.policy_steps].policy_tokens > 1e-4


def test_value_learning_raises_explained_variance(make_trainer: MakeTrainer) -> None:
    trainer = make_trainer("epochs=60", "critic.pretrain_updates=1", "critic.clip=null", "critic.learning_rate=3e-3")
    from training.posttrain.ppo.advantages import explained_variance

    rollout = trainer.maker.make(0, 0.0)
    before = explained_variance(rollout.values, rollout.returns, rollout.mask)
    trainer.updater.update(rollout, 0)
    returns = rollout.returns.clone()
    trainer.maker._fill(rollout, [list(range(16))])
    assert explained_variance(rollout.values, returns, rollout.mask) > max(before, 0) + 0.3


def test_supervised_mix_trains_on_its_data(
    make_trainer: MakeTrainer, make_config: Callable[..., PpoConfig], instructions: Any
) -> None:
    mixed = f'sft_mix={{"data": "{instructions}", "coef": 5.0, "batch_size": 8}}'
    trainer = make_trainer(mixed, "epochs=12", "policy.learning_rate=3e-3", "kl.coef=0")
    mix = trainer.updater.sft_mix
    assert mix is not None
    policy = trainer.networks.policy

    def loss_now() -> float:
        with torch.no_grad():
            return -float(mix._logps(policy, list(range(20)), trainer.config).mean())

    before = loss_now()
    one_update(trainer)
    with_mix = loss_now()
    plain = make_trainer("epochs=12", "policy.learning_rate=3e-3", "kl.coef=0")
    one_update(plain)
    policy = plain.networks.policy
    assert with_mix < min(before, loss_now()) - 0.1


def test_mask_of_the_mix_covers_assistant_tokens_only(make_trainer: MakeTrainer, instructions: Any) -> None:
    trainer = make_trainer(f'sft_mix={{"data": "{instructions}"}}')
    mix, tokenizer = trainer.updater.sft_mix, trainer.networks.tokenizer
    assert mix is not None
    ids, mask = mix.rows[0]
    text = tokenizer.decode([token for token, on in zip(ids, mask, strict=True) if on])
    assert text.endswith("<|im_end|>") and "what is" not in text
    assert "what is" in tokenizer.decode(ids)


def test_dropout_is_off(make_trainer: MakeTrainer, policy_folder: Any, tmp_path: Any, tokenizer: Any) -> None:
    import json
    import shutil

    folder = tmp_path / "dropout"
    shutil.copytree(policy_folder, folder)
    settings = json.loads((folder / "config.json").read_text())
    settings["attention_dropout"] = 0.5
    (folder / "config.json").write_text(json.dumps(settings))
    for extra in ("gradient_checkpointing=false", "gradient_checkpointing=true"):
        changes = [moved(make_trainer(f"model={m}", extra)) for m in (folder, policy_folder)]
        for name, change in changes[0].items():
            assert torch.equal(change, changes[1][name])
