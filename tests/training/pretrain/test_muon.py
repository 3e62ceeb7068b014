"""Muon against torch's own, against exact singular vectors, and its parts by hand."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from training.pretrain.muon import Muon, orthogonal


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("shape", [(24, 24), (16, 40), (40, 16)])
def test_orthogonal_keeps_singular_vectors_and_levels_singular_values(shape: tuple[int, int]) -> None:
    matrix = random(*shape).double()
    u, _, v = torch.linalg.svd(matrix, full_matrices=False)
    found = u.T @ orthogonal(matrix, 5) @ v.T
    assert float((found - torch.diag(found.diagonal())).abs().max()) < 1e-9, "the same vectors"
    assert 0.6 < float(found.diagonal().min()) <= float(found.diagonal().max()) < 1.3


def run(optimizer: torch.optim.Optimizer, weight: torch.nn.Parameter, steps: int = 8) -> torch.Tensor:
    for step in range(steps):
        weight.grad = random(*weight.shape, seed=100 + step) + weight.detach()
        optimizer.step()
    return weight.detach()


@pytest.mark.parametrize("shape", [(32, 48), (48, 32)])
def test_steps_equal_torch_muon(shape: tuple[int, int]) -> None:
    """torch.optim.Muon rounds to bfloat16 inside, and so differs by a percent of the distance moved."""
    start = random(*shape)
    ours, theirs = (torch.nn.Parameter(start.clone()) for _ in range(2))
    settings: dict[str, Any] = {"lr": 0.02, "weight_decay": 0.1}
    a = run(Muon([ours], momentum_beta=0.9, **settings), ours)
    b = run(torch.optim.Muon([theirs], momentum=0.9, adjust_lr_fn="match_rms_adamw", **settings), theirs)
    moved = float((b - start).norm())
    assert moved > 0.5
    assert float((a - b).norm()) < 0.02 * moved


def test_an_update_has_the_size_that_was_asked_for() -> None:
    """Root mean square of an update: about 0.2 of the learning rate for `spectral`, as AdamW's."""
    weight = torch.nn.Parameter(torch.zeros(64, 96))
    moved = run(Muon([weight], lr=1.0, weight_decay=0.0, scale_mode="spectral"), weight, steps=1)
    assert 0.7 * 0.2 < float(moved.square().mean().sqrt()) < 1.2 * 0.2
    weight = torch.nn.Parameter(torch.zeros(64, 96))
    moved = run(Muon([weight], lr=1.0, weight_decay=0.0, scale_mode="unit_rms"), weight, steps=1)
    assert 0.6 * math.sqrt(64 / 96) < float(torch.linalg.matrix_norm(moved, 2)) < 1.3 * math.sqrt(64 / 96)


def test_queries_keys_and_values_are_taken_apart() -> None:
    parts = [8, 4, 4]
    grad = random(2 * sum(parts), 24)
    weight = torch.nn.Parameter(torch.zeros_like(grad))
    optimizer = Muon(
        [weight], lr=1.0, weight_decay=0.0, split_qkv=True, is_qkv_fn=lambda _: True, qkv_split_shapes=parts
    )
    weight.grad = grad.clone()
    optimizer.step()
    groups = grad.view(2, sum(parts), 24)
    queries = groups[:, :8].reshape(16, 24)
    expected = -orthogonal(queries) * 0.2 * math.sqrt(24)
    assert torch.allclose(weight.detach().view(2, 16, 24)[:, :8].reshape(16, 24), expected, atol=1e-5)
