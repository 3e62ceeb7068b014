"""What every filter, every rule and the whole chain say about one page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from datatrove.data import Document

from data_pipeline.audit.config import AuditConfig
from data_pipeline.audit.pages import Page
from data_pipeline.base.rules import RuleFilter
from data_pipeline.corpus.config import CorpusConfig
from data_pipeline.heuristics import heuristic_steps
from data_pipeline.language import LanguageFilter
from millbase.config import load_config


@dataclass(frozen=True)
class Verdict:
    """What became of one page."""

    page: Page
    language: str | None
    failed: dict[str, tuple[str, ...]]
    """Step -> its rules that the page fails, each step alone on the original text; only steps that would drop it."""
    chain: str | None
    """The step that drops the page when all run in order, each on what the one before left; None when it is kept."""


def audit_steps(config: AuditConfig) -> list[RuleFilter]:
    """The language step, which keeps every language here, and the heuristics."""
    blocks: Any = config if config.corpus is None else load_config(CorpusConfig, config.corpus)
    steps: list[RuleFilter] = []
    if blocks.language.enabled:
        steps.append(LanguageFilter(blocks.language.model_copy(update={"languages": None})))
    return [*steps, *heuristic_steps(blocks)]


def judge_page(page: Page, steps: list[RuleFilter]) -> Verdict:
    """Judge `page` by each step alone, and by all of them in order."""
    language: str | None = None
    failed: dict[str, tuple[str, ...]] = {}
    for step in steps:
        document = Document(text=page.text, id="", metadata={"language": language})
        rules = tuple(measure.rule for measure in step.measure(document) if not measure.passed)
        if rules:
            failed[step.step_name] = rules
        if step.step_name == LanguageFilter.step_name:
            language = document.metadata["language"]
    chained = Document(text=page.text, id="", metadata={})
    chain = next((step.step_name for step in steps if step.judge(chained) is not None), None)
    return Verdict(page, language, failed, chain)
