"""The networks of PPO: policy, frozen reference, critic; each as a trunk that gives hidden states and a head on top.

The head is applied apart from the trunk, and only at completion tokens, so that full logits never exist. Sequences in
training are padded on the right and need no attention mask: under causal attention no real token sees the padding.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from millbase.errors import InputError
from training.load import (
    REWARD_KINDS,
    LoadedModel,
    load_model,
    load_reward_model,
    recorded_kind,
    tokenizer_digest,
)
from training.posttrain.ppo.adapters import CRITIC, POLICY, Adapters
from training.posttrain.ppo.config import CriticConfig, PpoConfig

HEAD_TOLERANCE = 1e-3
"""Largest difference allowed between head(trunk(x)) and the model's own logits."""


class Policy:
    """A causal language model as trunk and head, with the token ids that end an assistant's turn.

    With `adapters`, the model's weights are shared and `adapter` says which of them (None: none) makes this policy.
    """

    def __init__(
        self, model: Any, end_ids: set[int], adapters: Adapters | None = None, adapter: str | None = None
    ) -> None:
        self.model, self.end_ids = model, end_ids
        self.adapters, self.adapter = adapters, adapter

    @property
    def device(self) -> torch.device:
        return self.model.device

    def activate(self) -> None:
        """Make the shared weights this policy's."""
        if self.adapters is not None:
            self.adapters.use(self.adapter)

    def hidden(
        self,
        ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        cache: Any = None,
    ) -> torch.Tensor:
        """Hidden states [B, T, H] under the head, of token ids [B, T]."""
        self.activate()
        recompute_only_with_gradients(self.model)
        output = self.model.base_model(
            input_ids=ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=cache,
            use_cache=cache is not None,
        )
        return output.last_hidden_state

    def head(self, hidden: torch.Tensor) -> torch.Tensor:
        """Logits [..., V] of hidden states [..., H]."""
        return self.model.get_output_embeddings()(hidden)

    def trained(self) -> dict[str, nn.Parameter]:
        """The weights that training moves, by name."""
        if self.adapters is not None and self.adapter is not None:
            return self.adapters.parameters(self.adapter)
        return dict(self.model.named_parameters())


class Critic:
    """A value model: a trunk and a one-number head, read at every position.

    `model` is a one-label sequence classifier, or, where the critic is an adapter over the policy's weights, the
    policy's causal model beside a `head` of its own.
    """

    def __init__(
        self, model: Any, head: nn.Linear | None = None, adapters: Adapters | None = None, adapter: str | None = None
    ) -> None:
        self.model, self.adapters, self.adapter = model, adapters, adapter
        self.own_head = head

    def values(self, ids: torch.Tensor, rows: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
        """Values [N], float32, at positions (rows, columns) of token ids [B, T]."""
        if self.adapters is not None:
            self.adapters.use(self.adapter)
        recompute_only_with_gradients(self.model)
        hidden = self.model.base_model(input_ids=ids, use_cache=False).last_hidden_state
        head = self.model.score if self.own_head is None else self.own_head
        return head(hidden[rows, columns]).squeeze(-1).float()

    def trained(self) -> dict[str, nn.Parameter]:
        """The weights that training moves, by name."""
        if self.adapters is None or self.adapter is None:
            return dict(self.model.named_parameters())
        weights = self.adapters.parameters(self.adapter)
        head = {} if self.own_head is None else {f"score.{name}": w for name, w in self.own_head.named_parameters()}
        return {**weights, **head}


@dataclass
class Networks:
    """Everything PPO holds in memory, on one device."""

    policy: Policy
    reference: Policy
    critic: Critic
    tokenizer: Any
    max_length: int
    """Longest sequence, in tokens, that policy and critic were configured for."""
    tokenizer_digest: str

    def merged(self) -> tuple[Any, Any]:
        """Policy and critic as plain models for saving, adapters worked in. Nothing can be trained afterwards."""
        policy, critic = self.policy, self.critic
        if policy.adapters is None or policy.adapter is None:
            return policy.model, critic.model
        if critic.own_head is None:
            assert critic.adapters is not None and critic.adapter is not None
            return policy.adapters.merged(policy.adapter), critic.adapters.merged(critic.adapter)
        apart = copy.deepcopy(policy.adapters)  # both are merged into the same weights
        model = _classifier(critic.adapters.merged(CRITIC) if critic.adapters else None, critic.own_head)
        return apart.merged(policy.adapter), model


def load_networks(config: PpoConfig, device: torch.device) -> Networks:
    """Load policy, reference and critic. UserError when one is missing or they do not fit together."""
    loaded = load_model(config.model, device=device)
    digest = tokenizer_digest(loaded.path)
    policy = Policy(prepare(loaded.model, config.gradient_checkpointing), end_of_turn_ids(loaded))
    check_head(policy)
    reference_model = policy.model
    if config.reference is not None:
        reference_model = _other_reference(config.reference, config.model, digest, device)
    elif config.lora is None:
        reference_model = copy.deepcopy(loaded.model)
    if config.lora is not None:
        policy.adapters, policy.adapter = Adapters(policy.model, config.lora, POLICY, config.seed), POLICY
    if reference_model is policy.model:
        reference = Policy(policy.model, policy.end_ids, policy.adapters, None)
    else:
        reference_model.requires_grad_(False).eval()
        reference = Policy(reference_model, policy.end_ids)
    critic, critic_length = load_critic(config, loaded, policy, digest, device)
    return Networks(
        policy=policy,
        reference=reference,
        critic=critic,
        tokenizer=loaded.tokenizer,
        max_length=min(loaded.max_length, critic_length),
        tokenizer_digest=digest,
    )


def _other_reference(path: str, model: str, digest: str, device: torch.device) -> Any:
    other = load_model(path, device=device)
    if tokenizer_digest(other.path) != digest:
        raise InputError(
            f"reference {path!r} has another tokenizer than model {model!r}; KL needs the same tokens, give a "
            "reference of the same family"
        )
    return prepare(other.model, False)


def load_critic(
    config: PpoConfig, loaded: LoadedModel, policy: Policy, digest: str, device: torch.device
) -> tuple[Critic, int]:
    """The critic and its longest sequence, from the reward model or the policy as `critic.init` says."""
    from transformers import AutoModelForSequenceClassification

    source = _critic_source(config, digest)
    if config.lora is not None and source == "policy":
        assert policy.adapters is not None
        policy.adapters.add(CRITIC)
        head = nn.Linear(policy.model.config.hidden_size, 1, bias=False).to(device)
        nn.init.zeros_(head.weight)
        return Critic(policy.model, head, policy.adapters, CRITIC), loaded.max_length
    if source == "reward":
        reward = load_reward_model(str(config.reward.model), device=device)
        model, length = reward.model, reward.max_length
    else:
        model = AutoModelForSequenceClassification.from_pretrained(loaded.path, num_labels=1, dtype=torch.float32)
        model.to(device)
        length = loaded.max_length
    if config.critic.head == "zero" or source == "policy":
        nn.init.zeros_(model.score.weight)
    model = prepare(model, config.gradient_checkpointing)
    if config.lora is None:
        return Critic(model), length
    return Critic(model, None, Adapters(model, config.lora, CRITIC, config.seed, "SEQ_CLS"), CRITIC), length


def _classifier(causal: Any, head: nn.Linear) -> Any:
    """A one-label classifier with the trunk of a causal model."""
    from transformers import AutoModelForSequenceClassification

    config = copy.deepcopy(causal.config)
    config.num_labels = 1
    model = AutoModelForSequenceClassification.from_config(config)
    setattr(model, model.base_model_prefix, causal.base_model)
    model.score = head
    return model


def _critic_source(config: PpoConfig, digest: str) -> str:
    critic: CriticConfig = config.critic
    if critic.init == "policy" or config.reward.model is None:
        if critic.init == "reward":
            raise InputError("critic.init = 'reward' needs reward.model; set it, or critic.init = 'policy'")
        return "policy"
    folder = Path(config.reward.model)
    if recorded_kind(folder) not in (None, *REWARD_KINDS):
        if critic.init == "reward":
            raise InputError(
                f"critic.init = 'reward': {config.reward.model!r} is a {recorded_kind(folder)}, which has no single "
                "number for a token to start from; use critic.init = 'policy'"
            )
        return "policy"
    same = tokenizer_digest(folder / "hf" if (folder / "hf").is_dir() else folder) == digest
    if critic.init == "reward" and not same:
        raise InputError(
            f"critic.init = 'reward': {config.reward.model!r} has another tokenizer than the policy {config.model!r}, "
            "and values are needed per policy token; use critic.init = 'policy'"
        )
    return "reward" if same else "policy"


def prepare(model: Any, gradient_checkpointing: bool) -> Any:
    """Turn off dropout, which would make a policy differ from itself, and return the model in training mode."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    for name in ("attention_dropout", "attn_pdrop", "resid_pdrop", "embd_pdrop", "hidden_dropout"):
        if hasattr(model.config, name):
            setattr(model.config, name, 0.0)
    for module in model.modules():
        if isinstance(getattr(module, "attention_dropout", None), float):
            module.attention_dropout = 0.0
    model.requires_grad_(True)
    if gradient_checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    return model.train(gradient_checkpointing)  # transformers recomputes activations in training mode only


def recompute_only_with_gradients(model: Any) -> None:
    """Where activations are recomputed, training mode for passes with gradients only: in training mode transformers
    drops the key-value cache, with no more than a warning, and sampling would see one token of context."""
    if (
        any(getattr(module, "gradient_checkpointing", False) for module in model.children())
        and model.training != torch.is_grad_enabled()
    ):
        model.train(torch.is_grad_enabled())


def end_of_turn_ids(loaded: LoadedModel) -> set[int]:
    """Token ids that end a completion: the tokenizer's EOS and those the checkpoint names."""
    ends = getattr(loaded.model.generation_config, "eos_token_id", None)
    ids = set(ends if isinstance(ends, list) else [] if ends is None else [ends])
    if loaded.tokenizer.eos_token_id is not None:
        ids.add(loaded.tokenizer.eos_token_id)
    if not ids:
        raise InputError(
            f"{loaded.path}: neither tokenizer nor generation_config names an EOS token, so no completion could end; "
            "set eos_token in tokenizer_config.json"
        )
    return ids


@torch.no_grad()
def check_head(policy: Policy) -> None:
    """Refuse models whose logits are more than head(hidden), such as those with logit soft-capping."""
    ids = torch.arange(1, 5, device=policy.device)[None] % policy.model.config.vocab_size
    difference = (policy.head(policy.hidden(ids)) - policy.model(input_ids=ids).logits).abs().max()
    if float(difference) > HEAD_TOLERANCE:
        name = type(policy.model).__name__
        raise InputError(f"{name} does something to its logits after the output layer, which PPO here does not support")
