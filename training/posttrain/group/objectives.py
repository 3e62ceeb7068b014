"""What group methods compute, as pure functions: scores to advantages, advantages to the loss.

Shapes: P prompts, G completions of each, N tokens of a micro-batch (flat, real ones only), n leaves of a tree, T its
longest completion. The loss of an optimizer step is a sum over its tokens with weights that depend on lengths alone, so
it may be cut into micro-batches and dealt to processes in any way.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch

from training.posttrain.group.options import AdvantageConfig, LossConfig
from training.posttrain.ppo.kl import kl_estimate

EPSILON = 1e-4
"""Added to a standard deviation before it is divided by (TRL's value)."""


def group_advantages(scores: torch.Tensor, counted: torch.Tensor, config: AdvantageConfig) -> torch.Tensor:
    """Advantages [P, G] of scores [P, G]; where `counted` is false a score plays no part and its advantage is 0.

    Mean baseline: Shao et al. 2024 (DeepSeekMath), section 4.1.2. Leave-one-out: Ahmadian et al. 2024, equation 8.
    Standard deviations are those of a sample (n - 1), as torch and TRL have them. A group of equal scores, or of one,
    gets exactly 0.
    """
    keep = counted.to(scores.dtype)
    number = keep.sum(1, keepdim=True)
    total = (scores * keep).sum(1, keepdim=True)
    if config.baseline == "leave_one_out":
        advantages = scores - (total - scores) / (number - 1).clamp(min=1)
    else:
        advantages = scores - total / number.clamp(min=1)
    if config.scale == "group":
        advantages = advantages / (_std(scores, keep, 1) + EPSILON)
    elif config.scale == "batch":
        advantages = advantages / (_std(scores, keep, None) + EPSILON)
    return torch.where(counted & varies(scores, counted)[:, None], advantages, torch.zeros_like(advantages))


def varies(scores: torch.Tensor, counted: torch.Tensor) -> torch.Tensor:
    """[P] whether the counted scores [P, G] of a group are not all equal."""
    largest = scores.masked_fill(~counted, -torch.inf).amax(1)
    smallest = scores.masked_fill(~counted, torch.inf).amin(1)
    return largest > smallest


def _std(scores: torch.Tensor, keep: torch.Tensor, dim: int | None) -> torch.Tensor:
    number = keep.sum() if dim is None else keep.sum(dim, keepdim=True)
    total = (scores * keep).sum() if dim is None else (scores * keep).sum(dim, keepdim=True)
    squares = ((scores - total / number.clamp(min=1)) * keep).square()
    squares = squares.sum() if dim is None else squares.sum(dim, keepdim=True)
    return (squares / (number - 1).clamp(min=1)).sqrt()


def overlong_punishment(length: int, maximum: int, cache: int) -> float:
    """0 up to `maximum - cache` tokens, then a straight line to -1 at `maximum` (Yu et al. 2025, equation 13)."""
    start = maximum - cache
    return 0.0 if length <= start else max((start - length) / cache, -1.0)


def tree_advantages(
    scores: torch.Tensor, counted: torch.Tensor, trees: torch.Tensor, config: AdvantageConfig
) -> torch.Tensor:
    """Advantages [G] of one prompt's leaves: within the own tree plus within the prompt (Ji et al. 2025, section 3.3).

    `trees` [G] says which tree a leaf hangs on. A leaf alone in its tree has nothing to compare with there: 0.
    """
    within_prompt = group_advantages(scores[None], counted[None], config)[0]
    within_tree = torch.zeros_like(within_prompt)
    for tree in trees.unique():
        mine = trees == tree
        within_tree[mine] = group_advantages(scores[None, mine], counted[None, mine], config)[0]
    return within_prompt + within_tree


def node_advantages(scores: torch.Tensor, counted: torch.Tensor, origins: torch.Tensor) -> torch.Tensor:
    """Advantages [G, T] of every token of one prompt's leaves, from the node it belongs to (Hou et al. 2025, TreeRL).

    `origins` [G, T] names the sampled token that stands in each place (-1: none); leaves that share a prefix have the
    same names in it. V(node) is the mean score of the leaves that share it, V(root) that of all. A token gets
    ((V - V_root) + (V - V_parent)) / sqrt(number of leaves that share it).
    """
    keep = counted.to(scores.dtype)
    root = (scores * keep).sum() / keep.sum().clamp(min=1)
    same = ((origins[:, None] == origins[None]) & counted[None, :, None]).to(scores.dtype)  # [G, G, T]
    leaves = same.sum(1).clamp(min=1)
    values = (same * scores[None, :, None]).sum(1) / leaves
    parents = torch.empty_like(values)
    parent = root.expand(len(scores))
    for t in range(values.shape[1]):
        if t:
            # fewer leaves share this token than the one before: a node ends between them
            parent = torch.where(leaves[:, t] != leaves[:, t - 1], values[:, t - 1], parent)
        parents[:, t] = parent
    advantages = (2 * values - root - parents) / leaves.sqrt()
    return advantages * (counted[:, None] & (origins >= 0))


def row_weights(lengths: torch.Tensor, normalization: str, constant: int) -> torch.Tensor:
    """[B] weight of each token of the completions of one optimizer step, of `lengths` tokens; 0 for those without any.

    `sequence`: 1 / (completions * length) (GRPO); `token`: 1 / all tokens (DAPO, Yu et al. 2025, equation 12);
    `constant`: 1 / (completions * constant) (Dr. GRPO, Liu et al. 2025, section 3.2).
    """
    lengths = lengths.double()
    present = lengths > 0
    number = present.sum().double().clamp(min=1)  # one over a tensor of integers would be float32
    if normalization == "sequence":
        weights = 1 / (number * lengths.clamp(min=1))
    elif normalization == "token":
        weights = (1 / lengths.sum().clamp(min=1)).expand_as(lengths)
    elif normalization == "constant":
        weights = (1 / (number * constant)).expand_as(lengths)
    else:
        raise ValueError(f"unknown normalization {normalization!r}; expected sequence, token or constant")
    return weights * present


def log_ratios(logp: torch.Tensor, old_logp: torch.Tensor, rows: torch.Tensor, kind: str) -> torch.Tensor:
    """[N] logarithm of each token's importance ratio; `rows` [N] says which completion a token belongs to.

    Of `token`, `sequence` (GSPO, Zheng et al. 2025, equation 7), `sequence_token` (GSPO-token, equation 14) and
    `sequence_sum` (RLOO).
    """
    difference = logp - old_logp
    if kind == "token":
        return difference
    count = int(rows.max()) + 1 if len(rows) else 0
    sums = torch.zeros(count, dtype=logp.dtype, device=logp.device).index_add(0, rows, difference)
    if kind == "sequence_sum":
        return sums[rows]
    means = (sums / torch.bincount(rows, minlength=count).clamp(min=1))[rows]
    if kind == "sequence":
        return means
    if kind == "sequence_token":
        return means.detach() + (logp - logp.detach())
    raise ValueError(f"unknown ratio {kind!r}; expected token, sequence, sequence_token or sequence_sum")


@dataclass
class LossStats:
    """Sums over the tokens of an optimizer step; `loss` is the step's loss itself."""

    tokens: float = 0.0
    loss: float = 0.0
    clipped: float = 0.0
    """Tokens whose ratio lies outside the clip range on the side where the loss stops following."""
    approx_kl: float = 0.0
    """Sum of the k3 estimate of KL(rollout policy || present policy)."""
    ratio: float = 0.0

    def add(self, other: LossStats) -> None:
        """Add another part's sums."""
        for field in fields(self):
            setattr(self, field.name, getattr(self, field.name) + getattr(other, field.name))

    def as_list(self) -> list[float]:
        """The sums in field order, for adding over processes."""
        return [getattr(self, field.name) for field in fields(self)]


def group_loss(
    logp: torch.Tensor,
    old_logp: torch.Tensor,
    advantages: torch.Tensor,
    weights: torch.Tensor,
    rows: torch.Tensor,
    config: LossConfig,
    sampler_weights: torch.Tensor | None = None,
) -> tuple[torch.Tensor, LossStats]:
    """The clipped objective, negated: the sum of weights * min(ratio * A, clip(ratio) * A), all [N].

    `sampler_weights` multiply each token's objective (truncated importance weights of the sampler). A KL term is
    `kl_loss`.
    """
    ratio = log_ratios(logp, old_logp, rows, config.ratio).exp()
    held = ratio.clamp(1 - config.clip_low, 1 + config.clip_high)
    objective = torch.minimum(ratio * advantages, held * advantages)
    if config.dual_clip is not None:
        objective = torch.where(advantages < 0, torch.maximum(objective, config.dual_clip * advantages), objective)
    if sampler_weights is not None:
        objective = objective * sampler_weights
    loss = -(objective * weights).sum()
    with torch.no_grad():
        difference = logp - old_logp
        stats = LossStats(
            tokens=float(logp.numel()),
            loss=float(loss),
            clipped=float((held * advantages < ratio * advantages).sum()),
            approx_kl=float((torch.expm1(difference) - difference).sum()),
            ratio=float(ratio.sum()),
        )
    return loss, stats


def kl_loss(logp: torch.Tensor, reference_logp: torch.Tensor, weights: torch.Tensor, estimator: str) -> torch.Tensor:
    """The KL term of the loss: per-token estimates with the weights of the objective (Shao et al. 2024, equation 4)."""
    return (kl_estimate(logp, reference_logp, estimator) * weights).sum()
