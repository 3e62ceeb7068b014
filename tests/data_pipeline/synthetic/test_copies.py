from itertools import pairwise
from random import Random

import pytest

from data_pipeline.synthetic.pages.copies import edited_copy, jaccard, same_topic
from data_pipeline.synthetic.prose import Article, write_article
from data_pipeline.synthetic.world import make_world


@pytest.fixture(scope="module")
def articles() -> list[Article]:
    world = make_world(5)
    return [write_article(Random(i), world, "web") for i in range(40)]


def test_jaccard_by_hand() -> None:
    # five-word shingles: {abcde, bcdef} and {bcdef, cdefg}
    assert jaccard("a b c d e f", "B c, d e f g") == pytest.approx(1 / 3)
    assert jaccard("a b", "c d") == 1.0  # neither has a shingle
    assert jaccard("a b c d e", "") == 0.0


@pytest.mark.parametrize(("low", "high"), [(0.95, 0.985), (0.9, 0.945), (0.86, 0.9)])
def test_edited_copies_have_the_wanted_similarity(articles: list[Article], low: float, high: float) -> None:
    made = 0
    for i, article in enumerate(articles):
        try:
            copy, similarity = edited_copy(Random(i), article, low, high)
        except ValueError:
            continue
        made += 1
        assert low <= similarity <= high
        assert similarity == jaccard(article.text, copy.text)
    assert made >= 0.8 * len(articles)


def test_impossible_similarity_is_an_error(articles: list[Article]) -> None:
    with pytest.raises(ValueError, match="no copy with similarity"):
        edited_copy(Random(0), articles[0], 0.99991, 0.99999)


def test_same_topic_shares_text_below_the_threshold(articles: list[Article]) -> None:
    values = [jaccard(a.text, same_topic(Random(0), a, b).text) for a, b in pairwise(articles)]
    assert max(values) < 0.6
    assert sorted(values)[len(values) // 2] > 0.1
