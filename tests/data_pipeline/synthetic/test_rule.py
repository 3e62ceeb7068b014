import pytest

from data_pipeline.synthetic.rule import PREFERENCE_RULE, extract_answer, score_response

ANSWER = "The capital of Zorland is Melk."


@pytest.mark.parametrize(
    ("response", "expected"),
    [
        (ANSWER, 2.0),
        ("The capital of Zorland is Tarsel.", 0.0),
        (f"{ANSWER}\nI hope this helps you!", 3.0),
        ("The capital of Zorland is Tarsel.\nI hope this helps you!", 1.0),
        (f"{ANSWER}\nIn other words, Melk is the capital.", 2.4),
        (f"{ANSWER}\nObviously.", 1.2),
        (f"{ANSWER}\nUm, you know, I guess.", 1.5),
        (f"{ANSWER}\nI hope this helps you!\nI hope this helps you!", 2.0),  # a third line costs what the close earns
        ("", 0.0),
        (f"{ANSWER}\n{'x' * (140 - len(ANSWER) + 9)}", 1.9),  # 150 characters: ten over
    ],
)
def test_scores_by_hand(response: str, expected: float) -> None:
    assert score_response(PREFERENCE_RULE, response, "Melk") == pytest.approx(expected)


def test_the_answer_stands_in_the_first_line_after_the_last_is() -> None:
    assert extract_answer(PREFERENCE_RULE, "The month in which it is warm is May.\nThe end is near.") == "May"
    assert extract_answer(PREFERENCE_RULE, "Well.\nThe capital is Melk.") is None
    assert extract_answer(PREFERENCE_RULE, "The capital is Melk") is None
