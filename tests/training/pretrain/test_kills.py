"""kill -9 at random steps, again and again in one run: on one layout, and on changing ones."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from millbase.config import load_config
from training.pretrain import PretrainConfig, pretrain

Tiny = Callable[..., dict[str, Any]]
LAYOUTS: list[dict[str, Any]] = [{"tensor": 2}, {"data": 2, "zero": 3}, {"pipeline": 2}, {"data": 2}, {}]
DRIVER = """
import json, sys
from millbase.config import load_config
from millbase.errors import Interrupted
from training.pretrain import PretrainConfig, pretrain
try:
    pretrain(load_config(PretrainConfig, json.loads(sys.argv[1])), sys.argv[2])
except Interrupted as note:
    print(note, file=sys.stderr)
    sys.exit(75)
"""


class Run:
    """A run in a process of its own, its messages in a file."""

    def __init__(self, values: dict[str, Any], out: Path, log: Path) -> None:
        root = Path(__file__).resolve().parents[3]
        command = [sys.executable, "-c", DRIVER, json.dumps(values), str(out)]
        self.out, self.log = out, log
        with open(log, "wb") as file:
            self.process = subprocess.Popen(
                command, cwd=root, env={**os.environ, "OMP_NUM_THREADS": "1"}, stderr=file, stdout=file
            )

    def end(self, timeout: float = 900) -> int:
        """The exit status, once it has ended."""
        return self.process.wait(timeout)

    def messages(self) -> str:
        return self.log.read_text(errors="replace")[-4000:]

    def wait_for_step(self, step: int) -> None:
        deadline = time.monotonic() + 900
        while last_step(self.out) < step:
            assert self.process.poll() is None, f"the run ended: {self.messages()}"
            assert time.monotonic() < deadline, f"step {step} was not reached in time"
            time.sleep(0.01)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[dict[str, Any], Path], Run]]:
    """Starts runs; what is left of them at the end of the test is killed."""
    started: list[Run] = []

    def begin(values: dict[str, Any], out: Path) -> Run:
        started.append(Run(values, out, tmp_path / f"messages{len(started)}.txt"))
        return started[-1]

    yield begin
    for run in started:
        run.process.kill()
        run.process.wait()


def last_step(out: Path) -> int:
    """The last step in the metrics of an unfinished run."""
    file = out.parent / f".{out.name}.work" / "metrics.jsonl"
    try:
        lines = file.read_text().splitlines()
    except FileNotFoundError:
        return 0
    steps = [int(line.split('"step": ')[1].split(",")[0]) for line in lines if line.endswith("}")]
    return max(steps, default=0)


def worst_difference(one: Path, other: Path) -> float:
    a, b = (load_file(run / "hf" / "model.safetensors") for run in (one, other))
    assert a.keys() == b.keys()
    return max(float((a[name].double() - b[name].double()).abs().max()) for name in a)


EXPERTS = {"moe": {"experts": 4, "top_k": 2, "ffn_hidden_size": 32}}
EXPERT_LAYOUTS = [{"data": 2, "expert": 2}, {"tensor": 2, "sequence_parallel": True}, {"pipeline": 2}, {}]


@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.parametrize(
    ("layouts", "kills", "model"),
    [([{}], 10, {}), (LAYOUTS, 10, {}), (EXPERT_LAYOUTS, 4, EXPERTS)],
    ids=["one-layout", "changing-layouts", "experts"],
)
def test_kills_in_one_run_change_nothing(
    tiny: Tiny, tmp_path: Path, start: Any, layouts: list[dict[str, Any]], kills: int, model: dict[str, Any]
) -> None:
    values = tiny(
        steps=44,
        checkpoint={"every_steps": 2, "asynchronous": True},
        evaluation={"every_steps": 22, "tokens": 200},
        optimizer={"learning_rate": 1e-3},
    )
    values["model"] |= model
    whole = pretrain(load_config(PretrainConfig, values), tmp_path / "whole")
    draw, out, killed = random.Random(5), tmp_path / "killed", []
    for number in range(kills):
        run = start(values | {"parallel": layouts[number % len(layouts)]}, out)
        run.wait_for_step(4 * number + draw.randint(1, 4))
        run.process.kill()
        run.end()
        killed.append(last_step(out))
        assert not out.exists(), f"finished before kill {number}"
    final = start(values | {"parallel": layouts[-1]}, out)
    assert final.end() == 0, final.messages()
    difference = worst_difference(whole, out)
    print(f"killed at steps {killed}; largest difference of a weight {difference:.2e}")
    if len(layouts) == 1:
        assert (whole / "hf" / "model.safetensors").read_bytes() == (out / "hf" / "model.safetensors").read_bytes()
    else:
        assert difference < 1e-5


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_rank_that_hangs_is_named_and_the_run_goes_on_afterwards(tiny: Tiny, tmp_path: Path, start: Any) -> None:
    values = tiny(
        steps=4000, parallel={"data": 2}, guard={"hang_minutes": 0.5}, checkpoint={"every_steps": 5}, log_every=1
    )
    out = tmp_path / "hangs"
    run = start(values, out)
    run.wait_for_step(6)
    beats = sorted((tmp_path / ".hangs.work" / "scratch" / "heartbeats").glob("*/rank_00001.json"))
    pid = json.loads(beats[0].read_text())["pid"]
    os.kill(pid, signal.SIGSTOP)
    try:
        assert run.end() == 1
    finally:
        with suppress(ProcessLookupError):  # torchrun has killed it
            os.kill(pid, signal.SIGKILL)
    assert f"no sign of life of rank 1 (process {pid} on" in run.messages()


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_asked_to_stop_it_saves_and_exits_with_75(tiny: Tiny, tmp_path: Path, start: Any, number: int) -> None:
    values = tiny(steps=4000, parallel={"tensor": 2}, checkpoint={"every_steps": 1000})
    run = start(values, tmp_path / "stopped")
    run.wait_for_step(3)
    run.process.send_signal(number)
    assert run.end() == 75, run.messages()
    saved = list((tmp_path / ".stopped.work" / "scratch" / "checkpoints").iterdir())
    assert len(saved) == 1
    assert f"stopped by {signal.Signals(number).name}; saved at step {int(saved[0].name[5:])} of 4000" in run.messages()
