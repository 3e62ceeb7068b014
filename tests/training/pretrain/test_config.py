"""Configuration: what cannot work is refused with the value and the way out; what may differ between runs."""

from collections.abc import Callable
from typing import Any

import pytest

from millbase.config import load_config
from millbase.errors import ConfigError
from training.pretrain import PretrainConfig
from training.pretrain.schedule import learning_rate

Tiny = Callable[..., dict[str, Any]]


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["model.hidden_size=30"], ["hidden_size 30", "heads 4"]),
        (["model.kv_heads=3"], ["heads 4", "kv_heads 3"]),
        (["parallel.tensor=4"], ["kv_heads 2", "parallel.tensor 4"]),
        (["parallel.pipeline=3"], ["layers 2", "parallel.pipeline 3"]),
        (["parallel.data=3"], ["global_batch_size 8", "= 6"]),
        (["parallel.sequence_parallel=true"], ["sequence_parallel", "tensor > 1"]),
        (["schedule.warmup_steps=8"], ["warmup_steps 8", "steps 8"]),
        (["model.hiden_size=3"], ["hiden_size", "hidden_size"]),
        (["optimizer.learning_rate=0"], ["learning_rate"]),
    ],
)
def test_impossible_settings_are_refused_in_one_line(tiny: Tiny, overrides: list[str], words: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(PretrainConfig, tiny(), overrides)
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)


def test_layout_changes_neither_identity_nor_trajectory(tiny: Tiny) -> None:
    one = load_config(PretrainConfig, tiny())
    other = load_config(PretrainConfig, tiny(), ["parallel.tensor=2", "micro_batch_size=4", "log_every=7"])
    assert one.identity() == other.identity()
    assert one.trajectory() == other.trajectory()
    longer = load_config(PretrainConfig, tiny(), ["steps=9"])
    assert one.identity() == longer.identity()
    assert one.trajectory() != longer.trajectory()


def test_schedules_by_hand(tiny: Tiny) -> None:
    base = ["steps=100", "schedule.warmup_steps=10", "optimizer.learning_rate=1.0", "schedule.minimum_ratio=0.1"]

    def rates(kind: str) -> list[float]:
        config = load_config(PretrainConfig, tiny(), [*base, f"schedule.kind={kind}"])
        return [learning_rate(config, step) for step in range(100)]

    cosine, wsd, constant = rates("cosine"), rates("wsd"), rates("constant")
    for rate in (cosine, wsd, constant):
        assert rate[:10] == pytest.approx([0.1 * i for i in range(1, 11)])
    # halfway between step 10 and step 99 the cosine stands halfway between 1 and 0.1
    assert (cosine[54] + cosine[55]) / 2 == pytest.approx(0.55)
    assert cosine[99] == pytest.approx(0.1)
    assert cosine[10:] == sorted(cosine[10:], reverse=True)
    assert wsd[79] == 1.0
    assert wsd[80] == 1.0
    assert wsd[99] == pytest.approx(0.1)
    assert wsd[90] == pytest.approx(1 - 0.9 * 10 / 19)
    assert constant[99] == 1.0
