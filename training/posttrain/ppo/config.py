"""Configuration of PPO training.

Defaults follow published runs where there is one: clip range 0.2, value clip 0.2, gamma 1, lambda 0.95, Adam epsilon
1e-5 and whitened advantages from Stiennon et al. 2020 (appendix B) and Huang et al. 2024 ("The N+ Implementation
Details of RLHF with PPO", section 3 and table 8).
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from millbase.config import Config
from training.posttrain.config import LoraConfig
from training.posttrain.ppo.options import (
    PADDING_WORTH_A_PASS,
    MonitorConfig,
    PretrainMixConfig,
    SamplerConfig,
    SftMixConfig,
)
from training.posttrain.verifiable.config import VerifiableReward


class RewardConfig(Config):
    """Where the score of a completion comes from, and what is done to it before it becomes the token rewards."""

    model: str | None = None
    """A `reward-model` artifact. Its tokenizer may differ from the policy's: completions are decoded and rendered again
    with the reward model's own chat template."""
    functions: list[str] = Field(default_factory=list)
    """Reward functions as `package.module:name` or `path/to/file.py:name`. Each is called with the keywords `prompts`
    and `completions` (lists of message lists) and one list per further column of the prompt rows; it returns one number
    per completion."""
    model_weight: float = 1.0
    """Weight of the reward model's score in the sum."""
    function_weights: list[float] = Field(default_factory=list)
    """Weights of the functions in the sum; empty means 1 each."""
    verifiable: list[VerifiableReward] = Field(default_factory=list)
    """Rewards that a program checks: maths, numeric, code, format, instructions, length; each with its weight."""
    normalize: Literal["none", "reference", "running", "running_scale", "batch"] = "reference"
    """Shift and scale scores to mean 0, standard deviation 1: over the first rollout, which the reference policy wrote
    (`reference`, Stiennon et al. 2020 section 3.4), over everything seen so far (`running`), or over the rollout itself
    (`batch`). `running_scale` divides by the standard deviation so far and shifts nothing (Engstrom et al. 2020,
    section 2). `none` leaves them."""
    clip: float | None = Field(default=5.0, gt=0)
    """Clip normalised scores to [-clip, clip]; null for no clipping."""
    missing_eos_penalty: float = Field(default=1.0, ge=0)
    """Subtracted from the (normalised) score of a completion that was cut off before an end-of-turn token."""
    whiten: bool = False
    """Scale the token rewards (score and KL penalty together) to standard deviation 1 over the batch, keeping their
    mean (Huang et al. 2024, section 3.6)."""
    batch_size: int = Field(default=64, gt=0)
    """Conversations per forward pass of the reward model."""
    on_error: Literal["stop", "zero", "skip"] = "stop"
    """What happens when a source raises or gives a number that is not finite. `stop` ends the run and names source and
    completion; the last saved state stays. `zero` counts the source as 0 for that completion. `skip` takes the
    completion out of the update. The last two keep every case with its reason in `reward_errors.jsonl`."""
    max_error_share: float = Field(default=0.1, ge=0, le=1)
    """`zero` and `skip` stop the run all the same when more than this share of a rollout's completions is affected."""

    @model_validator(mode="after")
    def _check(self) -> RewardConfig:
        if self.model is None and not self.functions and not self.verifiable:
            raise ValueError("no source of rewards: set reward.model, reward.functions or reward.verifiable")
        if self.function_weights and len(self.function_weights) != len(self.functions):
            raise ValueError(
                f"reward.function_weights has {len(self.function_weights)} numbers for {len(self.functions)} "
                "functions; give one each, or none"
            )
        return self


class KlConfig(Config):
    """How the policy is held near the reference policy. KL figures are in nats for a whole completion."""

    coef: float = Field(default=0.05, ge=0)
    """Weight of the per-token KL penalty in the reward; the starting value when a controller moves it."""
    estimator: Literal["k1", "k2", "k3"] = "k1"
    """Per-token estimator in the penalty (Schulman 2020, "Approximating KL Divergence"). k1 is the unbiased one that
    makes the penalised return equal to reward - coef * KL in expectation."""
    target: float | None = Field(default=None, gt=0)
    """With a number, a controller moves the coefficient so that the KL of a completion comes to this."""
    controller: Literal["proportional", "threshold"] = "proportional"
    """`proportional`: Ziegler et al. 2019, section 2.2. `threshold`: Schulman et al. 2017, section 4 (halve below
    target / 1.5, double above 1.5 target)."""
    loss_coef: float = Field(default=0.0, ge=0)
    """Weight of a KL term in the policy's loss, per token, beside or (with `coef` 0) instead of the penalty."""
    loss_estimator: Literal["k1", "k2", "k3"] = "k2"
    """Estimator of that term. The gradient of k2 is that of the KL in expectation; k3 is GRPO's choice; the gradient of
    k1 is pure noise."""
    gain: float = Field(default=0.1, gt=0, le=5)
    """K_beta of the proportional controller: the coefficient changes by at most 0.2 * gain of itself in one update.
    Short runs want about 1."""
    coef_range: tuple[float, float] = (1e-4, 100.0)
    """A controlled coefficient stays in this range. While a policy is still on its way to the target the controller
    lowers the coefficient; a floor near `coef` keeps it from being too low to brake when the target is reached."""
    stop: float | None = Field(default=None, gt=0)
    """End the policy's part of an update once the KL per token from the rollout's policy to the current one passes this
    (0.01 to 0.05 are usual); null never stops early."""
    limit: float | None = Field(default=None, gt=0)
    """Hard bound. A policy whose measured KL exceeds it is not accepted: the last accepted one is put back and the
    coefficient doubled. The final policy is measured too, so what is saved was measured under the bound."""

    @model_validator(mode="after")
    def _check(self) -> KlConfig:
        if self.target is not None and self.limit is not None and self.limit <= self.target:
            raise ValueError(f"kl.limit = {self.limit} must be above kl.target = {self.target}")
        low, high = self.coef_range
        if not 0 < low < high:
            raise ValueError(f"kl.coef_range = {[low, high]} must be two positive numbers, the lower first")
        if self.target is not None and not low <= self.coef <= high:
            raise ValueError(f"kl.coef = {self.coef} with a target must lie in kl.coef_range = {[low, high]}")
        return self


class PolicyConfig(Config):
    """The policy's loss and optimizer."""

    learning_rate: float = Field(default=1e-5, ge=0)
    """Peak learning rate of AdamW (for the demo's 3M-parameter model about 1e-4 with warm-up; for billions, 1e-6)."""
    warmup_updates: int = Field(default=2, ge=0)
    """Updates of linear warm-up, counted from the first one that moves the policy."""
    clip_low: float = Field(default=0.2, gt=0, lt=1)
    """The probability ratio is clipped below at 1 - clip_low (Schulman et al. 2017, equation 7)."""
    clip_high: float = Field(default=0.2, gt=0)
    """... and above at 1 + clip_high; 0.28 gives the clip-higher of DAPO (Yu et al. 2025, section 3.1)."""
    dual_clip: float | None = Field(default=None, gt=1)
    """Bound on the ratio where the advantage is negative (Ye et al. 2020, "Mastering Complex Control in MOBA Games",
    equation 5; 3 is usual); null for none."""
    entropy_coef: float = Field(default=0.0, ge=0)
    """Weight of the mean token entropy, added to the objective."""


class CriticConfig(Config):
    """The value model: a network of its own."""

    init: Literal["auto", "reward", "policy"] = "auto"
    """Start from the reward model's weights or the policy's. `auto` takes the reward model where its tokenizer is the
    policy's, as values are needed per policy token."""
    head: Literal["zero", "keep"] = "zero"
    """`zero` sets the scalar head to 0, so that first values are 0; `keep` retains the reward model's head."""
    learning_rate: float = Field(default=5e-5, ge=0)
    """Peak learning rate of AdamW."""
    warmup_updates: int = Field(default=2, ge=0)
    """Updates of linear warm-up."""
    pretrain_updates: int = Field(default=0, ge=0)
    """Rollouts at the start that train the critic alone; they come on top of `updates`."""
    clip: float | None = Field(default=0.2, gt=0)
    """A value may move this far from the rollout's within one update before the loss stops following; null for none."""


class PpoConfig(Config):
    """PPO on a chat model: rollouts, reward, KL penalty to the reference policy, clipped policy and value updates."""

    model: str
    """The `checkpoint` artifact to start from (usually SFT); any Hugging Face model folder works too."""
    reference: str | None = None
    """The frozen policy that KL is measured against; null means `model`."""
    prompts: str | list[str]
    """Prompt rows (JSONL, Parquet or Arrow): `prompt` as messages or text; further columns go to reward functions."""
    reward: RewardConfig
    """Sources and treatment of the reward."""
    kl: KlConfig = KlConfig()
    """Distance to the reference policy."""
    policy: PolicyConfig = PolicyConfig()
    """Policy loss and optimizer."""
    critic: CriticConfig = CriticConfig()
    """Value model."""
    sft_mix: SftMixConfig | None = None
    """Supervised data mixed in; null for none."""
    pretrain_mix: PretrainMixConfig | None = None
    """Pretraining text mixed in; null for none."""
    sampler: SamplerConfig = SamplerConfig()
    """What writes the completions."""
    monitor: MonitorConfig | None = None
    """Judges that watch for over-optimisation; null for none."""
    lora: LoraConfig | None = None
    """Train low-rank adapters over frozen weights instead of all weights. The reference is then the policy with its
    adapter off, and a critic that starts from the policy is a second adapter over the same weights: one model in memory
    instead of three. Adapters are merged in what is saved."""

    updates: int = Field(default=100, gt=0)
    """Rollouts, each followed by `epochs` passes over it."""
    rollout_size: int = Field(default=128, gt=0)
    """Completions per rollout, over all processes."""
    samples_per_prompt: int = Field(default=1, gt=0)
    """Completions for each prompt of a rollout."""
    epochs: int = Field(default=2, gt=0)
    """Passes over a rollout."""
    minibatches: int = Field(default=2, gt=0)
    """Optimizer steps in a pass; a step sees `rollout_size / minibatches` completions."""
    micro_batch_size: int = Field(default=32, gt=0)
    """Most completions in a pass of one process. It bounds memory and does not change the result."""
    padding_worth_a_pass: int = Field(default=PADDING_WORTH_A_PASS, ge=0)
    """Passes are cut by length so that padded tokens plus this many for every pass are fewest. It is the number of
    tokens that a pass costs beside its arithmetic: for weights of billions on a GPU, reading them once. It does not
    change the result either."""
    sampling_batch_size: int = Field(default=256, gt=0)
    """Completions sampled at once by one process."""
    max_prompt_length: int = Field(default=256, gt=0)
    """Tokens; longer prompts are left out, and counted."""
    max_new_tokens: int = Field(default=128, gt=0)
    """Tokens a completion may have, the end-of-turn token included."""
    temperature: float = Field(default=1.0, gt=0)
    """Divides the logits in sampling and in every log-probability alike."""
    gamma: float = Field(default=1.0, gt=0, le=1)
    """Discount per token."""
    lam: float = Field(default=0.95, ge=0, le=1)
    """Lambda of generalised advantage estimation (Schulman et al. 2015)."""
    whiten_advantages: bool = True
    """Normalise advantages over all tokens of the rollout."""
    schedule: Literal["constant", "linear", "cosine"] = "linear"
    """What both learning rates do after warm-up: stay, or fall to `min_learning_rate_ratio` at the last update."""
    min_learning_rate_ratio: float = Field(default=0.1, ge=0, le=1)
    """Final learning rate as a share of the peak."""
    max_grad_norm: float = Field(default=1.0, gt=0)
    """Gradients are clipped to this norm, for policy and critic each."""
    weight_decay: float = Field(default=0.0, ge=0)
    """AdamW's, on both networks."""
    adam_betas: tuple[float, float] = (0.9, 0.999)
    """AdamW's moment decay rates."""
    adam_epsilon: float = Field(default=1e-5, gt=0)
    """AdamW's epsilon (Huang et al. 2024, section 3.7)."""
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
    """Save after this many optimizer steps inside an update as well (with the rollout), for rollouts that take hours;
    null saves between updates only."""
    sample_every: int = Field(default=10, gt=0)
    """Updates between records in `samples.jsonl`."""
    sample_count: int = Field(default=8, ge=0)
    """Completions in each record."""
    seed: int = 0
    """Prompt order, sampling noise and minibatch order are pure functions of it."""

    @model_validator(mode="after")
    def _check(self) -> PpoConfig:
        for name, divisor in (
            ("minibatches", self.minibatches),
            ("samples_per_prompt", self.samples_per_prompt),
            ("processes", self.processes),
        ):
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
        return self

    @property
    def total_updates(self) -> int:
        """Rollouts of the whole run: those for the critic alone and those for both."""
        return self.critic.pretrain_updates + self.updates
