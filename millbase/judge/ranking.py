"""The order of K answers: from all their pairs, or from lists that the judge orders whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from millbase.judge.ask import Question, ask, check_failures
from millbase.judge.chat import Chat
from millbase.judge.config import JudgeConfig
from millbase.judge.pairwise import Comparison, Verdict, compare, summary
from millbase.judge.parse import read_ranking
from millbase.judge.prompts import list_question, list_reminder


@dataclass(frozen=True)
class Candidates:
    """Answers to one prompt, all different."""

    prompt: str
    answers: list[str]


@dataclass(frozen=True)
class Ranking:
    """Strengths of the answers of one prompt."""

    strengths: list[float] | None
    """Higher is better, equal is a tie, from 0 to 1: the share of the other answers that an answer beats, ties half.
    None when the judge gave nothing usable."""
    reason: str | None = None
    """Why there are none."""


def rank(chat: Chat, items: Sequence[Candidates], config: JudgeConfig) -> tuple[list[Ranking], dict[str, Any]]:
    """(a ranking per item, statistics of the judge). Raises as `pairwise.compare`."""
    return _by_pairs(chat, items, config) if config.ranking == "pairs" else _by_lists(chat, items, config)


def copeland(count: int, outcomes: dict[tuple[int, int], float | None]) -> list[float] | None:
    """Share of its decided comparisons that each of `count` answers won, ties half.

    `outcomes[i, j]` is 1 where i beat j, None where nothing was decided. The result is None when some answer has no
    decided comparison.
    """
    points, games = [0.0] * count, [0] * count
    for (i, j), outcome in outcomes.items():
        if outcome is None:
            continue
        for one, value in ((i, outcome), (j, 1.0 - outcome)):
            points[one] += value
            games[one] += 1
    return None if not all(games) else [point / game for point, game in zip(points, games)]


def _by_pairs(chat: Chat, items: Sequence[Candidates], config: JudgeConfig) -> tuple[list[Ranking], dict[str, Any]]:
    places = [(n, i, j) for n, item in enumerate(items) for i, j in combinations(range(len(item.answers)), 2)]
    pairs = [Comparison(items[n].prompt, items[n].answers[i], items[n].answers[j]) for n, i, j in places]
    verdicts = compare(chat, pairs, config)
    outcomes: list[dict[tuple[int, int], float | None]] = [{} for _ in items]
    reasons: dict[int, str] = {}
    for (n, i, j), verdict in zip(places, verdicts, strict=True):
        outcomes[n][i, j] = verdict.outcome
        if verdict.reason is not None:
            reasons.setdefault(n, verdict.reason)
    rankings = []
    for n, item in enumerate(items):
        strengths = copeland(len(item.answers), outcomes[n])
        rankings.append(Ranking(strengths, None if strengths else reasons.get(n, "fewer than two answers")))
    return rankings, {"method": "pairs", **summary(verdicts), "intransitive": _intransitive(items, places, verdicts)}


def _intransitive(
    items: Sequence[Candidates], places: Sequence[tuple[int, int, int]], verdicts: Sequence[Verdict]
) -> int:
    """Triples of answers that beat one another in a circle: how far the judge is from having one order."""
    wins = {
        (n, *((i, j) if verdict.outcome == 1.0 else (j, i)))
        for (n, i, j), verdict in zip(places, verdicts, strict=True)
        if verdict.outcome in (0.0, 1.0)
    }
    circles = 0
    for n, item in enumerate(items):
        for i, j, k in combinations(range(len(item.answers)), 3):
            circles += {(n, i, j), (n, j, k), (n, k, i)} <= wins or {(n, j, i), (n, k, j), (n, i, k)} <= wins
    return circles


def _by_lists(chat: Chat, items: Sequence[Candidates], config: JudgeConfig) -> tuple[list[Ranking], dict[str, Any]]:
    orders = [False, True] if config.orders == "both" else [False]
    questions = [_list_question(item, reverse, config) for item in items for reverse in orders]
    answers = ask(chat, questions, config.ask_again)
    rankings, errors, firsts, agree = [], [], [], []
    for n, item in enumerate(items):
        part = answers[n * len(orders) : (n + 1) * len(orders)]
        ranks = [
            answer.value[::-1] if reverse else answer.value
            for answer, reverse in zip(part, orders)
            if answer.value is not None
        ]
        if len(ranks) < len(part):
            error = next(answer.error for answer in part if answer.value is None) or "no ranking"
            rankings.append(Ranking(None, error))
            errors.append(error)
            continue
        count = len(item.answers)
        mean = [sum(column) / len(ranks) for column in zip(*ranks)]
        rankings.append(Ranking([(count - one) / (count - 1) for one in mean]))
        firsts += [answer.value[0] for answer in part if answer.value is not None]
        agree.append(ranks[0] == ranks[-1])
    check_failures(errors, len(items), config.max_failed_share, "rankings")
    counts = [len(item.answers) for item, ranking in zip(items, rankings) if ranking.strengths]
    bias = {
        # without bias, an answer shown first has on average the middle rank
        "mean_rank_of_first": sum(firsts) / len(firsts) if firsts else None,
        "middle_rank": sum((count + 1) / 2 for count in counts) / len(counts) if counts else None,
        "inconsistent_share": 1 - sum(agree) / len(agree) if agree and len(orders) > 1 else None,
    }
    return rankings, {"method": "list", "rankings": len(items), "failed": len(errors), "position_bias": bias}


def _list_question(item: Candidates, reverse: bool, config: JudgeConfig) -> Question[list[float]]:
    shown, count = (item.answers[::-1] if reverse else item.answers), len(item.answers)
    conversation = list_question(item.prompt, shown, config.criterion)
    return Question(conversation, lambda reply: read_ranking(reply, count), list_reminder(count))
