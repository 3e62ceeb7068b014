"""Supervised data mixed into the policy's loss (PPO-ptx, Ouyang et al. 2022, section 3.5 and appendix C.4)."""

from __future__ import annotations

from typing import Any

import torch

from millbase.errors import InputError
from millbase.log import get_logger
from millbase.seeds import derive_seed
from training.posttrain.data import load_instructions
from training.posttrain.ppo.config import PpoConfig
from training.posttrain.ppo.distributed import Group
from training.posttrain.ppo.logprobs import token_logprobs
from training.posttrain.ppo.models import Policy
from training.posttrain.ppo.options import SftMixConfig

logger = get_logger(__name__)


class SftMix:
    """Conversations as token ids with a mask on assistant tokens; batch k is a pure function of seed and k."""

    def __init__(self, config: SftMixConfig, tokenizer: Any, seed: int) -> None:
        self.config, self.seed = config, seed
        self.rows = _tokenize(config, tokenizer)

    def backward(self, policy: Policy, step: int, config: PpoConfig, group: Group) -> float:
        """Add the gradient of coef * mean negative log-likelihood of batch `step`; returns this process's part of
        it."""
        generator = torch.Generator().manual_seed(derive_seed(self.seed, "sft_mix", step))
        picks = torch.randint(len(self.rows), (self.config.batch_size,), generator=generator).tolist()
        tokens = sum(sum(self.rows[i][1][1:]) for i in picks)
        mine = group.share(sorted(picks, key=lambda i: -len(self.rows[i][0])))
        total = 0.0
        for start in range(0, len(mine), config.micro_batch_size):
            logps = self._logps(policy, mine[start : start + config.micro_batch_size], config)
            loss = -self.config.coef * logps.sum() / tokens
            loss.backward()
            total += float(loss.detach())
        return total

    def _logps(self, policy: Policy, picks: list[int], config: PpoConfig) -> torch.Tensor:
        rows = [self.rows[i] for i in picks]
        width = max(len(ids) for ids, _ in rows)
        ids = torch.tensor([ids + [0] * (width - len(ids)) for ids, _ in rows], device=policy.device)
        mask = torch.tensor([m + [0] * (width - len(m)) for _, m in rows], dtype=torch.bool, device=policy.device)
        row, column = mask[:, 1:].nonzero(as_tuple=True)
        with torch.autocast(policy.device.type, torch.bfloat16, enabled=config.precision == "bfloat16"):
            hidden = policy.hidden(ids)[row, column]
            # temperature belongs to sampling; supervised data is learnt as it stands
            logps, _ = token_logprobs(hidden, policy.head, ids[:, 1:][row, column], 1.0, config.logit_chunk)
        return logps


def _tokenize(config: SftMixConfig, tokenizer: Any) -> list[tuple[list[int], list[int]]]:
    rows, long = [], 0
    for row in load_instructions(config.data).rows:
        encoded = tokenizer.apply_chat_template(
            row["messages"], tokenize=True, return_dict=True, return_assistant_tokens_mask=True
        )
        ids, mask = list(encoded["input_ids"]), list(encoded["assistant_masks"])
        if len(ids) > config.max_length:
            long += 1
        elif any(mask[1:]):
            rows.append((ids, mask))
    if not rows:
        raise InputError(
            f"sft_mix.data {config.data!r} has no usable conversation ({long} longer than max_length = "
            f"{config.max_length}); the chat template must mark assistant text with {{% generation %}}"
        )
    if long:
        logger.warning(
            "left out %d conversations longer than %d tokens from the supervised mix", long, config.max_length
        )
    return rows
