"""Several stages at once: what overlaps, what never does, what a failure, a kill or an interruption leaves."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from run_files import record, trace

from llmill.recipe.graph import load_graph
from llmill.recipe.keys import Key
from llmill.recipe.process import Sample
from llmill.recipe.record import RunRecord
from llmill.recipe.schedule import Order
from llmill.report.collect import StageData, _busy_seconds
from millbase.errors import ConfigError

Run = Callable[..., int]

DIAMOND = """
name: tiny
jobs: 2
stages:
  first: {run: "fake_stages:build_meeting", config: {text: first}}
  left: {run: "fake_stages:build_meeting", config: {text: left, sources: ["${first}"], meet: [right]}}
  right: {run: "fake_stages:build_meeting", config: {text: right, sources: ["${first}"], meet: [left]}}
  last: {run: "fake_stages:build_meeting", config: {text: last, sources: ["${left}", "${right}"]}}
"""
APART = """
name: tiny
jobs: 2
stages:
  left: {run: "fake_stages:build_meeting", config: {text: left, meet: [right]}}
  right: {run: "fake_stages:build_meeting", config: {text: right, meet: [left]}}
  later: {run: "fake_stages:build_meeting", config: {text: later}}
"""


@pytest.fixture
def write(workplace: Path) -> Callable[[str], None]:
    """Write ``recipe.yaml``."""

    def write_recipe(text: str) -> None:
        Path("recipe.yaml").write_text(text)

    return write_recipe


def _events() -> list[str]:
    path = Path("runs/tiny/events.txt")
    return [line.rpartition(" ")[0] for line in path.read_text().splitlines()] if path.exists() else []


def _pids() -> list[int]:
    return [int(line.split()[-1]) for line in Path("runs/tiny/events.txt").read_text().splitlines() if "start" in line]


def _start(*words: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "llmill", "run", "recipe.yaml", *words]
    # a test run in the background of a script is told to ignore Ctrl-C, and so would its children be
    return subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL) and None,
    )


def _wait_for(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.05)


def _gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_independent_stages_overlap_and_dependent_ones_do_not(
    write: Callable[[str], None], run_tiny: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    write(DIAMOND)
    assert run_tiny() == 0
    events = _events()
    assert events[:2] == ["first start", "first end"] and events[-2:] == ["last start", "last end"]
    assert set(events[2:4]) == {"left start", "right start"}, "both run before either ends"
    shown = capsys.readouterr().err.splitlines()
    for name in ("left", "right"):
        assert f"[{name}] this is {name}" in shown and f"[{name}] and still {name}" in shown
    assert "this is first" in shown and "this is last" in shown, "a stage that nothing can run beside has no prefix"
    assert "this is left\nand still left\n" in Path("runs/tiny/logs/left.log").read_text()
    assert run_tiny() == 0
    assert {stage["status"] for stage in record()["stages"].values()} == {"skipped"} and len(_events()) == 8


def test_times_and_memory_of_the_run(
    write: Callable[[str], None], run_tiny: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    write(APART)
    assert run_tiny("left.pause=1.5", "right.pause=1.5") == 0
    data = record()
    left, right = data["stages"]["left"], data["stages"]["right"]
    assert left["seconds"] > 1.5 and right["seconds"] > 1.5
    assert data["seconds"] < data["stage_seconds"], "the run's time is that of the clock"
    assert max(left["peak_rss_bytes"], right["peak_rss_bytes"]) < data["peak_rss_bytes"], "both were there at once"
    line = next(line for line in capsys.readouterr().out.splitlines() if "this run" in line)
    assert f"{data['seconds']:,.1f}" in line and f"{data['peak_rss_bytes'] / 2**20:,.0f} MiB" in line


def test_memory_is_summed_over_stages_that_run_at_once(workplace: Path) -> None:
    kept = load_graph("recipe.yaml")
    kept.out.mkdir(parents=True)
    run = RunRecord(kept, [])
    for name in ("one", "side"):
        run.begin(name, Key("k", {}, {}, "c"), "why", Path("x.log"))
    run.sample("one", Sample(1.0, 100, 300))
    run.sample("side", Sample(1.0, 50, 70))
    assert run.together == 150
    run.end("one", "finished")
    run.sample("side", Sample(2.0, 80, 80))
    assert run.together == 150
    run.finish("finished")
    assert run.data["peak_rss_bytes"] == 300, "not less than any stage's own"


def test_report_counts_time_of_stages_that_ran_at_once_once() -> None:
    def stage(name: str, seconds: float) -> StageData:
        return StageData(name, "text", "", "", seconds, None, {}, {}, {})

    stages = [stage("a", 10.0), stage("b", 4.0), stage("c", 8.0), stage("d", 1.0), stage("elsewhere", 0.5)]
    ended = {"a": 100.0, "b": 98.0, "c": 104.0, "d": 200.0}  # a 90-100, b within it, c 96-104, d later
    record = {"stages": {name: {"ended": end} for name, end in ended.items()}}
    assert _busy_seconds(stages, record) == 10 + 4 + 1 + 0.5


def test_jobs_on_the_command_line_override_the_recipe(write: Callable[[str], None], run_tiny: Run) -> None:
    write(APART.replace("jobs: 2", "jobs: 1"))
    runner = _start("--jobs", "2")
    _, shown = runner.communicate(timeout=120)
    assert runner.returncode == 0, shown
    assert set(_events()[:2]) == {"left start", "right start"}
    write(APART.replace("jobs: 2", "jobs: 0"))
    with pytest.raises(ConfigError, match="jobs"):
        load_graph("recipe.yaml")


@pytest.mark.parametrize("jobs", [None, 1])
def test_one_at_a_time_keeps_the_order(run_tiny: Run, jobs: int | None, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_tiny(jobs=jobs) == 0
    assert trace() == ["one started", "two started", "side started", "three started"]
    shown = [line for line in capsys.readouterr().err.splitlines() if line.startswith("[")]
    assert [line.split()[:2] for line in shown] == [
        ["[1/4]", "one"], ["[2/4]", "two"], ["[3/4]", "side"], ["[4/4]", "three"],
    ]  # fmt: skip


def test_what_may_start(workplace: Path) -> None:
    text = Path("recipe.yaml").read_text()
    Path("recipe.yaml").write_text(text + '  all: {run: "fake_stages:build_text", config: {text: "${run}"}}\n')
    graph = load_graph("recipe.yaml")
    order = Order(graph, list(graph.stages))
    assert (order.take(), order.take(), order.take()) == ("one", "side", None)
    assert not order.alone("one")
    order.finished("side")
    assert order.alone("one")
    order.finished("one")
    assert (order.take(), order.take()) == ("two", None)
    order.finished("two")
    assert (order.take(), order.take()) == ("three", None), "what reads the run waits for all before it"
    order.finished("three")
    assert (order.take(), order.take()) == ("all", None)


def test_a_failure_starts_nothing_new_and_lets_the_others_finish(
    write: Callable[[str], None], run_tiny: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    write(APART)
    assert run_tiny("left.fail=user", "right.until_failed=left") == 1
    shown = capsys.readouterr().err
    assert "error: stage 'left' failed: file 'x' is empty" in shown and "waiting for right" in shown
    data = record()
    statuses = {name: stage["status"] for name, stage in data["stages"].items()}
    assert statuses == {"left": "failed", "right": "finished", "later": "pending"} and data["status"] == "failed"
    assert "later start" not in _events()
    write(APART.replace("meet: [right]", "meet: []"))
    assert run_tiny("right.until_failed=left") == 0
    statuses = {name: stage["status"] for name, stage in record()["stages"].items()}
    assert statuses == {"left": "finished", "right": "skipped", "later": "finished"}


def test_after_kill_no_stage_is_left_and_the_same_command_continues(write: Callable[[str], None]) -> None:
    write(APART)
    words = ("left.pause=60", "right.pause=60")
    runner = _start(*words)
    _wait_for(lambda: sorted(trace()) == ["left started", "right started"], "two stages at once")
    runner.send_signal(signal.SIGKILL)
    runner.wait()
    for pid in _pids():
        _wait_for(lambda pid=pid: _gone(pid), "the workers to die with their runner")
    assert record()["status"] == "running"
    runner = _start(*words)
    _wait_for(lambda: sorted(trace()[2:]) == ["left resumed", "right resumed"], "both to continue")
    runner.send_signal(signal.SIGKILL)
    runner.wait()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interruption_stops_all(write: Callable[[str], None], number: int) -> None:
    write(APART)
    words = ("left.pause=60", "right.pause=60")
    runner = _start(*words)
    _wait_for(lambda: sorted(trace()) == ["left started", "right started"], "two stages at once")
    runner.send_signal(number)
    _, shown = runner.communicate(timeout=60)
    assert runner.returncode == 130 and "interrupted: stopping left, right" in shown
    data = record()
    assert data["status"] == "interrupted"
    assert [stage["status"] for stage in data["stages"].values()] == ["interrupted", "interrupted", "pending"]
    assert all(_gone(pid) for pid in _pids())


def test_interrupted_forced_rerun_continues_every_stage_that_had_begun(write: Callable[[str], None]) -> None:
    write(DIAMOND)
    words = ("left.pause=60", "right.pause=60", "--from", "first")
    for expected in (["first started", "left started", "right started"], ["left resumed", "right resumed"]):
        seen = len(trace())
        runner = _start(*words)
        _wait_for(lambda seen=seen, expected=expected: sorted(trace()[seen:]) == expected, "two stages at once")
        runner.send_signal(signal.SIGKILL)
        runner.wait()
        for pid in _pids():
            _wait_for(lambda pid=pid: _gone(pid), "the workers to die with their runner")
    forced = json.loads(Path("runs/tiny/run.json").read_text())["forced"]
    assert forced == {"from": "first", "pending": ["left", "right", "last"], "begun": ["left", "right"]}
    assert os.path.isdir("runs/tiny/first")
