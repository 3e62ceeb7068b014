"""Which steps a configuration asks for, in order."""

from __future__ import annotations

from pathlib import Path

from datatrove.pipeline.base import PipelineStep

from data_pipeline.base import CorpusStep, DropLog
from data_pipeline.corpus.config import CorpusConfig
from data_pipeline.decontaminate import ContaminationFinder
from data_pipeline.dedup import Fingerprint
from data_pipeline.extract import Extractor
from data_pipeline.heuristics import C4Filter, FineWebFilter, GopherQualityFilter, GopherRepetitionFilter
from data_pipeline.language import LanguageFilter
from data_pipeline.read import WarcReader, WarcSource
from data_pipeline.score import QualityFilter
from data_pipeline.url import UrlFilter
from data_pipeline.write import TaskWriter


def pipeline_steps(config: CorpusConfig, files: list[WarcSource], scratch: Path) -> list[PipelineStep]:
    """The pipeline every task runs: from WARC records to the task's files under `scratch/tasks`."""
    log = DropLog()
    reader = WarcReader(files, config.read, log)
    steps = document_steps(config, scratch, log)
    writer = TaskWriter(
        scratch / "tasks", reader, steps, log, signature_size(config), max_error_share=config.max_error_share
    )
    return [reader, *steps, writer]


def document_steps(config: CorpusConfig, scratch: Path, log: DropLog) -> list[CorpusStep]:
    """Every step that judges documents one at a time; `scratch` holds the prepared URL lists."""
    steps: list[CorpusStep | None] = [
        UrlFilter(config.url, scratch, log) if config.url.enabled else None,
        Extractor(config.extract, log),
        LanguageFilter(config.language, log) if config.language.enabled else None,
        GopherRepetitionFilter(config.gopher_repetition, log) if config.gopher_repetition.enabled else None,
        GopherQualityFilter(config.gopher_quality, log) if config.gopher_quality.enabled else None,
        C4Filter(config.c4, log) if config.c4.enabled else None,
        FineWebFilter(config.fineweb, log) if config.fineweb.enabled else None,
        QualityFilter(config.quality, log) if config.quality.model is not None else None,
        ContaminationFinder(config.decontaminate, scratch, log) if config.decontaminate.enabled else None,
        Fingerprint(config.dedup, log),
    ]
    return [step for step in steps if step is not None]


def active_steps(config: CorpusConfig) -> list[str]:
    """Names of the steps that can drop something, in pipeline order; they are the rows of the funnel."""
    names = ["read", *(step.step_name for step in document_steps(config, Path(), DropLog()))]
    names = [name for name in names if name not in (ContaminationFinder.step_name, Fingerprint.step_name)]  # see below
    names += ["exact_dedup"] * config.dedup.exact + ["minhash_dedup"] * config.dedup.near
    names += ["decontaminate"] * config.decontaminate.enabled
    return names + ["mixture"] * config.full_mixture.enabled


def signature_size(config: CorpusConfig) -> int | None:
    """Entries of a MinHash signature; None without near-duplicate removal."""
    return config.dedup.minhash.permutations if config.dedup.near else None
