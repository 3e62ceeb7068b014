"""Masked language modelling: shares, determinism, and what is never hidden."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from millbase.errors import InputError
from tests.training.pretrain.conftest import SPECIALS, write_tokenizer
from training.pretrain.models.config import MaskedLMConfig
from training.pretrain.models.masking import Masking

MASK = SPECIALS[3]  # any special token can stand for a hidden one


@pytest.fixture
def tokenizer(tmp_path: Path) -> tuple[Path, int]:
    return tmp_path, write_tokenizer(tmp_path, extra=200)


def masking(tokenizer: tuple[Path, int], seed: int = 1, **settings: float) -> Masking:
    folder, size = tokenizer
    return Masking(MaskedLMConfig(mask_token=MASK, **settings), folder, size, "sha256:digest", seed)


def test_shares_are_those_of_bert(tokenizer: tuple[Path, int]) -> None:
    tokens = np.random.default_rng(0).integers(5, tokenizer[1], 100_000)
    one = masking(tokenizer).apply(tokens, 0)
    assert (one.labels == tokens).all()
    assert one.chosen.mean() == pytest.approx(0.15, abs=0.005)
    hidden = one.inputs == 3
    assert (hidden <= one.chosen).all()
    assert hidden.sum() / one.chosen.sum() == pytest.approx(0.8, abs=0.01)
    replaced = one.chosen & ~hidden & (one.inputs != tokens)
    assert replaced.sum() / one.chosen.sum() == pytest.approx(0.1, abs=0.01)
    assert (one.inputs[~one.chosen] == tokens[~one.chosen]).all()


def test_a_sequence_is_masked_alike_however_often_it_is_asked_for(tokenizer: tuple[Path, int]) -> None:
    tokens = np.arange(5, 105)
    one, again = masking(tokenizer).apply(tokens, 7), masking(tokenizer).apply(tokens, 7)
    assert (one.inputs == again.inputs).all()
    assert (one.chosen == again.chosen).all()
    for other in (
        masking(tokenizer).apply(tokens, 8),
        masking(tokenizer).apply(tokens, 7, split="heldout"),
        masking(tokenizer, seed=2).apply(tokens, 7),
    ):
        assert (one.chosen != other.chosen).any()
    assert (tokens == np.arange(5, 105)).all(), "the caller's tokens stay"


def test_special_tokens_are_neither_hidden_nor_put_in(tokenizer: tuple[Path, int]) -> None:
    tokens = np.tile([0, 1, 2, 9], 5000)
    one = masking(tokenizer, probability=0.5, masked=0.0, random=1.0).apply(tokens, 0)
    special = tokens < 4
    assert not one.chosen[special].any()
    assert one.chosen[~special].mean() == pytest.approx(0.5, abs=0.02)
    assert (one.inputs[~special] >= 4).all()


def test_a_tokenizer_without_the_mask_token_is_refused(tokenizer: tuple[Path, int]) -> None:
    with pytest.raises(InputError, match=r"no special token '<\|mask\|>'.*<\|endoftext\|>"):
        Masking(MaskedLMConfig(), tokenizer[0], tokenizer[1], "", 0)
