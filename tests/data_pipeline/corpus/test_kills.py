"""`kill -9` at random moments and at every step of finishing: same bytes, nothing lost, nothing twice, no litter."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from data_pipeline.corpus import CorpusConfig, SourceConfig, build_corpus, read_funnel
from millbase.artifacts import open_artifact

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")]

BUILD = """
import sys
from data_pipeline.corpus import CorpusConfig, SourceConfig, build_corpus
if __name__ == "__main__":
    sources = [SourceConfig(inputs=sys.argv[1] + "/*.warc.gz")]
    build_corpus(CorpusConfig(sources=sources, workers=int(sys.argv[3])), sys.argv[2])
"""

# dies before the n-th operation that renames or removes something, and says how many there were when it lives
COUNTING = (
    """
import os, signal, sys, shutil
from pathlib import Path
wanted, made = int(sys.argv[4]), 0
def counted(function):
    def call(*arguments, **options):
        global made
        made += 1
        if made == wanted:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*arguments, **options)
    return call
import data_pipeline.corpus
os.replace, os.rename = counted(os.replace), counted(os.rename)
shutil.rmtree, Path.unlink = counted(shutil.rmtree), counted(Path.unlink)
"""
    + BUILD.replace("import sys\n", "").replace("int(sys.argv[3])", "1")
    + "    print(made)\n"
)


@pytest.fixture
def crawl(new_warc, tmp_path: Path) -> Path:
    for n in range(6):
        builder = new_warc().prose(90, start=100 * n)
        builder.prose(5, start=0, host=f"mirror{n}.example").page(f"http://x.example/{n}", "", "404 Not Found")
        builder.write(tmp_path / f"crawl/{n}.warc.gz", seed=n)
    return tmp_path


@pytest.fixture
def reference(crawl: Path) -> dict[str, bytes]:
    """Contents of the corpus as built without interruption."""
    sources = [SourceConfig(inputs=str(crawl / "crawl/*.warc.gz"))]
    return contents(build_corpus(CorpusConfig(sources=sources, workers=2), crawl / "reference"))


def contents(corpus: Path) -> dict[str, bytes]:
    files = [file for file in corpus.rglob("*") if file.is_file()]
    telemetry = ("manifest.json", "timings.json")
    return {file.relative_to(corpus).as_posix(): file.read_bytes() for file in files if file.name not in telemetry}


def start(folder: Path, script: str, *arguments: object) -> subprocess.Popen[str]:
    (folder / "build.py").write_text(script)
    command = [
        sys.executable,
        str(folder / "build.py"),
        str(folder / "crawl"),
        str(folder / "out"),
        *map(str, arguments),
    ]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def check_whole(folder: Path, reference: dict[str, bytes]) -> None:
    """The corpus at `out` is the reference, every count adds up, and nothing else lies about."""
    corpus = folder / "out"
    assert contents(corpus) == reference
    manifest = open_artifact(corpus, kind="corpus")  # every digest
    funnel = read_funnel(corpus)
    assert manifest.stats["documents"] + manifest.stats["dropped"] == manifest.stats["read"] == 6 * 96
    assert all(row["kept"] + row["dropped"] == row["read"] for row in funnel)
    assert sorted(file.name for file in folder.iterdir() if "out" in file.name) == ["out"]
    listed = {"manifest.json", *json.loads((corpus / "manifest.json").read_text())["files"]}
    assert {file.relative_to(corpus).as_posix() for file in corpus.rglob("*") if file.is_file()} == listed


def workers_of(pid: int) -> list[int]:
    found = []
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            parent = int(Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()[1])
            if parent == pid and b"spawn_main" in Path(f"/proc/{entry}/cmdline").read_bytes():
                found.append(int(entry))
        except (OSError, IndexError):
            continue
    return found


def test_twenty_kills_at_random_moments(crawl: Path, reference: dict[str, bytes]) -> None:
    random_ = random.Random(20)
    began = time.monotonic()
    assert start(crawl, BUILD, 2).wait(300) == 0
    whole = time.monotonic() - began
    check_whole(crawl, reference)
    kills = {"worker": 0, "build": 0}
    finished = 0
    for _ in range(80):
        process = start(crawl, BUILD, random_.choice([1, 2, 4]))
        moment, target = random_.uniform(0.2, 1.0) * whole, random_.choice(["worker", "build"])
        try:
            process.wait(moment)
        except subprocess.TimeoutExpired:
            workers = workers_of(process.pid) if target == "worker" else []
            os.kill(random_.choice(workers) if workers else process.pid, signal.SIGKILL)
            kills["worker" if workers else "build"] += 1
            _, errors = process.communicate(timeout=120)
            if workers and process.returncode == 0:  # it had just done its last file
                check_whole(crawl, reference)
            elif workers:
                assert "a worker process was killed" in errors, errors
            if (crawl / "out").exists():  # an earlier corpus, untouched, or this one, whole
                assert contents(crawl / "out") == reference
        else:
            assert process.returncode == 0, process.communicate()[1]
            check_whole(crawl, reference)
            finished += 1
        if sum(kills.values()) >= 20:
            break
    assert sum(kills.values()) >= 20 and min(kills.values()) >= 4, (kills, finished)
    assert start(crawl, BUILD, 2).wait(300) == 0
    check_whole(crawl, reference)


def test_kills_before_each_of_the_last_file_operations(crawl: Path, reference: dict[str, bytes]) -> None:
    for file in sorted((crawl / "crawl").glob("[2-5]*")):
        file.unlink()
    sources = [SourceConfig(inputs=str(crawl / "crawl/*.warc.gz"))]
    small = contents(build_corpus(CorpusConfig(sources=sources, workers=1), crawl / "small"))
    output, errors = start(crawl, COUNTING, 1, 0).communicate(timeout=300)
    total = int(output)
    assert total > 12, errors
    for wanted in [total // 3, total // 2, *range(total - 9, total + 1)]:
        process = start(crawl, COUNTING, 1, wanted)
        process.communicate(timeout=300)
        killed = process.returncode == -signal.SIGKILL
        again, errors = start(crawl, COUNTING, 1, 0).communicate(timeout=300)
        assert again.strip().isdigit(), errors
        assert contents(crawl / "out") == small, (wanted, killed)
        assert sorted(file.name for file in crawl.iterdir() if "out" in file.name) == ["out"]
        open_artifact(crawl / "out", kind="corpus")
