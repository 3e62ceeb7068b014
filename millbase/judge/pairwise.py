"""Which of two answers is better: both orders asked, a tie policy, and how much the order mattered.

Judges favour a position, often the first (Zheng et al. 2023, "Judging LLM-as-a-Judge", section 3.3). With both orders a
preference that goes with the position cancels, and can be measured:

    asked (x, y): A, asked (y, x): B    -> x is better
    asked (x, y): A, asked (y, x): A    -> inconsistent, for the first position
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from millbase.hashing import value_digest
from millbase.judge.ask import Answer, Question, ask, check_failures
from millbase.judge.chat import Chat
from millbase.judge.config import JudgeConfig
from millbase.judge.parse import Side, read_verdict
from millbase.judge.prompts import pair_question, pair_reminder, read_template

_POINTS: dict[Side, float] = {"A": 1.0, "tie": 0.5, "B": 0.0}


@dataclass(frozen=True)
class Comparison:
    """Two answers to one prompt, as text (`prompts.prompt_text` makes text of messages)."""

    prompt: str
    ours: str
    theirs: str


@dataclass(frozen=True)
class Verdict:
    """What a judge said about one comparison."""

    outcome: float | None
    """1: ours is better, 0.5: a tie, 0: theirs is; None: no verdict, or dropped."""
    sides: tuple[Side | None, ...]
    """The verdict on each asking: A is what was shown first."""
    ours_first: tuple[bool, ...]
    """Whether ours was shown first, of each asking."""
    reason: str | None = None
    """Why there is no outcome: `inconsistent`, or the error."""
    replies: tuple[str | None, ...] = ()

    @property
    def consistent(self) -> bool | None:
        """Whether both orders gave the same; None when not both were readable."""
        points = [_points(side, first) for side, first in zip(self.sides, self.ours_first)]
        return None if len(points) < 2 or None in points else points[0] == points[1]


def compare(chat: Chat, comparisons: Sequence[Comparison], config: JudgeConfig) -> list[Verdict]:
    """A verdict per comparison. Equal answers are a tie without being asked.

    Raises StageError when the chat cannot answer, or too many verdicts are missing (`max_failed_share`).
    """
    template = None if config.template is None else read_template(config.template)
    plan = [(i, first) for i, pair in enumerate(comparisons) for first in _orders(pair, config)]
    answers = ask(chat, [_question(comparisons[i], first, config, template) for i, first in plan], config.ask_again)
    found: dict[int, list[tuple[bool, Answer[Side]]]] = {}
    for (i, first), answer in zip(plan, answers, strict=True):
        found.setdefault(i, []).append((first, answer))
    verdicts = [_verdict(found.get(i, []), config) for i in range(len(comparisons))]
    errors = [one.reason for one in verdicts if one.reason is not None and one.reason != "inconsistent"]
    check_failures(errors, len(comparisons), config.max_failed_share, "comparisons")
    return verdicts


def position_bias(verdicts: Sequence[Verdict]) -> dict[str, Any]:
    """How much the order mattered, over the comparisons asked in both orders.

    `first_share`: of all verdicts that were no tie, the share for what was shown first; 0.5 without bias, since every
    answer was shown first once. `inconsistent_share`: the share of comparisons whose two orders disagree;
    `for_first` and `for_second` count those that went with the position both times.
    """
    both = [one for one in verdicts if one.consistent is not None]
    decided = [side for one in both for side in one.sides if side != "tie"]
    flips = [one.sides for one in both if not one.consistent]
    return {
        "comparisons": len(both),
        "first_share": decided.count("A") / len(decided) if decided else None,
        "inconsistent_share": len(flips) / len(both) if both else None,
        "for_first": flips.count(("A", "A")),
        "for_second": flips.count(("B", "B")),
    }


def summary(verdicts: Sequence[Verdict]) -> dict[str, Any]:
    """Counts of outcomes, of missing verdicts by reason, and the position bias."""
    outcomes = [one.outcome for one in verdicts]
    return {
        "comparisons": len(verdicts),
        "wins": outcomes.count(1.0),
        "ties": outcomes.count(0.5),
        "losses": outcomes.count(0.0),
        "inconsistent": sum(one.consistent is False for one in verdicts),
        "dropped": sum(one.reason == "inconsistent" for one in verdicts),
        "failed": sum(one.reason is not None and one.reason != "inconsistent" for one in verdicts),
        "position_bias": position_bias(verdicts),
    }


def _orders(pair: Comparison, config: JudgeConfig) -> list[bool]:
    """Whether ours stands first, of each asking; none when there is nothing to ask."""
    if pair.ours.strip() == pair.theirs.strip():
        return []
    if config.orders == "both":
        return [True, False]
    # drawn from the text alone, and the same whichever of the two is called ours
    low, high = sorted((pair.ours, pair.theirs))
    low_first = int(value_digest([pair.prompt, low, high])[-1], 16) % 2 == 0
    return [(pair.ours == low) == low_first]


def _question(pair: Comparison, ours_first: bool, config: JudgeConfig, template: str | None) -> Question[Side]:
    a, b = (pair.ours, pair.theirs) if ours_first else (pair.theirs, pair.ours)
    return Question(
        pair_question(pair.prompt, a, b, config.criterion, config.allow_tie, template),
        lambda reply: read_verdict(reply, config.allow_tie),
        pair_reminder(config.allow_tie),
    )


def _verdict(asked: list[tuple[bool, Answer[Side]]], config: JudgeConfig) -> Verdict:
    if not asked:
        return Verdict(0.5, (), ())
    sides = tuple(answer.value for _, answer in asked)
    firsts = tuple(first for first, _ in asked)
    replies = tuple(answer.reply for _, answer in asked)
    points = [_points(side, first) for side, first in zip(sides, firsts)]
    known = [point for point in points if point is not None]
    if len(known) < len(points):
        error = next(answer.error for _, answer in asked if answer.value is None)
        return Verdict(None, sides, firsts, error or "no verdict", replies)
    total = sum(known) / len(known)
    if {0.0, 1.0} <= set(known) and config.disagreement == "drop":
        return Verdict(None, sides, firsts, "inconsistent", replies)
    # a tie in one order beside a win in the other counts as the win
    return Verdict(0.5 if total == 0.5 else float(total > 0.5), sides, firsts, None, replies)


def _points(side: Side | None, ours_first: bool) -> float | None:
    if side is None:
        return None
    return _POINTS[side] if ours_first else 1.0 - _POINTS[side]
