"""Which steps a configuration asks for, in order."""

from __future__ import annotations

from pathlib import Path

from datatrove.pipeline.base import PipelineStep

from data_pipeline.base import CorpusStep, DropLog
from data_pipeline.corpus.config import CorpusConfig
from data_pipeline.decontaminate import ContaminationFinder, prepare_index
from data_pipeline.dedup import Fingerprint, fingerprint_fields
from data_pipeline.educational import EducationalFilter
from data_pipeline.extract import Extractor
from data_pipeline.heuristics import heuristic_steps
from data_pipeline.language import LanguageFilter
from data_pipeline.perplexity import PerplexityFilter
from data_pipeline.pii import PiiReplacer
from data_pipeline.read import InputFile, InputReader
from data_pipeline.safety import BadWordsFilter, ToxicityFilter
from data_pipeline.score import QualityFilter
from data_pipeline.url import UrlFilter
from data_pipeline.url.step import prepare_lists
from data_pipeline.write import TaskWriter


def pipeline_steps(config: CorpusConfig, files: list[InputFile], scratch: Path) -> list[PipelineStep]:
    """The pipeline every task runs: from WARC records to the task's files under `scratch/tasks`."""
    log = DropLog()
    reader = InputReader(files, config.read, log)
    steps = document_steps(config, scratch, log)
    writer = TaskWriter(
        scratch / "tasks", reader, steps, log, fingerprint_fields(config.dedup), max_error_share=config.max_error_share
    )
    return [reader, *steps, writer]


def document_steps(config: CorpusConfig, scratch: Path, log: DropLog) -> list[CorpusStep]:
    """Every step that judges documents one at a time; `scratch` holds the prepared URL lists."""
    steps: list[CorpusStep | None] = [
        UrlFilter(config.url, scratch, log) if config.url.enabled else None,
        Extractor(config.extract, log),
        LanguageFilter(config.language, log) if config.language.enabled else None,
        *heuristic_steps(config, log),
        QualityFilter(config.quality, log) if config.quality.model is not None else None,
        PerplexityFilter(config.perplexity, log) if config.perplexity.models else None,
        EducationalFilter(config.educational, log) if config.educational.model is not None else None,
        BadWordsFilter(config.bad_words, log) if config.bad_words.lists else None,
        ToxicityFilter(config.toxicity, log) if config.toxicity.model is not None else None,
        PiiReplacer(config.pii, log) if config.pii.enabled else None,
        ContaminationFinder(config.decontaminate, scratch, log) if config.decontaminate.enabled else None,
        Fingerprint(config.dedup, log),
    ]
    return [step for step in steps if step is not None]


def prepare_steps(config: CorpusConfig, scratch: Path) -> None:
    """Leave in `scratch` what the steps share: lists and indexes that are made once, not by every worker.

    Raises InputError when a list or an evaluation set is missing or damaged.
    """
    if config.url.enabled:
        prepare_lists(config.url, scratch)
    if config.decontaminate.enabled:
        prepare_index(config.decontaminate, scratch)


def active_steps(config: CorpusConfig) -> list[str]:
    """Names of the steps that can drop something, in pipeline order; they are the rows of the funnel."""
    names = ["read", *(step.step_name for step in document_steps(config, Path(), DropLog()))]
    names = [name for name in names if name not in (ContaminationFinder.step_name, Fingerprint.step_name)]  # see below
    dedup = config.dedup
    names += ["url_dedup"] * dedup.url + ["exact_dedup"] * dedup.exact + ["minhash_dedup"] * dedup.near
    names += ["paragraph_dedup"] * dedup.paragraphs.enabled + ["substring_dedup"] * dedup.substrings.enabled
    names += ["decontaminate"] * config.decontaminate.enabled
    return names + ["mixture"] * config.full_mixture.enabled
