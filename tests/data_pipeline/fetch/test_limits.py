"""The rate and the transfer slots are kept by all processes together."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from data_pipeline.fetch import FetchConfig, open_input
from data_pipeline.fetch.limits import Limits

SCRIPT = """
import sys, tempfile
tempfile.tempdir = sys.argv[1]
from data_pipeline.fetch import FetchConfig, open_input
from data_pipeline.fetch.limits import Limits
claim = Limits._claim
def logged(self, earliest, spacing):
    turn = claim(self, earliest, spacing)
    print(turn, flush=True)
    return turn
Limits._claim = logged
fetch = FetchConfig.model_validate_json(sys.argv[2])
for url in sys.argv[3:]:
    with open_input(url, fetch) as file:
        assert len(file.read()) == 20000
"""


def test_processes_share_rate_and_slots(server, tmp_path: Path, fetch: FetchConfig) -> None:
    """Three processes ask 15 times in all: 20 a second, and never more than two at once."""
    server.files = {f"{n}": bytes(20_000) for n in range(5)}
    server.always = dict.fromkeys(server.files, "hold:0.1")
    settings = fetch.model_copy(update={"requests_per_second": 20.0, "connections": 2})
    command = [sys.executable, "-c", SCRIPT, str(tmp_path / "shared"), settings.model_dump_json()]
    urls = [server.url(name) for name in server.files]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    children = [subprocess.Popen([*command, *urls], env=environment, stdout=subprocess.PIPE) for _ in range(3)]
    turns = sorted(float(turn) for child in children for turn in child.communicate(timeout=120)[0].split())
    assert [child.returncode for child in children] == [0, 0, 0]
    assert len(turns) == len(server.times) == 15 and server.most_at_once <= 2
    assert all(later - earlier > 0.0499 for earlier, later in itertools.pairwise(turns)), "a turn is given out once"
    # How late a request comes depends on the machine; none may come before its turn.
    assert all(came >= turn for came, turn in zip(sorted(server.times), turns))


def test_slots_are_freed_by_a_killed_process(tmp_path: Path, fetch: FetchConfig) -> None:
    script = (
        "import sys, tempfile, time; tempfile.tempdir = sys.argv[1]\n"
        "from data_pipeline.fetch.limits import Limits\nfrom data_pipeline.fetch import FetchConfig\n"
        "with Limits('host', FetchConfig(connections=1)).request():\n    print('holding', flush=True); time.sleep(60)"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    child = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path / "shared")], env=environment, stdout=subprocess.PIPE
    )
    assert child.stdout is not None and child.stdout.readline() == b"holding\n"
    limits = Limits("host", fetch.model_copy(update={"connections": 1}))
    entered = threading.Event()

    def enter() -> None:
        with limits.request():
            entered.set()

    threading.Thread(target=enter, daemon=True).start()
    assert not entered.wait(0.3)
    child.kill()
    child.wait()
    assert entered.wait(5)


def test_a_refusal_holds_all_requests_to_the_host(server, fetch: FetchConfig) -> None:
    server.files = {"a": b"a", "b": b"b"}
    server.behaviours["a"] = ["503:1"]
    first = threading.Thread(target=lambda: open_input(server.url("a"), fetch).close())
    first.start()
    following = Limits("127.0.0.1", fetch).folder.parent
    while not any(float(file.read_text() or 0) > time.monotonic() + 0.5 for file in following.glob("*/next")):
        time.sleep(0.01)
    open_input(server.url("b"), fetch).close()
    first.join()
    assert min(server.times[1:]) - server.times[0] >= 0.9


def test_a_turn_from_before_a_restart_is_not_waited_for(fetch: FetchConfig) -> None:
    limits = Limits("host", fetch)
    (limits.folder / "next").write_text(f"{time.monotonic() + 1e6}")
    started = time.monotonic()
    with limits.request():
        assert time.monotonic() - started < 1


@pytest.mark.parametrize("content", ["", "nonsense"])
def test_a_damaged_state_file_is_started_anew(fetch: FetchConfig, content: str) -> None:
    limits = Limits("host", fetch)
    (limits.folder / "next").write_text(content)
    with limits.request():
        assert float((limits.folder / "next").read_text()) > 0
