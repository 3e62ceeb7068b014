"""The networks of group methods: policy and frozen reference. There is no critic."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import torch

from millbase.errors import InputError
from training.load import load_model, tokenizer_digest
from training.posttrain.group.config import GroupConfig
from training.posttrain.ppo.adapters import POLICY, Adapters
from training.posttrain.ppo.models import Policy, check_head, end_of_turn_ids, prepare


@dataclass
class Models:
    """What a run holds in memory, on one device."""

    policy: Policy
    reference: Policy | None
    """None where the KL is neither used nor measured."""
    tokenizer: Any
    max_length: int
    """Longest sequence, in tokens, that the policy was configured for."""
    tokenizer_digest: str

    def merged(self) -> Any:
        """The policy as a plain model for saving, adapters worked in. Nothing can be trained afterwards."""
        policy = self.policy
        if policy.adapters is None or policy.adapter is None:
            return policy.model
        return policy.adapters.merged(policy.adapter)


def load_models(config: GroupConfig, device: torch.device) -> Models:
    """Load policy and reference. UserError when one is missing or they do not fit together."""
    loaded = load_model(config.model, device=device)
    digest = tokenizer_digest(loaded.path)
    policy = Policy(prepare(loaded.model, config.gradient_checkpointing), end_of_turn_ids(loaded))
    check_head(policy)
    apart: Any = None
    if config.kl.measure and config.reference is not None:
        apart = _other(config.reference, config.model, digest, device)
    elif config.kl.measure and config.lora is None:
        apart = copy.deepcopy(loaded.model)
    if config.lora is not None:
        policy.adapters, policy.adapter = Adapters(policy.model, config.lora, POLICY, config.seed), POLICY
    reference = None
    if apart is not None:
        reference = Policy(apart.requires_grad_(False).eval(), policy.end_ids)
    elif config.kl.measure:
        reference = Policy(policy.model, policy.end_ids, policy.adapters, None)
    return Models(policy, reference, loaded.tokenizer, loaded.max_length, digest)


def _other(path: str, model: str, digest: str, device: torch.device) -> Any:
    other = load_model(path, device=device)
    if tokenizer_digest(other.path) != digest:
        raise InputError(
            f"reference {path!r} has another tokenizer than model {model!r}; KL needs the same tokens, give a "
            "reference of the same family"
        )
    return prepare(other.model, False)
