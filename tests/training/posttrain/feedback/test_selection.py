"""Which answers are kept, worked by hand, and the value of K against brute force over all subsets."""

from __future__ import annotations

import math
from itertools import combinations
from statistics import fmean
from typing import Any

import numpy as np
import pytest
from scipy.special import rel_entr

from training.posttrain.feedback.answers import Answer, Answered
from training.posttrain.feedback.config import RejectConfig
from training.posttrain.feedback.selection import best_prompts, choose, expected_best, gain_by_n


def config(**changes: Any) -> RejectConfig:
    reward = {"functions": ["rewards.py:f"]}
    return RejectConfig.model_validate({"model": "m", "prompts": "p", "reward": reward, **changes})


def row(*answers: tuple[str, float | None] | tuple[str, float | None, bool]) -> Answered:
    made = [Answer(text=a[0], tokens=len(a[0]), finished=a[2] if len(a) > 2 else True, score=a[1]) for a in answers]
    return Answered([{"role": "user", "content": "q"}], {}, made)


def texts(answers: list[Answer]) -> list[str]:
    return [answer.text for answer in answers]


def test_the_best_and_the_worst() -> None:
    answers = row(("b", 0.5), ("a", 2.0), ("c", -1.0), ("d", 2.0))
    one = choose(answers, config(pairs="best_worst"))
    assert texts(one.kept) == ["a"]
    assert [(p.chosen.text, p.rejected.text) for p in one.pairs] == [("a", "c")]
    assert texts(choose(answers, config(keep=3)).kept) == ["a", "d", "b"]
    assert texts(choose(answers, config(keep=9, min_score=0.5)).kept) == ["a", "d", "b"]
    assert choose(answers, config(min_score=3)).kept == []


def test_all_pairs_with_a_margin() -> None:
    answers = row(("b", 0.5), ("a", 2.0), ("c", -1.0), ("d", 2.0))
    pairs = choose(answers, config(pairs="all", min_margin=1.5)).pairs
    # 2.0 - 0.5 is not more than 1.5
    assert [(p.chosen.text, p.rejected.text) for p in pairs] == [("a", "c"), ("d", "c")]
    assert len(choose(answers, config(pairs="all")).pairs) == 5, "equal scores are no preference"


def test_equal_answers_count_once_and_ties_go_to_the_shortest() -> None:
    answers = row(("long one", 1.0), (" same", 0.0), ("same ", 0.0), ("short", 1.0))
    assert choose(answers, config()).duplicates == 1
    assert texts(choose(answers, config()).kept) == ["long one"]
    assert texts(choose(answers, config(ties="shortest")).kept) == ["short"]


def test_what_was_cut_off_is_only_ever_rejected() -> None:
    answers = row(("cut", 5.0, False), ("whole", 1.0), ("also cut", -5.0, False))
    one = choose(answers, config(pairs="all", keep=3))
    assert texts(one.kept) == ["whole"]
    assert [(p.chosen.text, p.rejected.text) for p in one.pairs] == [("whole", "also cut")]
    assert texts(choose(answers, config(require_end=False)).kept) == ["cut"]
    assert choose(row(("cut", 5.0, False)), config(pairs="best_worst")).pairs == []


def test_answers_without_a_score_or_a_text_are_left_out() -> None:
    one = choose(row(("none", None), (" ", 9.0), ("fine", 0.0), ("worse", -1.0)), config(keep=4, pairs="all"))
    assert texts(one.kept) == ["fine", "worse"]
    assert [(p.chosen.text, p.rejected.text) for p in one.pairs] == [("fine", "worse")]


def test_the_best_prompts_in_their_order() -> None:
    chosen = [choose(row(("x", float(score))), config()) for score in (1, 5, 3, 4)]
    chosen.append(choose(row(("cut", 9.0, False)), config()))
    assert [one.kept[0].score for one in best_prompts(chosen, 0.5)] == [5.0, 4.0]
    assert len(best_prompts(chosen, 1.0)) == 4
    assert best_prompts([], 0.5) == []


@pytest.mark.parametrize("n", [1, 2, 3, 5, 6])
def test_expected_best_is_the_mean_over_all_subsets(n: int) -> None:
    scores = [0.3, -1.2, 2.0, 0.3, 7.5, -0.1]
    assert expected_best(scores, n) == pytest.approx(fmean(max(part) for part in combinations(scores, n)), abs=1e-12)


def test_of_right_and_wrong_it_is_pass_at_k() -> None:
    # Chen et al. 2021, equation 1: 1 - C(K - c, n) / C(K, n)
    scores = [1.0] * 3 + [0.0] * 7
    assert expected_best(scores, 4) == pytest.approx(1 - math.comb(7, 4) / math.comb(10, 4), abs=1e-12)


def test_gain_by_n_over_prompts() -> None:
    rows = [row(("a", 0.0), ("b", 1.0), ("c", 0.0)), row(("a", 1.0), ("b", 1.0), ("c", 1.0)), row(("a", None))]
    found = gain_by_n(rows, 3)
    assert [one["n"] for one in found] == [1, 2, 3]
    assert [one["score"] for one in found] == pytest.approx([(1 / 3 + 1) / 2, (2 / 3 + 1) / 2, 1.0])
    assert found[0]["stderr"] == pytest.approx(np.std([1 / 3, 1.0], ddof=1) / math.sqrt(2))
    assert gain_by_n([row(("a", None))], 1) == []


def test_the_kl_bound_is_reached_by_distinct_scores() -> None:
    # best of n over m equally likely, totally ordered answers: P(i) = (i/m)^n - ((i-1)/m)^n
    n, m = 4, 4000
    edges = (np.arange(m + 1) / m) ** n
    kl = float(rel_entr(np.diff(edges), np.full(m, 1 / m)).sum())
    bound = gain_by_n([row(*[(str(i), float(i)) for i in range(4)])], 4)[-1]["kl_bound"]
    assert kl == pytest.approx(bound, abs=1e-3) and kl <= bound
