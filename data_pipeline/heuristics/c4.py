"""C4's cleaning rules (Raffel et al. 2020, section 2.2), on lines and whole documents."""

from __future__ import annotations

import re
from typing import Any

from datatrove.data import Document
from pydantic import Field

from data_pipeline.base import CorpusStep, Drop, DropLog
from data_pipeline.heuristics.tokenise import count_sentences
from data_pipeline.native import kernels
from millbase.config import Config

_CITATION = re.compile(r"\[\d*]|\[edit]|\[citation needed]")
_END_PUNCTUATION = (".", "?", "!", '"', "'")
_POLICY = ("terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies", "use cookies")


class C4Config(Config):
    """Removes lines that are no prose, and drops documents with too little left or with tell-tale marks."""

    enabled: bool = True
    """Whether to apply these rules."""
    remove_citations: bool = True
    """Remove Wikipedia's `[1]`, `[edit]`, `[citation needed]` from lines."""
    require_terminal_punctuation: bool = False
    """Remove lines without a final mark. C4 did; FineWeb found that it loses too much."""
    min_sentences: int | None = Field(default=5, ge=1)
    """Fewest sentences left after removing lines; null for no limit."""
    min_words_per_line: int | None = Field(default=3, ge=1)
    """Remove lines of fewer words; null keeps all."""
    max_word_length: int | None = Field(default=1000, ge=1)
    """Remove lines with a longer word; null keeps all."""
    drop_lorem_ipsum: bool = True
    """Drop documents that hold `lorem ipsum`."""
    drop_curly_bracket: bool = True
    """Drop documents that hold `{`. This loses half of all programming pages."""
    remove_javascript_lines: bool = True
    """Remove lines that mention JavaScript."""
    remove_policy_lines: bool = True
    """Remove lines about cookies, privacy policies and terms of use."""


class C4Filter(CorpusStep):
    """Same decisions and texts as datatrove's C4QualityFilter; sentences are counted by regular expression."""

    name = "⛰ C4"
    step_name = "c4"

    def __init__(self, config: C4Config, log: DropLog | None = None) -> None:
        super().__init__(log)
        self.config = config
        self._rules: Any = None  # made by the worker that needs it: native objects cannot be pickled

    def judge(self, document: Document) -> Drop | None:
        """Reasons: `lorem_ipsum`, `curly_bracket`, `too_few_sentences`. Rewrites the text from the lines kept."""
        reason, sentences, text = self._clean(document.text)
        if reason is not None:
            return Drop(reason)
        minimum = self.config.min_sentences
        if minimum and sentences < minimum:
            return Drop("too_few_sentences", sentences, minimum)
        if text != document.text:
            document.text = text
        return None

    def _clean(self, text: str) -> tuple[str | None, int, str]:
        """(reason to drop, sentences in the lines kept, the lines kept)."""
        if kernels is None:
            return plain_clean(text, self.config)
        if self._rules is None:
            self._rules = native_rules(self.config)
        reason, sentences, kept = kernels.c4_clean(text, self._rules)
        return reason, sentences, kept or ""


def native_rules(config: C4Config) -> Any:
    """The part of the configuration that concerns lines, for the native `c4_clean`."""
    return kernels.C4Rules(
        remove_citations=config.remove_citations,
        require_terminal_punctuation=config.require_terminal_punctuation,
        drop_lorem_ipsum=config.drop_lorem_ipsum,
        drop_curly_bracket=config.drop_curly_bracket,
        remove_javascript_lines=config.remove_javascript_lines,
        remove_policy_lines=config.remove_policy_lines,
        min_words_per_line=config.min_words_per_line or 0,
        max_word_length=config.max_word_length or 0,
    )


def plain_clean(text: str, config: C4Config) -> tuple[str | None, int, str]:
    """What the native `c4_clean` does: (reason to drop, sentences in the lines kept, the lines kept)."""
    kept: list[str] = []
    sentences = 0
    for line in text.splitlines():
        trimmed = _trim(line.strip(), config)
        if trimmed is None:
            continue
        lowered = trimmed.lower()
        if config.drop_lorem_ipsum and "lorem ipsum" in lowered:
            return "lorem_ipsum", 0, ""
        if config.remove_javascript_lines and "javascript" in lowered:
            continue
        if config.drop_curly_bracket and "{" in trimmed:
            return "curly_bracket", 0, ""
        if config.remove_policy_lines and any(phrase in lowered for phrase in _POLICY):
            continue
        sentences += count_sentences(trimmed)
        kept.append(trimmed)
    return None, sentences, "\n".join(kept).strip()


def _trim(line: str, config: C4Config) -> str | None:
    """The line without citations, or None when it is to be removed."""
    words = line.split()
    if config.max_word_length and any(len(word) > config.max_word_length for word in words):
        return None
    if config.remove_citations and "[" in line:
        line = _CITATION.sub("", line)
    if config.require_terminal_punctuation and (not line.endswith(_END_PUNCTUATION) or line.endswith("...")):
        return None
    if config.min_words_per_line and len(words) < config.min_words_per_line:
        return None
    return line
