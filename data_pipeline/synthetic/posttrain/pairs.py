"""Preference pairs: two responses to one prompt, ordered by the true rule."""

from random import Random
from typing import Any

from data_pipeline.synthetic.grammar import pick
from data_pipeline.synthetic.posttrain.questions import Question
from data_pipeline.synthetic.posttrain.styles import STYLES, respond
from data_pipeline.synthetic.rule import PREFERENCE_RULE, score_response

_SAME_STYLE = 0.5  # of the pairs that differ in correctness


def preference_row(rng: Random, question: Question, correctness_share: float) -> dict[str, Any]:
    """A pair that differs in correctness with probability `correctness_share`, else in style alone; never a tie.

    Half of the pairs that differ in correctness have one style, the others two styles at random: a judge of style alone
    is wrong on some of them.
    """
    first, second = rng.sample(STYLES, 2)
    if rng.random() < correctness_share:
        style = first if rng.random() < _SAME_STYLE else second
        responses = [respond(rng, question, first), respond(rng, question, style, pick(rng, question.wrong))]
    else:
        responses = [respond(rng, question, first), respond(rng, question, second)]
    scores = [score_response(PREFERENCE_RULE, response, question.answer) for response in responses]
    if scores[0] == scores[1]:
        raise AssertionError(f"the rule cannot order {responses}")
    chosen, rejected = responses if scores[0] > scores[1] else responses[::-1]
    return {
        "prompt": [{"role": "user", "content": question.prompt}],
        "chosen": [{"role": "assistant", "content": chosen}],
        "rejected": [{"role": "assistant", "content": rejected}],
        "answer": question.answer,
    }
