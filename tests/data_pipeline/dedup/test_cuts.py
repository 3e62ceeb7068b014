"""Paragraphs and runs of words that several documents share, against a search of all of them without any hashing."""

from __future__ import annotations

import random
import re
from collections import defaultdict
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from data_pipeline.base.sorting import Space
from data_pipeline.dedup.config import DedupConfig, ParagraphConfig, SubstringConfig
from data_pipeline.dedup.cuts import Cuts, find_cuts, without
from data_pipeline.dedup.documents import PARAGRAPHS, SUBSTRINGS, Documents
from data_pipeline.dedup.paragraphs import paragraph_hashes, paragraphs
from data_pipeline.dedup.substrings import Windows

WORDS = [f"{a}{b}{c}" for a in "bdfgklm" for b in "aeiou" for c in "nrst"]


def cut(
    texts: list[str], rank: list[int], config: DedupConfig, space: Space
) -> tuple[Documents, Cuts, np.ndarray, list[str]]:
    """The texts after cutting; `rank` says which documents are preferred."""
    documents = Documents.make(len(texts), 0, DedupConfig(near=False), space)
    documents.rank[:] = rank
    windows = Windows(config.substrings)
    made = {
        "paragraphs": lambda text: paragraph_hashes(text, config.paragraphs),
        "landmarks": windows.landmarks,
    }

    def fingerprints(name: str) -> list[tuple[int, pa.ListArray]]:
        half = len(texts) // 2
        pieces = ((0, texts[:half]), (half, texts[half:]))
        return [(first, pa.array([made[name](t) for t in part], pa.list_(pa.uint64()))) for first, part in pieces]

    sizes = np.array([len(text.encode()) for text in texts])
    cuts = find_cuts(documents, config, fingerprints, texts.__getitem__, sizes, space)
    return documents, cuts, sizes, [cuts.text(row, text) for row, text in enumerate(texts)]


def paragraph_config(**changes: object) -> DedupConfig:
    settings = {"enabled": True, "min_words": 3, "min_left_characters": 10, **changes}
    return DedupConfig.model_validate({"paragraphs": settings})


def substring_config(**changes: object) -> DedupConfig:
    return DedupConfig.model_validate({"substrings": {"enabled": True, "min_left_characters": 0, **changes}})


NOTICE = "Sign up for our newsletter today!"


def test_the_best_document_keeps_a_shared_line(tmp_path: Path) -> None:
    texts = [
        f"First text has words of its own.\n{NOTICE}\nAnd an end.",
        f"{NOTICE}\nSecond text begins after it.\nAnd an end.",
        "Third text is followed by it.\n  sign up, for our NEWSLETTER today",
        "Fourth text has nothing of the kind.",
    ]
    documents, cuts, sizes, left = cut(texts, [3, 0, 2, 1], paragraph_config(min_words=4), Space(1 << 20, tmp_path))
    assert left == [
        "First text has words of its own.\nAnd an end.",  # "And an end." is too short to be compared
        texts[1],
        "Third text is followed by it.",
        texts[3],
    ]
    assert sizes.tolist() == [len(text) for text in left]
    assert cuts.of(0, 4) == {0: [(33, 67, PARAGRAPHS)], 2: [(30, len(texts[2]), PARAGRAPHS)]}
    assert not documents.step.any()


@pytest.mark.parametrize(
    ("limit", "keep", "holders"), [(1, 1, 1), (1, 0, 0), (3, 3, 3), (3, 1, 1), (6, 2, 6), (5, 2, 2)]
)
def test_how_many_documents_keep_it(limit: int, keep: int, holders: int, tmp_path: Path) -> None:
    texts = [f"This is the text of number {n} alone.\n{NOTICE}" for n in range(6)]
    config = paragraph_config(max_documents=limit, keep=keep)
    for memory in (1 << 20, 1 << 10):
        _, _, _, left = cut(texts, list(range(6)), config, Space(memory, tmp_path))
        assert [NOTICE in text for text in left] == [True] * holders + [False] * (6 - holders)


def test_blocks_between_blank_lines(tmp_path: Path) -> None:
    block = "One line of a block\nand another line of it"
    texts = [f"{block}\n\nA text follows the block here.", f"Here a text stands before.\n \n{block}\n\nAnd one more."]
    _, _, _, left = cut(texts, [0, 1], paragraph_config(unit="paragraph"), Space(1 << 20, tmp_path))
    assert left == [texts[0], "Here a text stands before.\n \n\nAnd one more."]
    found = [
        texts[1][start:end] for _, start, end in paragraphs(texts[1], ParagraphConfig(unit="paragraph", min_words=1))
    ]
    assert [part.strip() for part in found] == ["Here a text stands before.", block, "And one more."]


def test_documents_left_too_short_are_dropped(tmp_path: Path) -> None:
    texts = [f"{NOTICE}\nA long text of its own.", f"Short.\n{NOTICE}"]
    documents, cuts, _, _ = cut(texts, [0, 1], paragraph_config(), Space(1 << 20, tmp_path))
    assert documents.step.tolist() == [0, PARAGRAPHS] and documents.similarity[1] == len("Short.")
    assert not cuts.of(0, 2), "its spans are nobody's business any more"


def test_many_paragraphs_in_little_memory(tmp_path: Path) -> None:
    draw = random.Random(5)
    lines = [" ".join(draw.choices(WORDS, k=6)) for _ in range(400)]
    texts = ["\n".join(draw.choices(lines, k=draw.randint(1, 30))) for _ in range(300)]
    rank = draw.sample(range(300), 300)
    config = paragraph_config(max_documents=3, keep=2, min_left_characters=0)
    holders = defaultdict(set)
    for row, text in enumerate(texts):
        for line in text.split("\n"):
            holders[line].add(row)
    expected = []
    for row, text in enumerate(texts):
        stays = [
            len(holders[line]) <= 3 or sorted(holders[line], key=rank.__getitem__).index(row) < 2
            for line in text.split("\n")
        ]
        expected.append("\n".join(line for line, stay in zip(text.split("\n"), stays, strict=True) if stay))
    for memory in (1 << 30, 1 << 12):
        assert cut(texts, rank, config, Space(memory, tmp_path))[3] == expected


def repeats_by_search(texts: list[str], rank: list[int], size: int) -> list[set[int]]:
    """For each text the words that stand in a window of `size` words which a better document also has, or the same one
    at an earlier place."""
    places = defaultdict(list)
    words = [re.findall(r"\w+", text) for text in texts]
    for row, own in enumerate(words):
        for start in range(len(own) - size + 1):
            places[tuple(own[start : start + size])].append((rank[row], start, row))
    gone: list[set[int]] = [set() for _ in texts]
    for found in places.values():
        for _, start, row in sorted(found)[1:]:
            gone[row].update(range(start, start + size))
    return gone


@pytest.mark.parametrize("size", [10, 13, 50])
def test_runs_of_words_are_those_that_a_search_finds(size: int, tmp_path: Path) -> None:
    draw = random.Random(size)
    sources = [draw.choices(WORDS, k=4 * size) for _ in range(6)]
    texts = []
    for _ in range(60):
        words: list[str] = []
        for _ in range(draw.randint(1, 5)):
            source = draw.choice(sources)
            start, length = draw.randrange(3 * size), draw.randint(size // 2, 2 * size)
            words += source[start : start + length] + draw.choices(WORDS, k=draw.randint(0, size))
        marks = draw.choices((" ", ", ", ". ", "\n", " (", ") "), k=len(words))
        texts.append("".join(word + mark for word, mark in zip(words, marks, strict=True)).strip())
    texts += ["", "too short", " ".join(WORDS[:3] * size)]  # the last repeats itself
    rank = draw.sample(range(len(texts)), len(texts))
    expected = repeats_by_search(texts, rank, size)
    assert sum(map(bool, expected)) > 20
    for memory in (1 << 30, 1 << 12):
        _, _, sizes, left = cut(texts, rank, substring_config(min_words=size), Space(memory, tmp_path))
        for text, gone, rest, bytes_left in zip(texts, expected, left, sizes.tolist(), strict=True):
            kept = [word for number, word in enumerate(re.findall(r"\w+", text)) if number not in gone]
            assert re.findall(r"\w+", rest) == kept
            assert bytes_left == len(rest.encode())


def test_what_a_cut_leaves_reads_well(tmp_path: Path) -> None:
    shared = " ".join(WORDS[:20]).capitalize() + "."
    texts = [
        f"{shared}",
        f"Before it. {shared} After it.",
        f"A line.\n{shared}\nA line.",
        f"Ends (with {shared[:-1]}).",
    ]
    _, _, _, left = cut(texts, [0, 1, 2, 3], substring_config(min_words=20), Space(1 << 20, tmp_path))
    assert left == [texts[0], "Before it. After it.", "A line.\nA line.", "Ends (with"]


def test_both_take_the_union(tmp_path: Path) -> None:
    run = " ".join(WORDS[:30])
    texts = [
        f"{NOTICE}\n{run}\nA first one.",
        f"{NOTICE} {run}\nThe second one.",
        f"{NOTICE}\nThe third {run} has both.",
    ]
    config = DedupConfig(
        paragraphs=ParagraphConfig(enabled=True, min_left_characters=5),
        substrings=SubstringConfig(enabled=True, min_words=30, min_left_characters=12),
    )
    documents, cuts, _, left = cut(texts, [0, 1, 2], config, Space(1 << 20, tmp_path))
    assert left[2] == "The third has both."
    assert {step for _, _, step in cuts.of(2, 3)[2]} == {PARAGRAPHS, SUBSTRINGS}
    assert documents.step.tolist() == [0, 0, 0] and left[1] == "The second one."


def test_without_overlapping_spans() -> None:
    assert without("0123456789", [(1, 4), (2, 3), (3, 6), (8, 10)]) == "067"
    assert without(" a ", []) == "a"


def test_windows_without_the_extension(monkeypatch: pytest.MonkeyPatch) -> None:
    text = " ".join(WORDS) + " ΑΣ İ 中文字 " + " ".join(WORDS)
    config = SubstringConfig(min_words=12)
    native = Windows(config).landmarks(text)
    monkeypatch.setattr("data_pipeline.dedup.substrings.kernels", None)
    assert np.array_equal(Windows(config).landmarks(text), native) and len(native) > 20
