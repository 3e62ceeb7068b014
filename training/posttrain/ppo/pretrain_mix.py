"""Pretraining text mixed into the policy's loss (PPO-ptx, Ouyang et al. 2022, appendix C.4), read from token shards."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from millbase.artifacts import open_artifact
from millbase.errors import InputError
from millbase.seeds import derive_seed
from training.load import tokenizer_digest
from training.posttrain.ppo.config import PpoConfig
from training.posttrain.ppo.distributed import Group
from training.posttrain.ppo.logprobs import token_logprobs
from training.posttrain.ppo.models import Policy
from training.posttrain.ppo.options import PretrainMixConfig
from training.shards import TokenShards


class PretrainMix:
    """Windows of documents; batch k is a pure function of seed and k."""

    def __init__(self, config: PretrainMixConfig, digest: str, max_length: int, seed: int) -> None:
        """`digest` of the policy's tokenizer; InputError when the tokens were made with another one."""
        path = open_artifact(config.tokens, kind="tokens").path
        if tokenizer_digest(path / "tokenizer") != digest:
            raise InputError(
                f"pretrain_mix.tokens {config.tokens!r} was made with another tokenizer than the policy's, so its "
                "token ids mean other text; build it again with the policy's tokenizer (llmill tokens build)"
            )
        if config.sequence_length > max_length:
            raise InputError(
                f"pretrain_mix.sequence_length = {config.sequence_length} exceeds the policy's {max_length} positions; "
                "lower it"
            )
        self.config, self.seed = config, seed
        self.shards = TokenShards(Path(path) / "train")
        # a token is predicted from one before it, so a document of one token teaches nothing
        self.documents = np.flatnonzero(self.shards.lengths > 1)
        if not len(self.documents):
            raise InputError(f"pretrain_mix.tokens {config.tokens!r} has no document of two tokens or more")
        weights = self.shards.lengths[self.documents].astype(np.float64)
        self.cumulative = np.cumsum(weights) / weights.sum()

    def rows(self, step: int) -> list[list[int]]:
        """Token windows of batch `step`: documents drawn by length, places drawn evenly."""
        generator = np.random.default_rng(derive_seed(self.seed, "pretrain_mix", step))
        rows = []
        for _ in range(self.config.batch_size):
            place = min(int(np.searchsorted(self.cumulative, generator.random(), "right")), len(self.documents) - 1)
            tokens = self.shards.tokens(int(self.documents[place]))
            start = int(generator.integers(0, max(1, len(tokens) - self.config.sequence_length + 1)))
            rows.append([int(token) for token in tokens[start : start + self.config.sequence_length]])
        return rows

    def backward(self, policy: Policy, step: int, config: PpoConfig, group: Group) -> float:
        """Add the gradient of coef * mean negative log-likelihood of batch `step`; returns this process's part."""
        rows = self.rows(step)
        predicted = sum(len(row) - 1 for row in rows)
        mine = group.share(sorted(rows, key=len, reverse=True))
        total = 0.0
        for start in range(0, len(mine), config.micro_batch_size):
            loss = -self.config.coef * self._logps(policy, mine[start : start + config.micro_batch_size], config).sum()
            loss = loss / predicted
            loss.backward()
            total += float(loss.detach())
        return total

    def _logps(self, policy: Policy, rows: list[list[int]], config: PpoConfig) -> torch.Tensor:
        width = max(map(len, rows))
        ids = torch.tensor([row + [0] * (width - len(row)) for row in rows], device=policy.device)
        lengths = torch.tensor([len(row) for row in rows], device=policy.device)
        real = torch.arange(1, width, device=policy.device)[None] < lengths[:, None]
        row, column = real.nonzero(as_tuple=True)
        with torch.autocast(policy.device.type, torch.bfloat16, enabled=config.precision == "bfloat16"):
            hidden = policy.hidden(ids)[row, column]
            logps, _ = token_logprobs(hidden, policy.head, ids[:, 1:][row, column], 1.0, config.logit_chunk)
        return logps
