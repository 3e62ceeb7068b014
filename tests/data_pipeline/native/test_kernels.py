"""The native extension against the plain Python references, on every character and on made-up texts."""

from __future__ import annotations

import random
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_pipeline.heuristics import lines
from data_pipeline.heuristics.c4 import C4Config, Cleaned, native_rules, plain_clean
from data_pipeline.heuristics.tokenise import PlainTokens, count_sentences, split_words
from data_pipeline.minhash import MinHashConfig, MinHasher
from data_pipeline.native import kernels

pytestmark = pytest.mark.skipif(kernels is None, reason="the native extension is not built here")

PIECES = [
    *(
        "the",
        "of",
        "and",
        "Straße",
        "don't",
        "o’clock",
        "x_1",
        "__",
        "42",
        "٣٤",
        "中文",
        "日本語。",
        "हिन्दी",
        "العربية",
    ),
    *("K", "İ", "javascrİpt", "JavaScript", "uses cookies", "Lorem IPSUM", "{", "😀", "\u0301", "\ud800", "'", "’"),
    *("[1]", "[]", "[٣]", "[edit]", "[citation needed]", "...", "…", ".", "!?", '."', "。", "！」", "-", "•", "#"),
    *(" ", "  ", "\t", "\n", "\n\n", "\r\n", "\x0b", "\x1c", "\u2028", "\x85", "\xa0"),
]
TEXTS = st.one_of(
    st.lists(st.sampled_from(PIECES), max_size=60).map("".join),
    st.lists(st.sampled_from(PIECES), max_size=60).map(" ".join),
    st.text(st.characters(), max_size=80),
)
HASHER = MinHasher(MinHashConfig())
EVERY_CHARACTER = [
    "".join(f"a{chr(c)}b{chr(c)} {chr(c)}" for c in range(s, s + 0x1000)) for s in range(0, 0x110000, 0x1000)
]


def check_tokens(text: str) -> None:
    native, plain = kernels.Tokens(text), PlainTokens(split_words(text))
    assert native.words() == plain.words()
    assert len(native) == len(plain)
    assert tuple(native.plain_words()) == plain.plain_words()
    assert native.letter_words() == plain.letter_words()
    for n in range(1, 11):
        assert tuple(native.top_n_gram(n)) == plain.top_n_gram(n)
        assert native.duplicate_n_gram_characters(n) == plain.duplicate_n_gram_characters(n)
    wanted = ["the", "of", "中文", "o’clock", "İ"]
    assert native.distinct(kernels.WordSet(wanted)) == plain.distinct(frozenset(wanted))


def check_lines(text: str) -> None:
    assert lines.line_marks(text) == lines.plain_line_marks(text)
    assert lines.line_shape(text, 4) == lines.plain_line_shape(text, 4)
    assert lines.white_space_words(text) == lines.plain_white_space_words(text)
    assert kernels.count_sentences(text) == count_sentences(text)


@pytest.mark.parametrize("text", EVERY_CHARACTER, ids=[f"{s:x}" for s in range(0, 0x110000, 0x1000)])
def test_every_character(text: str) -> None:
    check_lines(text)
    assert kernels.Tokens(text).words() == split_words(text)
    assert np.array_equal(HASHER.signatures([text])[0], HASHER.plain_signature(text))


@settings(max_examples=400, deadline=None)
@given(TEXTS)
def test_tokens_and_lines(text: str) -> None:
    check_tokens(text)
    check_lines(text)


def test_repetition_in_long_texts() -> None:
    draw = random.Random(3)
    for size in (10, 300, 3000):
        # few words, so that n-grams of every length repeat, tie and overlap; words that join to the same string
        check_tokens(" ".join(draw.choice(["a", "ab", "b", "ba", "aa", "bab"]) for _ in range(size)))


@settings(max_examples=400, deadline=None)
@given(TEXTS, st.booleans(), st.integers(0, 4), st.integers(0, 12))
def test_c4(text: str, on: bool, min_words: int, max_length: int) -> None:
    for drop in (True, False):
        config = C4Config(
            require_terminal_punctuation=on,
            drop_curly_bracket=drop,
            drop_lorem_ipsum=drop,
            remove_citations=not on or drop,
            min_words_per_line=min_words or None,
            max_word_length=max_length or None,
        )
        assert Cleaned(*kernels.c4_clean(text, native_rules(config))) == plain_clean(text, config)


@settings(max_examples=200, deadline=None)
@given(TEXTS, st.integers(1, 7), st.booleans(), st.booleans())
def test_minhash(text: str, shingle: int, fold: bool, strip: bool) -> None:
    text = f"{text} {'long' * 40}"  # of more characters than there are prepared factors
    config = MinHashConfig(shingle_words=shingle, fold_digits=fold, strip_accents=strip, bands=2, rows=5)
    hasher = MinHasher(config)
    assert np.array_equal(hasher.signatures([text])[0], hasher.plain_signature(text))


def test_bad_arguments_raise_python_errors() -> None:
    with pytest.raises(TypeError):
        kernels.Tokens(b"bytes")
    two = np.zeros(2, np.uint32)
    with pytest.raises(ValueError, match="1,114,112"):
        kernels.MinHash(two, 5, two, two)
    hasher = kernels.MinHash(np.zeros(0x110000, np.uint32), 5, two, two)
    with pytest.raises(ValueError, match="contiguous uint32"):
        hasher.signatures(["a"], np.zeros((1, 3), np.uint32))
    with pytest.raises(TypeError):
        hasher.signatures([b"a"], np.zeros((1, 2), np.uint32))


def test_references_do_the_work_where_the_extension_is_missing() -> None:
    import subprocess

    code = (
        "from data_pipeline.native import kernels; assert kernels is None\n"
        "from data_pipeline.heuristics.tokenise import tokenise; print(len(tokenise('one two.')))"
    )
    done = subprocess.run([sys.executable, "-c", code], env={"LLMILL_NATIVE": "0"}, capture_output=True, text=True)
    assert done.stdout.strip() == "3", done.stderr


def test_an_extension_of_other_sources_is_not_used() -> None:
    """As after an update without a new installation; the digest of the sources is made to differ."""
    code = (
        "import hashlib, warnings\n"
        "real = hashlib.sha256\n"
        "hashlib.sha256 = lambda data=b'', **options: real(data + b'another line', **options)\n"
        "warnings.simplefilter('ignore')\n"
        "warnings.filterwarnings('always', 'the native extension')\n"
        "import data_pipeline.native\n"
        "print(data_pipeline.native.kernels)\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "None"
    assert "missing or out of date (built from other sources)" in run.stderr and "pip install -e ." in run.stderr
