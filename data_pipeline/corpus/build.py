"""Building a corpus: every WARC file through the pipeline, then duplicates and mixture over all, then the shards.

Each WARC file is one task. A killed build goes on with the files that were not finished; the result is the same bytes
for any number of workers and of interruptions.
"""

from __future__ import annotations

import shutil
import time
from pathlib import Path

from data_pipeline.corpus.config import CorpusConfig
from data_pipeline.corpus.executor import SafeLocalExecutor
from data_pipeline.corpus.finalise import finalise
from data_pipeline.corpus.inputs import file_sizes, find_files, manifest_inputs
from data_pipeline.corpus.stages import active_steps, pipeline_steps
from data_pipeline.corpus.truth import write_precision_recall
from data_pipeline.read import WarcSource
from data_pipeline.score import load_quality_model
from data_pipeline.url.step import prepare_lists
from millbase.artifacts import create_artifact
from millbase.log import get_logger

logger = get_logger(__name__)


def build_corpus(config: CorpusConfig, out: str | Path) -> Path:
    """Write the `corpus` artifact at `out` and return its path.

    Raises InputError for missing, empty, damaged or foreign input files, ArtifactError for a bad quality model, and
    StageError when a worker dies or too many pages fail.
    """
    files, root = find_files(config)
    if config.quality.model is not None:
        load_quality_model(config.quality.model)  # a bad model is told now, not by every worker
    # The number of workers does not change the result, so it is no part of the record: a build can go on with another.
    recorded = config.model_copy(update={"workers": 0})
    inputs = manifest_inputs(config, files)
    with create_artifact(out, kind="corpus", config=recorded, inputs=inputs, seed=config.seed) as artifact:
        artifact.stats["warc_root"] = root
        _run_tasks(config, files, artifact.scratch)
        for folder in ("data", "dropped"):
            shutil.rmtree(artifact.path / folder, ignore_errors=True)  # half-written by a killed run
        started = time.perf_counter()
        stats = finalise(config, len(files), active_steps(config), artifact.path)
        artifact.stats.update(stats)
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


def _run_tasks(config: CorpusConfig, files: list[WarcSource], scratch: Path) -> None:
    (scratch / "tasks").mkdir(exist_ok=True)
    if config.url.enabled:
        prepare_lists(config.url, scratch)
    steps = pipeline_steps(config, files, scratch)
    executor = SafeLocalExecutor(steps, file_sizes(files), config.workers, scratch / "datatrove", title="corpus")
    executor.run()
