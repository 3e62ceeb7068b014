"""Signatures: estimates against exact similarity, datasketch as the independent estimator, and stability."""

import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from datasketch import MinHash

from data_pipeline.minhash import EMPTY, MinHashConfig, MinHasher, estimated_jaccard
from data_pipeline.minhash.words import _WORD, character_kinds

CONFIG = MinHashConfig()
HASHER = MinHasher(CONFIG)


def exact(left: str, right: str, hasher: MinHasher = HASHER) -> float:
    a, b = hasher.shingles(left), hasher.shingles(right)
    return len(a & b) / len(a | b)


def datasketch_signature(text: str) -> MinHash:
    sketch = MinHash(num_perm=CONFIG.permutations)
    sketch.update_batch([" ".join(shingle).encode() for shingle in HASHER.shingles(text)])
    return sketch


def test_estimates_are_as_good_as_datasketch_and_theory(pages: Any) -> None:
    pairs = pages.pairs(400)
    similarity = np.array([exact(a, b) for a, b in pairs])
    ours = estimated_jaccard(HASHER.signatures([a for a, _ in pairs]), HASHER.signatures([b for _, b in pairs]))
    peer = np.array([datasketch_signature(a).jaccard(datasketch_signature(b)) for a, b in pairs])
    theory = np.sqrt((similarity * (1 - similarity) / CONFIG.permutations).mean())
    assert similarity.min() < 0.5 and similarity.max() > 0.9, "the pairs must span the range that matters"
    assert abs((ours - similarity).mean()) < 4 * theory / np.sqrt(len(pairs))
    assert np.sqrt(((ours - similarity) ** 2).mean()) < 1.15 * theory
    assert np.sqrt(((ours - similarity) ** 2).mean()) < 1.2 * np.sqrt(((peer - similarity) ** 2).mean())


def test_two_seeds_give_independent_estimates(pages: Any) -> None:
    pairs = pages.pairs(200)
    similarity = np.array([exact(a, b) for a, b in pairs])
    errors = []
    for seed in (1, 2):
        hasher = MinHasher(MinHashConfig(seed=seed))
        left, right = (hasher.signatures([pair[side] for pair in pairs]) for side in (0, 1))
        errors.append(estimated_jaccard(left, right) - similarity)
    assert abs(np.corrcoef(errors[0], errors[1])[0, 1]) < 0.25


def test_signature_is_independent_of_the_batch_and_of_block_boundaries() -> None:
    texts = [f"word{i} " * 3 + " ".join(f"t{j * i}" for j in range(1, 10_000, 1 + 997 * i)) for i in range(12)]
    together = HASHER.signatures(texts)
    alone = np.concatenate([MinHasher(CONFIG).signatures([text]) for text in reversed(texts)])[::-1]
    assert np.array_equal(together, alone)
    assert together.dtype == np.uint32 and together.shape == (12, 112)


def test_signature_equals_the_definition() -> None:
    """Min over shingles of (a h + b) mod 2^32, with h the upper half of the documented hash, in Python integers."""
    import xxhash

    text, mask = "The quick, brown fox jumps over the lazy dog", 2**64 - 1

    def finish(value: int) -> int:
        for _ in range(2):
            value = ((value ^ value >> 32) * 0xD6E8FEB86659FD93) & mask
        return value ^ value >> 32

    words = [
        sum((ord(c) + 1) * (finish(0x9FB21C651E98DF25 + place) | 1) for place, c in enumerate(word)) & mask
        for word in text.replace(",", "").lower().split()
    ]
    hashes = []
    for start in range(len(words) - 4):
        value = 5
        for word in words[start : start + 5]:
            value = (value * 0x9E3779B97F4A7C15 + word) & mask
        hashes.append(finish(value) >> 32)
    draw = [xxhash.xxh3_64_intdigest(f"minhash 0 {i}".encode()) >> 32 for i in range(224)]
    functions = zip(draw[:112], draw[112:], strict=True)
    expected = [min(((a | 1) * h + b) % 2**32 for h in hashes) for a, b in functions]
    assert HASHER.signatures([text])[0].tolist() == expected


def test_threads_share_a_hasher(pages: Any) -> None:
    texts = [" ".join(pages.page(200)) for _ in range(200)]
    with ThreadPoolExecutor(4) as pool:
        parts = list(pool.map(HASHER.signatures, [texts[start : start + 10] for start in range(0, 200, 10)]))
    assert np.array_equal(np.concatenate(parts), HASHER.signatures(texts))


def test_hash_seed_and_process_do_not_matter() -> None:
    code = (
        "from data_pipeline.minhash import *; import sys;"
        "print(MinHasher(MinHashConfig()).signatures(['ein zwei drei vier fünf sechs', '']).tobytes().hex())"
    )
    runs = [
        subprocess.run(
            [sys.executable, "-c", code], env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, check=True
        ).stdout
        for seed in ("1", "2")
    ]
    assert runs[0] == runs[1]
    assert runs[0].decode().strip() == HASHER.signatures(["ein zwei drei vier fünf sechs", ""]).tobytes().hex()


@pytest.mark.parametrize("text", ["", " \n\t", "!!! ... ?", "—「」。"])
def test_texts_without_words_are_empty(text: str) -> None:
    assert (HASHER.signatures([text]) == EMPTY).all()
    assert HASHER.shingles(text) == set()


def test_short_documents_are_one_shingle() -> None:
    one, same, other, longer = HASHER.signatures(["Hello world", "hello, WORLD!", "hello there", "hello world hello"])
    assert (one == same).all()
    assert (one != other).all() and (one != longer).all()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Don't stop—now", ["don", "t", "stop", "now"]),
        ("我喜欢 Tee", ["我", "喜", "欢", "tee"]),
        ("カタカナ、です。", ["カ", "タ", "カ", "ナ", "で", "す"]),
        ("हिन्दी में।", ["हिन्दी", "में"]),  # vowel signs stay inside their words
        ("كيف حالك؟", ["كيف", "حالك"]),
        ("Ελλάδα, СССР", ["ελλάδα", "ссср"]),
        ("a\u00a0b\u2009c\ufeff", ["a", "b", "c"]),
        ("10² km²/h 3.5", ["10²", "km²", "h", "3", "5"]),
    ],
)
def test_words(text: str, words: list[str]) -> None:
    assert HASHER._words.words(text) == words


def test_lone_surrogates_are_accepted() -> None:
    assert (HASHER.signatures(["broken \ud800 page text here today"]) != EMPTY).all()


Normalise = Callable[[str], list[str]]


def test_normalisation_options() -> None:
    words: Normalise = MinHasher(MinHashConfig(fold_digits=True, strip_accents=True))._words.words
    assert words("Café 1998") == ["cafe", "0000"]
    words = MinHasher(MinHashConfig(lowercase=False))._words.words
    assert words("Café 1998") == ["Café", "1998"]


def test_too_many_permutations_are_refused() -> None:
    with pytest.raises(ValueError, match="5000 permutations"):
        MinHashConfig(bands=500, rows=10)


def test_character_kinds_are_those_of_the_regular_expression() -> None:
    kinds = character_kinds()
    for start in range(0, 0x110000, 0x10000):
        text = "".join(map(chr, range(start, start + 0x10000)))
        found = {start + place for match in _WORD.finditer(text) for place in range(*match.span())}
        assert {code for code in range(start, start + 0x10000) if kinds[code]} == found
    alone = [chr(code) for code in range(0x110000) if kinds[code] == 2]
    assert len(_WORD.findall("".join(alone))) == len(alone) > 90_000
    assert not any(kinds[ord(c)] == 2 for c in "aé한ßж")
