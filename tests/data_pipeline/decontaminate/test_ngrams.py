"""Words and runs of words: the native extension against the Python reference, and both against brute force."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_pipeline.decontaminate.ngrams import PlainFinder, finder, place_words, run_keys
from data_pipeline.minhash import MinHashConfig
from data_pipeline.minhash.words import WordHasher
from data_pipeline.native import kernels

PIECES = ["The", "the", "Straße", "İstanbul", "ΟΔΟΣ", "don't", "o’clock", "x_1", "42", "中文", "かな", "हिन्दी", "😀"]
PIECES += [".", "!?", "\n", "\n\n", " ", "\t", "\xa0", "-", "\ud800", "ẞ", "K"]
LETTERS = ["a", "b", "c", "d"]
TEXTS = st.lists(st.sampled_from(PIECES), max_size=60).map(" ".join) | st.text(st.characters(), max_size=60)


def an_index(text: str) -> tuple[np.ndarray, np.ndarray]:
    """Keys and lengths of some runs of `text`, and some that are elsewhere."""
    hashes = place_words(text).hashes
    runs = {int(key): length for length in (1, 2, 3, 5) for key in run_keys(hashes, length)[::2]}
    runs |= {int(key): 2 for key in run_keys(place_words("not in the text at all").hashes, 2)}
    keys = np.array(sorted(runs), dtype=np.uint64)
    return keys, np.array([runs[int(key)] for key in keys], dtype=np.uint32)


@pytest.mark.skipif(kernels is None, reason="the native extension is not built here")
@settings(max_examples=120, deadline=None)
@given(TEXTS, st.integers(0, 4))
def test_native_gives_what_the_reference_gives(text: str, min_words: int) -> None:
    keys, lengths = an_index(text)
    native, plain = finder(keys, lengths), PlainFinder(keys, lengths)
    assert not isinstance(native, PlainFinder)
    for ours, theirs in (
        (native.words(text), plain.words(text)),
        (native.find(text), plain.find(text)),
        (native.find_lines(text, min_words), plain.find_lines(text, min_words)),
    ):
        assert [part.tolist() for part in ours] == [part.tolist() for part in theirs]


@pytest.mark.skipif(kernels is None, reason="the native extension is not built here")
def test_every_character() -> None:
    """Of the planes that have characters."""
    native = finder(np.empty(0, np.uint64), np.empty(0, np.uint32))
    assigned = [*range(0x20000), *range(0x2A000, 0x33000), *range(0xE0000, 0xE0200), 0x10FFFF]
    for first in range(0, len(assigned), 0x2000):
        text = "".join(f"a{chr(c)}b {chr(c)} " for c in assigned[first : first + 0x2000])
        assert [part.tolist() for part in native.words(text)] == [part.tolist() for part in place_words(text)]


@given(TEXTS)
def test_words_are_those_of_minhash(text: str) -> None:
    """But for characters whose lower case has several characters, or depends on their neighbours."""
    words = place_words(text)
    cut = [text[start:end] for start, end in zip(words.starts, words.ends)]
    expected = WordHasher(MinHashConfig(lowercase=False)).words(text)
    if "İ" not in text:
        assert cut == expected


def test_runs_are_found_where_brute_force_finds_them() -> None:
    draw = random.Random(1)
    words = [draw.choice(LETTERS) for _ in range(400)]
    wanted = {tuple(draw.choice(LETTERS) for _ in range(length)) for length in (3, 4, 5) for _ in range(20)}
    hashes = {run: place_words(" ".join(run)).hashes for run in wanted}
    runs = sorted((int(run_keys(hashes[run], len(run))[0]), run) for run in wanted)
    keys = np.array([key for key, _ in runs], dtype=np.uint64)
    lengths = np.array([len(run) for _, run in runs], dtype=np.uint32)
    expected = [
        (i, row)
        for i in range(len(words))
        for row in sorted(range(len(runs)), key=lambda row: len(runs[row][1]))
        if tuple(words[i : i + len(runs[row][1])]) == runs[row][1]
    ]
    places, rows = finder(keys, lengths).find(" ".join(words))
    assert list(zip(places.tolist(), rows.tolist())) == expected and len(expected) > 20


def test_case_punctuation_and_white_space_make_no_difference() -> None:
    (key,) = run_keys(place_words("the QUICK brown—fox").hashes, 4)
    found = finder(np.array([key]), np.array([4], dtype=np.uint32)).find("So: «The quick,\n\tBrown 'fox'».")
    assert [part.tolist() for part in found] == [[1], [0]]
