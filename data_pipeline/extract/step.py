"""The extraction step."""

from __future__ import annotations

from datatrove.data import Document

from data_pipeline.base import CorpusStep, Drop, DropLog, Measure
from data_pipeline.extract.config import ExtractConfig
from data_pipeline.extract.main_text import extract_page
from data_pipeline.read.charset import decode_html


class Extractor(CorpusStep):
    """Replaces the raw page of a document (`metadata["html"]`) by its main text, title, author and date."""

    name = "⛏ Main text"
    step_name = "extract"

    def __init__(self, config: ExtractConfig, log: DropLog | None = None) -> None:
        super().__init__(log)
        self.config = config

    def judge(self, document: Document) -> Drop | None:
        """Reasons: `html_too_large`, `empty`, `too_short`. Documents that came as text pass as they are."""
        if document.metadata.get("extracted"):
            return None
        data: bytes = document.metadata.pop("html")
        charset = document.metadata.pop("charset", None)
        if len(data) > self.config.max_html_bytes:
            return Drop("html_too_large", float(len(data)), float(self.config.max_html_bytes))
        html, _ = decode_html(data, charset)
        page = extract_page(html, self.config)
        document.text = page.text
        document.metadata |= {"title": page.title, "author": page.author, "published": page.published}
        if len(document.text) < self.config.min_characters:
            reason = "too_short" if document.text else "empty"
            return Drop(reason, float(len(document.text)), float(self.config.min_characters))
        return None

    def measure(self, document: Document) -> list[Measure]:
        """Size of the page and length of its text, whichever fails."""
        if document.metadata.get("extracted"):
            return []
        size, limits = len(document.metadata["html"]), self.config
        drop = self._judge_safely(document)
        measures = [Measure("html_too_large", float(size), float(limits.max_html_bytes), size <= limits.max_html_bytes)]
        if measures[0].passed:
            length = float(len(document.text))
            reason = drop.reason if drop is not None and drop.reason == "empty" else "too_short"
            measures.append(Measure(reason, length, float(limits.min_characters), length >= limits.min_characters))
        if drop is not None and all(measure.passed for measure in measures):  # the step itself failed
            measures.append(Measure(drop.reason, drop.value, drop.threshold, passed=False))
        return measures
