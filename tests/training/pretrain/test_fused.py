"""Gate, norm, rotation and cross entropy against plain torch in float64, values and gradients."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from training.pretrain import cross_entropy
from training.pretrain.cross_entropy import VocabularyLoss
from training.pretrain.fused import RMSNorm, rotary, swiglu


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def gradients(function: Any, *inputs: Tensor) -> list[Tensor]:
    """Value and gradients of a weighted sum of it."""
    leaves = [x.detach().clone().requires_grad_() for x in inputs]
    out = function(*leaves)
    (out * random(*out.shape, seed=9).to(out.dtype)).sum().backward()
    return [out.detach(), *(x.grad for x in leaves if x.grad is not None)]


def same(ours: list[Tensor], theirs: list[Tensor], bound: float = 2e-5) -> None:
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs, strict=True):
        assert a.shape == b.shape
        assert float((a.double() - b).abs().max()) <= bound * max(1.0, float(b.abs().max()))


@pytest.mark.parametrize("rows", [3, 700])
def test_swiglu(rows: int) -> None:
    both = random(rows, 2, 600)

    def plain(x: Tensor) -> Tensor:
        gate, up = x.chunk(2, -1)
        return gate * torch.sigmoid(gate) * up

    same(gradients(swiglu, both), gradients(plain, both.double()))
    same(gradients(swiglu, both.transpose(0, 1)), gradients(plain, both.double().transpose(0, 1)))


def test_rms_norm() -> None:
    norm = RMSNorm(300, eps=1e-3)
    x, weight = random(500, 2, 300), random(300, seed=1)

    def ours(x: Tensor, weight: Tensor) -> Tensor:
        norm.weight = torch.nn.Parameter(weight.detach())
        out = norm(x)
        return out

    def plain(x: Tensor, weight: Tensor) -> Tensor:
        return x / (x.square().mean(-1, keepdim=True) + 1e-3).sqrt() * weight

    theirs = gradients(plain, x.double(), weight.double())
    found = gradients(ours, x, weight)
    same([*found, norm.weight.grad], theirs)  # type: ignore[list-item]


def test_rotation_equals_complex_multiplication() -> None:
    x, angles = random(40, 2, 3, 16), random(40, 1, 1, 8, seed=2)
    freqs = torch.cat([angles, angles], -1)

    def plain(x: Tensor) -> Tensor:
        turned = torch.complex(*x.chunk(2, -1)) * torch.polar(torch.full_like(angles.double(), 1.5), angles.double())
        return torch.cat([turned.real, turned.imag], -1)

    rotate = rotary(lambda *_: pytest.fail("the usual case is done here"))
    same(gradients(lambda x: rotate(x, freqs, mscale=1.5), x), gradients(plain, x.double()))
    seen = []
    rotary(lambda *args: seen.append(args))(x, freqs[..., :8])
    assert len(seen) == 1, "a head rotated in part is Megatron's"


@pytest.mark.parametrize("z_loss", [0.0, 0.3])
def test_cross_entropy(z_loss: float) -> None:
    logits = 4 * random(200, 3, 1500)
    labels = torch.randint(0, 1490, (3, 200), generator=torch.Generator().manual_seed(3))
    loss = VocabularyLoss(1490, 0, None, z_loss)

    def plain(x: Tensor) -> Tensor:
        return F.cross_entropy(x[..., :1490].permute(1, 2, 0), labels, reduction="none")

    def with_z(x: Tensor) -> Tensor:
        return plain(x) + z_loss * x[..., :1490].logsumexp(-1).t().square()

    value, grad = gradients(lambda x: loss(labels, x * 1), logits)
    same([value], [gradients(plain, logits.double())[0]])
    same([grad], [gradients(with_z, logits.double())[1]])
    assert not grad[..., 1490:].any(), "padding gets no gradient"


def test_cross_entropy_overwrites_the_logits_instead_of_copying_them() -> None:
    logits = random(64, 1, 512).requires_grad_()
    work = logits * 1
    address = work.data_ptr()
    [grad] = torch.autograd.grad(VocabularyLoss(512, 0, None)(torch.zeros(1, 64).long(), work).sum(), [work])
    assert grad.data_ptr() == address


def test_the_functions_compiled_on_gpus_do_what_the_blocks_on_cpus_do() -> None:
    logits, local = 4 * random(30, 100), torch.arange(30)
    exponentials, total, predicted, top = cross_entropy._exponentials(logits, local, None)
    exact = logits.double().requires_grad_()
    losses = F.cross_entropy(exact, local, reduction="none")
    same([total.log() - predicted, top], [losses.detach(), logits.double().amax(-1)])
    again = cross_entropy._exponentials(logits, local, top + 1)
    same([again[1].log() - again[2]], [losses.detach()])
    weights = random(30, seed=5)
    (losses * weights.double()).sum().backward()
    assert exact.grad is not None
    same([cross_entropy._gradient(exponentials, weights / total, local, -weights)], [exact.grad])


def test_cross_entropy_in_bfloat16() -> None:
    logits = (3 * random(50, 2, 300)).bfloat16()
    labels = torch.randint(0, 300, (2, 50), generator=torch.Generator().manual_seed(4))
    value, grad = gradients(lambda x: VocabularyLoss(300, 0, None)(labels, x * 1), logits)
    exact = logits.double().requires_grad_()
    expected = F.cross_entropy(exact.permute(1, 2, 0), labels, reduction="none")
    same([value], [expected.detach()], bound=1e-5)
    (expected * random(2, 50, seed=9).double()).sum().backward()
    assert exact.grad is not None
    same([grad], [exact.grad], bound=1e-2)
