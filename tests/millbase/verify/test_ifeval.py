"""IFEval's checks against the official verdicts on real responses, and on cases worked by hand."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from millbase.errors import InputError
from millbase.verify.ifeval import CHECKS, check_instructions, loose_variants
from millbase.verify.ifeval.text import sentences

DATA = Path(__file__).resolve().parents[4] / "shared/data/evals/ifeval"


def read(path: Path) -> list[dict[str, Any]]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


@pytest.fixture(scope="module")
def official() -> list[tuple[dict[str, Any], str, list[bool], list[bool]]]:
    """(prompt row, response, strict verdicts, loose verdicts) of each English item."""
    if not DATA.is_dir():
        pytest.skip(f"no IFEval data at {DATA}")
    prompts = {row["prompt"]: row for row in read(DATA / "en_input_data.jsonl.gz")}
    results = next((DATA / "official_results").glob("en_*"))
    strict, loose = (read(results / f"eval_results_{kind}.jsonl.gz") for kind in ("strict", "loose"))
    return [
        (prompts[a["prompt"]], a["response"], a["follow_instruction_list"], b["follow_instruction_list"])
        for a, b in zip(strict, loose, strict=True)
    ]


def test_every_verdict_is_the_official_one(
    official: list[tuple[dict[str, Any], str, list[bool], list[bool]]],
) -> None:
    assert len(official) == 541
    for row, response, strict, loose in official:
        verdict = check_instructions(response, row["instruction_id_list"], row["kwargs"])
        assert verdict.strict == strict, row["key"]
        assert verdict.loose == loose, row["key"]


LONG = "one two three four five six seven eight nine ten"
CASES: list[tuple[str, dict[str, Any], str, str]] = [
    ("keywords:existence", {"keywords": ["Cat", "dog"]}, "A cat, a DOG.", "A cat."),
    ("keywords:frequency", {"keyword": "go", "frequency": 2, "relation": "at least"}, "go, Go", "go"),
    ("keywords:frequency", {"keyword": "(a", "frequency": 1, "relation": "less than"}, "a", "f(a)"),
    ("keywords:forbidden_words", {"forbidden_words": ["art"]}, "party", "Art!"),
    ("keywords:letter_frequency", {"letter": "z", "let_frequency": 2, "let_relation": "less than"}, "Z", "zZ"),
    (
        "length_constraints:number_sentences",
        {"num_sentences": 2, "relation": "at least"},
        "Dr. A sat. B did.",
        "Dr. A sat.",
    ),
    ("length_constraints:number_words", {"num_words": 10, "relation": "at least"}, LONG, "it's-nine"),
    ("length_constraints:number_paragraphs", {"num_paragraphs": 2}, "***a***b***", "a******b"),
    (
        "length_constraints:nth_paragraph_first_word",
        {"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "then"},
        "First.\n\n'Then, b",
        "First.\n\nSo then",
    ),
    ("detectable_content:number_placeholders", {"num_placeholders": 2}, "[a] [b]", "[a"),
    ("detectable_content:postscript", {"postscript_marker": "P.S."}, "Text\np. s. more", "PS more"),
    ("detectable_content:postscript", {"postscript_marker": "P.P.S"}, "P.P.S more", "P.S. more"),
    ("detectable_format:number_bullet_lists", {"num_bullets": 2}, "* a\n- b", "** a **\n- b"),
    ("detectable_format:constrained_response", {}, " My answer is no. Sorry", "no"),
    ("detectable_format:number_highlighted_sections", {"num_highlights": 2}, "*a* and *b*", "*a* ** **"),
    (
        "detectable_format:multiple_sections",
        {"section_spliter": "Part", "num_sections": 2},
        "Part 1 a Part 2 b",
        "Part 1",
    ),
    ("detectable_format:json_format", {}, '```json\n{"a": [1]}\n```', "{'a': 1}"),
    ("detectable_format:title", {}, "<<ode>>", "<< >>"),
    ("combination:two_responses", {}, "a ****** b", "a ****** a"),
    ("combination:repeat_prompt", {"prompt_to_repeat": "Say it."}, "say it. I do", "I say it."),
    ("startend:end_checker", {"end_phrase": "The end."}, 'So "it is the end."', "The end. Bye"),
    ("startend:quotation", {}, ' "a" ', '"'),
    (
        "change_case:capital_word_frequency",
        {"capital_frequency": 2, "capital_relation": "at least"},
        "A TALL man",
        "Tall",
    ),
    ("change_case:english_capital", {}, "THE WEATHER IS NICE TODAY AND WE SHOULD WALK TO THE RIVER", "This is English"),
    (
        "change_case:english_lowercase",
        {},
        "the weather is nice today and we should walk to the river",
        "This is English",
    ),
    (
        "language:response_language",
        {"language": "de"},
        "Das ist ein Satz über das Wetter von heute",
        "Not German at all",
    ),
    ("punctuation:no_comma", {}, "a b", "a, b"),
]


@pytest.mark.parametrize(("name", "arguments", "follows", "fails"), CASES)
def test_an_instruction(name: str, arguments: dict[str, Any], follows: str, fails: str) -> None:
    assert check_instructions(follows, [f"en:{name}"], [arguments]).strict == [True]
    assert check_instructions(fails, [name], [arguments]).strict == [False]
    assert check_instructions("  \n", [name], [arguments]).loose == [False]


def test_every_instruction_is_tested() -> None:
    assert {case[0] for case in CASES} == set(CHECKS)


def test_loose_forgives_a_first_and_a_last_line_and_asterisks() -> None:
    assert loose_variants("*a*\nb\nc")[:4] == ["a\nb\nc", "b\nc", "*a*\nb", "b"]
    quoted = check_instructions('Sure, here it is:\n"**a**"', ["startend:quotation"], [{}])
    assert (quoted.strict, quoted.loose) == ([False], [True])
    assert not quoted.followed_all and quoted.followed_all_loosely


def test_marks_are_counted_for_rewards_and_drawn_by_lot_for_the_reference() -> None:
    arguments = {"letter": "#", "let_frequency": 4, "let_relation": "at least"}
    text = "#### that"
    assert check_instructions(text, ["keywords:letter_frequency"], [arguments], as_reference=False).strict == [True]
    assert check_instructions(text, ["keywords:letter_frequency"], [arguments]).strict == [False]


def test_abbreviations_end_no_sentence() -> None:
    text = (
        "Mr. Smith of Widgets Inc. went to Washington D.C. by train. He paid $3.50 at 9 a.m. and slept. Then he left!"
    )
    assert [part.split()[0] for part in sentences(text)] == ["Mr.", "He", "Then"]


def test_mistakes_are_named() -> None:
    with pytest.raises(InputError, match="'en:punctuation:no_comas' is not one of"):
        check_instructions("a", ["en:punctuation:no_comas"], [{}])
    with pytest.raises(InputError, match="'keywords:existence' needs the argument 'keywords'"):
        check_instructions("a", ["keywords:existence"], [{"keywords": None}])
    with pytest.raises(InputError, match="expected 'less than' or 'at least'"):
        check_instructions("a", ["length_constraints:number_words"], [{"num_words": 1, "relation": "about"}])
    with pytest.raises(InputError, match="give one each"):
        check_instructions("a", ["punctuation:no_comma"], [])
