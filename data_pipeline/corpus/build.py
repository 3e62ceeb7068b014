"""Building a corpus: every WARC file through the pipeline, then duplicates and mixture over all, then the shards.

Each WARC file is one task. A killed build goes on with the files that were not finished; the result is the same bytes
for any number of workers and of interruptions.
"""

from __future__ import annotations

import shutil
import sys
import time
from pathlib import Path

from data_pipeline.corpus.config import CorpusConfig
from data_pipeline.corpus.finalise import finalise
from data_pipeline.corpus.inputs import file_sizes, find_files, manifest_inputs, sorted_inputs
from data_pipeline.corpus.stages import active_steps, pipeline_steps, prepare_steps
from data_pipeline.corpus.timings import add_timings, measured
from data_pipeline.corpus.truth import write_precision_recall
from data_pipeline.dedup.index import open_indexes, recorded_dedup
from data_pipeline.executors import ExecutorConfig, run_tasks
from data_pipeline.executors.tasks import Tasks, disk_errors
from data_pipeline.fetch import FetchConfig
from data_pipeline.read import InputFile
from data_pipeline.score import load_quality_model
from millbase.artifacts import OpenArtifact, create_artifact
from millbase.atomic import write_json
from millbase.log import get_logger

logger = get_logger(__name__)


def build_corpus(config: CorpusConfig, out: str | Path) -> Path:
    """Write the `corpus` artifact at `out` and return its path.

    Raises InputError for missing, empty, damaged or foreign input files, ArtifactError for a bad quality model or
    index, StageError when a worker dies, the disk is full or too many pages fail, and Submitted when a cluster goes on.
    """
    files, root = find_files(config)
    if config.quality.model is not None:
        load_quality_model(config.quality.model)  # a bad model is told now, not by every worker
    open_indexes(config.dedup)
    # What does not change the result is no part of the record: a build can go on with other workers, or elsewhere.
    sources = [source.model_copy(update={"inputs": sorted_inputs(source.inputs)}) for source in config.sources]
    elsewhere = {"workers": 0, "executor": ExecutorConfig(), "sources": sources, "dedup": recorded_dedup(config.dedup)}
    recorded = config.model_copy(update={**elsewhere, "read": config.read.model_copy(update={"fetch": FetchConfig()})})
    inputs = manifest_inputs(config, files)
    with create_artifact(out, kind="corpus", config=recorded, inputs=inputs, seed=config.seed) as artifact:
        artifact.stats["warc_root"] = root
        _run_tasks(config, files, artifact, out)
        for folder in ("data", "dropped"):
            shutil.rmtree(artifact.path / folder, ignore_errors=True)  # half-written by a killed run
        started = time.perf_counter()
        with disk_errors("corpus"):
            import scipy.sparse.csgraph  # noqa: F401  # start-up, not work that grows with the documents

            with measured() as usage:
                stats = finalise(config, len(files), active_steps(config), artifact.path)
            artifact.stats.update(stats)
            add_timings(artifact.path, files, usage)
            if config.truth is not None:
                write_precision_recall(artifact.path, config.truth)
        logger.info(
            "corpus: kept %d of %d pages (%.1f MB of text); duplicates, mixture and shards took %.1f s",
            stats["documents"],
            stats["read"],
            stats["text_bytes"] / 1e6,
            time.perf_counter() - started,
        )
    return Path(out)


def _run_tasks(config: CorpusConfig, files: list[InputFile], artifact: OpenArtifact, out: str | Path) -> None:
    scratch = artifact.scratch.absolute()  # workers on a cluster may start in another folder
    (scratch / "tasks").mkdir(exist_ok=True)
    with disk_errors("corpus"):
        prepare_steps(config, scratch)
        write_json(scratch / "config.json", config.model_dump(mode="json"))
    names = [file.path for file in files]
    run_tasks(
        pipeline_steps(config, files, scratch),
        Tasks(names, file_sizes(files, config.read.fetch), outputs=scratch / "tasks", logs=scratch / "datatrove"),
        config.executor,
        workers=config.workers,
        title="corpus",
        finish=[sys.executable, "-m", "data_pipeline.corpus.finish", str(scratch / "config.json"), str(out)],
        resumed=artifact.resumed,
    )
