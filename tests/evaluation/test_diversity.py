"""Variety of responses: measures by hand and against NLTK, equal models, a collapsed one."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from nltk.translate.bleu_score import sentence_bleu

from evaluation.config import EvaluationConfig
from evaluation.diversity import distinct, run_diversity, self_bleu, sequence_entropy, split
from evaluation.generate import Completion
from evaluation.responses import Responses
from evaluation.scores import BlockResult
from training.load import LoadedModel


def test_distinct_by_hand() -> None:
    words = [split("The cat sat."), split("the cat ran!")]
    assert words[0] == ["the", "cat", "sat", "."]
    assert distinct(words, 1) == 6 / 8  # the, cat, sat, ., ran, !
    assert distinct(words, 2) == 5 / 6  # "the cat" twice
    assert distinct([["a"]], 2) == 0.0 and distinct([["a", "a", "a"]], 1) == 1 / 3


def test_self_bleu_is_bleu_against_the_others() -> None:
    words = [
        ["the", "quick", "brown", "fox", "jumps", "over", "the", "lazy", "dog"],
        ["the", "quick", "brown", "fox", "leaps", "over", "the", "lazy", "cat"],
        ["a", "quick", "brown", "fox", "jumps", "over", "the", "lazy", "dog", "today"],
    ]
    expected = [sentence_bleu(words[:i] + words[i + 1 :], one) for i, one in enumerate(words)]
    assert self_bleu(words) == pytest.approx(sum(expected) / 3, rel=1e-6)
    assert self_bleu([["same", "words"]] * 4) == pytest.approx(1.0)
    assert self_bleu([["a", "b"], ["c", "d"]]) < 0.6
    assert self_bleu([[], []]) == 1.0 and self_bleu([[], ["a"]]) == 0.0


def test_entropy_is_that_of_the_next_token(loaded: LoadedModel) -> None:
    completions = [Completion([40, 41], [5, 6, 7], "", True), Completion([42], [9], "", True)]
    found = sequence_entropy(loaded, completions, batch_size=2)
    for completion, value in zip(completions, found, strict=True):
        row = completion.prompt_ids + completion.ids
        p = loaded.logits(torch.tensor([row[:-1]]))[0, -len(completion.ids) :].double().softmax(-1)
        assert value == pytest.approx(torch.distributions.Categorical(p).entropy().sum().item(), rel=1e-5)


def run(model: LoadedModel, reference: LoadedModel | None, web: Path) -> BlockResult:
    block = {"prompts": str(web / "prompts" / "heldout.jsonl"), "limit": 6, "samples": 4}
    config = EvaluationConfig.model_validate(
        {"model": "m", "diversity": {**block, "sampling": {"max_new_tokens": 10}}, "device": "cpu"}
    )
    return run_diversity(model, reference, config, Responses(0, 8))


def test_a_collapsed_model_is_less_diverse_than_the_reference(loaded: LoadedModel, web: Path) -> None:
    sharp = copy.deepcopy(loaded.model)
    head = torch.nn.Linear(32, sharp.config.vocab_size, bias=False)
    head.weight = torch.nn.Parameter(sharp.lm_head.weight.detach() * 40)  # nearly always the same token
    sharp.lm_head = head
    collapsed = replace(loaded, model=sharp, digest="collapsed")
    result = run(collapsed, loaded, web)
    scores = {score.metric: score for score in result.scores}
    compared = {comparison.name: comparison for comparison in result.comparisons}
    assert compared["diversity entropy vs reference"].verdict == "worse"
    assert compared["diversity self_bleu vs reference"].verdict == "worse"
    assert compared["diversity distinct_2 vs reference"].value < 0
    assert scores["self_bleu"].value > 0.5 and not scores["self_bleu"].higher_is_better
    items = result.items["items/diversity.jsonl"]
    assert all(len(item["responses"]) == 4 for item in items)
    mean = sum(item["scores"]["distinct_1"] for item in items) / 6
    assert scores["distinct_1"].value == pytest.approx(mean) and scores["distinct_1"].n == 6


def test_equal_models_are_equally_diverse(loaded: LoadedModel, web: Path) -> None:
    result = run(loaded, loaded, web)
    assert {comparison.value for comparison in result.comparisons} == {0.0}
    assert run(loaded, None, web).comparisons == []


def test_greedy_decoding_is_refused() -> None:
    with pytest.raises(ValueError, match="temperature 0 gives equal responses"):
        EvaluationConfig.model_validate(
            {"model": "m", "diversity": {"prompts": "p", "sampling": {"temperature": 0, "max_new_tokens": 3}}}
        )
