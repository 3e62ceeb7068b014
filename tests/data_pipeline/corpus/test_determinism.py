"""The same bytes for any number of workers, any order of inputs, and after damage to what an earlier run left."""

from __future__ import annotations

import errno
import os
import subprocess
from pathlib import Path

import pytest

from data_pipeline.corpus import CorpusConfig, SourceConfig, build_corpus
from data_pipeline.url.config import UrlConfig
from millbase.artifacts import open_artifact, work_directory
from millbase.errors import InputError, StageError


@pytest.fixture
def crawl(new_warc, tmp_path: Path) -> Path:
    for n in range(5):
        builder = new_warc().prose(8 + n, start=50 * n).prose(3, start=0, host=f"mirror{n}.example")
        builder.write(tmp_path / f"crawl/{n}.warc.gz", seed=n)
    return tmp_path


def config(crawl: Path, order: list[int] | None = None, **changes: object) -> CorpusConfig:
    inputs = [str(crawl / f"crawl/{n}.warc.gz") for n in order or range(5)]
    return CorpusConfig.model_validate({"sources": [SourceConfig(inputs=inputs)], "workers": 1} | changes)


def contents(corpus: Path) -> dict[str, bytes]:
    files = [file for file in corpus.rglob("*") if file.is_file()]
    telemetry = ("manifest.json", "timings.json")
    return {file.relative_to(corpus).as_posix(): file.read_bytes() for file in files if file.name not in telemetry}


def test_one_two_and_four_workers_and_shuffled_inputs(crawl: Path) -> None:
    first = build_corpus(config(crawl), crawl / "one")
    for name, workers, order in (("again", 1, None), ("two", 2, [4, 2, 0, 1, 3]), ("four", 4, [3, 1, 4, 0, 2])):
        other = build_corpus(config(crawl, order, workers=workers), crawl / name)
        assert contents(other) == contents(first), name
        manifests = [open_artifact(path) for path in (first, other)]
        assert manifests[0].digest == manifests[1].digest and manifests[0].config == manifests[1].config


def interrupted(crawl: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A work directory in which every file was read and nothing else done; its `tasks` folder."""
    import data_pipeline.corpus.build as build

    def killed(*_: object) -> None:
        raise StageError("stopped here")

    with monkeypatch.context() as patch:
        patch.setattr(build, "finalise", killed)
        with pytest.raises(StageError, match="stopped here"):
            build_corpus(config(crawl), crawl / "out")
    return work_directory(crawl / "out") / "scratch" / "tasks"


@pytest.mark.parametrize("damage", ["cut", "changed", "gone", "marker"])
def test_damaged_files_of_an_earlier_run_are_made_again(
    crawl: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    reference = build_corpus(config(crawl), crawl / "reference")
    tasks = interrupted(crawl, monkeypatch)
    before = {file.name: file.stat().st_mtime_ns for file in tasks.iterdir()}
    victim = tasks / "00002.kept.arrow"
    if damage == "cut":
        victim.write_bytes(victim.read_bytes()[:-100])
    elif damage == "changed":
        data = bytearray(victim.read_bytes())
        data[len(data) // 2] ^= 1
        victim.write_bytes(data)
    elif damage == "gone":
        victim.unlink()
    else:
        (tasks.parent / "datatrove/completions/00002").write_text("")
    touched: dict[str, int] = {}
    import data_pipeline.corpus.build as build

    finalise = build.finalise

    def spy(*arguments):
        touched.update({file.name: file.stat().st_mtime_ns for file in tasks.iterdir()})
        return finalise(*arguments)

    monkeypatch.setattr(build, "finalise", spy)
    out = build_corpus(config(crawl), crawl / "out")
    assert contents(out) == contents(reference)
    redone = {name[:5] for name, time in touched.items() if before.get(name) != time}
    assert redone == {"00002"}, "only the damaged file is read again"
    assert "2.warc.gz' is read again" in caplog.text


def test_a_full_disk_is_one_line_and_finished_work_is_kept(crawl: Path) -> None:
    disk = crawl / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=900k", "tmpfs", str(disk)], capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"a small file system cannot be mounted here: {mounted.stderr.strip()}")
    try:
        for workers in (1, 2):
            (disk / "ballast").write_bytes(b"x" * 700_000)
            with pytest.raises(StageError, match=r"cannot write.*No space left on device.*free space"):
                build_corpus(config(crawl, workers=workers), disk / "out")
            assert not (disk / "out").exists() and work_directory(disk / "out").exists()
            (disk / "ballast").unlink()
        subprocess.run(["mount", "-o", "remount,size=50m", str(disk)], check=True)
        assert contents(build_corpus(config(crawl), disk / "out")) == contents(
            build_corpus(config(crawl), crawl / "ok")
        )
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_disk_that_fills_up_while_shards_are_written(crawl: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import data_pipeline.corpus.build as build

    finalise = build.finalise

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "data/00000.arrow")

    monkeypatch.setattr(build, "finalise", full)
    with pytest.raises(StageError, match=r"cannot write \(data/00000\.arrow\): No space left.*finished files are kept"):
        build_corpus(config(crawl), crawl / "out")
    done = work_directory(crawl / "out") / "scratch/datatrove/completions"
    assert len(list(done.iterdir())) == 5
    monkeypatch.setattr(build, "finalise", finalise)
    assert contents(build_corpus(config(crawl), crawl / "out")) == contents(build_corpus(config(crawl), crawl / "ok"))


def test_a_block_list_that_vanishes_keeps_finished_work(crawl: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (crawl / "blocked.txt").write_text("mirror1.example\n")
    settings = config(crawl, url=UrlConfig(domain_lists=[str(crawl / "blocked.txt")]))
    (crawl / "blocked.txt").unlink()
    with pytest.raises(Exception, match=r"blocked\.txt' does not exist") as caught:
        build_corpus(settings, crawl / "out")
    assert "\n" not in str(caught.value) and not isinstance(caught.value, OSError)
    assert isinstance(caught.value, InputError) or caught.type.__name__ == "ArtifactError"
    assert not work_directory(crawl / "out").exists()


def test_leftovers_of_killed_writes_do_not_reach_the_corpus(crawl: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tasks = interrupted(crawl, monkeypatch)
    work = work_directory(crawl / "out")
    (work / ".funnel.json.1.abcd.tmp").write_text("{")
    (tasks / ".00000.kept.arrow.1.abcd.tmp").write_text("half")
    (work / "data").mkdir()
    (work / "data" / "00000.arrow").write_text("half")
    out = build_corpus(config(crawl), crawl / "out")
    assert contents(out) == contents(build_corpus(config(crawl), crawl / "ok"))
    assert not [f for f in out.rglob("*") if f.name.endswith(".tmp")]
