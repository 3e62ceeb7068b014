"""C4's cleaning rules (Raffel et al. 2020, section 2.2), on lines and whole documents."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, Literal, NamedTuple

from datatrove.data import Document
from datatrove.utils.text import TERMINAL_PUNCTUATION
from pydantic import Field, model_validator

from data_pipeline.base import DropLog, Measure
from data_pipeline.base.rules import RuleFilter, at_least, at_most
from data_pipeline.heuristics.compat import Compat, fill_published, sentence_counter
from data_pipeline.heuristics.languages import language_of
from data_pipeline.heuristics.tokenise import count_sentences
from data_pipeline.native import kernels
from data_pipeline.native.characters import line_word_pattern
from millbase.config import Config

_CITATION = re.compile(r"\[\d*]|\[edit]|\[citation needed]")
_END_PUNCTUATION = (".", "?", "!", '"', "'")
_END_ANYWHERE = (*_END_PUNCTUATION, *sorted(TERMINAL_PUNCTUATION), *"”’»)]」』）")
_NOTICE = ("enable", "disabled", "turn on", "activate", "your browser")
_POLICY = ("terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies", "use cookies")


class C4Config(Config):
    """Removes lines that are no prose, and drops documents with too little left or with tell-tale marks."""

    enabled: bool = True
    """Whether to apply these rules."""
    compat: Compat | None = None
    """`datatrove`: datatrove's limits for every field not set, its words and its sentences."""
    remove_citations: bool = True
    """Remove Wikipedia's `[1]`, `[edit]`, `[citation needed]` from lines."""
    require_terminal_punctuation: bool = False
    """Remove lines without a final mark. C4 did; FineWeb found that it loses too much."""
    min_sentences: int | None = Field(default=5, ge=1)
    """Fewest sentences left after removing lines; null for no limit. Not asked of languages that do not mark them."""
    min_words_per_line: int | None = Field(default=3, ge=1)
    """Remove lines of fewer words; null keeps all."""
    max_word_length: int | None = Field(default=1000, ge=1)
    """Remove lines with a longer word; null keeps all."""
    drop_lorem_ipsum: bool = True
    """Drop documents that hold `lorem ipsum`."""
    drop_curly_bracket: bool = False
    """Drop documents that hold `{` anywhere, as C4 did. This loses half of all pages about programming."""
    max_curly_bracket_lines: float | None = Field(default=0.5, ge=0, le=1)
    """Largest share of lines with `{`; null for no limit. Human-reviewed documentation pages reach 0.4."""
    remove_javascript_lines: bool | Literal["notices"] = "notices"
    """Remove lines that mention JavaScript: all of them (C4), or only those that ask to turn it on."""
    remove_policy_lines: bool = True
    """Remove lines about cookies, privacy policies and terms of use."""

    @model_validator(mode="before")
    @classmethod
    def _published(cls, values: Any) -> Any:
        return fill_published("c4", values)


class Cleaned(NamedTuple):
    """What the rules on lines leave of a text."""

    reason: str | None
    """`lorem_ipsum` or `curly_bracket`, whichever rule that is on meets its line first."""
    lines: int
    """Lines kept."""
    lorem_lines: int
    """Of these, with `lorem ipsum`."""
    curly_lines: int
    """Of these, with a curly bracket."""
    sentences: int
    """In the lines kept."""
    text: str | None
    """The lines kept; None where there is a reason."""


class C4Filter(RuleFilter):
    """Same decisions and texts as datatrove's C4QualityFilter on the same sentences, but for scripts without blanks:
    there each letter is a word of its line, for white space does not tell."""

    name = "⛰ C4"
    step_name = "c4"

    def __init__(self, config: C4Config, log: DropLog | None = None) -> None:
        super().__init__(log)
        self.config = config
        self._native: Any = None  # made by the worker that needs it: native objects cannot be pickled
        self._text: str | None = None

    def rules(self, document: Document) -> Iterator[Measure]:
        """`lorem_ipsum` and `curly_bracket` (lines that hold them), `too_few_sentences`, `curly_bracket_lines`."""
        config, cleaned = self.config, self._clean(document)
        self._text = cleaned.text
        marks = {"lorem_ipsum": (config.drop_lorem_ipsum, cleaned.lorem_lines)}
        marks["curly_bracket"] = (config.drop_curly_bracket, cleaned.curly_lines)
        for name in sorted(marks, key=lambda name: name != cleaned.reason):
            if marks[name][0]:
                yield at_most(name, marks[name][1], 0)
        if config.min_sentences and (config.compat or language_of(document).sentence_marks):
            yield at_least("too_few_sentences", cleaned.sentences, config.min_sentences)
        if config.max_curly_bracket_lines is not None:
            share = cleaned.curly_lines / max(cleaned.lines, 1)
            yield at_most("curly_bracket_lines", share, config.max_curly_bracket_lines)

    def finish(self, document: Document) -> None:
        """Rewrite the text from the lines kept."""
        assert self._text is not None, "documents with a reason to be dropped do not get here"
        if self._text != document.text:
            document.text = self._text

    def _clean(self, document: Document) -> Cleaned:
        if self.config.compat:
            return plain_clean(document.text, self.config, sentence_counter(document))
        if kernels is None:
            return plain_clean(document.text, self.config)
        if self._native is None:
            self._native = native_rules(self.config)
        return Cleaned(*kernels.c4_clean(document.text, self._native))


def native_rules(config: C4Config) -> Any:
    """The part of the configuration that concerns lines, for the native `c4_clean`."""
    return kernels.C4Rules(
        remove_citations=config.remove_citations,
        require_terminal_punctuation=config.require_terminal_punctuation,
        drop_lorem_ipsum=config.drop_lorem_ipsum,
        drop_curly_bracket=config.drop_curly_bracket,
        remove_policy_lines=config.remove_policy_lines,
        javascript={False: 0, "notices": 1, True: 2}[config.remove_javascript_lines],
        scripts=config.compat is None,
        min_words_per_line=config.min_words_per_line or 0,
        max_word_length=config.max_word_length or 0,
    )


def plain_clean(text: str, config: C4Config, sentences_in: Callable[[str], int] = count_sentences) -> Cleaned:
    """What the native `c4_clean` does."""
    kept: list[str] = []
    reason: str | None = None
    sentences = lorem_lines = curly_lines = 0
    for line in text.splitlines():
        trimmed = _trim(line.strip(), config)
        if trimmed is None:
            continue
        lowered = trimmed.lower()
        lorem, curly = "lorem ipsum" in lowered, "{" in trimmed
        fatal = lorem and config.drop_lorem_ipsum  # such a line ends the document: no rule removes it before
        if fatal:
            reason = reason or "lorem_ipsum"
        if not fatal and "javascript" in lowered and _is_removed(lowered, config):
            continue
        if curly and config.drop_curly_bracket:
            fatal, reason = True, reason or "curly_bracket"
        if not fatal and config.remove_policy_lines and any(phrase in lowered for phrase in _POLICY):
            continue
        lorem_lines += lorem
        curly_lines += curly
        sentences += sentences_in(trimmed)
        kept.append(trimmed)
    return Cleaned(reason, len(kept), lorem_lines, curly_lines, sentences, None if reason else "\n".join(kept).strip())


def _is_removed(lowered: str, config: C4Config) -> bool:
    """Whether a line that mentions JavaScript goes."""
    asks = config.remove_javascript_lines == "notices" and any(phrase in lowered for phrase in _NOTICE)
    return config.remove_javascript_lines is True or asks


def _trim(line: str, config: C4Config) -> str | None:
    """The line without citations, or None when it is to be removed."""
    if config.compat:
        lengths = [len(word) for word in line.split()]
    else:
        lengths = [1 if single else len(run) for single, run in line_word_pattern().findall(line)]
    if config.max_word_length and any(length > config.max_word_length for length in lengths):
        return None
    if config.remove_citations and "[" in line:
        line = _CITATION.sub("", line)
    ends = _END_PUNCTUATION if config.compat else _END_ANYWHERE
    if config.require_terminal_punctuation and (not line.endswith(ends) or line.endswith("...")):
        return None
    if config.min_words_per_line and len(lengths) < config.min_words_per_line:
        return None
    return line
