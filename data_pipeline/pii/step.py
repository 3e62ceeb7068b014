"""The step that replaces personal data and counts it."""

from __future__ import annotations

from collections import Counter

from datatrove.data import Document

from data_pipeline.base import CorpusStep, Drop, DropLog, Measure
from data_pipeline.pii.config import PiiConfig
from data_pipeline.pii.find import KINDS, find_pii


class PiiReplacer(CorpusStep):
    """Replaces personal data in the text and sets the `pii` column to the counts; drops nothing."""

    name = "🕶 Personal data"
    step_name = "pii"

    def __init__(self, config: PiiConfig, log: DropLog | None = None) -> None:
        super().__init__(log)
        self.config = config

    def judge(self, document: Document) -> Drop | None:
        """None."""
        text, counts = replace_pii(document.text, self.config)
        document.metadata["pii"] = counts
        if text != document.text:
            document.text = text
        return None

    def measure(self, document: Document) -> list[Measure]:
        """How many of each kind were replaced."""
        self.judge(document)
        return [Measure(kind, count, None, passed=True) for kind, count in document.metadata["pii"].items()]


def replace_pii(text: str, config: PiiConfig) -> tuple[str, dict[str, int]]:
    """(the text with placeholders, how many of each of `KINDS` were replaced)."""
    counts = dict.fromkeys(KINDS, 0)
    spans = find_pii(text, config)
    if not spans:
        return text, counts
    seen: dict[tuple[str, ...], dict[str, int]] = {}
    parts: list[str] = []
    end = 0
    for span in spans:
        values = seen.setdefault(span.placeholders, {})
        turn = values.setdefault(text[span.start : span.end], len(values))
        parts += [text[end : span.start], span.placeholders[turn % len(span.placeholders)]]
        end = span.end
    counts |= Counter(span.kind for span in spans)
    return "".join(parts) + text[end:], counts
