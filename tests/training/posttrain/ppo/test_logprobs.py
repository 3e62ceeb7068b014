"""Chunked log-probabilities against torch's own, values and gradients."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from training.posttrain.ppo.logprobs import compare, token_logprobs

N, H, V, TEMPERATURE = 23, 8, 31, 0.7


@pytest.fixture
def setup() -> tuple[torch.Tensor, nn.Linear, torch.Tensor]:
    torch.manual_seed(0)
    return torch.randn(N, H, requires_grad=True), nn.Linear(H, V), torch.randint(V, (N,))


@pytest.mark.parametrize("chunk", [1, 5, 23, 100])
def test_equals_log_softmax(setup: tuple[torch.Tensor, nn.Linear, torch.Tensor], chunk: int) -> None:
    hidden, head, targets = setup
    distribution = torch.distributions.Categorical(logits=head(hidden) / TEMPERATURE)
    logp, entropy = token_logprobs(hidden, head, targets, TEMPERATURE, chunk, with_entropy=True)
    assert entropy is not None
    torch.testing.assert_close(logp, distribution.log_prob(targets))
    torch.testing.assert_close(entropy, distribution.entropy())
    scale = torch.linspace(-1, 1, N)
    expected = torch.autograd.grad(
        (scale * distribution.log_prob(targets) + distribution.entropy()).sum(), [hidden, head.weight]
    )
    actual = torch.autograd.grad((scale * logp + entropy).sum(), [hidden, head.weight])
    for a, b in zip(actual, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("chunk", [5, 100])
@pytest.mark.parametrize("temperature", [0.7, 1.0])
def test_own_backward_pass(setup: tuple[torch.Tensor, nn.Linear, torch.Tensor], chunk: int, temperature: float) -> None:
    hidden, head, targets = setup
    scale = torch.linspace(-1, 1, N)
    wanted = (head(hidden) / temperature).log_softmax(-1).gather(1, targets[:, None])[:, 0]
    expected = torch.autograd.grad((scale * wanted).sum(), [hidden, head.weight, head.bias])
    logp, _ = token_logprobs(hidden, head, targets, temperature, chunk)
    torch.testing.assert_close(logp, wanted)
    actual = torch.autograd.grad((scale * logp).sum(), [hidden, head.weight, head.bias])
    for a, b in zip(actual, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_only_one_chunk_of_logits_is_kept_for_the_backward_pass() -> None:
    hidden, head, targets = torch.randn(400, H, requires_grad=True), nn.Linear(H, 500), torch.randint(500, (400,))
    kept: list[int] = []

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        kept.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        logp, _ = token_logprobs(hidden, head, targets, 1.0, chunk=50)
    assert max(kept) < 50 * 500, "a chunk of logits was saved"
    logp.sum().backward()
    assert hidden.grad is not None


def test_no_positions(setup: tuple[torch.Tensor, nn.Linear, torch.Tensor]) -> None:
    _, head, _ = setup
    logp, entropy = token_logprobs(torch.zeros(0, H), head, torch.zeros(0, dtype=torch.long), 1.0, 4, True)
    assert logp.shape == (0,) and entropy is not None and entropy.shape == (0,)


def test_comparison_with_a_reference(setup: tuple[torch.Tensor, nn.Linear, torch.Tensor]) -> None:
    hidden, head, targets = setup
    other = nn.Linear(H, V)
    p, q = (torch.distributions.Categorical(logits=h(hidden) / TEMPERATURE) for h in (head, other))
    result = compare(hidden, head, hidden, other, targets, TEMPERATURE, chunk=6)
    assert torch.equal(result.logp, token_logprobs(hidden, head, targets, TEMPERATURE, chunk=6)[0])
    torch.testing.assert_close(result.logp, p.log_prob(targets))
    torch.testing.assert_close(result.reference_logp, q.log_prob(targets))
    torch.testing.assert_close(result.kl, torch.distributions.kl_divergence(p, q))
    torch.testing.assert_close(result.entropy, p.entropy())
