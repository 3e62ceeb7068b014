"""Configuration of group methods: GRPO, Dr. GRPO, DAPO, GSPO, RLOO, Tree-GRPO.

`method` gives the settings of a paper; every setting can be given beside it and then counts. Settings with the names of
PPO's mean the same, and `as_ppo` hands them to the parts of PPO that do the same work here.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from millbase.config import Config
from training.posttrain.config import LoraConfig
from training.posttrain.group.options import (
    AdvantageConfig,
    DynamicConfig,
    GroupKlConfig,
    GroupRewardConfig,
    LossConfig,
    OverlongConfig,
    TreeConfig,
)
from training.posttrain.ppo.config import PolicyConfig, PpoConfig
from training.posttrain.ppo.options import PADDING_WORTH_A_PASS, SamplerConfig, SftMixConfig

PRESETS: dict[str, dict[str, Any]] = {
    "grpo": {},
    "dr_grpo": {"advantage": {"scale": "none"}, "loss": {"normalization": "constant"}, "kl": {"coef": 0.0}},
    "dapo": {
        "loss": {"normalization": "token", "clip_high": 0.28},
        "kl": {"coef": 0.0},
        "dynamic": {},
        "overlong": {},
    },
    "gspo": {"loss": {"ratio": "sequence", "clip_low": 3e-4, "clip_high": 4e-4}, "kl": {"coef": 0.0}},
    "rloo": {
        "advantage": {"baseline": "leave_one_out", "scale": "none"},
        "loss": {"ratio": "sequence_sum"},
        "kl": {"coef": 0.05, "estimator": "k1", "place": "reward"},
    },
    "tree_grpo": {"tree": {}},
}
"""What each method sets that differs from GRPO; the papers' numbers."""


class GroupConfig(Config):
    """Reinforcement learning without a critic: completions of a prompt are each other's baseline."""

    method: Literal["grpo", "dr_grpo", "dapo", "gspo", "rloo", "tree_grpo"] = "grpo"
    """The paper whose settings are the defaults of `advantage`, `loss`, `kl`, `dynamic`, `overlong` and `tree`; see
    docs/group.md for the table. Defaults shown here are those of grpo."""
    model: str
    """The `checkpoint` artifact to start from (usually SFT); any Hugging Face model folder works too."""
    reference: str | None = None
    """The frozen policy that KL is measured against; null means `model`."""
    prompts: str | list[str]
    """Prompt rows (JSONL, Parquet or Arrow): `prompt` as messages or text; further columns go to the rewards."""
    reward: GroupRewardConfig
    """Sources of the reward."""
    advantage: AdvantageConfig = AdvantageConfig()
    """From scores to advantages."""
    loss: LossConfig = LossConfig()
    """The objective."""
    kl: GroupKlConfig = GroupKlConfig()
    """Distance to the reference policy."""
    dynamic: DynamicConfig | None = None
    """Refill until the rollout is full of groups with different scores; null for off."""
    overlong: OverlongConfig | None = None
    """Punish long completions softly; null for off."""
    mask_truncated: bool = False
    """Leave completions that were cut off out of the loss (Yu et al. 2025, overlong filtering); their scores still
    count in their group's mean."""
    tree: TreeConfig | None = None
    """Sample trees instead of independent completions; null for off."""
    sft_mix: SftMixConfig | None = None
    """Supervised data mixed in; null for none."""
    sampler: SamplerConfig = SamplerConfig()
    """What writes the completions; `ratio_cap` corrects for a sampler that is not exactly the policy."""
    lora: LoraConfig | None = None
    """Train low-rank adapters over frozen weights; the reference is then the policy with its adapter off. Adapters are
    merged in what is saved."""

    learning_rate: float = Field(default=1e-6, ge=0)
    """Peak learning rate of AdamW (for a model of a million parameters about 1e-4 with warm-up; for billions, 1e-6)."""
    warmup_updates: int = Field(default=2, ge=0)
    """Updates of linear warm-up."""
    schedule: Literal["constant", "linear", "cosine"] = "linear"
    """What the learning rate does after warm-up: stay, or fall to `min_learning_rate_ratio` at the last update."""
    min_learning_rate_ratio: float = Field(default=0.1, ge=0, le=1)
    """Final learning rate as a share of the peak."""
    updates: int = Field(default=100, gt=0)
    """Rollouts, each followed by `epochs` passes over it."""
    rollout_size: int = Field(default=128, gt=0)
    """Completions per rollout, over all processes."""
    samples_per_prompt: int = Field(default=8, gt=1)
    """Completions of each prompt: the size of a group."""
    epochs: int = Field(default=1, gt=0)
    """Passes over a rollout."""
    minibatches: int = Field(default=1, gt=0)
    """Optimizer steps in a pass; a step sees `rollout_size / minibatches` completions, of any groups."""
    micro_batch_size: int = Field(default=32, gt=0)
    """Most completions in a pass of one process. It bounds memory and does not change the result."""
    padding_worth_a_pass: int = Field(default=PADDING_WORTH_A_PASS, ge=0)
    """Passes are cut by length so that padded tokens plus this many for every pass are fewest."""
    sampling_batch_size: int = Field(default=256, gt=0)
    """Completions sampled at once by one process."""
    max_prompt_length: int = Field(default=256, gt=0)
    """Tokens; longer prompts are left out, and counted."""
    max_new_tokens: int = Field(default=128, gt=0)
    """Tokens a completion may have, the end-of-turn token included."""
    temperature: float = Field(default=1.0, gt=0)
    """Divides the logits in sampling and in every log-probability alike."""
    max_grad_norm: float = Field(default=1.0, gt=0)
    """Gradients are clipped to this norm."""
    weight_decay: float = Field(default=0.0, ge=0)
    """AdamW's."""
    adam_betas: tuple[float, float] = (0.9, 0.999)
    """AdamW's moment decay rates."""
    adam_epsilon: float = Field(default=1e-8, gt=0)
    """AdamW's epsilon."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """`bfloat16` runs the forward passes under autocast; weights, optimizer and losses stay float32."""
    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass: less memory, about a third more time."""
    logit_chunk: int = Field(default=4096, gt=0)
    """Token positions whose logits exist at once; a [batch, length, vocabulary] tensor never does."""
    processes: int = Field(default=1, gt=0)
    """Data-parallel processes on this machine, one device each; more than one starts torchrun."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """auto takes a GPU where there is one."""
    threads: int | None = Field(default=None, gt=0)
    """CPU threads for torch in each process; null shares the cores out evenly."""
    save_every: int = Field(default=10, gt=0)
    """Updates between saved states; a killed run continues from the last one, bit for bit."""
    save_every_steps: int | None = Field(default=None, gt=0)
    """Save after this many optimizer steps inside an update as well (with the rollout); null saves between updates."""
    sample_every: int = Field(default=10, gt=0)
    """Updates between records in `samples.jsonl`."""
    sample_count: int = Field(default=8, ge=0)
    """Completions in each record."""
    seed: int = 0
    """Prompt order, sampling noise, nodes of trees and minibatch order are pure functions of it."""

    @model_validator(mode="before")
    @classmethod
    def _apply_method(cls, values: Any) -> Any:
        """Put the method's settings under those given, so that the resolved configuration says everything."""
        if not isinstance(values, dict):
            return values
        return _under(PRESETS.get(str(values.get("method", "grpo")), {}), values)

    @model_validator(mode="after")
    def _check(self) -> GroupConfig:
        for name, divisor in (("minibatches", self.minibatches), ("samples_per_prompt", self.samples_per_prompt)):
            if self.rollout_size % divisor:
                raise ValueError(f"rollout_size = {self.rollout_size} is not a multiple of {name} = {divisor}")
        if (self.rollout_size // self.minibatches) % self.processes:
            raise ValueError(
                f"a minibatch of {self.rollout_size // self.minibatches} completions cannot be dealt evenly to "
                f"processes = {self.processes}"
            )
        if self.lora is not None and self.lora.dropout:
            raise ValueError(
                f"lora.dropout = {self.lora.dropout}: with dropout a policy differs from itself and the first ratios "
                "are not 1; set it to 0"
            )
        if self.mask_truncated and self.kl.coef and self.kl.place == "reward":
            raise ValueError("mask_truncated with kl.place = 'reward': masked completions have no KL; use place: loss")
        if self.overlong is not None and (self.overlong.cache or 0) > self.max_new_tokens:
            raise ValueError(f"overlong.cache = {self.overlong.cache} exceeds max_new_tokens = {self.max_new_tokens}")
        if self.tree is not None:
            self._check_tree(self.tree)
        return self

    def _check_tree(self, tree: TreeConfig) -> None:
        if tree.leaves != self.samples_per_prompt:
            raise ValueError(
                f"samples_per_prompt = {self.samples_per_prompt} and tree.trees * (1 + tree.rounds * tree.expansions) "
                f"= {tree.leaves}: make them equal"
            )
        if self.sampler.engine != "own":
            raise ValueError(f"trees need sampler.engine = 'own', found {self.sampler.engine!r}")

    def as_ppo(self) -> PpoConfig:
        """The settings that PPO has too, for the parts of PPO that sample, score, cut batches and keep records."""
        shared = set(type(self).model_fields) & set(PpoConfig.model_fields) - {"kl"}
        policy = PolicyConfig(learning_rate=self.learning_rate, warmup_updates=self.warmup_updates)
        return PpoConfig(**{name: getattr(self, name) for name in shared}, policy=policy)


def _under(preset: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    """`values` with what `preset` adds; null turns a part off that the preset has on."""
    merged = dict(values)
    for name, value in preset.items():
        given = merged.get(name)
        if name not in merged:
            merged[name] = value
        elif isinstance(value, dict) and isinstance(given, dict):
            merged[name] = _under(value, given)
    return merged
