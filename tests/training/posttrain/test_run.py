"""What the TRL stages share."""

import pytest

from training.posttrain.config import PosttrainConfig
from training.posttrain.run import validation_interval


@pytest.mark.parametrize(
    ("steps", "validated", "expected"),
    [
        (300, 200, 30),  # ten in a run
        (25, 300, 19),  # ten would read five times as many rows as training does
        (1, 10, 1),
    ],
)
def test_validation_reads_no_more_rows_than_training_between_two_validations(steps, validated, expected):
    config = PosttrainConfig(model="m", data="d", batch_size=16)
    assert validation_interval(config, steps, validated) == expected


def test_the_interval_given_is_kept():
    config = PosttrainConfig(model="m", data="d", batch_size=16, eval_every=3)
    assert validation_interval(config, 25, 300) == 3
