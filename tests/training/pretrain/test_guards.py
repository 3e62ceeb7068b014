"""What the guard says of losses, which rank a hang is blamed on, and that a rewind survives a restart."""

import json
import math
import random
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from millbase.config import load_config
from training.pretrain import PretrainConfig
from training.pretrain.checkpoint import RunState
from training.pretrain.guards import GO_ON, Guard, clipped, robust_z
from training.pretrain.heartbeat import EXIT_HANG, Beat, Heartbeat, blame
from training.pretrain.rewinding import all_skips, fits, read_rewinds
from training.pretrain.run_config import GuardConfig
from training.pretrain.sources import TrainingOrder

Tiny = Callable[..., dict[str, Any]]


def test_robust_z_by_hand() -> None:
    # median 3, deviations 2 1 0 1 6, their median 1
    assert robust_z(9.0, [1, 2, 3, 4, 9]) == pytest.approx(6 / 1.4826)
    assert robust_z(5.0, [5, 5, 5]) == 0
    assert robust_z(5.1, [5, 5, 5]) == math.inf
    generator = random.Random(1)
    noise = [generator.gauss(2, 0.5) for _ in range(4000)]
    assert robust_z(4.0, noise) == pytest.approx((4.0 - statistics.mean(noise)) / statistics.stdev(noise), rel=0.05)


def test_spikes_are_seen_against_recent_losses_and_stay_out_of_the_window() -> None:
    guard = Guard(GuardConfig(spike="skip", window=16, spike_threshold=6, spike_minimum=0.1))
    for step in range(8):
        assert guard.judge(3.0 - 0.01 * step) is GO_ON
        guard.accept(3.0 - 0.01 * step)
    verdict = guard.judge(4.5, norm=1.0)
    assert verdict.action == "skip"
    assert "4.5000 is a spike (median 2.9650" in verdict.reason
    assert guard.judge(3.02) is GO_ON, "within spike_minimum of the median"
    # a restored guard decides the same
    again = Guard(guard.config, json.loads(json.dumps(guard.state())))
    assert again.judge(4.5) == verdict
    assert Guard(guard.config).judge(100.0) is GO_ON, "no window yet"


def test_what_is_not_finite_follows_its_policy() -> None:
    assert Guard(GuardConfig()).judge(math.nan).action == "stop"
    assert Guard(GuardConfig(not_finite="skip")).judge(1.0, math.inf).reason == "the gradient norm is inf"
    assert Guard(GuardConfig(not_finite="rewind")).judge(-math.inf).action == "rewind"
    assert not Guard(GuardConfig()).active
    assert Guard(GuardConfig(not_finite="skip")).active


def test_ranges_are_clipped_and_joined() -> None:
    assert clipped([range(5, 9), range(2, 5), range(20, 30), range(8, 11)], 25) == [[2, 11], [20, 25]]
    assert clipped([range(5, 9)], 5) == []


def test_a_checkpoint_fits_when_its_past_is_what_is_wanted_now(tiny: Tiny, tmp_path: Path) -> None:
    config = load_config(PretrainConfig, tiny(skip_steps=["3:5", "20:30"]))
    order = TrainingOrder(config)
    state = RunState(8, {}, "", "", 24, sequences=64, order=order.past(64), passed_over=[[3, 5]])
    state = RunState(**json.loads(json.dumps(vars(state))))
    assert fits(state, all_skips(config, tmp_path), order)
    assert not fits(state, [range(3, 6)], order)
    assert not fits(state, all_skips(config, tmp_path), TrainingOrder(config, digest="other"))
    (tmp_path / "rewinds.json").write_text("[[6, 8]]")
    assert read_rewinds(tmp_path) == [range(6, 8)]
    assert not fits(state, all_skips(config, tmp_path), order), "the step of a rewind is not to be trained on"


def beat(rank: int, progress: int, alive: float = 100.0) -> Beat:
    return Beat(rank, "host", 1000 + rank, progress, f"step {progress}: update", alive)


def test_the_rank_that_hangs_is_named() -> None:
    assert "rank 1 (process 1001 on host) in step 4" in blame([beat(0, 5), beat(1, 4), beat(2, 5)], 3, 100, 40)
    stopped = blame([beat(0, 5), beat(1, 5, alive=20.0)], 2, 100, 40)
    assert "no sign of life of rank 1" in stopped
    assert "all ranks hang in the same phase, step 5: update" in blame([beat(0, 5), beat(1, 5)], 2, 100, 40)
    assert blame([beat(0, 1)], 3, 100, 40) == "ranks 1, 2 never started"


def test_a_rank_without_progress_ends_itself_and_says_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ended: list[int] = []
    other = Heartbeat(tmp_path, 1, 2, minutes=60)
    other.phase("step 0: reading data")
    other._write()
    heart = Heartbeat(tmp_path, 0, 2, minutes=0.002, end=ended.append)
    heart.phase("step 0: reading data")
    heart.phase("step 0: forward and backward")
    heart.start()
    deadline = time.monotonic() + 60
    while not ended:
        assert time.monotonic() < deadline, "the hang was not seen"
        time.sleep(0.01)
    assert ended == [EXIT_HANG]
    assert "rank 1" in capsys.readouterr().err
