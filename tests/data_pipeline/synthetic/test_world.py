import re
from random import Random

import pytest

from data_pipeline.synthetic.numbers import SUMS, number_word
from data_pipeline.synthetic.posttrain.questions import wordings
from data_pipeline.synthetic.prose.article import state
from data_pipeline.synthetic.relations import RELATIONS, Relation
from data_pipeline.synthetic.rule import PREFERENCE_RULE, extract_answer
from data_pipeline.synthetic.world import COUNTS, make_world


def test_world_depends_on_the_seed_alone() -> None:
    assert make_world(3).facts == make_world(3).facts
    assert make_world(3).facts != make_world(4).facts


@pytest.mark.parametrize("seed", range(8))
def test_every_subject_has_every_fact_of_its_kind_once(seed: int) -> None:
    world = make_world(seed)
    assert len({fact.key for fact in world.facts}) == len(world.facts)
    assert len(world.facts) == sum(COUNTS[relation.subject] for relation in RELATIONS)
    for relation in RELATIONS:
        values = [fact.value for fact in world.facts if fact.relation is relation]
        assert not relation.unique or len(set(values)) == len(values)
        assert len(set(values)) >= 4, f"{relation.name} needs four values for multiple choice"


def test_answers_can_be_extracted_and_are_short() -> None:
    world = make_world(0)
    for fact in world.facts:
        assert extract_answer(PREFERENCE_RULE, fact.answer_sentence()) == fact.answer_value()
        assert len(fact.answer_sentence()) < 90
        for wrong in world.wrong_values(fact)[:2]:
            assert extract_answer(PREFERENCE_RULE, fact.answer_sentence(wrong)) != fact.answer_value()


@pytest.mark.parametrize("relation", RELATIONS, ids=lambda r: r.name)
def test_every_statement_names_subject_and_value(relation: Relation) -> None:
    fact = next(fact for fact in make_world(0).facts if fact.relation is relation)
    assert len(relation.statements) >= 7
    seen = {state(Random(i), fact) for i in range(300)}
    assert len(seen) >= 10, f"{relation.name}: only {len(seen)} different sentences"
    for text in seen:
        # "Lumo" may begin a sentence that speaks of the lumo
        assert fact.value.lower() in text.lower(), text
        assert fact.subject.name.lower() in text.lower(), text
        assert re.fullmatch(r"[A-Z][^\[\]{}|]*\.", text), text
        assert "  " not in text and "(n)" not in text, text


def test_crawl_and_chat_never_ask_with_the_same_words() -> None:
    for fact in make_world(0).facts:
        asked = {fact.fill(question) for question in fact.relation.questions}
        assert len(asked) == 2
        assert not asked & set(wordings(fact))
        assert len(set(wordings(fact))) == len(wordings(fact)) == 6


def test_number_words() -> None:
    assert [number_word(n) for n in (0, 7, 13, 20, 21, 99)] == [
        "zero",
        "seven",
        "thirteen",
        "twenty",
        "twenty-one",
        "ninety-nine",
    ]
    with pytest.raises(ValueError, match="100"):
        number_word(100)


def test_sums_are_right_and_commute_in_their_key() -> None:
    for s in SUMS:
        assert s.result == eval(f"{s.a} {s.op} {s.b}")
        assert 0 <= s.result <= 20
    assert len({(s.a, s.op, s.b) for s in SUMS}) == len(SUMS)
    assert {s.key for s in SUMS if {s.a, s.b} == {3, 4} and s.op == "+"} == {"3+4"}
