"""Mathematical answers: taken out of a response, compared as numbers, or as formulas by math-verify.

    equal_answers("\\frac{1}{2}", "0.5")                      # True
    gsm8k_flexible("... so she makes $18 every day.")         # "18"

Evaluation scores with it, training rewards with it. Formulas are compared in a process of their own (`symbolic`),
because a model's answer such as 9^9^9^9 can take all time and memory there is.
"""

from __future__ import annotations

import re

from millbase.verify.maths.numbers import parse_number
from millbase.verify.maths.symbolic import equal_formulas

__all__ = ["equal_answers", "extract_answer", "gsm8k_flexible", "gsm8k_gold", "gsm8k_strict", "parse_number"]

_STRICT = re.compile(r"#### (\-?[0-9\.\,]+)")
_FLEXIBLE = re.compile(r"(-?[$0-9.,]{2,})|(-?[0-9]+)")
_STATED = re.compile(r"answer(?: is|:)\s*:?\s*", re.IGNORECASE)


def equal_answers(gold: str, answer: str, timeout_seconds: float = 5.0) -> bool:
    """Whether two answers are the same number or formula; False for what cannot be decided in this CPU time.

    Numbers (with signs, thousands separators, currency, percentages, fractions, LaTeX) are equal when they agree
    exactly, or to six decimals where one is a decimal fraction, which is math-verify's rule too.
    """
    gold, answer = gold.strip(), answer.strip()
    if gold == answer:
        return bool(gold)
    ours, theirs = parse_number(answer), parse_number(gold)
    if ours is not None and theirs is not None:
        return ours == theirs or round(ours, 6) == round(theirs, 6)
    return bool(gold) and bool(answer) and equal_formulas(gold, answer, timeout_seconds)


def extract_answer(text: str) -> str | None:
    r"""The answer that a response gives: the last `\boxed{...}`, else after `####`, else after "answer is"; or None."""
    boxed = _last_boxed(text)
    if boxed is not None:
        return boxed
    if "####" in text:
        return text.rsplit("####", 1)[1].strip().split("\n")[0].strip() or None
    stated = list(_STATED.finditer(text))
    return text[stated[-1].end() :].split("\n")[0].strip().rstrip(".").strip() or None if stated else None


def _last_boxed(text: str) -> str | None:
    start = max(text.rfind(r"\boxed{"), text.rfind(r"\fbox{"))
    if start < 0:
        return None
    begin = text.index("{", start) + 1
    depth = 1
    for position in range(begin, len(text)):
        depth += {"{": 1, "}": -1}.get(text[position], 0)
        if depth == 0:
            return text[begin:position].strip()
    return None


def gsm8k_strict(text: str) -> str | None:
    """The first number after `####`, as lm-eval's `strict-match` takes and cleans it; None without one."""
    found = _STRICT.search(text)
    return _clean(found.group(1)) if found else None


def gsm8k_flexible(text: str) -> str | None:
    """The last number of a response, as lm-eval's `flexible-extract` takes and cleans it; None without one."""
    found = _FLEXIBLE.findall(text)
    return _clean(next(part for part in found[-1] if part)) if found else None


def gsm8k_gold(answer: str) -> str:
    """The number after `####` in a GSM8K solution."""
    return _clean(answer.rsplit("####", 1)[-1].strip())


def _clean(number: str) -> str:
    """Without thousands separators, dollars and a final full stop, as lm-eval's `regexes_to_ignore` have it."""
    return re.sub(r"\.$", "", number.replace(",", "").replace("$", "")).lower()
