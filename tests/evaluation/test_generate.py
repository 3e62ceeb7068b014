"""Generation against transformers' own, and its promises: batch independence, stops, distributions."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from evaluation.generate import Completion, Sampling, choose, generate, stop_token_ids
from millbase.errors import ConfigError, StageError
from training.load import LoadedModel

SAMPLED = Sampling(temperature=1.0)


@pytest.fixture(scope="module")
def prompts(tokenizer: PreTrainedTokenizerFast, sentences: list[str]) -> list[list[int]]:
    texts = [sentence[: 3 + 5 * i] for i, sentence in enumerate(sentences)]
    return [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]


def test_greedy_equals_transformers(loaded: LoadedModel, prompts: list[list[int]]) -> None:
    ours = generate(loaded, prompts, max_new_tokens=24, batch_size=3)
    stops = sorted(stop_token_ids(loaded))
    for prompt, completion in zip(prompts, ours, strict=True):
        full = loaded.model.generate(
            input_ids=torch.tensor([prompt]),
            attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
            max_new_tokens=24,
            do_sample=False,
            eos_token_id=stops,
            pad_token_id=loaded.tokenizer.pad_token_id,
        )
        assert completion.ids == full[0, len(prompt) :].tolist()
        assert completion.stopped == (completion.ids[-1] in stops)
        assert completion.prompt_ids == prompt


@pytest.mark.parametrize("sampling", [Sampling(), SAMPLED, Sampling(0.7, 0.9, 20)])
def test_batch_size_and_order_do_not_matter(loaded: LoadedModel, prompts: list[list[int]], sampling: Sampling) -> None:
    seeds = list(range(len(prompts)))
    whole = generate(loaded, prompts, max_new_tokens=16, sampling=sampling, seeds=seeds, batch_size=8)
    single = generate(loaded, prompts, max_new_tokens=16, sampling=sampling, seeds=seeds, batch_size=1)
    backwards = generate(loaded, prompts[::-1], max_new_tokens=16, sampling=sampling, seeds=seeds[::-1], batch_size=3)
    assert whole == single == backwards[::-1]
    if sampling.temperature:
        others = generate(loaded, prompts, max_new_tokens=16, sampling=sampling, seeds=[s + 99 for s in seeds])
        assert others != whole


def test_rows_that_stop_early_leave_the_others_alone(loaded: LoadedModel, prompts: list[list[int]]) -> None:
    free = generate(loaded, prompts, max_new_tokens=20)
    stop = free[0].ids[4]
    with_stop = generate(replace_end_token(loaded, stop), prompts, max_new_tokens=20)
    for before, after in zip(free, with_stop, strict=True):
        cut = before.ids.index(stop) + 1 if stop in before.ids else len(before.ids)
        assert after.ids == before.ids[:cut]
    assert with_stop[0].stopped and len(with_stop[0].ids) <= 5


def replace_end_token(loaded: LoadedModel, token: int) -> LoadedModel:
    """The same weights with one more end token in the generation config."""
    torch.manual_seed(0)
    model = LlamaForCausalLM(loaded.model.config).eval()
    model.load_state_dict(loaded.model.state_dict())
    model.generation_config.eos_token_id = [token, loaded.tokenizer.eos_token_id]
    return replace(loaded, model=model)


def test_stop_strings_cut_the_text(loaded: LoadedModel, prompts: list[list[int]]) -> None:
    free = generate(loaded, prompts, max_new_tokens=20)
    text = free[1].text
    middle = text[len(text) // 2 : len(text) // 2 + 2]
    assert middle and middle in text
    cut = generate(loaded, prompts, max_new_tokens=20, stop_strings=["", middle])
    assert cut[1].text == text[: text.index(middle)]
    assert cut[1].stopped and len(cut[1].ids) < len(free[1].ids)


def test_long_prompts_lose_their_beginning_and_are_counted(
    loaded: LoadedModel, caplog: pytest.LogCaptureFixture
) -> None:
    long = [5 + i % 50 for i in range(loaded.max_length + 30)]
    completion, _ = generate(loaded, [long, long[:5]], max_new_tokens=10, description="responses")
    assert completion.prompt_ids == long[-(loaded.max_length - 10) :]
    assert "responses: 1 of 2 prompts did not fit" in caplog.text and "lower max_new_tokens" in caplog.text
    caplog.clear()
    generate(loaded, [long[:5]], max_new_tokens=10)
    assert not caplog.text
    with pytest.raises(ConfigError, match="leave room"):
        generate(loaded, [long], max_new_tokens=loaded.max_length)


def test_sampled_tokens_follow_the_distribution(loaded: LoadedModel, prompts: list[list[int]]) -> None:
    n = 4000
    draws = generate(loaded, [prompts[0]] * n, max_new_tokens=1, sampling=SAMPLED, seeds=range(n), batch_size=500)
    counts = np.bincount([draw.ids[0] for draw in draws], minlength=loaded.model.config.vocab_size)
    expected = loaded.logits(torch.tensor([prompts[0]]))[0, -1].softmax(-1).double().numpy() * n
    common = expected >= 5
    observed = np.append(counts[common], counts[~common].sum())
    wanted = np.append(expected[common], expected[~common].sum())
    chi2 = ((observed - wanted) ** 2 / wanted).sum()
    assert chi2 < len(wanted) + 5 * np.sqrt(2 * len(wanted)), "five standard deviations of chi-squared"


def test_top_k_and_top_p_keep_the_most_probable() -> None:
    logits = torch.log(torch.tensor([[0.5, 0.1, 0.3, 0.06, 0.04]]))
    grid = torch.linspace(0, 0.999, 400, dtype=torch.float64)

    def reachable(sampling: Sampling) -> list[int]:
        return sorted({int(choose(logits, sampling, draw[None], "x")) for draw in grid})

    assert reachable(Sampling(1.0)) == [0, 1, 2, 3, 4]
    assert reachable(Sampling(1.0, top_k=2)) == [0, 2]
    assert reachable(Sampling(1.0, top_p=0.75)) == [0, 2]
    assert reachable(Sampling(1.0, top_p=0.85)) == [0, 1, 2]
    assert reachable(Sampling(1.0, top_p=0.1)) == [0]
    cold = [int(choose(logits, Sampling(0.1), draw[None], "x")) for draw in grid]
    assert cold.count(0) / len(cold) > 0.98


def test_nan_is_named() -> None:
    with pytest.raises(StageError, match=r"checkpoint-x.*NaN"):
        choose(torch.tensor([[0.0, float("nan")], [1.0, 2.0]]), Sampling(), None, "checkpoint-x")


def test_sampling_needs_seeds(loaded: LoadedModel, prompts: list[list[int]]) -> None:
    with pytest.raises(ValueError, match="one seed per prompt"):
        generate(loaded, prompts, max_new_tokens=4, sampling=SAMPLED)


def test_nothing_to_do(loaded: LoadedModel) -> None:
    nothing: list[Completion] = generate(loaded, [], max_new_tokens=4)
    assert nothing == []
