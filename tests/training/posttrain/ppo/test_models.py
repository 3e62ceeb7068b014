"""Loading: architectures beyond Llama, critics from either source, and what is refused."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from millbase.errors import InputError
from training.load import load_model
from training.posttrain.ppo.config import PpoConfig
from training.posttrain.ppo.models import Policy, check_head, end_of_turn_ids, load_networks, prepare
from training.posttrain.ppo.sampling import sample

MakeConfig = Callable[..., PpoConfig]
SIZES = {
    "vocab_size": 96,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "initializer_range": 0.3,
}
ARCHITECTURES = {
    "grouped queries": lambda: LlamaForCausalLM(LlamaConfig(**SIZES)),
    "query and key norms": lambda: Qwen3ForCausalLM(Qwen3Config(**SIZES, head_dim=8)),
    "sliding window": lambda: MistralForCausalLM(MistralConfig(**SIZES, sliding_window=6)),
    "learned positions": lambda: GPT2LMHeadModel(
        GPT2Config(vocab_size=96, n_embd=32, n_layer=2, n_head=4, n_positions=64, initializer_range=0.3)
    ),
}
CPU = torch.device("cpu")


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_sampling_and_training_agree_for_every_architecture(name: str) -> None:
    torch.manual_seed(0)
    policy = Policy(prepare(ARCHITECTURES[name](), False), {3, 4})
    check_head(policy)
    generator = torch.Generator().manual_seed(0)
    prompts = [torch.randint(5, 96, (n,), generator=generator).tolist() for n in (2, 11, 5, 8, 5, 3)]
    completions = sample(policy, prompts, torch.rand(6, 16, dtype=torch.float64, generator=generator), 1.0, 8)
    for prompt, completion in zip(prompts, completions, strict=True):
        with torch.no_grad():
            logits = policy.model(input_ids=torch.tensor([prompt + completion.tokens])).logits
        logps = logits.log_softmax(-1)[0, len(prompt) - 1 : -1]
        expected = logps.gather(1, torch.tensor(completion.tokens)[:, None])[:, 0]
        torch.testing.assert_close(torch.tensor(completion.logps), expected, rtol=1e-3, atol=1e-4)


def test_soft_capped_logits_are_refused() -> None:
    torch.manual_seed(0)
    model = Gemma2ForCausalLM(Gemma2Config(**SIZES, head_dim=8, final_logit_softcapping=2.0))
    with pytest.raises(InputError, match="Gemma2ForCausalLM does something to its logits"):
        check_head(Policy(model, {3}))


def test_critic_starts_from_the_reward_model(make_config: MakeConfig, reward_folder: Path, policy_folder: Path) -> None:
    config = make_config(f"reward.model={reward_folder}", "critic.head=keep")
    kept = load_networks(config, CPU).critic.model
    assert float(kept.score.weight.detach().abs().sum()) > 0
    zeroed = load_networks(make_config(f"reward.model={reward_folder}"), CPU).critic.model
    assert float(zeroed.score.weight.detach().abs().sum()) == 0
    from_policy = load_networks(make_config("critic.head=keep"), CPU)
    assert float(from_policy.critic.model.score.weight.detach().abs().sum()) == 0, "a random head would be noise"
    trunk = from_policy.critic.model.model.embed_tokens.weight
    assert torch.equal(trunk, load_model(policy_folder, device="cpu").model.get_input_embeddings().weight)
    assert trunk.data_ptr() != from_policy.policy.model.get_input_embeddings().weight.data_ptr()


@pytest.fixture
def other_tokenizer_folder(reward_folder: Path, tmp_path: Path) -> Path:
    """The reward model with two ids of its tokenizer swapped."""
    folder = tmp_path / "other"
    shutil.copytree(reward_folder, folder)
    file = folder / "tokenizer.json"
    text = file.read_text(encoding="utf-8").replace('"a": ', '"@@": ').replace('"b": ', '"a": ')
    file.write_text(text.replace('"@@": ', '"b": '), encoding="utf-8")
    return folder


def test_reward_model_with_another_tokenizer_gives_no_critic(
    make_config: MakeConfig, other_tokenizer_folder: Path
) -> None:
    auto = load_networks(make_config(f"reward.model={other_tokenizer_folder}"), CPU)
    assert float(auto.critic.model.score.weight.detach().abs().sum()) == 0
    with pytest.raises(InputError, match="has another tokenizer than the policy"):
        load_networks(make_config(f"reward.model={other_tokenizer_folder}", "critic.init=reward"), CPU)


def test_reference_is_frozen_and_must_share_the_tokenizer(
    make_config: MakeConfig, checkpoint: Path, policy_folder: Path, other_tokenizer_folder: Path
) -> None:
    networks = load_networks(make_config(f"reference={checkpoint}"), CPU)
    assert not any(parameter.requires_grad for parameter in networks.reference.model.parameters())
    assert all(parameter.requires_grad for parameter in networks.policy.model.parameters())
    wrong = policy_folder.parent / "wrong_reference"
    shutil.copytree(policy_folder, wrong, dirs_exist_ok=True)
    shutil.copy(other_tokenizer_folder / "tokenizer.json", wrong / "tokenizer.json")
    with pytest.raises(InputError, match="KL needs the same tokens"):
        load_networks(make_config(f"reference={wrong}"), CPU)


def test_no_end_of_turn_is_refused(policy_folder: Path) -> None:
    loaded = load_model(policy_folder, device="cpu")
    loaded.model.generation_config.eos_token_id = None
    loaded.tokenizer.eos_token = None
    with pytest.raises(InputError, match="set eos_token"):
        end_of_turn_ids(loaded)


def test_other_reference_has_kl_from_the_start(make_trainer: Any, checkpoint: Path) -> None:
    rollout = make_trainer(f"reference={checkpoint}").maker.make(0, 0.1)
    assert rollout.measured_kl > 0.01


@pytest.mark.parametrize("override", ["precision=bfloat16", "samples_per_prompt=4", "logit_chunk=3"])
def test_variants_train(make_trainer: Any, override: str) -> None:
    trainer = make_trainer(override, "sampler.ratio_cap=2", "policy.dual_clip=3", "reward.whiten=true")
    rollout = trainer.maker.make(0, 0.1)
    result = trainer.updater.update(rollout, 0)
    assert result.policy_steps == 1 and result.policy_grad_norm > 0
    if override.startswith("samples"):
        assert rollout.prompts[0] is rollout.prompts[3] and rollout.prompts[0] is not rollout.prompts[4]
