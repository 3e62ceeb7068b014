"""What a user can do wrong gives one clear line; what kills a build costs only the unfinished files."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from data_pipeline.corpus import CorpusConfig, SourceConfig, build_corpus, read_corpus, read_funnel
from data_pipeline.extract.step import Extractor
from data_pipeline.language.config import LanguageConfig
from data_pipeline.read.config import ReadConfig
from data_pipeline.score import QualityFilterConfig
from millbase.artifacts import open_artifact, work_directory
from millbase.errors import ArtifactError, InputError, StageError, UserError


def config(inputs: Path | str, **changes: object) -> CorpusConfig:
    return CorpusConfig.model_validate({"sources": [SourceConfig(inputs=str(inputs))], "workers": 1} | changes)


def fails(settings: CorpusConfig, out: Path, kind: type[UserError], *words: str) -> None:
    with pytest.raises(kind) as caught:
        build_corpus(settings, out)
    message = str(caught.value)
    assert "\n" not in message and all(word in message for word in words), message
    assert not out.exists()


@pytest.mark.parametrize("workers", [1, 2])
def test_truncated_file_is_an_error_or_a_counted_record(new_warc, tmp_path: Path, workers: int) -> None:
    data = new_warc().prose(8).to_bytes()
    (tmp_path / "cut.warc.gz").write_bytes(data[:-900])
    new_warc().prose(3, start=20).write(tmp_path / "whole.warc.gz", seed=9)
    inputs = tmp_path / "*.warc.gz"
    words = ("cut.warc.gz", "ends early at offset", "read.on_truncated=record")
    fails(config(inputs, workers=workers), tmp_path / "corpus", InputError, *words)
    tolerant = config(inputs, workers=workers, read=ReadConfig(on_truncated="record"))
    corpus = build_corpus(tolerant, tmp_path / "corpus")
    assert read_funnel(corpus)[0]["reasons"] == {"truncated": 1}
    assert len(list(read_corpus(corpus))) == 10


def test_a_file_that_is_truncated_throughout_is_an_error_all_the_same(new_warc, tmp_path: Path) -> None:
    data = new_warc().page("http://a.example/", "x" * 9000).to_bytes(gzip=False)
    (tmp_path / "a.warc").write_bytes(data[:-4000])
    settings = config(tmp_path / "a.warc", read=ReadConfig(on_truncated="record"))
    fails(settings, tmp_path / "corpus", InputError, "a.warc", "unreadable", "offset")


def test_missing_empty_and_foreign_inputs(new_warc, tmp_path: Path) -> None:
    out = tmp_path / "corpus"
    fails(config(tmp_path / "none/*.warc.gz"), out, InputError, "nothing matches", "none/*.warc.gz")
    (tmp_path / "empty.warc.gz").write_bytes(b"")
    fails(config(tmp_path / "empty.warc.gz"), out, InputError, "is empty", "empty.warc.gz")
    (tmp_path / "page.warc").write_bytes(b"<html>" * 100)
    fails(config(tmp_path / "page.warc"), out, InputError, "not a WARC file", "offset 0")
    new_warc().write(tmp_path / "info.warc.gz")
    fails(config(tmp_path / "info.warc.gz"), out, InputError, "no response record", "info.warc.gz")


def test_garbage_pages_only(new_warc, tmp_path: Path) -> None:
    builder = new_warc()
    for n in range(5):
        builder.page(f"http://g.example/{n}", os.urandom(3000))
    builder.write(tmp_path / "g.warc.gz")
    fails(config(tmp_path / "g.warc.gz"), tmp_path / "corpus", InputError, "nothing is left of 5 pages", "loosen")


def test_one_file_in_two_sources(new_warc, tmp_path: Path) -> None:
    new_warc().prose(2).write(tmp_path / "a.warc.gz")
    sources = [SourceConfig(name=name, inputs=str(tmp_path / "a.warc.gz")) for name in ("x", "y")]
    fails(CorpusConfig(sources=sources), tmp_path / "corpus", InputError, "'x'", "'y'", "a.warc.gz")


def test_missing_models(new_warc, tmp_path: Path) -> None:
    new_warc().prose(2).write(tmp_path / "a.warc.gz")
    quality = QualityFilterConfig(model=str(tmp_path / "model"))
    fails(
        config(tmp_path / "a.warc.gz", quality=quality), tmp_path / "corpus", ArtifactError, "model", "does not exist"
    )
    language = LanguageConfig(model=str(tmp_path / "lid.bin"))
    fails(
        config(tmp_path / "a.warc.gz", language=language), tmp_path / "corpus", UserError, "lid.bin", "does not exist"
    )
    (tmp_path / "lid.bin").write_bytes(b"no model")
    fails(config(tmp_path / "a.warc.gz", language=language), tmp_path / "corpus", InputError, "lid.bin", "fastText")


def test_a_page_that_breaks_a_step_is_dropped_and_many_stop_the_build(
    new_warc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    new_warc().prose(20).write(tmp_path / "a.warc.gz")
    judge = Extractor.judge

    def broken(self: Extractor, document):
        if document.metadata["url"].endswith("/7"):
            raise RuntimeError("cannot parse this")
        return judge(self, document)

    monkeypatch.setattr(Extractor, "judge", broken)
    fails(
        config(tmp_path / "a.warc.gz"),
        tmp_path / "corpus",
        StageError,
        "1 of 20",
        "'extract'",
        "page/7",
        "cannot parse",
    )
    corpus = build_corpus(config(tmp_path / "a.warc.gz", max_error_share=0.1), tmp_path / "corpus")
    extract = next(row for row in read_funnel(corpus) if row["step"] == "extract")
    assert extract["reasons"] == {"error: RuntimeError": 1}


SCRIPT = """
import sys
from data_pipeline.corpus import CorpusConfig, SourceConfig, build_corpus
if __name__ == "__main__":
    settings = CorpusConfig(sources=[SourceConfig(inputs=sys.argv[1])], workers=int(sys.argv[3]))
    build_corpus(settings, sys.argv[2])
"""


@pytest.fixture
def long_crawl(new_warc, tmp_path: Path) -> Path:
    """Eight files, enough to be killed in the middle of."""
    for n in range(8):
        new_warc().prose(150, start=200 * n).write(tmp_path / f"crawl/{n}.warc.gz", seed=n)
    return tmp_path


def start(folder: Path, out: Path, workers: int) -> subprocess.Popen[bytes]:
    (folder / "build.py").write_text(SCRIPT)
    command = [sys.executable, str(folder / "build.py"), str(folder / "crawl/*.warc.gz"), str(out), str(workers)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE)


def wait_for_files(out: Path, count: int, process: subprocess.Popen[bytes]) -> set[str]:
    folder = work_directory(out) / "scratch" / "datatrove" / "completions"
    for _ in range(1200):
        names = set(os.listdir(folder)) if folder.is_dir() else set()
        if len(names) >= count:
            return names
        assert process.poll() is None, process.stderr.read() if process.stderr else ""
        time.sleep(0.05)
    raise AssertionError("the build made no progress")


def children(pid: int) -> list[int]:
    """Processes whose parent is `pid`."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                stat = Path(f"/proc/{entry}/stat").read_text()
            except OSError:
                continue
            if int(stat.rpartition(")")[2].split()[1]) == pid:
                found.append(int(entry))
    return found


def is_running(pid: int) -> bool:
    """False for ended processes, also when nobody has collected them yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def workers_of(pid: int) -> list[int]:
    """The worker processes, without multiprocessing's resource tracker."""
    return [child for child in children(pid) if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_kill_9_and_restart_gives_the_same_bytes_and_leaves_no_worker(long_crawl: Path) -> None:
    out = long_crawl / "corpus"
    process = start(long_crawl, out, workers=2)
    wait_for_files(out, 2, process)
    workers = workers_of(process.pid)
    assert len(workers) == 2
    process.send_signal(signal.SIGKILL)
    process.wait()
    time.sleep(0.5)
    assert not [pid for pid in workers if is_running(pid)], "workers outlive their parent"
    assert not out.exists()
    done = work_directory(out) / "scratch" / "tasks"
    before = {file.name: file.stat().st_mtime_ns for file in done.glob("[0-9]*")}
    settings = config(long_crawl / "crawl/*.warc.gz")
    finished = set(os.listdir(work_directory(out) / "scratch" / "datatrove" / "completions"))
    resumed = build_with_spy(settings, out, before)
    assert finished and all(name[:5] not in finished for name in resumed), "finished files are not redone"
    fresh = build_corpus(settings, long_crawl / "fresh")
    assert open_artifact(out).digest == open_artifact(fresh).digest


def build_with_spy(settings: CorpusConfig, out: Path, before: dict[str, int]) -> list[str]:
    """Build, and return the names of task files that were written anew."""
    seen: dict[str, int] = {}
    folder = work_directory(out) / "scratch" / "tasks"
    import data_pipeline.corpus.build as build

    original = build.finalise

    def finalise(*arguments):
        seen.update({file.name: file.stat().st_mtime_ns for file in folder.glob("[0-9]*")})
        return original(*arguments)

    build.finalise = finalise
    try:
        build_corpus(settings, out)
    finally:
        build.finalise = original
    return [name for name, time_ns in seen.items() if before.get(name) != time_ns]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_a_killed_worker_ends_the_build_with_one_line(long_crawl: Path) -> None:
    out = long_crawl / "corpus"
    process = start(long_crawl, out, workers=2)
    wait_for_files(out, 1, process)
    os.kill(workers_of(process.pid)[0], signal.SIGKILL)
    _, errors = process.communicate(timeout=60)
    assert process.returncode != 0 and not out.exists()
    assert b"StageError: corpus: a worker process was killed" in errors and b"same command again" in errors
