"""Every term of PPO in float64 against values worked out with Python's own arithmetic, without tensors."""

from __future__ import annotations

import math

import pytest
import torch

from training.posttrain.ppo.advantages import generalized_advantages, token_rewards, whiten
from training.posttrain.ppo.kl import kl_estimate
from training.posttrain.ppo.loss import importance_weights, policy_loss, value_loss

OLD = [-1.0, -2.0, -0.5, -3.0]
NEW = [-0.7, -2.4, -0.5, -1.5]
ADVANTAGES = [1.5, -0.8, 0.3, -2.0]
REFERENCE = [-1.2, -1.9, -0.9, -2.5]


def double(values: list[float]) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def test_policy_term() -> None:
    logp = double(NEW).requires_grad_()
    loss, stats = policy_loss(logp, double(OLD), double(ADVANTAGES), 4, 0.2, 0.3, dual_clip=3.0)
    expected, gradient = 0.0, []
    for new, old, a in zip(NEW, OLD, ADVANTAGES, strict=True):
        ratio = math.exp(new - old)
        clipped = min(max(ratio, 0.8), 1.3)
        surrogate = min(ratio * a, clipped * a)
        held = surrogate != ratio * a
        if a < 0 and surrogate < 3.0 * a:
            surrogate, held = 3.0 * a, True
        expected -= surrogate / 4
        gradient.append(0.0 if held else -ratio * a / 4)
    assert float(loss) == pytest.approx(expected, rel=1e-12)
    loss.backward()
    assert logp.grad is not None and logp.grad.tolist() == pytest.approx(gradient, rel=1e-12)
    assert stats.ratio == pytest.approx(sum(math.exp(n - o) for n, o in zip(NEW, OLD, strict=True)), rel=1e-12)


def test_value_term() -> None:
    values, old, returns = [0.9, -0.3, 2.0], [0.5, -0.2, 2.6], [1.4, -1.0, 1.0]
    tensor = double(values).requires_grad_()
    loss, total, clipped = value_loss(tensor, double(old), double(returns), 3, 0.2)
    errors, gradient, held = [], [], 0
    for v, o, r in zip(values, old, returns, strict=True):
        near = o + min(max(v - o, -0.2), 0.2)
        errors.append(max((v - r) ** 2, (near - r) ** 2))
        is_held = (near - r) ** 2 > (v - r) ** 2
        held += is_held
        gradient.append(0.0 if is_held else (v - r) / 3)
    assert float(loss) == pytest.approx(0.5 * sum(errors) / 3, rel=1e-12)
    assert total == pytest.approx(0.5 * sum(errors), rel=1e-12) and clipped == held
    loss.backward()
    assert tensor.grad is not None and tensor.grad.tolist() == pytest.approx(gradient, rel=1e-12, abs=1e-15)


@pytest.mark.parametrize(
    ("estimator", "formula"),
    [("k1", lambda r: -r), ("k2", lambda r: r * r / 2), ("k3", lambda r: math.exp(r) - 1 - r)],
)
def test_kl_terms(estimator: str, formula: object) -> None:
    expected = [formula(q - p) for p, q in zip(NEW, REFERENCE, strict=True)]  # type: ignore[operator]
    assert kl_estimate(double(NEW), double(REFERENCE), estimator).tolist() == pytest.approx(expected, rel=1e-12)


def test_kl_estimators_of_a_known_pair() -> None:
    """k1 and k3 have the KL as their mean, the gradient of k2 is the KL's, that of k1 is zero."""
    logits = torch.tensor([0.3, -1.0, 0.8], dtype=torch.float64, requires_grad=True)
    q = torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64)
    p = logits.softmax(0)
    exact = (p * (p / q).log()).sum()
    (wanted,) = torch.autograd.grad(exact, logits, retain_graph=True)
    weights = p.detach()
    for name, unbiased, gradient in (("k1", True, torch.zeros(3)), ("k2", False, wanted), ("k3", True, None)):
        mean = (weights * kl_estimate(p.log(), q.log(), name)).sum()
        if unbiased:
            assert float(mean) == pytest.approx(float(exact), rel=1e-12)
        (actual,) = torch.autograd.grad(mean, logits, retain_graph=True)
        if gradient is not None:
            torch.testing.assert_close(actual, gradient.double(), rtol=1e-10, atol=1e-12)


def test_rewards_advantages_and_whitening_of_one_completion() -> None:
    scores, kl, values, mask = double([2.0]), double([[0.1, -0.2, 0.3]]), double([[0.5, 0.4, -0.1]]), torch.ones(1, 3)
    rewards = token_rewards(scores, kl, mask.bool(), 0.5)
    assert rewards[0].tolist() == pytest.approx([-0.05, 0.1, 2.0 - 0.15], rel=1e-12)
    advantages, returns = generalized_advantages(rewards, values, mask.bool(), 0.9, 0.8)
    d = [-0.05 + 0.9 * 0.4 - 0.5, 0.1 + 0.9 * -0.1 - 0.4, 1.85 + 0.1]
    a2 = d[2]
    a1 = d[1] + 0.72 * a2
    a0 = d[0] + 0.72 * a1
    assert advantages[0].tolist() == pytest.approx([a0, a1, a2], rel=1e-12)
    assert returns[0].tolist() == pytest.approx([a0 + 0.5, a1 + 0.4, a2 - 0.1], rel=1e-12)
    mean = (a0 + a1 + a2) / 3
    std = math.sqrt(sum((a - mean) ** 2 for a in (a0, a1, a2)) / 3 + 1e-8)
    white = whiten(advantages, mask.bool())
    assert white[0].tolist() == pytest.approx([(a - mean) / std for a in (a0, a1, a2)], rel=1e-12)


def test_importance_weights_undo_another_sampler() -> None:
    """The weighted gradient's expectation under the sampler is the policy gradient under the policy."""
    advantages = double([1.0, -2.0, 0.5])
    p, s = double([0.5, 0.3, 0.2]), double([0.4, 0.35, 0.25])
    weights = importance_weights(p.log(), s.log(), cap=10.0)
    assert float((s * weights * advantages).sum()) == pytest.approx(float((p * advantages).sum()), rel=1e-12)
    assert float((s * advantages).sum()) != pytest.approx(float((p * advantages).sum()), rel=1e-2)
    capped = importance_weights(p.log(), s.log(), cap=1.1)
    expected = [min(0.5 / 0.4, 1.1), 0.3 / 0.35, 0.2 / 0.25]
    assert capped.tolist() == pytest.approx(expected, rel=1e-12)
