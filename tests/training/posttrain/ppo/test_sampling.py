"""The sampler draws from softmax(logits / temperature) and nothing else, whatever shares the batch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from training.load import load_model
from training.posttrain.ppo.models import Policy, end_of_turn_ids
from training.posttrain.ppo.sampling import Completion, draw, sample


@pytest.fixture(scope="module")
def policy(policy_folder: Path) -> Policy:
    loaded = load_model(policy_folder, device="cpu")
    return Policy(loaded.model, end_of_turn_ids(loaded))


@pytest.fixture(scope="module")
def prompts() -> list[list[int]]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randint(4, 300, (n,), generator=generator).tolist() for n in (3, 9, 5, 5, 12, 1, 7, 4) * 3]


def uniforms(count: int, length: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(count, length, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def recompute(policy: Policy, prompt: list[int], completion: Completion, temperature: float) -> torch.Tensor:
    """Log-probabilities of a completion from one plain forward pass over it alone."""
    ids = torch.tensor([prompt + completion.tokens])
    with torch.no_grad():
        logps = (policy.model(input_ids=ids).logits / temperature).log_softmax(-1)[0, len(prompt) - 1 : -1]
    return logps.gather(1, torch.tensor(completion.tokens)[:, None])[:, 0]


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_log_probabilities_equal_recomputation(policy: Policy, prompts: list[list[int]], temperature: float) -> None:
    completions = sample(policy, prompts, uniforms(len(prompts), 20), temperature, batch_size=64)
    assert len({len(c.tokens) for c in completions}) > 3, "completions should end at different times"
    for prompt, completion in zip(prompts, completions, strict=True):
        expected = recompute(policy, prompt, completion, temperature)
        torch.testing.assert_close(torch.tensor(completion.logps), expected, rtol=1e-4, atol=2e-5)


def test_completions_do_not_depend_on_their_batch(policy: Policy, prompts: list[list[int]]) -> None:
    noise = uniforms(len(prompts), 20)
    whole = sample(policy, prompts, noise, 1.0, batch_size=64)
    alone = [sample(policy, [p], noise[i : i + 1], 1.0, batch_size=1)[0] for i, p in enumerate(prompts)]
    pieces = sample(policy, prompts, noise, 1.0, batch_size=5)
    assert [c.tokens for c in whole] == [c.tokens for c in alone] == [c.tokens for c in pieces]


def test_ends_with_the_end_of_turn_token_or_at_the_limit(policy: Policy, prompts: list[list[int]]) -> None:
    completions = sample(policy, prompts, uniforms(len(prompts), 20), 1.0, batch_size=64)
    assert {c.finished for c in completions} == {True, False}
    for completion in completions:
        ends = [token in policy.end_ids for token in completion.tokens]
        assert not any(ends[:-1])
        assert ends[-1] == completion.finished
        assert completion.finished or len(completion.tokens) == 20


def test_generation_config_does_not_leak(policy_folder: Path, prompts: list[list[int]]) -> None:
    plain = load_model(policy_folder, device="cpu")
    changed = load_model(policy_folder, device="cpu")
    for name, value in {"repetition_penalty": 1.8, "top_k": 2, "top_p": 0.3, "min_p": 0.5, "temperature": 0.1}.items():
        setattr(changed.model.generation_config, name, value)
    noise = uniforms(len(prompts), 12)
    first, second = (
        sample(Policy(loaded.model, end_of_turn_ids(loaded)), prompts, noise, 1.0, 64) for loaded in (plain, changed)
    )
    assert [c.tokens for c in first] == [c.tokens for c in second]


def test_frequencies_match_probabilities() -> None:
    logits = torch.tensor([[0.0, 1.0, -1.0, 2.0, float("-inf")]])
    count = 20_000
    token, logp = draw(logits.expand(count, -1), uniforms(1, count)[0])
    probabilities = logits[0].softmax(0)
    observed = torch.bincount(token, minlength=5) / count
    standard_error = (probabilities * (1 - probabilities) / count).sqrt()
    assert ((observed - probabilities).abs() <= 4 * standard_error).all()
    assert observed[4] == 0
    torch.testing.assert_close(logp, probabilities.log()[token])


def test_extreme_uniforms_give_possible_tokens() -> None:
    logits = torch.tensor([[float("-inf"), 0.0, 0.0, float("-inf")]]).expand(2, -1)
    token, _ = draw(logits, torch.tensor([0.0, 1 - 2**-53], dtype=torch.float64))
    assert token.tolist() == [1, 2]


def test_every_named_end_counts(policy_folder: Path, tokenizer: Any) -> None:
    loaded = load_model(policy_folder, device="cpu")
    loaded.model.generation_config.eos_token_id = [5, 6]
    assert end_of_turn_ids(loaded) == {5, 6, tokenizer.eos_token_id}
