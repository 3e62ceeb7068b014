"""Progress, metrics and launch."""

import io
import os
import platform
import subprocess
import sys
import time

import psutil
import pytest

from millbase.errors import StageError
from millbase.metrics import MetricsWriter, read_metrics
from millbase.progress import progress


def test_plain_progress_ends_with_count_and_rate(capsys):
    with progress("reading", total=3, unit="pages") as bar:
        for _ in range(3):
            bar.advance()
        bar.note("all well")
    line = capsys.readouterr().err.strip()
    assert line.startswith("reading: 3/3 pages in")
    assert line.endswith("all well")


def test_live_bar_on_a_terminal(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    with progress("training", total=2, unit="steps") as bar:
        bar.advance(2)
        bar.note("loss 1.0")
    assert "training" in terminal.getvalue()
    assert "2/2" in terminal.getvalue()


def test_metrics_resume_drops_later_steps(tmp_path):
    with MetricsWriter(tmp_path) as writer:
        for step in range(1, 6):
            writer.log(step, {"loss": 1.0 / step})
    with open(tmp_path / "metrics.jsonl", "a") as file:
        file.write('{"step": 6, "lo')  # a line cut by a crash
    with MetricsWriter(tmp_path, resume_step=3) as writer:
        writer.log(4, {"loss": float("nan")})
    lines = read_metrics(tmp_path / "metrics.jsonl")
    assert [line["step"] for line in lines] == [1, 2, 3, 4]
    assert lines[-1]["loss"] is None
    assert list((tmp_path / "tensorboard").iterdir())


def test_tensorboard_reads_the_events(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with MetricsWriter(tmp_path) as writer:
        writer.log(7, {"loss": 2.5})
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [(event.step, event.value) for event in events.Scalars("loss")] == [(7, 2.5)]


def write_module(folder, body):
    (folder / "ranked.py").write_text(body)
    return {"PYTHONPATH": f"{folder}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}


def test_torchrun_runs_every_rank(tmp_path):
    from millbase.launch import torchrun

    env = write_module(
        tmp_path,
        "import os, sys, pathlib\npathlib.Path(sys.argv[1], os.environ['RANK']).write_text(os.environ['WORLD_SIZE'])\n",
    )
    (tmp_path / "out").mkdir()
    torchrun("ranked", 2, [str(tmp_path / "out")], tmp_path / "logs", env)
    assert sorted(item.name for item in (tmp_path / "out").iterdir()) == ["0", "1"]


def test_torchrun_names_the_failing_rank_and_its_error(tmp_path):
    from millbase.launch import torchrun

    env = write_module(
        tmp_path,
        "import os, time\nif os.environ['RANK'] == '1':\n    raise ValueError('bad shard 17')\ntime.sleep(30)\n",
    )
    with pytest.raises(StageError, match=r"rank 1.*bad shard 17"):
        torchrun("ranked", 2, [], tmp_path / "logs", env)


def test_torchrun_group_dies_with_its_parent(tmp_path):
    """kill -9 of the process that launched leaves no rank behind."""
    import subprocess

    env = {**os.environ}
    env |= write_module(
        tmp_path,
        "import os, time, sys, pathlib\nfrom millbase.process import die_with_parent\ndie_with_parent()\n"
        "pathlib.Path(sys.argv[1], os.environ['RANK']).write_text(str(os.getpid()))\ntime.sleep(60)\n",
    )
    (tmp_path / "pids").mkdir()
    script = (
        f"from millbase.launch import torchrun; torchrun('ranked', 2, [{str(tmp_path / 'pids')!r}], {str(tmp_path)!r})"
    )
    process = subprocess.Popen([sys.executable, "-c", script], env=env)
    deadline = time.monotonic() + 60
    while len(list((tmp_path / "pids").iterdir())) < 2 and time.monotonic() < deadline:
        time.sleep(0.1)
    time.sleep(0.2)
    pids = [int(item.read_text()) for item in (tmp_path / "pids").iterdir()]
    assert len(pids) == 2
    process.kill()
    process.wait()
    deadline = time.monotonic() + 20
    while any(psutil.pid_exists(pid) and psutil.Process(pid).status() != "zombie" for pid in pids):
        assert time.monotonic() < deadline, "a rank outlived its launcher"
        time.sleep(0.1)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has the setting")
def test_freed_memory_is_kept_for_the_next_allocation():
    code = """
import resource, sys
from millbase.process import keep_freed_memory
if sys.argv[1] == "keep":
    keep_freed_memory()
def faults(): return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
bytearray(64 << 20)
before = faults()
for _ in range(4):
    bytearray(64 << 20)
print(faults() - before)
"""
    faults = [
        int(subprocess.run([sys.executable, "-c", code, how], capture_output=True, text=True, check=True).stdout)
        for how in ("plain", "keep")
    ]
    assert faults[1] < faults[0] / 10, faults
