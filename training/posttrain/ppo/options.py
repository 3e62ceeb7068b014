"""Configuration of PPO's optional parts: the sampler, data mixed into the loss, and monitors of over-optimisation."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from millbase.config import Config

PADDING_WORTH_A_PASS = 256
"""Tokens of padding that cost about as much as one more forward and backward pass."""


class SamplerConfig(Config):
    """What writes the completions of a rollout."""

    engine: Literal["own", "transformers", "vllm"] = "own"
    """`own`: the loop of `sampling.py`, whose completions do not depend on their batch or on the number of processes.
    `transformers`: `generate()`. `vllm`: vLLM in this process, where it is installed; the weights are handed over
    before every rollout."""
    vllm_memory_share: float = Field(default=0.3, gt=0, lt=1)
    """Share of the GPU's memory that vLLM may take."""
    ratio_cap: float | None = Field(default=None, gt=0)
    """Cap of the truncated importance weight p_training / p_sampler of a token, for a sampler that is not exactly the
    policy (another precision, another engine, stale weights); null for no correction. vLLM needs one; 2 is usual."""

    @model_validator(mode="after")
    def _check(self) -> SamplerConfig:
        if self.engine == "vllm" and self.ratio_cap is None:
            raise ValueError(
                "sampler.engine = 'vllm' computes other probabilities than training does; set sampler.ratio_cap "
                "(2 is usual) to correct for it"
            )
        return self


class SftMixConfig(Config):
    """Supervised data mixed into the policy's loss to protect what SFT taught (Ouyang et al. 2022, PPO-ptx)."""

    data: str | list[str]
    """Instruction data (JSONL, Parquet or Arrow) in any of the accepted layouts."""
    coef: float = Field(default=0.5, gt=0)
    """Weight of the mean negative log-likelihood of assistant tokens."""
    batch_size: int = Field(default=32, gt=0)
    """Conversations per optimizer step."""
    max_length: int = Field(default=512, gt=1)
    """Longer conversations are left out, and counted."""


class PretrainMixConfig(Config):
    """Pretraining text mixed into the policy's loss against forgetting (PPO-ptx; Ouyang et al. 2022, appendix C.4)."""

    tokens: str
    """A `tokens` artifact made with the policy's tokenizer; its train split is read."""
    coef: float = Field(default=0.1, gt=0)
    """Weight of the mean negative log-likelihood of the tokens. InstructGPT's 27.8 multiplies another normalisation:
    compare `pretrain_loss` and `loss` in the metrics."""
    batch_size: int = Field(default=16, gt=0)
    """Sequences per optimizer step."""
    sequence_length: int = Field(default=256, gt=1)
    """Tokens of a sequence, cut from one document at a random place; shorter documents are taken whole."""


class MonitorConfig(Config):
    """Judges that PPO does not train on, and the test that tells whether the reward is being over-optimised.

    Every rollout is scored by them too. The alarm: over a window of rollouts a judge's mean has fallen below that of an
    earlier window while the reward that is trained on has risen, both significant at `significance` for the whole run.
    """

    functions: list[str] = Field(default_factory=list)
    """Held-out true rewards, in the form of `reward.functions`."""
    models: list[str] = Field(default_factory=list)
    """Reward models that took no part in the training; each is a judge. Of two or more, the spread of their opinions
    (standardised on the first rollout) is a further one: a rise counts as a fall of quality."""
    window: int = Field(default=4, gt=0)
    """Rollouts in a window."""
    significance: float = Field(default=0.01, gt=0, lt=0.5)
    """Chance of a false alarm in the whole run: it is shared out over all pairs of windows that are compared."""
    on_alarm: Literal["continue", "stop"] = "continue"
    """`continue` reports the alarm in log, metrics and manifest. `stop` ends the training there as well, and puts back
    the policy of the judge's best window, kept in memory from then on."""

    @model_validator(mode="after")
    def _check(self) -> MonitorConfig:
        if not self.functions and not self.models:
            raise ValueError("monitor without a judge: set monitor.functions, monitor.models or both")
        return self
