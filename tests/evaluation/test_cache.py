"""Remembered answers: found by all that decides them, whole after kill -9, shared by processes that write at once."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from evaluation.adapter import CheckpointLM
from evaluation.cache import FILE, AnswerCache, answer_key
from evaluation.config import TasksConfig
from evaluation.task_files import prepare_tasks
from evaluation.tasks import run_tasks
from millbase.errors import InputError
from training.load import LoadedModel

WRITER = """
import sys, random
from evaluation.cache import AnswerCache
cache = AnswerCache(sys.argv[1])
rng = random.Random(int(sys.argv[2]))
print("ready", flush=True)
for _ in range(int(sys.argv[3])):
    first = rng.randrange(2000)
    keys = [f"key-{i}" for i in range(first, first + 50)]
    found = cache.fill(keys, lambda positions: [{"key": keys[i], "text": keys[i] * 40} for i in positions])
    assert all(value["text"] == key * 40 for key, value in zip(keys, found))
print("done", flush=True)
"""


def writer(folder: Path, seed: int, rounds: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WRITER, str(folder), str(seed), str(rounds)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def contents(folder: Path) -> dict[str, Any]:
    with sqlite3.connect(folder / FILE) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        return {key: json.loads(value) for key, value in connection.execute("SELECT key, value FROM answers")}


def test_processes_that_write_at_once_and_kills_lose_nothing_and_leave_no_lock(tmp_path: Path) -> None:
    steady = [writer(tmp_path, seed, 60) for seed in range(2)]
    for seed in range(10, 14):  # killed in the midst of their writing
        victim = writer(tmp_path, seed, 100_000)
        assert victim.stdout is not None and victim.stdout.readline() == "ready\n"
        time.sleep(0.15)
        victim.send_signal(signal.SIGKILL)
        assert victim.wait() == -signal.SIGKILL
        victim.stdout.close()
    for process in steady:
        output, _ = process.communicate(timeout=300)
        assert process.returncode == 0 and output.endswith("done\n")
    found = contents(tmp_path)
    assert len(found) > 1000
    assert all(value == {"key": key, "text": key * 40} for key, value in found.items())
    after = AnswerCache(tmp_path)  # no lock stands in the way
    after.put({"later": 1})
    assert after.get(["later", "key-0", "nowhere"]).keys() >= {"later"}
    after.close()


def test_a_batch_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    script = """
import os, sys, sqlite3
from evaluation.cache import AnswerCache
cache = AnswerCache(sys.argv[1])
cache.put({"first": 1})
cache._connection.execute("BEGIN IMMEDIATE")
cache._connection.execute("INSERT INTO answers VALUES ('half', '2')")
os.kill(os.getpid(), 9)
"""
    assert subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=False).returncode == -signal.SIGKILL
    assert contents(tmp_path) == {"first": 1}


@pytest.fixture
def tasks(web: Path, tmp_path: Path) -> Any:
    config = {
        "task_path": str(web / "tasks"),
        "run": [{"task": "facts_mc", "limit": 6}, {"task": "answers", "limit": 4}],
    }
    return prepare_tasks(TasksConfig.model_validate(config), cache=tmp_path, seed=0, maximum_bad_share=0.05)


def test_a_second_run_asks_the_model_nothing(
    loaded: LoadedModel, tasks: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = AnswerCache(tmp_path / "cache")
    plain = run_tasks(loaded, tasks, seed=0, batch_size=4)
    first = run_tasks(loaded, tasks, seed=0, batch_size=4, cache=cache)
    assert first == plain and cache.hits == 0
    monkeypatch.setattr("evaluation.engines.base.score_continuations", lambda *args, **kwargs: pytest.fail("asked"))
    monkeypatch.setattr("evaluation.engines.base.generate", lambda *args, **kwargs: pytest.fail("asked"))
    again = run_tasks(loaded, tasks, seed=0, batch_size=64, cache=cache)
    assert again == first and cache.hits == 6 * 4 + 4


def test_another_checkpoint_version_or_setting_is_another_question(
    loaded: LoadedModel, other_loaded: LoadedModel, tasks: Any, tmp_path: Path
) -> None:
    cache = AnswerCache(tmp_path / "cache")
    run_tasks(loaded, tasks, seed=0, batch_size=4, cache=cache)
    theirs = run_tasks(other_loaded, tasks, seed=0, batch_size=4, cache=cache)
    assert cache.hits == 0
    assert theirs == run_tasks(other_loaded, tasks, seed=0, batch_size=4)  # lm-eval's cache gives the first's answers
    lm = CheckpointLM(loaded, cache=cache)
    lm.begin("facts_mc", "2.0")
    lm._answer("loglikelihood", [["a", "b"]], [None], lambda positions: [[0.0, True]])
    assert cache.hits == 0
    base = ({"digest": "x"}, ("task", "1"), "loglikelihood", ["a", "b"], None)
    others = [
        ({"digest": "y"}, *base[1:]),
        (base[0], ("task", "2"), *base[2:]),
        (*base[:2], "generate_until", *base[3:]),
        (*base[:3], ["a", "c"], None),
        (*base[:4], [["\n"], 5]),
    ]
    assert len({answer_key(*question) for question in (base, *others)}) == 6


def test_an_engine_of_another_precision_is_another_model(loaded: LoadedModel) -> None:
    short = replace(loaded, max_length=50)
    assert CheckpointLM(loaded).engine.identity != CheckpointLM(short).engine.identity


def test_a_folder_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"not a database, but long enough to look at" * 100)
    with pytest.raises(InputError, match=r"cache .* cannot be used"):
        AnswerCache(tmp_path)
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match=r"cache .* cannot be used"):
        AnswerCache(tmp_path / "file" / "below")
    assert os.path.exists(tmp_path / FILE)
