"""Configuration of a model: one class for what all families share, one for each part that only some of them have.

The parts say which family a model is of (`ModelConfig.family`): a `moe` block makes a mixture of experts, `mla` a
DeepSeek-V3, `masked_lm` a BERT, learned positions a GPT-2. configs/pretrain/models/ holds published sizes of each.
"""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from millbase.config import Config

Family = Literal["llama", "qwen3", "gpt2", "mixtral", "qwen3_moe", "dots1", "deepseek_v3", "bert"]


class RopeScalingConfig(Config):
    """Rotary frequencies changed for a context longer than the model was first trained on."""

    kind: Literal["linear", "ntk", "yarn", "llama3"]
    """`linear`: positions divided by the factor (Chen et al. 2023). `ntk`: the base raised to
    theta * factor ** (d / (d - 2)) ("NTK-aware", d the rotated width). `yarn`: high frequencies kept, low ones divided,
    attention sharpened (Peng et al. 2023). `llama3`: high frequencies kept, low ones divided (Llama 3.1)."""
    factor: float = Field(gt=1.0)
    """How many times longer the context gets."""
    original_length: int | None = Field(default=None, gt=0)
    """Context length before, in tokens; needed by `yarn` and `llama3`."""
    low_frequency_factor: float = Field(default=1.0, gt=0)
    """`llama3`: wavelengths over original_length / this are divided by the factor."""
    high_frequency_factor: float = Field(default=4.0, gt=0)
    """`llama3`: wavelengths under original_length / this are kept."""
    beta_fast: float = Field(default=32.0, gt=0)
    """`yarn`: frequencies that turn more often than this within original_length are kept."""
    beta_slow: float = Field(default=1.0, gt=0)
    """`yarn`: frequencies that turn less often than this within original_length are divided by the factor."""
    mscale: float | None = Field(default=None, gt=0)
    """`yarn`: with mscale_all_dim, DeepSeek's scale of the rotated part of queries and keys:
    (0.1 mscale ln(factor) + 1) / (0.1 mscale_all_dim ln(factor) + 1). Default: 0.1 ln(factor) + 1."""
    mscale_all_dim: float | None = Field(default=None, gt=0)
    """`yarn`: see mscale; with latent attention the scores are multiplied by (0.1 mscale_all_dim ln(factor) + 1)^2."""

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.kind in ("yarn", "llama3") and self.original_length is None:
            raise ValueError(f"rope_scaling.kind {self.kind} needs original_length, the context length before scaling")
        if (self.mscale is None) != (self.mscale_all_dim is None):
            raise ValueError("rope_scaling.mscale and mscale_all_dim belong together; set both or neither")
        if self.high_frequency_factor <= self.low_frequency_factor:
            raise ValueError(
                f"high_frequency_factor {self.high_frequency_factor} must be over low_frequency_factor "
                f"{self.low_frequency_factor}"
            )
        return self


class MoEConfig(Config):
    """Mixture of experts: the feed-forward layer is `experts` small ones, and a router picks `top_k` for each token."""

    experts: int = Field(gt=1)
    """Number of routed experts in a layer."""
    top_k: int = Field(default=2, gt=0)
    """Experts each token goes through."""
    ffn_hidden_size: int = Field(gt=0)
    """Width of one expert."""
    shared_experts: int = Field(default=0, ge=0)
    """Experts of the same width that every token goes through (DeepSeekMoE, Dai et al. 2024)."""
    dense_layers: int = Field(default=0, ge=0)
    """The first so many layers keep one dense feed-forward layer of `model.ffn_hidden_size`."""
    score: Literal["softmax", "sigmoid"] = "softmax"
    """How the router's logits become weights of experts: Mixtral and Qwen3 softmax, DeepSeek-V3 sigmoid."""
    normalise: bool = True
    """Let the weights of a token's chosen experts sum to 1 (before `scale`); always so with sigmoid."""
    scale: float = Field(default=1.0, gt=0)
    """Factor on the weights of routed experts (sigmoid only)."""
    groups: int | None = Field(default=None, gt=0)
    """Number of groups the experts are divided into; a token's experts come from `top_groups` of them. Default: off."""
    top_groups: int | None = Field(default=None, gt=0)
    """Groups a token may use: those with the largest sum of their two best scores (DeepSeek-V3, section 2.1.2); half
    of top_k."""
    balance: Literal["sequence", "batch", "none"] = "sequence"
    """Auxiliary loss against overloaded experts: over each sequence, or over each micro-batch (Switch Transformer,
    Fedus et al. 2021; then the result depends on micro_batch_size and the number of replicas), or none."""
    balance_weight: float = Field(default=0.01, ge=0)
    """Weight of the auxiliary loss."""
    expert_bias: bool = False
    """Balance without an auxiliary loss: a bias for each expert, used in choosing only, moves after every step against
    its load (Wang et al. 2024; DeepSeek-V3). Needs score: sigmoid; may be combined with a small balance_weight."""
    expert_bias_rate: float = Field(default=1e-3, gt=0)
    """How far each bias moves in a step."""
    z_loss: float = Field(default=0.0, ge=0)
    """Weight of the router's z-loss (ST-MoE, Zoph et al. 2022), the mean squared logsumexp of its logits."""

    @property
    def shared_width(self) -> int:
        """Width of all shared experts together."""
        return self.shared_experts * self.ffn_hidden_size

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.top_k > self.experts:
            raise ValueError(f"moe.top_k {self.top_k} is more than moe.experts {self.experts}; lower it")
        if (self.groups is None) != (self.top_groups is None):
            raise ValueError("moe.groups and moe.top_groups belong together; set both or neither")
        if self.groups is not None and self.top_groups is not None:
            if self.experts % self.groups or self.top_groups > self.groups:
                raise ValueError(
                    f"moe.experts {self.experts} must be divisible by moe.groups {self.groups}, and top_groups "
                    f"{self.top_groups} not more than it"
                )
            # Megatron ranks groups by their best top_k / top_groups experts, transformers by their best two.
            if self.top_k != 2 * self.top_groups:
                raise ValueError(
                    f"moe.top_k {self.top_k} must be twice moe.top_groups {self.top_groups}, as in DeepSeek-V3"
                )
        if self.score == "softmax":
            for name, wrong in (("expert_bias", self.expert_bias), ("scale", self.scale != 1.0)):
                if wrong:
                    raise ValueError(f"moe.{name} needs moe.score: sigmoid")
        elif not self.normalise:
            raise ValueError("moe.normalise: false is not possible with moe.score: sigmoid; use softmax")
        return self


class MLAConfig(Config):
    """Multi-head latent attention (DeepSeek-V2, 2024, section 2.1): keys and values come from a small shared vector."""

    kv_rank: int = Field(default=512, gt=0)
    """Width of the vector from which a token's keys and values are made."""
    q_rank: int | None = Field(default=1536, gt=0)
    """Width of the vector from which queries are made; null: straight from the residual stream."""
    nope_head_dim: int = Field(default=128, gt=0)
    """Part of each query and key head without positions."""
    rope_head_dim: int = Field(default=64, gt=0, multiple_of=2)
    """Rotated part of each query head; the rotated part of the key is shared by all heads."""
    value_head_dim: int = Field(default=128, gt=0)
    """Width of a value head."""


class MTPConfig(Config):
    """Multi-token prediction (DeepSeek-V3, section 2.2): further layers that predict the tokens after the next."""

    depth: int = Field(default=1, gt=0)
    """Tokens predicted beyond the next one, each by a layer of its own."""
    loss_weight: float = Field(default=0.3, ge=0)
    """Weight of their mean loss beside the main loss. The reported loss is the main one."""


class MaskedLMConfig(Config):
    """Train an encoder as BERT is (Devlin et al. 2018): attention both ways, some tokens hidden and predicted."""

    mask_token: str = "<|mask|>"
    """The tokenizer's token that stands for a hidden one."""
    probability: float = Field(default=0.15, gt=0, lt=1)
    """Share of tokens that are predicted."""
    masked: float = Field(default=0.8, ge=0, le=1)
    """Share of those that are replaced by the mask token."""
    random: float = Field(default=0.1, ge=0, le=1)
    """Share of those that are replaced by a random token; the others stay as they are."""
    token_types: int = Field(default=2, gt=0)
    """Rows of the segment embedding (always segment 0 here: no next-sentence prediction)."""

    @model_validator(mode="after")
    def _shares(self) -> Self:
        if self.masked + self.random > 1:
            raise ValueError(f"masked_lm.masked {self.masked} and random {self.random} must not exceed 1 together")
        return self


class ModelConfig(Config):
    """A transformer. The defaults are a small Llama: RMSNorm, rotary positions, SwiGLU, grouped queries, no biases."""

    layers: int = Field(default=6, gt=0)
    """Number of transformer layers."""
    hidden_size: int = Field(default=192, gt=0)
    """Width of the residual stream."""
    ffn_hidden_size: int = Field(default=512, gt=0)
    """Width of the feed-forward layer (of each of the two halves of a gated one)."""
    heads: int = Field(default=6, gt=0)
    """Attention (query) heads."""
    kv_heads: int | None = Field(default=2, gt=0)
    """Key/value heads: 1 for multi-query attention; null, or equal to `heads`, for plain multi-head attention."""
    head_dim: int | None = Field(default=None, gt=0)
    """Width of a head; default `hidden_size / heads`."""
    qk_norm: bool = False
    """RMSNorm on queries and keys, as in Qwen3 (with it the export is a Qwen3 model)."""
    tied_embeddings: bool = True
    """Use the input embedding as the output projection as well."""
    norm: Literal["rms", "layer"] = "rms"
    """RMSNorm (Llama) or LayerNorm (GPT-2, BERT)."""
    activation: Literal["swiglu", "gelu", "gelu_tanh"] = "swiglu"
    """Feed-forward layer: gated with SiLU (Shazeer 2020), or plain with GELU, exact (BERT) or its tanh
    approximation (GPT-2)."""
    biases: bool = False
    """Biases in the attention's and the feed-forward layer's projections (GPT-2, BERT)."""
    positions: Literal["rope", "learned"] = "rope"
    """Rotary positions, or a learned vector for each of `max_positions` places."""
    max_positions: int = Field(default=1024, gt=0)
    """Rows of the learned position embedding; data.sequence_length must not be more."""
    rope_theta: float = Field(default=10_000.0, gt=1.0)
    """Base of the rotary position frequencies (Su et al. 2021)."""
    rope_scaling: RopeScalingConfig | None = None
    """Longer context through changed rotary frequencies."""
    moe: MoEConfig | None = None
    """Mixture of experts in place of the dense feed-forward layers."""
    mla: MLAConfig | None = None
    """Multi-head latent attention; heads are then sized by it, and kv_heads and head_dim are left alone."""
    mtp: MTPConfig | None = None
    """Multi-token prediction."""
    masked_lm: MaskedLMConfig | None = None
    """An encoder trained by predicting hidden tokens (BERT), in place of a decoder that predicts the next one."""
    norm_epsilon: float = Field(default=1e-5, gt=0)
    """Epsilon of every norm."""
    init_std: float = Field(default=0.02, gt=0)
    """Standard deviation of the initial weights; projections back into the residual stream get
    init_std / sqrt(2 * layers) (GPT-2, Radford et al. 2019, section 2.3)."""
    vocab_multiple: int = Field(default=128, gt=0)
    """The embedding is padded to a multiple of this many rows; padding rows are not exported."""

    @property
    def kv_channels(self) -> int:
        """Width of one attention head (without `mla`)."""
        return self.head_dim or self.hidden_size // self.heads

    @property
    def query_groups(self) -> int:
        """Key/value heads."""
        return self.kv_heads or self.heads

    @property
    def rotary_dim(self) -> int:
        """Rotated width of a head."""
        return self.mla.rope_head_dim if self.mla else self.kv_channels

    @property
    def gated(self) -> bool:
        """The feed-forward layer has a gate."""
        return self.activation == "swiglu"

    def is_moe_layer(self, layer: int) -> bool:
        """True when layer `layer` (the first is 0) has experts."""
        return self.moe is not None and layer >= self.moe.dense_layers

    @property
    def uniform(self) -> bool:
        """All layers have the same weights; checkpoints then stack them."""
        return self.moe is None or self.moe.dense_layers == 0

    @property
    def family(self) -> Family:
        """The architecture in transformers that this model is exported as."""
        if self.masked_lm:
            return "bert"
        if self.positions == "learned":
            return "gpt2"
        if self.mla:
            return "deepseek_v3"
        if self.moe is None:
            return "qwen3" if self.qk_norm else "llama"
        if self.moe.score == "sigmoid":
            return "dots1"
        return "qwen3_moe" if self.qk_norm else "mixtral"

    @model_validator(mode="after")
    def _heads_fit(self) -> Self:
        if self.head_dim is None and self.mla is None and self.hidden_size % self.heads:
            raise ValueError(
                f"hidden_size {self.hidden_size} is not divisible by heads {self.heads}; change one or set head_dim"
            )
        if self.mla is None and self.heads % self.query_groups:
            raise ValueError(f"heads {self.heads} is not divisible by kv_heads {self.kv_heads}; change one of them")
        if self.positions == "rope" and self.rotary_dim % 2:
            raise ValueError(f"a head of odd width {self.rotary_dim} cannot be rotated; make head_dim even")
        if self.moe is not None and self.moe.dense_layers >= self.layers:
            raise ValueError(
                f"moe.dense_layers {self.moe.dense_layers} leaves none of {self.layers} layers to experts; lower it"
            )
        return self

    @model_validator(mode="after")
    def _is_a_family(self) -> Self:
        """Refuse combinations that no architecture of transformers has: such a model could not be exported."""
        problems = _unfit_parts(self)
        if problems:
            raise ValueError(f"a {self.family} model {'; '.join(problems)}")
        return self


def _unfit_parts(model: ModelConfig) -> list[str]:
    """What keeps a model from being one of its family, in words that say what to change."""
    family, moe = model.family, model.moe
    classic = family in ("gpt2", "bert")
    rules = [
        (classic and model.norm != "layer", "has norm: layer"),
        (classic and model.activation == "swiglu", "has activation: gelu or gelu_tanh"),
        (classic and not model.biases, "has biases: true"),
        (classic and not model.tied_embeddings, "has tied_embeddings: true"),
        (classic and model.query_groups != model.heads, "has kv_heads: null (as many as heads)"),
        (classic and model.kv_channels * model.heads != model.hidden_size, "has no head_dim but hidden_size / heads"),
        (classic and model.positions != "learned", "has positions: learned"),
        (classic and (moe or model.mla or model.mtp), "has neither moe, mla nor mtp"),
        (classic and model.qk_norm, "has no qk_norm"),
        (classic and model.rope_scaling is not None, "has no rope_scaling"),
        (not classic and model.norm != "rms", "has norm: rms"),
        (not classic and model.activation != "swiglu", "has activation: swiglu"),
        (not classic and model.biases, "has biases: false"),
        (family == "deepseek_v3" and model.qk_norm, "has no qk_norm (latent attention has norms of its own)"),
        (family == "deepseek_v3" and moe is not None and moe.score != "sigmoid", "has moe.score: sigmoid"),
        (family == "dots1" and not model.qk_norm, "(sigmoid router) has qk_norm: true"),
        (
            family in ("deepseek_v3", "dots1") and moe is not None and not moe.shared_experts,
            "(sigmoid router) has moe.shared_experts of at least 1",
        ),
        (family == "mixtral" and moe is not None and not moe.normalise, "has moe.normalise: true, or qk_norm"),
        (
            family in ("mixtral", "qwen3_moe") and moe is not None and bool(moe.shared_experts),
            "(softmax router) has no shared_experts; set moe.score: sigmoid and qk_norm, or mla",
        ),
        (family == "mixtral" and moe is not None and bool(moe.dense_layers), "has no dense_layers; set qk_norm"),
    ]
    return [text for wrong, text in rules if wrong]
