"""Slurm and Ray, both for real on one machine: the same corpus as in local processes, and failures that are told."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from data_pipeline.corpus import CorpusConfig, SourceConfig, build_corpus
from data_pipeline.executors import ExecutorConfig
from millbase.artifacts import open_artifact, work_directory
from millbase.errors import InputError, StageError, Submitted

pytestmark = pytest.mark.slow


@pytest.fixture
def crawl(new_warc, tmp_path: Path) -> Path:
    """Three files; jobs import this checkout whatever is installed."""
    for n in range(3):
        new_warc().prose(20 + 5 * n, start=100 * n).write(tmp_path / f"crawl/{n}.warc.gz", seed=n)
    return tmp_path


def config(crawl: Path, **executor: object) -> CorpusConfig:
    sources = [SourceConfig(inputs=str(crawl / "crawl/*.warc.gz"))]
    return CorpusConfig(sources=sources, workers=2, executor=ExecutorConfig.model_validate(executor))


def cut(crawl: Path) -> None:
    file = crawl / "crawl/1.warc.gz"
    file.write_bytes(file.read_bytes()[:-900])


def digest(corpus: Path) -> str:
    return open_artifact(corpus, kind="corpus").digest


def completions(out: Path) -> dict[str, int]:
    folder = work_directory(out) / "scratch/datatrove/completions"
    return {file.name: file.stat().st_mtime_ns for file in folder.glob("*")}


def slurm_config(crawl: Path, partition: str, **more: object) -> CorpusConfig:
    settings: dict[str, object] = {"partition": partition, "poll_seconds": 0.5, "memory_per_cpu_gb": 1}
    return config(crawl, kind="slurm", **settings | more)


def test_slurm_builds_the_same_corpus(crawl: Path, slurm: str) -> None:
    here = build_corpus(config(crawl), crawl / "here")
    settings = slurm_config(crawl, slurm, files_per_job=2, max_array_size=1)
    assert digest(build_corpus(settings, crawl / "there")) == digest(here)
    assert not list(crawl.glob(".there*"))


def test_slurm_tells_the_error_of_a_task_and_keeps_the_finished_ones(crawl: Path, slurm: str) -> None:
    cut(crawl)
    with pytest.raises(InputError, match=r"1\.warc\.gz.*ends early at offset"):
        build_corpus(slurm_config(crawl, slurm), crawl / "out")
    before = completions(crawl / "out")
    assert set(before) == {"00000", "00002"}
    with pytest.raises(InputError, match="ends early"):
        build_corpus(slurm_config(crawl, slurm), crawl / "out")
    assert completions(crawl / "out") == before, "finished tasks are not redone"


def test_slurm_finds_its_jobs_again_and_says_when_they_were_cancelled(crawl: Path, slurm: str) -> None:
    held = slurm_config(crawl, slurm, sbatch={"hold": ""})  # the jobs wait to be released
    failures: list[Exception] = []

    def build() -> None:
        try:
            build_corpus(held, crawl / "out")
        except Exception as error:
            failures.append(error)

    thread = threading.Thread(target=build)
    thread.start()
    for _ in range(200):
        jobs = subprocess.check_output(["squeue", "--noheader", "--format=%A"], text=True).split()
        if jobs:
            break
        time.sleep(0.1)
    subprocess.run(["scancel", *jobs], check=True)
    thread.join(60)
    assert len(failures) == 1 and isinstance(failures[0], StageError)
    assert "3 of 3 tasks did not finish" in str(failures[0]) and "same command again" in str(failures[0])
    settings = slurm_config(crawl, slurm)
    assert digest(build_corpus(settings, crawl / "out")) == digest(build_corpus(config(crawl), crawl / "here"))


def test_slurm_refusals_are_one_line(crawl: Path, slurm: str) -> None:
    with pytest.raises(StageError, match=r"sbatch refused.*executor\.partition=nowhere"):
        build_corpus(slurm_config(crawl, "nowhere"), crawl / "out")


def test_slurm_without_waiting_finishes_in_a_job_of_its_own(crawl: Path, slurm: str) -> None:
    settings = slurm_config(crawl, slurm, wait=False, finish_memory_gb=1)
    with pytest.raises(Submitted, match="submitted 3 tasks as job"):
        build_corpus(settings, crawl / "out")
    for _ in range(240):
        if (crawl / "out" / "manifest.json").is_file():
            break
        time.sleep(0.5)
    assert digest(crawl / "out") == digest(build_corpus(config(crawl), crawl / "here"))


def test_slurm_needs_its_commands(crawl: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(crawl))
    with pytest.raises(StageError, match=r"'sbatch' is not here.*executor\.kind=local"):
        build_corpus(slurm_config(crawl, "main"), crawl / "out")


@pytest.fixture
def ray_config(crawl: Path) -> CorpusConfig:
    pytest.importorskip("ray", reason="the package ray is not installed (pip install 'llmill[ray]')")
    return config(crawl, kind="ray", memory_per_cpu_gb=1, retries=0)


def test_ray_builds_the_same_corpus(crawl: Path, ray_config: CorpusConfig) -> None:
    there = build_corpus(ray_config, crawl / "there")
    assert digest(there) == digest(build_corpus(config(crawl), crawl / "here"))


def test_ray_tells_failures_and_goes_on_with_the_rest(crawl: Path, ray_config: CorpusConfig) -> None:
    whole = (crawl / "crawl/1.warc.gz").read_bytes()
    cut(crawl)
    with pytest.raises(InputError, match=r"1\.warc\.gz.*ends early at offset"):
        build_corpus(ray_config, crawl / "out")
    too_large = ray_config.model_copy(update={"executor": ExecutorConfig(kind="ray", memory_per_cpu_gb=10**6)})
    with pytest.raises(StageError, match=r"no Ray node has 1 CPUs and 1000000 GiB"):
        build_corpus(too_large, crawl / "out")
    (crawl / "crawl/1.warc.gz").write_bytes(whole)
    assert digest(build_corpus(ray_config, crawl / "out")) == digest(build_corpus(config(crawl), crawl / "here"))


def test_ray_notices_a_killed_worker(crawl: Path, ray_config: CorpusConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    import data_pipeline.corpus.build as build

    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers cannot import a test
    steps = build.pipeline_steps

    def deadly(settings: CorpusConfig, *arguments: object) -> list[object]:
        return [kill_rank_1, *steps(settings, *arguments)]

    monkeypatch.setattr(build, "pipeline_steps", deadly)
    with pytest.raises(StageError, match="of 3 tasks did not finish and left no error"):
        build_corpus(ray_config, crawl / "out")
    assert "00001" not in completions(crawl / "out")


def kill_rank_1(data: object, rank: int, world_size: int) -> object:
    """A pipeline step that dies as by the kernel's out-of-memory killer."""
    if rank == 1:
        os.kill(os.getpid(), 9)
    return data
