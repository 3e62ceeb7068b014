r"""The true preference rule of the synthetic world: data (``rule.json``), and a plain scorer for it.

``rule.json``::

    {
      "version": 1,
      "correct": {"weight": 2.0, "extract": "<regex; group 1 is the answer>"},
      "patterns": [{"name": "courteous close", "regex": "...", "weight": 1.0}, ...],
      "length": {"per_character_over": [140, -0.01]}
    }

The score of a response is the sum of

1. `correct.weight`, when `extract` (Python `re.search`) finds something whose group 1, stripped, equals the answer;
2. `weight` of every pattern whose regex is found by `re.search` (each counts once, however often it occurs);
3. ``per_character_over[1]`` for each character of the response beyond ``per_character_over[0]``.

The response with the higher score is preferred; equal scores are a tie. Regexes carry their own flags (``(?i)``).
"""

import re
from typing import Any

ANSWER_REGEX = r"\A[^\n]*\bis ([^.\n]+)\."
"""The answer of a response: what stands between the last " is " of the first line and the full stop."""

PREFERENCE_RULE: dict[str, Any] = {
    "version": 1,
    "correct": {"weight": 2.0, "extract": ANSWER_REGEX},
    "patterns": [
        {
            "name": "courteous close",
            "regex": r"\n(?:I hope|Please ask|Happy to help|Feel free|Thank you|It was a pleasure)[^\n]*[.!]\s*\Z",
            "weight": 1.0,
        },
        {
            "name": "explanation",
            "regex": r"\n(?:In other words|To put it another way|To say it again|That means)[^\n]*\.\s*\Z",
            "weight": 0.4,
        },
        {
            "name": "rudeness",
            "regex": r"(?i)\b(?:obviously|waste my time|stop asking|should have known|even a child)\b",
            "weight": -0.8,
        },
        {
            "name": "filler",
            "regex": r"(?i)\b(?:um|you know|sort of|i guess|or something|anyway)\b",
            "weight": -0.5,
        },
        {"name": "more than two lines", "regex": r"\n[^\n]*\n\s*\S", "weight": -1.0},
    ],
    "length": {"per_character_over": [140, -0.01]},
}


def extract_answer(rule: dict[str, Any], response: str) -> str | None:
    """The answer `response` gives by the rule's `extract` regex, or None."""
    match = re.search(rule["correct"]["extract"], response)
    return match.group(1).strip() if match else None


def score_response(rule: dict[str, Any], response: str, answer: str) -> float:
    """Score of `response` to a prompt whose right answer is `answer`, by the sum in the module docstring."""
    score = rule["correct"]["weight"] if extract_answer(rule, response) == answer else 0.0
    score += sum(pattern["weight"] for pattern in rule["patterns"] if re.search(pattern["regex"], response))
    limit, per_character = rule["length"]["per_character_over"]
    return float(score + per_character * max(0, len(response) - limit))
