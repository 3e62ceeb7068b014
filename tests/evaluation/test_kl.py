"""KL divergence of responses against the exact value on short responses and against the naive estimator."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch

from evaluation.config import KlConfig
from evaluation.generate import Completion, Sampling, generate
from evaluation.kl import run_kl, sequence_kl
from evaluation.responses import Responses
from training.load import LoadedModel

PROMPT = [40, 41, 42]


def test_zero_from_itself(loaded: LoadedModel) -> None:
    completions = generate(loaded, [PROMPT] * 3, max_new_tokens=8, sampling=Sampling(1.0), seeds=[1, 2, 3])
    assert sequence_kl(loaded, loaded, completions) == [0.0, 0.0, 0.0]


def test_one_token_is_the_exact_divergence(loaded: LoadedModel, other_loaded: LoadedModel) -> None:
    ids = torch.tensor([PROMPT])
    p, q = (m.logits(ids)[0, -1].double().log_softmax(-1) for m in (loaded, other_loaded))
    exact = torch.nn.functional.kl_div(q, p, log_target=True, reduction="sum").item()
    completion = Completion(PROMPT, [7], "", False)
    assert sequence_kl(loaded, other_loaded, [completion]) == [pytest.approx(exact, rel=1e-5)]


def test_unbiased_and_less_noisy_than_log_ratios(loaded: LoadedModel, other_loaded: LoadedModel) -> None:
    n, length = 200, 4
    completions = generate(
        loaded, [PROMPT] * n, max_new_tokens=length, sampling=Sampling(1.0), seeds=range(n), batch_size=100
    )
    exact_per_token = np.array(sequence_kl(loaded, other_loaded, completions))
    naive = []
    for completion in completions:
        row = torch.tensor([completion.prompt_ids + completion.ids])
        log_p, log_q = (m.logits(row)[0].log_softmax(-1) for m in (loaded, other_loaded))
        positions = range(len(PROMPT) - 1, row.shape[1] - 1)
        naive.append(sum((log_p[t] - log_q[t])[row[0, t + 1]].item() for t in positions))
    difference = exact_per_token - np.array(naive)
    assert abs(difference.mean()) < 4 * difference.std() / np.sqrt(n)
    assert exact_per_token.std() < 0.7 * np.std(naive)
    assert (exact_per_token >= 0).all()


def test_batches_do_not_matter(loaded: LoadedModel, other_loaded: LoadedModel) -> None:
    completions = [
        Completion(PROMPT * repeat, [9 + i for i in range(length)], "", True)
        for repeat, length in itertools.product((1, 4), (1, 3, 11))
    ]
    together = sequence_kl(loaded, other_loaded, completions, batch_size=6)
    alone = sequence_kl(loaded, other_loaded, completions, batch_size=1)
    assert together == pytest.approx(alone, rel=1e-5)


def test_the_block(loaded: LoadedModel, other_loaded: LoadedModel, web: Path) -> None:
    block = KlConfig(prompts=str(web / "prompts" / "heldout.jsonl"), max_new_tokens=6)
    result = run_kl(loaded, other_loaded, block, Responses(0, 8), batch_size=8, maximum_bad_share=0)
    total, per_token = result.scores
    items = result.items["items/kl.jsonl"]
    values = [item["scores"]["kl"] for item in items]
    assert total.value == pytest.approx(np.mean(values)) and total.n == 20
    assert per_token.value == pytest.approx(sum(values) / sum(item["tokens"] for item in items))
    assert result.comparisons == []
