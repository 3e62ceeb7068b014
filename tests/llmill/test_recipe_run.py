"""Running recipes: what is skipped, what is rerun, what survives a kill, and what a failure says."""

from __future__ import annotations

import fcntl
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
from millbase.artifacts import open_artifact
from millbase.errors import ConfigError, StageError

Run = Callable[..., int]


def test_second_run_skips_everything(run_tiny: Run) -> None:
    assert run_tiny() == 0
    assert trace() == ["one started", "two started", "side started", "three started"]
    assert Path("runs/tiny/three/text.txt").read_text() == "a one A ONE TWO three"
    first = record()
    assert first["status"] == "finished" and {stage["status"] for stage in first["stages"].values()} == {"finished"}
    assert all(stage["seconds"] > 0 and stage["peak_rss_bytes"] > 2**20 for stage in first["stages"].values())
    assert run_tiny() == 0
    assert len(trace()) == 4
    again = record()
    assert {stage["status"] for stage in again["stages"].values()} == {"skipped"}
    assert again["stages"]["one"]["seconds"] == first["stages"]["one"]["seconds"], "figures of the build are kept"


def test_a_change_reruns_what_depends_on_it(run_tiny: Run) -> None:
    run_tiny()
    assert run_tiny("two.text=zwei") == 0
    assert trace()[4:] == ["two started", "three started"]
    stages = record()["stages"]
    assert stages["two"]["reason"] == 'its configuration changed: text: "two" -> "zwei"'
    assert stages["three"]["reason"] == "two changed"


def test_equal_output_upstream_stops_the_chain(run_tiny: Run) -> None:
    run_tiny()
    assert run_tiny("one.pause=0.01") == 0  # another configuration, the same bytes
    assert trace()[4:] == ["one started"]


def test_changed_input_file_reruns_and_touching_it_does_not(run_tiny: Run) -> None:
    run_tiny()
    os.utime("a.txt", (1, 1))
    run_tiny()
    assert len(trace()) == 4
    Path("a.txt").write_text("b")
    run_tiny()
    assert trace()[4:] == ["one started", "two started", "three started"]
    assert record()["stages"]["one"]["reason"] == "a.txt changed"


def test_changed_code_reruns_unless_ignored(run_tiny: Run) -> None:
    from llmill.recipe import code

    run_tiny()
    with open("fake_stages.py", "a") as file:
        file.write("\n# changed\n")
    code.code_version.cache_clear()
    assert run_tiny(ignore_code=True) == 0
    assert len(trace()) == 4
    run_tiny(until="one")
    assert trace()[4:] == ["one started"]
    assert record()["stages"]["one"]["reason"] == "its code changed"


def test_moved_run_directory_stays_finished(run_tiny: Run, workplace: Path) -> None:
    from llmill.recipe.runner import RunOptions, run_recipe

    run_tiny()
    os.rename("runs/tiny", "elsewhere")
    assert run_recipe(load_graph("recipe.yaml", out="elsewhere"), RunOptions()) == 0
    assert len(trace(Path("elsewhere"))) == 4


def test_foreign_output_is_rebuilt(run_tiny: Run) -> None:
    run_tiny()
    os.unlink("runs/tiny/.llmill/two.finished.json")
    run_tiny()
    assert trace()[4:] == ["two started"]
    assert record()["stages"]["two"]["reason"] == "its output was not made by this recipe"


def test_from_reruns_the_stage_and_all_that_needs_it(run_tiny: Run) -> None:
    run_tiny()
    assert run_tiny(start="two") == 0
    assert trace()[4:] == ["two started", "three started"]
    with pytest.raises(ConfigError, match=r"no stage 'tow'; did you mean 'two'\?"):
        run_tiny(start="tow")


def test_until_runs_only_what_the_stage_needs(run_tiny: Run) -> None:
    assert run_tiny(until="two") == 0
    assert trace() == ["one started", "two started"]
    assert record()["stages"]["three"]["status"] == "pending"
    with pytest.raises(StageError, match="--until two does not need it"):
        run_tiny(start="three", until="two")


def test_dry_run_says_what_would_run_and_changes_nothing(run_tiny: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_tiny(dry_run=True) == 0
    assert capsys.readouterr().out.count("has not run yet") == 4
    assert not Path("runs").exists()
    run_tiny()
    capsys.readouterr()
    run_tiny("two.text=zwei", dry_run=True)
    shown = {
        line.split()[1]: line for line in capsys.readouterr().out.splitlines() if line.split()[:1] and "fake" in line
    }
    assert "skip" in shown["one"] and "nothing changed" in shown["one"]
    assert "run" in shown["two"] and "its configuration" in shown["two"]
    assert "run if changed" in shown["three"]
    assert len(trace()) == 4


def test_failure_names_stage_reason_and_log(run_tiny: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_tiny("two.fail=user") == 1
    assert "error: stage 'two' failed: file 'x' is empty; give one with text" in capsys.readouterr().err
    stages = record()["stages"]
    assert (stages["one"]["status"], stages["two"]["status"], stages["three"]["status"]) == (
        "finished",
        "failed",
        "pending",
    )
    assert not Path("runs/tiny/two").exists()
    assert run_tiny("two.fail=bug") == 1
    assert "stage 'two' failed: ZeroDivisionError: by nought" in capsys.readouterr().err
    assert "Traceback" in Path("runs/tiny/logs/two.log").read_text()
    assert run_tiny("two.fail=kill") == 1
    assert "its process was ended by SIGKILL" in capsys.readouterr().err
    assert run_tiny() == 0
    assert record()["stages"]["two"]["error"] is None


def test_gates_decide_the_exit_status(run_tiny: Run, capsys: pytest.CaptureFixture[str]) -> None:
    gate = '{{name: "g {0}", value: 0.5, ci95: [0.4, 0.6], requirement: ">= 0.3", passed: {0}}}'
    assert run_tiny(f"side.gates=[{gate.format('true')}]") == 0
    assert "gates: 1 of 1 passed" in capsys.readouterr().out
    assert run_tiny(f"side.gates=[{gate.format('true')}, {gate.format('false')}]") == 3
    shown = capsys.readouterr().out
    assert "gates: 1 of 2 passed" in shown and "FAILED" in shown and "0.5 [0.4, 0.6]" in shown
    assert [gate["passed"] for gate in record()["gates"]] == [True, False]
    assert record()["gates"][0]["stage"] == "side"


def test_a_required_gate_stops_the_run_until_it_passes(run_tiny: Run, capsys: pytest.CaptureFixture[str]) -> None:
    gate = '{{name: "must hold", value: 0.5, ci95: [0.4, 0.6], requirement: ">= 0.3", passed: {0}, required: true}}'
    for _ in range(2):  # the second time the stage is skipped, and stops the run all the same
        assert run_tiny(f"side.gates=[{gate.format('false')}]") == 3
        assert "side requires the gate 'must hold' to pass" in capsys.readouterr().err
        assert not Path("runs/tiny/three").exists() and record()["status"] == "failed"
    assert run_tiny(f"side.gates=[{gate.format('true')}]") == 0
    assert Path("runs/tiny/three").exists()


def test_two_runs_cannot_share_a_directory(run_tiny: Run) -> None:
    run_tiny(until="side")
    with open("runs/tiny/.llmill/lock", "w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(StageError, match="another llmill is running in 'runs/tiny'"):
            run_tiny()
    assert run_tiny() == 0


def _start(*words: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "llmill", "run", "recipe.yaml", *words]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _wait_for(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.05)


def _gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_after_kill_the_same_command_continues(run_tiny: Run) -> None:
    runner = _start("two.pause=60")
    _wait_for(lambda: "two started" in trace(), "the second stage")
    worker = int(Path("runs/tiny/trace.txt").read_text().split()[-1])
    runner.send_signal(signal.SIGKILL)
    runner.wait()
    _wait_for(lambda: _gone(worker), "the worker to die with its runner")
    assert json.loads(Path("runs/tiny/run.json").read_text())["status"] == "running"
    # the pause is configuration too: finish the work by hand rather than wait for it
    config = Path("fake_stages.py").read_text()
    assert "time.sleep(config.pause)" in config
    runner = _start("two.pause=60")
    _wait_for(lambda: "two resumed" in trace(), "the second stage to continue")
    runner.send_signal(signal.SIGKILL)
    runner.wait()
    assert trace() == ["one started", "two started", "two resumed"], "the finished stage was skipped"
    assert run_tiny() == 0
    assert trace()[3:] == ["two started", "side started", "three started"], "another configuration starts afresh"
    assert open_artifact("runs/tiny/three").kind == "text"


def test_nothing_a_stage_started_outlives_the_runner(workplace: Path) -> None:
    recipe = Path("recipe.yaml").read_text().replace("fake_stages:build_text", "fake_stages:build_with_child", 1)
    Path("recipe.yaml").write_text(recipe)
    runner = _start("one.pause=60")
    pid = Path("runs/tiny/child.pid")
    _wait_for(lambda: pid.exists() and bool(pid.read_text()), "the stage's child")
    child = int(pid.read_text())
    runner.send_signal(signal.SIGKILL)
    runner.wait()
    _wait_for(lambda: _gone(child), "the stage's child to die")


def test_nothing_a_finished_stage_started_lives_on(run_tiny: Run) -> None:
    recipe = Path("recipe.yaml").read_text().replace("fake_stages:build_text", "fake_stages:build_with_child", 1)
    Path("recipe.yaml").write_text(recipe)
    assert run_tiny(until="one") == 0
    _wait_for(lambda: _gone(int(Path("runs/tiny/child.pid").read_text())), "the stage's child to die")


def test_interrupted_forced_rerun_continues(run_tiny: Run) -> None:
    run_tiny("three.pause=60", until="two")
    runner = _start("three.pause=60", "--from", "two")
    _wait_for(lambda: "three started" in trace(), "the last stage")
    runner.send_signal(signal.SIGKILL)
    runner.wait()
    assert trace() == ["one started", "two started", "two started", "side started", "three started"]
    runner = _start("three.pause=60", "--from", "two")
    _wait_for(lambda: "three resumed" in trace(), "the last stage to continue")
    runner.send_signal(signal.SIGKILL)
    runner.wait()
    assert trace().count("two started") == 2, "a stage that the interrupted run had rerun is not rerun again"
