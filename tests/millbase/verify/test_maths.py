"""Answers are extracted as lm-eval does and compared as mathematics, not as text."""

from __future__ import annotations

import gzip
import json
from fractions import Fraction
from pathlib import Path

import pytest

from millbase.verify.maths import (
    equal_answers,
    extract_answer,
    gsm8k_flexible,
    gsm8k_gold,
    gsm8k_strict,
    parse_number,
)

GSM8K = Path(__file__).resolve().parents[4] / "shared/data/evals/gsm8k/test.jsonl.gz"

EQUAL = [
    ("42", "42.0"),
    ("1234", "1,234"),
    ("18", "$18"),
    ("0.5", r"\frac{1}{2}"),
    ("-3/4", r"-\frac{3}{4}"),
    ("50%", r"50\%"),
    ("0.5", "50%"),
    ("1e3", "1000"),
    ("7", r"7 \text{ apples}"),
    (r"\frac{1}{3}", "0.333333"),
    (r"3\sqrt{2}", r"\sqrt{18}"),
    ("x^2+2x+1", "(x+1)^2"),
    (r"\{1,2\}", r"\{2,1\}"),
    (r"\pi/2", r"\frac{\pi}{2}"),
    ("(1,2]", "(1, 2]"),
]
DIFFERENT = [
    ("42", "43"),
    ("0.5", "0.51"),
    ("x+1", "x-1"),
    ("(1,2)", "(2,1)"),
    ("5", ""),
    ("", ""),
    ("7", "seven eggs"),
]


@pytest.mark.parametrize(("gold", "answer"), EQUAL)
def test_equal(gold: str, answer: str) -> None:
    assert equal_answers(gold, answer, timeout_seconds=60)


@pytest.mark.parametrize(("gold", "answer"), DIFFERENT)
def test_different(gold: str, answer: str) -> None:
    assert not equal_answers(gold, answer, timeout_seconds=60)


def test_an_answer_that_explodes_is_wrong_and_the_next_one_is_judged() -> None:
    assert not equal_answers("x", "9^{9^{9^{9^{9}}}} + x", timeout_seconds=1.0)
    assert equal_answers("x+1", "1+x", timeout_seconds=60)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("-1,234.50", Fraction(-2469, 2)),
        ("$70,000.", Fraction(70000)),
        (".5", Fraction(1, 2)),
        ("12,34", None),
        ("1/0", None),
        ("abc", None),
        ("", None),
        ("1e999999", None),
        ("9" * 200, None),
    ],
)
def test_numbers(text: str, value: Fraction | None) -> None:
    assert parse_number(text) == value


def test_answers_are_found() -> None:
    assert extract_answer(r"so \boxed{1} or rather \boxed{\frac{1}{2}}") == r"\frac{1}{2}"
    assert extract_answer("work\n#### 12 \nmore") == "12"
    assert extract_answer("The answer is 5. No: the final answer is: 6.") == "6"
    assert extract_answer(r"\boxed{unclosed") is None
    assert extract_answer("I do not know") is None


TEXTS = [
    "She makes $18 every day.",
    "#### 1,234.",
    "#### -5\n\nQuestion: 7",
    "It is 1/2, so 3.5 and then 70,000",
    "no number",
    "#### none but 12",
    "5 * 3 = 15.",
    "Costs $.",
    "",
]


def test_gsm8k_is_extracted_as_lm_eval_does() -> None:
    """Against lm-eval's own filters and the clean-up of its exact_match on odd texts and all gold solutions."""
    from lm_eval.filters.extraction import RegexFilter

    strict = RegexFilter(regex_pattern=r"#### (\-?[0-9\.\,]+)")
    flexible = RegexFilter(regex_pattern=r"(-?[$0-9.,]{2,})|(-?[0-9]+)", group_select=-1)
    texts = list(TEXTS)
    if GSM8K.is_file():
        with gzip.open(GSM8K, "rt", encoding="utf-8") as file:
            answers = [json.loads(line)["answer"] for line in file]
        texts += answers
        assert all(gsm8k_strict(answer) == gsm8k_gold(answer) for answer in answers)
    for ours, theirs in ((gsm8k_strict, strict), (gsm8k_flexible, flexible)):
        expected = [choices[0] for choices in theirs.apply([[text] for text in texts], [{}] * len(texts))]
        assert [ours(text) for text in texts] == [_cleaned(text) for text in expected]


def _cleaned(text: str) -> str | None:
    """What lm-eval's exact_match leaves of an extracted answer, with GSM8K's settings."""
    import re

    if text == "[invalid]":
        return None
    for pattern in (",", r"\$", r"(?s).*#### ", r"\.$"):
        text = re.sub(pattern, "", text)
    return text.lower()
