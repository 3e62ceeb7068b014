"""KL estimators against the exact divergence of small categorical distributions; controllers by hand."""

from __future__ import annotations

import pytest
import torch

from training.posttrain.ppo.config import KlConfig
from training.posttrain.ppo.kl import KlController, kl_estimate

P = torch.tensor([0.5, 0.3, 0.15, 0.05], dtype=torch.float64)
Q = torch.tensor([0.25, 0.25, 0.4, 0.1], dtype=torch.float64)


def expectation(estimator: str, p: torch.Tensor, q: torch.Tensor) -> float:
    return float((p * kl_estimate(p.log(), q.log(), estimator)).sum())


def test_k1_and_k3_are_unbiased() -> None:
    exact = float((P * (P / Q).log()).sum())
    assert expectation("k1", P, Q) == pytest.approx(exact, rel=1e-12)
    assert expectation("k3", P, Q) == pytest.approx(exact, rel=1e-12)


def test_k2_agrees_to_second_order() -> None:
    near = P * (1 + 1e-3 * torch.tensor([1.0, -1.0, 0.5, -2.5]))
    near = near / near.sum()
    exact = float((P * (P / near).log()).sum())
    assert expectation("k2", P, near) == pytest.approx(exact, rel=1e-2)
    assert expectation("k2", P, Q) != pytest.approx(float((P * (P / Q).log()).sum()), rel=1e-2)


def test_k3_has_less_variance_than_k1_and_is_never_negative() -> None:
    near = (P + 0.02 * Q) / 1.02
    k1, k3 = (kl_estimate(P.log(), near.log(), name) for name in ("k1", "k3"))
    assert (k1 < 0).any() and (k3 >= 0).all()
    variance = [float((P * (k - (P * k).sum()) ** 2).sum()) for k in (k1, k3)]
    assert variance[1] < variance[0] / 10


def test_unknown_estimator() -> None:
    with pytest.raises(ValueError, match="k4"):
        kl_estimate(P, Q, "k4")


def test_proportional_controller_follows_ziegler() -> None:
    controller = KlController.from_config(KlConfig(coef=0.1, target=2.0, gain=0.1))
    controller.update(2.2)  # error 0.1
    assert controller.coef == pytest.approx(0.1 * 1.01)
    controller.update(100.0)  # error clipped to 0.2
    assert controller.coef == pytest.approx(0.1 * 1.01 * 1.02)
    controller.update(0.0)
    assert controller.coef == pytest.approx(0.1 * 1.01 * 1.02 * 0.98)


def test_threshold_controller_follows_schulman() -> None:
    controller = KlController.from_config(KlConfig(coef=0.1, target=1.0, controller="threshold"))
    controller.update(1.4)
    assert controller.coef == 0.1
    controller.update(1.6)
    assert controller.coef == 0.2
    controller.update(0.6)
    assert controller.coef == 0.1


def test_no_target_leaves_the_coefficient_alone() -> None:
    controller = KlController.from_config(KlConfig(coef=0.1))
    controller.update(50.0)
    assert controller.coef == 0.1


def test_coefficient_stays_where_it_can_come_back_from() -> None:
    config = KlConfig(coef=0.01, target=1.0, controller="threshold", coef_range=(0.003, 7.0))
    controller = KlController.from_config(config)
    for _ in range(50):
        controller.update(0.0)
    assert controller.coef == 0.003
    for _ in range(50):
        controller.tighten()
    assert controller.coef == 7.0


def test_tighten_moves_a_zero_coefficient() -> None:
    controller = KlController.from_config(KlConfig(coef=0.0, limit=1.0))
    controller.tighten()
    assert controller.coef > 0


def test_contradictory_bounds_are_refused() -> None:
    with pytest.raises(ValueError, match=r"kl\.limit = 1.0 must be above kl\.target = 2.0"):
        KlConfig(target=2.0, limit=1.0)
    with pytest.raises(ValueError, match=r"kl\.coef = 0\.0 with a target must lie in"):
        KlConfig(target=2.0, coef=0)
    with pytest.raises(ValueError, match="the lower first"):
        KlConfig(coef_range=(1, 0.1))
