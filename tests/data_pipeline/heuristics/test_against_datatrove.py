"""Our heuristics against datatrove's filters: every decision must be equal on the same words and sentences, and with
`compat: datatrove` on datatrove's own."""

from __future__ import annotations

import gzip
import json
import random
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from datatrove.data import Document
from datatrove.pipeline.filters import (
    C4QualityFilter,
    FineWebQualityFilter,
    GopherQualityFilter,
    GopherRepetitionFilter,
)
from datatrove.utils.text import split_into_parts
from datatrove.utils.word_tokenizers import WordTokenizer

from data_pipeline.base import Drop
from data_pipeline.corpus import CorpusConfig
from data_pipeline.heuristics import (
    C4Config,
    C4Filter,
    FineWebConfig,
    FineWebFilter,
    GopherQualityConfig,
    GopherRepetitionConfig,
    compat,
    heuristic_steps,
)
from data_pipeline.heuristics import GopherQualityFilter as OurGopherQuality
from data_pipeline.heuristics import GopherRepetitionFilter as OurGopherRepetition
from data_pipeline.heuristics.tokenise import count_sentences, split_words
from data_pipeline.native.characters import alone

REASONS = {  # datatrove's names -> ours
    "dup_para_frac": "dup_para_frac",
    "dup_para_char_frac": "dup_para_char_frac",
    "dup_line_frac": "dup_line_frac",
    "dup_line_char_frac": "dup_line_char_frac",
    **{f"top_{n}_gram": f"top_{n}_gram" for n in (2, 3, 4)},
    **{f"duplicated_{n}_n_grams": f"dup_{n}_gram" for n in range(5, 11)},
    "gopher_short_doc": "too_few_words",
    "gopher_long_doc": "too_many_words",
    "gopher_below_avg_threshold": "short_words",
    "gopher_above_avg_threshold": "long_words",
    "gopher_too_many_hashes": "hashes",
    "gopher_too_many_ellipsis": "ellipses",
    "gopher_too_many_bullets": "bullet_lines",
    "gopher_too_many_end_ellipsis": "ellipsis_lines",
    "gopher_below_alpha_threshold": "few_alpha_words",
    "gopher_enough_stop_words": "few_stop_words",
    "lorem_ipsum": "lorem_ipsum",
    "curly_bracket": "curly_bracket",
    "too_few_sentences": "too_few_sentences",
    "line_punct_ratio": "line_punctuation",
    "short_line_ratio": "short_lines",
    "char_dup_ratio": "duplicate_lines",
    "list_ratio": "newlines",
    "empty": "empty",
}


class SameWords(WordTokenizer):
    """Gives datatrove our words and sentence counts."""

    def __init__(self) -> None:
        super().__init__()

    def word_tokenize(self, text: str) -> list[str]:
        return split_words(text)

    def sent_tokenize(self, text: str) -> list[str]:
        raise NotImplementedError

    def span_tokenize(self, text: str) -> list[tuple[int, int]]:
        return [(0, len(text))] * count_sentences(text)


@pytest.fixture(scope="module")
def texts(request: pytest.FixtureRequest) -> list[str]:
    """A few hundred texts: random ones on the edge of every rule, and gold texts of real pages where there are any."""
    made = list(edge_texts(random.Random(5)))
    try:
        folder: Path = request.getfixturevalue("real_data") / "extraction"
    except pytest.skip.Exception:
        return made
    for name in ("wcxb_test", "formasaurus_pages_nogold", "newspaper4k_tests", "mozilla_readability"):
        with gzip.open(folder / f"{name}.gold.jsonl.gz", "rt", encoding="utf-8") as lines:
            made += [text[:8_000] for line in lines if (text := json.loads(line).get("text"))][:25]
    return made


def edge_texts(random_: random.Random) -> Iterator[str]:
    """Texts with random shares of repeated words, lines, paragraphs, bullets, marks, symbols, long and short words."""
    vocabulary = [
        "the",
        "and",
        "of",
        "to",
        "have",
        "river",
        "stone",
        "#",
        "...",
        "…",
        "{",
        "“quoted”",
        "x" * 14,
        "it's",
        "7",
    ]
    vocabulary += [f"word{number}" for number in range(150)]
    for _ in range(260):
        weights = [random_.random() ** random_.choice([1, 6]) for _ in vocabulary]
        lines: list[str] = []
        for _ in range(random_.randint(1, 30)):
            if lines and random_.random() < random_.choice([0, 0.1, 0.5]):
                lines.append(random_.choice(lines))
                continue
            words = random_.choices(vocabulary, weights, k=random_.randint(0, 25))
            mark = random_.choice([".", "", "...", "!", ":", "…"])
            lines.append(random_.choice(["", "", "- ", "• "]) + " ".join(words) + mark)
        extra = random_.choice(
            ["", "", "Lorem ipsum dolor sit amet here.", "Turn on JavaScript now please.", "See our privacy policy."]
        )
        yield random_.choice(["\n", "\n\n"]).join([*lines, extra])


def compare(texts: list[str], theirs: object, ours: object) -> Counter[str | None]:
    outcomes: Counter[str | None] = Counter()
    for text in texts:
        split_into_parts.cache_clear()
        document, own = (Document(text=text, id="x", metadata={}) for _ in range(2))
        result = theirs.filter(document)
        reason = REASONS[result[1]] if isinstance(result, tuple) else None
        drop: Drop | None = ours.judge(own)
        assert (drop.reason if drop else None) == reason, text[:300]
        if drop is None:
            assert own.text == document.text
        elif drop.value is not None:
            assert drop.threshold is not None
        again = Document(text=text, id="x", metadata={})
        failed = [rule for rule in ours.measure(again) if not rule.passed]
        assert (failed[0].rule if failed else None) == reason, "measure and judge agree"
        assert again.text == own.text
        outcomes[reason] += 1
    return outcomes


@pytest.fixture(params=["native", "compat"])
def mode(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, texts: list[str]) -> tuple[list[str], dict]:
    """Texts and fields of the configuration: our own code paths on scripts with blanks, or those of `compat` on all."""
    if request.param == "native":
        single = set(alone())
        return [text for text in texts if single.isdisjoint(text)], {}
    monkeypatch.setattr(compat, "_tokenizer", lambda language: SameWords())
    return texts, {"compat": "datatrove"}


def published(step: str, fields: dict, **changes: object) -> dict:
    return {**({} if fields else compat.PUBLISHED[step]), **fields, **changes}


def test_gopher_repetition(mode: tuple[list[str], dict]) -> None:
    texts, fields = mode
    ours = OurGopherRepetition(GopherRepetitionConfig(**published("gopher_repetition", fields)))
    outcomes = compare(texts, GopherRepetitionFilter(language=SameWords()), ours)
    assert len(outcomes) >= 8 and outcomes[None] >= 30, outcomes


def test_gopher_repetition_n_grams_alone(mode: tuple[list[str], dict]) -> None:
    """Without the rules on lines, so that more texts reach the rules on n-grams."""
    texts, fields = mode
    off = dict.fromkeys(("dup_line_frac", "dup_para_frac", "dup_line_char_frac", "dup_para_char_frac"))
    limits = [(n, 0.1 + 0.01 * (10 - n)) for n in range(5, 11)]
    theirs = GopherRepetitionFilter(**off, top_n_grams=(), dup_n_grams=tuple(limits), language=SameWords())
    ours = OurGopherRepetition(GopherRepetitionConfig(**fields, **off, top_n_grams=[], dup_n_grams=limits))
    outcomes = compare(texts, theirs, ours)
    assert len(outcomes) >= 5 and outcomes[None] >= 30, outcomes


def test_gopher_quality_with_tokens_as_words(mode: tuple[list[str], dict]) -> None:
    texts, fields = mode
    ours = OurGopherQuality(GopherQualityConfig(**published("gopher_quality", fields)))
    outcomes = compare(texts, GopherQualityFilter(language=SameWords()), ours)
    assert len(outcomes) >= 5 and outcomes[None] >= 30, outcomes


def test_c4(mode: tuple[list[str], dict]) -> None:
    texts, fields = mode
    theirs = C4QualityFilter(filter_no_terminal_punct=False, language=SameWords())
    outcomes = compare(texts, theirs, C4Filter(C4Config(**published("c4", fields))))
    assert len(outcomes) == 4 and outcomes[None] >= 30, outcomes


def test_c4_as_published(mode: tuple[list[str], dict]) -> None:
    texts, fields = mode
    if not fields:  # other marks than C4's end a line too
        texts = [text for text in texts if not re.search(r"[^\w\s.?!\"',:;-]\s*$", text, re.MULTILINE)]
    ours = C4Filter(C4Config(**published("c4", fields, require_terminal_punctuation=True)))
    assert len(texts) > 50
    compare(texts, C4QualityFilter(language=SameWords()), ours)


def test_fineweb(mode: tuple[list[str], dict]) -> None:
    texts, fields = mode
    ours = FineWebFilter(FineWebConfig(**published("fineweb", fields)))
    outcomes = compare(texts, FineWebQualityFilter(language=SameWords()), ours)
    assert len(outcomes) >= 4 and outcomes[None] >= 30, outcomes


def test_punctuation_does_not_count_as_words_without_letters() -> None:
    """The one deliberate difference: "a, b; c" has three words with letters out of three, not out of five."""
    text = " ".join(["“The river,” (and) the stone; to have!"] * 12)
    assert OurGopherQuality(GopherQualityConfig()).judge(Document(text=text, id="x", metadata={})) is None
    drop = OurGopherQuality(GopherQualityConfig(alpha_words="tokens")).judge(Document(text=text, id="x", metadata={}))
    assert drop is not None and drop.reason == "few_alpha_words"


@pytest.mark.parametrize(
    ("line", "sentences"),
    [
        ("One. Two! Three?", 3),
        ("No mark", 1),
        ("Version 2.5 is out.", 1),
        ("“Stop!” he said.", 2),
        ("一。二。三", 3),
        ("", 1),
    ],
)
def test_sentences(line: str, sentences: int) -> None:
    assert count_sentences(line) == sentences


def pages(folder: Path, names: list[str], per_file: int) -> list[str]:
    texts = []
    for name in names:
        with gzip.open(folder / "extraction" / f"{name}.gold.jsonl.gz", "rt", encoding="utf-8") as lines:
            texts += [text for line in lines if (text := json.loads(line).get("text"))][:per_file]
    return texts


def agreement_with_datatrove(texts: list[str]) -> dict[str, float]:
    """Share of pages on which each rule of ours that drops, or none, is datatrove's, by rule."""
    config = CorpusConfig.model_validate({"sources": [{"inputs": "x"}], "compat": "datatrove"})
    ours = {step.step_name: step for step in heuristic_steps(config)}
    assert list(ours) == ["gopher_repetition", "gopher_quality", "c4", "fineweb"], "datatrove's order"
    theirs = {
        "gopher_repetition": GopherRepetitionFilter(),
        "gopher_quality": GopherQualityFilter(),
        "c4": C4QualityFilter(filter_no_terminal_punct=False),
        "fineweb": FineWebQualityFilter(),
    }
    differ: Counter[str] = Counter()
    for text in texts:
        for name, step in theirs.items():
            own, other = (Document(text=text, id="x", metadata={"language": "en"}) for _ in range(2))
            result = step.filter(other)
            reason = REASONS[result[1]] if isinstance(result, tuple) else None
            drop = ours[name].judge(own)
            found = drop.reason if drop else None
            if found != reason:
                differ[f"{name}: {reason} against {found}"] += 1
            else:
                assert own.text == other.text
    return {name: 1 - count / len(texts) for name, count in differ.items()}


def test_the_same_decisions_on_some_pages(real_data: Path) -> None:
    texts = [text[:3000] for text in pages(real_data, ["wcxb_test", "formasaurus_pages_nogold", "daniel_waddle"], 25)]
    assert len(texts) >= 50
    assert not agreement_with_datatrove(texts)


@pytest.mark.slow
def test_the_same_decisions_on_thousands_of_pages(real_data: Path) -> None:
    """Gold texts of every source, and the halves of those of over 1,000 characters as pages of their own."""
    names = sorted(
        path.name.removesuffix(".gold.jsonl.gz") for path in (real_data / "extraction").glob("*.gold.jsonl.gz")
    )
    whole = pages(real_data, names, 10_000)
    halves = [part for text in whole if len(text) > 1000 for part in (text[: len(text) // 2], text[len(text) // 2 :])]
    texts = [*whole, *halves]
    assert len(texts) > 3000
    agreement = agreement_with_datatrove(texts)
    print(len(texts), agreement)
    assert all(share >= 0.995 for share in agreement.values()), agreement
