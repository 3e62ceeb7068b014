"""Configuration of the parts of group methods: reward, advantage, loss, KL, dynamic sampling, long answers, trees."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from millbase.config import Config
from training.posttrain.ppo.config import RewardConfig


class GroupRewardConfig(RewardConfig):
    """Where the score of a completion comes from. Normalising is the group's part, so scores stay as they are."""

    normalize: Literal["none"] = "none"
    """Scores are compared within their group, so nothing is normalised before."""
    clip: float | None = Field(default=None, gt=0)
    """Clip the sum of the sources to [-clip, clip]; null for no clipping."""
    missing_eos_penalty: float = Field(default=0.0, ge=0)
    """Subtracted from the score of a completion that was cut off before an end-of-turn token."""
    whiten: Literal[False] = False
    """PPO's whitening of token rewards; there are none here."""


class AdvantageConfig(Config):
    """How the scores of a prompt's completions become advantages."""

    baseline: Literal["mean", "leave_one_out"] = "mean"
    """What is subtracted from a score: the mean of its group (Shao et al. 2024, section 4.1), or the mean of the others
    (Ahmadian et al. 2024, equation 8)."""
    scale: Literal["group", "batch", "none"] = "group"
    """Divide by the standard deviation of the group or of the whole rollout, or by nothing (Liu et al. 2025, Dr. GRPO:
    dividing favours questions that are nearly always or nearly never answered)."""


class LossConfig(Config):
    """The policy's objective."""

    ratio: Literal["token", "sequence", "sequence_token", "sequence_sum"] = "token"
    """Importance ratio of the present policy to the rollout's. `token`: of each token. `sequence`: of the completion,
    to the power of one over its length (Zheng et al. 2025, GSPO, equation 7). `sequence_token`: its value with each
    token's own gradient (GSPO-token, equation 14). `sequence_sum`: of the completion as it is (RLOO)."""
    normalization: Literal["sequence", "token", "constant"] = "sequence"
    """`sequence`: mean over completions of the mean over their tokens (GRPO). `token`: mean over all tokens of the
    step (DAPO). `constant`: sum over tokens, divided by completions times `constant` (Dr. GRPO)."""
    constant: int | None = Field(default=None, gt=0)
    """Of `constant`; null for `max_new_tokens`."""
    clip_low: float = Field(default=0.2, gt=0, lt=1)
    """The ratio is clipped below at 1 - clip_low."""
    clip_high: float = Field(default=0.2, gt=0)
    """... and above at 1 + clip_high; more than clip_low is DAPO's clip-higher (Yu et al. 2025, section 3.1)."""
    dual_clip: float | None = Field(default=None, gt=1)
    """Bound on the ratio where the advantage is negative (Ye et al. 2020, equation 5); null for none."""
    entropy_coef: float = Field(default=0.0, ge=0)
    """Weight of the mean token entropy, added to the objective."""


class GroupKlConfig(Config):
    """How the policy is held near the reference policy."""

    coef: float = Field(default=0.04, ge=0)
    """Weight of the KL term (Shao et al. 2024: 0.04); 0 for none."""
    estimator: Literal["k1", "k2", "k3"] = "k3"
    """Per-token estimator (Schulman 2020); k3 is GRPO's."""
    place: Literal["loss", "reward"] = "loss"
    """In the loss, per token (GRPO); or summed over the completion and subtracted from its score (RLOO)."""
    measure: bool = True
    """Keep the reference in memory and measure the KL. False, with `coef` 0, spares the model; metrics have no KL."""

    @model_validator(mode="after")
    def _check(self) -> GroupKlConfig:
        if self.coef and not self.measure:
            raise ValueError(f"kl.coef = {self.coef} needs the reference; set kl.measure=true or kl.coef=0")
        return self


class DynamicConfig(Config):
    """Dynamic sampling (Yu et al. 2025, section 3.2): groups whose completions all have the same score teach nothing,
    so further prompts are answered until the rollout is full of groups with different scores."""

    max_tries: int = Field(default=8, gt=0)
    """Rounds of sampling for one rollout, the first included. Each asks for as many groups as are missing, divided by
    the share of useful ones so far, at most a whole rollout. Where the last round leaves the rollout short, the step is
    taken on what there is; with no useful group at all, no step is taken."""


class OverlongConfig(Config):
    """Soft punishment of long completions (Yu et al. 2025, section 3.4, equation 13)."""

    cache: int | None = Field(default=None, gt=0)
    """The punishment rises in a straight line over the last `cache` tokens before `max_new_tokens`; null for a fifth of
    them (the paper: 4,096 of 20,480)."""
    penalty: float = Field(default=1.0, gt=0)
    """At `max_new_tokens`; subtracted from the score."""


class TreeConfig(Config):
    """Completions of a prompt as trees that share prefixes (Ji et al. 2025, "Tree Search for LLM Agent Reinforcement
    Learning", Tree-GRPO)."""

    trees: int = Field(default=2, gt=0)
    """Independent first completions of a prompt, each the trunk of a tree."""
    rounds: int = Field(default=1, gt=0)
    """Rounds of expansion."""
    expansions: int = Field(default=3, gt=0)
    """Branches that each tree grows in a round: a node is drawn and the rest of the completion written anew from there.
    A prompt has trees * (1 + rounds * expansions) completions, which must be `samples_per_prompt`."""
    step: str = "\n"
    """A step of a completion ends after a token with this text in it. Nodes are the ends of steps."""
    step_tokens: int | None = Field(default=None, gt=0)
    """Steps of so many tokens instead."""
    credit: Literal["leaf", "node"] = "leaf"
    """`leaf`: a completion's advantage within its tree plus that within its prompt, on all its tokens (Ji et al. 2025,
    section 3.3); a shared token so gets the sum of its leaves'. `node`: every token gets its node's, from mean scores
    of the leaves below: ((V - V_root) + (V - V_parent)) / sqrt(leaves) (Hou et al. 2025, TreeRL, section 3.3)."""

    @property
    def leaves(self) -> int:
        """Completions of a prompt."""
        return self.trees * (1 + self.rounds * self.expansions)
