"""Every objective in float64 against the papers' formulas, worked out with Python's own arithmetic."""

from __future__ import annotations

import math
import statistics

import pytest
import torch

from training.posttrain.group.objectives import (
    EPSILON,
    group_advantages,
    group_loss,
    kl_loss,
    log_ratios,
    node_advantages,
    overlong_punishment,
    row_weights,
    tree_advantages,
    varies,
)
from training.posttrain.group.options import AdvantageConfig, LossConfig

OLD = [[-1.0, -2.0, -0.5], [-3.0, -0.2], [-0.9, -1.1, -2.2, -0.4]]
NEW = [[-0.7, -2.4, -0.5], [-1.5, -0.3], [-1.0, -1.0, -1.2, -0.9]]
REFERENCE = [[-1.2, -1.9, -0.9], [-2.5, -0.25], [-1.0, -1.3, -2.0, -0.6]]
ADVANTAGES = [1.5, -2.0, 0.4]
ROWS = [0, 0, 0, 1, 1, 2, 2, 2, 2]
LENGTHS = [3, 2, 4]
LOW, HIGH = 0.2, 0.28


def double(values: list[float]) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def flat(rows: list[list[float]]) -> torch.Tensor:
    return double([x for row in rows for x in row])


def ours(ratio: str, normalization: str, constant: int = 10, dual_clip: float | None = None) -> torch.Tensor:
    config = LossConfig(ratio=ratio, normalization=normalization, clip_low=LOW, clip_high=HIGH, dual_clip=dual_clip)
    rows = torch.tensor(ROWS)
    weights = row_weights(torch.tensor(LENGTHS), normalization, constant)[rows]
    logp = flat(NEW).requires_grad_()
    loss, _ = group_loss(logp, flat(OLD), double(ADVANTAGES)[rows], weights, rows, config)
    return loss


def surrogate(ratio: float, advantage: float) -> float:
    return min(ratio * advantage, min(max(ratio, 1 - LOW), 1 + HIGH) * advantage)


def token_terms() -> list[list[float]]:
    return [
        [surrogate(math.exp(n - o), a) for n, o in zip(new, old, strict=True)]
        for new, old, a in zip(NEW, OLD, ADVANTAGES, strict=True)
    ]


def test_grpo() -> None:
    """Shao et al. 2024, equation 3: mean over completions of the mean over tokens."""
    expected = -sum(sum(row) / len(row) for row in token_terms()) / 3
    assert float(ours("token", "sequence")) == pytest.approx(expected, rel=1e-12)


def test_dr_grpo() -> None:
    """Liu et al. 2025: sums over tokens, divided by a constant."""
    expected = -sum(sum(row) for row in token_terms()) / (3 * 10)
    assert float(ours("token", "constant")) == pytest.approx(expected, rel=1e-12)


def test_dapo() -> None:
    """Yu et al. 2025, equation 8: one mean over all tokens, with the upper clip higher."""
    expected = -sum(sum(row) for row in token_terms()) / sum(LENGTHS)
    assert float(ours("token", "token")) == pytest.approx(expected, rel=1e-12)


def sequence_ratios() -> list[float]:
    return [
        math.exp(sum(n - o for n, o in zip(new, old, strict=True)) / len(new))
        for new, old in zip(NEW, OLD, strict=True)
    ]


def test_gspo() -> None:
    """Zheng et al. 2025, equations 5 and 7, value and gradient."""
    expected = -sum(surrogate(s, a) for s, a in zip(sequence_ratios(), ADVANTAGES, strict=True)) / 3
    logp = flat(NEW).requires_grad_()
    rows = torch.tensor(ROWS)
    weights = row_weights(torch.tensor(LENGTHS), "sequence", 1)[rows]
    config = LossConfig(ratio="sequence", clip_low=LOW, clip_high=HIGH)
    loss, _ = group_loss(logp, flat(OLD), double(ADVANTAGES)[rows], weights, rows, config)
    assert float(loss) == pytest.approx(expected, rel=1e-12)
    loss.backward()
    gradient = []
    for s, a, length in zip(sequence_ratios(), ADVANTAGES, LENGTHS, strict=True):
        held = surrogate(s, a) != s * a
        gradient += [0.0 if held else -s * a / (3 * length)] * length
    assert logp.grad is not None and logp.grad.tolist() == pytest.approx(gradient, rel=1e-12)


def test_gspo_token_equals_gspo_for_equal_advantages_only() -> None:
    """Zheng et al. 2025, section 4.3: same value and gradient; with advantages of tokens each keeps its own."""
    rows = torch.tensor(ROWS)
    weights = row_weights(torch.tensor(LENGTHS), "sequence", 1)[rows]
    gradients = {}
    for ratio in ("sequence", "sequence_token"):
        for name, advantages in (("equal", double(ADVANTAGES)[rows]), ("own", double([0.1 * i for i in range(9)]))):
            logp = flat(NEW).requires_grad_()
            config = LossConfig(ratio=ratio, clip_low=0.99, clip_high=9)
            loss, _ = group_loss(logp, flat(OLD), advantages, weights, rows, config)
            (gradients[ratio, name],) = torch.autograd.grad(loss, logp)
    torch.testing.assert_close(gradients["sequence", "equal"], gradients["sequence_token", "equal"], rtol=1e-12, atol=0)
    expected = [-sequence_ratios()[row] * 0.1 * i / (3 * LENGTHS[row]) for i, row in enumerate(ROWS)]
    assert gradients["sequence_token", "own"].tolist() == pytest.approx(expected, rel=1e-12)
    assert not torch.allclose(gradients["sequence", "own"], gradients["sequence_token", "own"], rtol=1e-3)


def test_rloo() -> None:
    """Ahmadian et al. 2024: the whole completion is one action, without division by its length."""
    ratios = [math.exp(sum(new) - sum(old)) for new, old in zip(NEW, OLD, strict=True)]
    expected = -sum(surrogate(r, a) for r, a in zip(ratios, ADVANTAGES, strict=True)) / 3
    assert float(ours("sequence_sum", "sequence")) == pytest.approx(expected, rel=1e-12)
    # on the rollout's own policy the gradient is REINFORCE's: advantage times the gradient of the log-probability
    logp, rows = flat(OLD).requires_grad_(), torch.tensor(ROWS)
    weights = row_weights(torch.tensor(LENGTHS), "sequence", 1)[rows]
    config = LossConfig(ratio="sequence_sum")
    loss, _ = group_loss(logp, flat(OLD), double(ADVANTAGES)[rows], weights, rows, config)
    loss.backward()
    assert logp.grad is not None
    assert logp.grad.tolist() == pytest.approx([-ADVANTAGES[row] / 3 for row in ROWS], rel=1e-12)


def test_dual_clip() -> None:
    terms = [
        [max(term, 3.0 * a) if a < 0 else term for term in row]
        for row, a in zip(token_terms(), ADVANTAGES, strict=True)
    ]
    assert terms != token_terms(), "the second completion's first ratio is 4.5"
    expected = -sum(sum(row) for row in terms) / sum(LENGTHS)
    assert float(ours("token", "token", dual_clip=3.0)) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("normalization", ["sequence", "token", "constant"])
def test_kl_term(normalization: str) -> None:
    """Shao et al. 2024, equation 4, inside the same means."""
    rows = torch.tensor(ROWS)
    weights = row_weights(torch.tensor(LENGTHS), normalization, 10)[rows]
    value = float(kl_loss(flat(NEW), flat(REFERENCE), weights, "k3"))
    terms = [
        [math.exp(q - p) - (q - p) - 1 for p, q in zip(new, reference, strict=True)]
        for new, reference in zip(NEW, REFERENCE, strict=True)
    ]
    expected = {
        "sequence": sum(sum(row) / len(row) for row in terms) / 3,
        "token": sum(sum(row) for row in terms) / 9,
        "constant": sum(sum(row) for row in terms) / 30,
    }[normalization]
    assert value == pytest.approx(expected, rel=1e-12)


def test_the_first_pass_has_ratios_of_exactly_1() -> None:
    logp, rows = torch.randn(50), torch.arange(50) // 7
    for kind in ("token", "sequence", "sequence_token", "sequence_sum"):
        assert bool((log_ratios(logp, logp.clone(), rows, kind).exp() == 1).all())


def test_parts_add_up_to_the_whole() -> None:
    """Weights depend on the lengths of the whole step, so cutting it between completions changes nothing."""
    config = LossConfig(ratio="sequence", clip_low=LOW, clip_high=HIGH)
    rows = torch.tensor(ROWS)
    weights = row_weights(torch.tensor(LENGTHS), "sequence", 1)[rows]
    parts = 0.0
    for part in (slice(0, 5), slice(5, 9)):
        local = rows[part] - rows[part][0]
        advantages = double(ADVANTAGES)[rows[part]]
        loss, _ = group_loss(flat(NEW)[part], flat(OLD)[part], advantages, weights[part], local, config)
        parts += float(loss)
    assert parts == pytest.approx(float(ours("sequence", "sequence")), rel=1e-12)


def test_completions_without_tokens_do_not_count() -> None:
    weights = row_weights(torch.tensor([3, 0, 2]), "sequence", 1)
    assert weights.tolist() == pytest.approx([1 / 6, 0, 1 / 4])
    assert row_weights(torch.tensor([3, 0, 2]), "constant", 10).tolist() == pytest.approx([1 / 20, 0, 1 / 20])


SCORES = [[1.0, 0.0, 0.0, 1.0], [0.1, 0.1, 0.1, 0.1], [2.0, -1.0, 0.5, 9.0]]
COUNTED = [[True] * 4, [True] * 4, [True, True, True, False]]


def expected_advantages(baseline: str, scale: str) -> list[list[float]]:
    every = [s for row, keep in zip(SCORES, COUNTED, strict=True) for s, k in zip(row, keep, strict=True) if k]
    result = []
    for row, keep in zip(SCORES, COUNTED, strict=True):
        own = [s for s, k in zip(row, keep, strict=True) if k]
        divisor = {"group": statistics.stdev(own), "batch": statistics.stdev(every), "none": None}[scale]
        values = []
        for i, (score, k) in enumerate(zip(row, keep, strict=True)):
            others = [s for j, (s, kj) in enumerate(zip(row, keep, strict=True)) if kj and j != i]
            base = statistics.fmean(own) if baseline == "mean" else statistics.fmean(others)
            value = score - base if divisor is None else (score - base) / (divisor + EPSILON)
            values.append(value if k and len(set(own)) > 1 else 0.0)
        result.append(values)
    return result


@pytest.mark.parametrize("baseline", ["mean", "leave_one_out"])
@pytest.mark.parametrize("scale", ["group", "batch", "none"])
def test_group_advantages(baseline: str, scale: str) -> None:
    config = AdvantageConfig(baseline=baseline, scale=scale)
    actual = group_advantages(torch.tensor(SCORES, dtype=torch.float64), torch.tensor(COUNTED), config)
    for row, wanted in zip(actual.tolist(), expected_advantages(baseline, scale), strict=True):
        assert row == pytest.approx(wanted, rel=1e-12, abs=1e-15)


def test_equal_scores_have_exactly_no_advantage() -> None:
    scores = torch.full((1, 7), 0.1)
    assert not varies(scores, torch.ones(1, 7, dtype=torch.bool)).any()
    advantages = group_advantages(scores, torch.ones(1, 7, dtype=torch.bool), AdvantageConfig())
    assert advantages.tolist() == [[0.0] * 7], "0.1 * 7 / 7 is not 0.1, and 1e-9 over 1e-4 is not nothing"


def test_a_group_with_one_score_has_no_advantage() -> None:
    counted = torch.tensor([[True, False, False]])
    for baseline in ("mean", "leave_one_out"):
        config = AdvantageConfig(baseline=baseline)
        assert group_advantages(torch.tensor([[3.0, 1.0, 2.0]]), counted, config).tolist() == [[0.0] * 3]


def test_overlong_punishment() -> None:
    """Yu et al. 2025, equation 13, with a limit of 20 and a cache of 4."""
    expected = {1: 0.0, 16: 0.0, 17: -0.25, 18: -0.5, 19: -0.75, 20: -1.0, 25: -1.0}
    assert {n: overlong_punishment(n, 20, 4) for n in expected} == expected


def test_tree_advantages() -> None:
    """Ji et al. 2025: each leaf within its tree plus within its prompt."""
    scores, trees = [1.0, 0.0, 1.0, 0.0, 0.0, 0.0], [0, 0, 0, 1, 1, 1]
    actual = tree_advantages(double(scores), torch.ones(6, dtype=torch.bool), torch.tensor(trees), AdvantageConfig())
    prompt_mean, prompt_std = statistics.fmean(scores), statistics.stdev(scores)
    tree_mean, tree_std = statistics.fmean(scores[:3]), statistics.stdev(scores[:3])
    expected = [(s - prompt_mean) / (prompt_std + EPSILON) for s in scores]
    for i in range(3):
        expected[i] += (scores[i] - tree_mean) / (tree_std + EPSILON)
    assert actual.tolist() == pytest.approx(expected, rel=1e-12)


def test_node_advantages() -> None:
    """TreeRL on a tree drawn by hand: leaves 0 and 1 share two tokens, 1 and 2 share three, 3 stands alone."""
    origins = torch.tensor([[0, 1, 2, 3, -1], [0, 1, 7, 8, 9], [0, 1, 7, 13, -1], [15, 16, -1, -1, -1]])
    scores = [1.0, 0.0, 1.0, 0.0]
    actual = node_advantages(double(scores), torch.ones(4, dtype=torch.bool), origins)
    root, trunk, fork = 0.5, 2 / 3, 0.5
    shared = ((trunk - root) + (trunk - root)) / math.sqrt(3)
    middle = ((fork - root) + (fork - trunk)) / math.sqrt(2)
    expected = [
        [shared, shared, (1 - root) + (1 - trunk), (1 - root) + (1 - trunk), 0],
        [shared, shared, middle, (0 - root) + (0 - fork), (0 - root) + (0 - fork)],
        [shared, shared, middle, (1 - root) + (1 - fork), 0],
        [(0 - root) + (0 - root)] * 2 + [0, 0, 0],
    ]
    for row, wanted in zip(actual.tolist(), expected, strict=True):
        assert row == pytest.approx(wanted, rel=1e-12, abs=1e-15)


def test_node_advantages_leave_out_failed_leaves() -> None:
    origins = torch.tensor([[0, 1], [0, 3], [0, 5]])
    counted = torch.tensor([True, True, False])
    actual = node_advantages(double([1.0, 0.0, 99.0]), counted, origins)
    alone = node_advantages(double([1.0, 0.0]), counted[:2], origins[:2])
    assert actual[:2].tolist() == alone.tolist() and actual[2].tolist() == [0.0, 0.0]
