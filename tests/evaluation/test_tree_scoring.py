"""Scores through shared prefixes against the model fed one row at a time, for several architectures and batch sizes."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from evaluation.generate import generate
from evaluation.loglikelihood import score_continuations
from evaluation.tree_scoring import tree_decoder
from training.load import LoadedModel

VOCAB = 300
SHAPE: dict[str, Any] = {"vocab_size": VOCAB, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
HEADS: dict[str, Any] = {"num_attention_heads": 4, "num_key_value_heads": 2, "initializer_range": 0.3}
TOLERANCE = 1e-4
"""Nats of a continuation's log-likelihood, float32: what is promised for any batch size and any neighbours."""


def make(name: str, **extra: Any) -> LoadedModel:
    torch.manual_seed(0)
    if name == "gpt2":  # learned positions
        config = GPT2Config(vocab_size=VOCAB, n_embd=32, n_layer=2, n_head=4, n_positions=256, initializer_range=0.3)
        model: Any = GPT2LMHeadModel(config)
    elif name == "qwen3":
        model = Qwen3ForCausalLM(Qwen3Config(**SHAPE, **HEADS, head_dim=8, max_position_embeddings=256, **extra))
    elif name == "mistral":
        model = MistralForCausalLM(MistralConfig(**SHAPE, **HEADS, max_position_embeddings=256, **extra))
    else:
        model = LlamaForCausalLM(LlamaConfig(**SHAPE, **HEADS, max_position_embeddings=256, **extra))
    if name == "eager":
        model.set_attn_implementation("eager")
    return LoadedModel(model.eval(), None, Path(name), name, 256)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def pairs() -> list[tuple[list[int], list[int]]]:
    """Questions after two sets of examples, four choices and three letters each, and a few that share nothing."""
    rng = random.Random(1)

    def ids(count: int) -> list[int]:
        return [rng.randrange(VOCAB) for _ in range(count)]

    examples = [ids(60), ids(45)]
    found = []
    for _ in range(20):
        question = [*rng.choice(examples), *ids(rng.randrange(3, 20))]
        found += [(question, ids(rng.randrange(1, 8))) for _ in range(4)]
        found += [(question, ids(1)) for _ in range(3)]
    found += [([5], ids(100)), (ids(3), ids(2)), found[3], (ids(400), ids(5))]
    rng.shuffle(found)
    return found


def one_by_one(loaded: LoadedModel, pairs: list[tuple[list[int], list[int]]]) -> list[tuple[float, bool]]:
    """The definition, in float64 after the model."""
    results = []
    for before, after in pairs:
        ids = [*before, *after][-(loaded.max_length + 1) :]
        logits = loaded.logits(torch.tensor([ids[:-1]]))[0, -len(after) :].double()
        targets = torch.tensor(after)
        log_probs = logits.log_softmax(-1).gather(1, targets[:, None])
        results.append((float(log_probs.sum()), bool((logits.argmax(-1) == targets).all())))
    return results


@pytest.mark.parametrize("name", ["llama", "eager", "gpt2", "qwen3"])
def test_scores_are_those_of_single_rows(name: str, pairs: list[tuple[list[int], list[int]]]) -> None:
    loaded = make(name)
    assert tree_decoder(loaded) is not None
    expected = one_by_one(loaded, pairs)
    for batch_size in (1, 7, 64):
        found = score_continuations(loaded, pairs, batch_size=batch_size)
        for (a, a_greedy), (b, b_greedy) in zip(found, expected, strict=True):
            assert a == pytest.approx(b, abs=TOLERANCE)
            assert a_greedy == b_greedy


def test_neighbours_and_order_do_not_matter(pairs: list[tuple[list[int], list[int]]]) -> None:
    loaded = make("llama")
    together = score_continuations(loaded, pairs)
    assert score_continuations(loaded, pairs) == together  # the same call: bit by bit
    reverse = score_continuations(loaded, pairs[::-1])[::-1]
    few = score_continuations(loaded, pairs[:5])
    for a, b in [*zip(together, reverse, strict=True), *zip(together[:5], few, strict=True)]:
        assert a[0] == pytest.approx(b[0], abs=TOLERANCE)


def test_a_sliding_window_is_scored_row_by_row(pairs: list[tuple[list[int], list[int]]]) -> None:
    loaded = make("mistral", sliding_window=16)
    assert tree_decoder(loaded) is None
    expected = one_by_one(loaded, pairs)
    for (a, _), (b, _) in zip(score_continuations(loaded, pairs, batch_size=8), expected, strict=True):
        assert a == pytest.approx(b, abs=TOLERANCE)


def test_logits_changed_after_the_output_layer_are_noticed(pairs: list[tuple[list[int], list[int]]]) -> None:
    """A model whose forward does more than decoder and output layer: the trial fails, and scores stay right."""
    loaded = make("llama")
    forward = loaded.model.forward

    def scaled(*args: Any, **kwargs: Any) -> Any:
        output = forward(*args, **kwargs)
        output.logits = output.logits * 0.5
        return output

    loaded.model.forward = scaled
    assert tree_decoder(loaded) is None
    expected = one_by_one(loaded, pairs[:20])
    for (a, _), (b, _) in zip(score_continuations(loaded, pairs[:20]), expected, strict=True):
        assert a == pytest.approx(b, abs=TOLERANCE)


def test_shared_tokens_reach_the_model_once(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = make("llama")
    assert tree_decoder(loaded) is not None
    seen = 0
    forward = loaded.model.base_model.forward

    def counting(*args: Any, **kwargs: Any) -> Any:
        nonlocal seen
        seen += kwargs["input_ids"].numel()
        return forward(*args, **kwargs)

    monkeypatch.setattr(loaded.model.base_model, "forward", counting)
    examples = list(range(100))
    pairs = [([*examples, 200 + q, 150], [c, c]) for q in range(20) for c in range(10, 14)]
    score_continuations(loaded, pairs, batch_size=8)
    assert seen == 100 + 20 * (2 + 4)  # of 80 * 103


def test_generation_after_shared_examples_is_that_of_single_prompts(loaded: LoadedModel) -> None:
    rng = random.Random(3)
    examples = [rng.randrange(10, 300) for _ in range(40)]
    prompts = [[*examples, *(rng.randrange(10, 300) for _ in range(rng.randrange(1, 9)))] for _ in range(6)]
    together = generate(loaded, prompts, max_new_tokens=12, batch_size=4)
    alone = [generate(loaded, [prompt], max_new_tokens=12)[0] for prompt in prompts]
    assert [c.ids for c in together] == [c.ids for c in alone]
    same = generate(loaded, [prompts[0]] * 3, max_new_tokens=5)  # nothing but the last token is left to read
    assert len({tuple(c.ids) for c in same}) == 1
    assert same[0].ids == alone[0].ids[:5]
