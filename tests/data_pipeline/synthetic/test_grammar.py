from random import Random

import pytest

from data_pipeline.synthetic.grammar import Deck, compile_template, join_words, render, sentence


def test_render_takes_every_alternative_and_no_other() -> None:
    texts = {render(Random(i), "[a|b[c|]|] {x}", {"x": "y"}) for i in range(200)}
    assert texts == {"a y", "bc y", "b y", " y"}


def test_article_follows_the_next_letter() -> None:
    assert sentence(Random(0), "a(n) {o} and a(n) {p}.", {"o": "oak", "p": "lime"}) == "An oak and a lime."


def test_a_bar_outside_a_choice_is_text() -> None:
    assert render(Random(0), "Help | Jobs") == "Help | Jobs"


def test_empty_alternative_leaves_no_double_space() -> None:
    assert {render(Random(i), "very [old|] house") for i in range(20)} == {"very old house", "very house"}


@pytest.mark.parametrize("template", ["a [b|c", "a ] b", "[a|b]]"])
def test_unbalanced_templates_are_refused(template: str) -> None:
    with pytest.raises(ValueError, match="without"):
        compile_template(template)


def test_missing_slot_is_an_error() -> None:
    with pytest.raises(KeyError):
        render(Random(0), "{x}", {})


def test_deck_deals_everything_before_it_repeats() -> None:
    deck = Deck(Random(1), range(5))
    assert sorted(deck.draw() for _ in range(5)) == list(range(5))
    assert sorted(deck.draw() for _ in range(5)) == list(range(5))


def test_join_words() -> None:
    assert [join_words(words) for words in ([], ["a"], ["a", "b"], ["a", "b", "c"])] == [
        "",
        "a",
        "a and b",
        "a, b and c",
    ]
