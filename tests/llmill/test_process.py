"""The worker process: log lines, memory, exit status."""

from __future__ import annotations

import sys
from pathlib import Path

from llmill.recipe.process import LogFile, Sample, run_worker


def test_log_keeps_the_last_state_of_redrawn_lines(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "logs" / "x.log")
    for piece in (
        b"plain\r\n",
        b"\x1b[31mred\x1b[0m te",
        b"xt\n",
        b"10%\r50%\r\x1b[2K100% \xc3",
        b"\xa9\n",
        b"no newline",
    ):
        log.write(piece)
    log.close()
    assert (tmp_path / "logs" / "x.log").read_text() == "plain\nred text\n100% é\nno newline\n"


def test_memory_and_status_are_measured_over_the_process_tree(tmp_path: Path) -> None:
    grab = "import time; block = bytearray(150 << 20); time.sleep(1.2)"
    script = f"import subprocess, sys; print('hi'); subprocess.run([sys.executable, '-c', {grab!r}]); sys.exit(7)"
    samples: list[Sample] = []
    outcome = run_worker([sys.executable, "-c", script], tmp_path / "x.log", on_sample=samples.append)
    peaks = [sample.peak_rss_bytes for sample in samples]
    assert outcome.returncode == 7
    assert 150 << 20 < outcome.peak_rss_bytes < 500 << 20
    assert outcome.seconds > 1.2 and peaks == sorted(peaks)
    assert (tmp_path / "x.log").read_text() == "hi\n"
