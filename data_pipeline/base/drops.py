"""Why documents were dropped: one `Drop` each, collected per task and written beside the corpus."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from datatrove.data import Document

STEPS = (
    "read",
    "url",
    "extract",
    "language",
    "c4",
    "gopher_repetition",
    "gopher_quality",
    "fineweb",
    "refinedweb",
    "quality",
    "perplexity",
    "educational",
    "bad_words",
    "toxicity",
    "pii",
    "url_dedup",
    "exact_dedup",
    "minhash_dedup",
    "paragraph_dedup",
    "substring_dedup",
    "decontaminate",
    "mixture",
    "filter",
)
"""Names of the pipeline steps, in pipeline order, as they stand in the dropped table and the funnel."""


@dataclass(frozen=True)
class Drop:
    """Why one document was dropped."""

    reason: str
    """Which rule failed, such as `dup_line_frac`; `error: ValueError` when the step itself failed on the page."""
    value: float | None = None
    """What was measured on this document, in the unit of the rule."""
    threshold: float | None = None
    """What the rule allows."""
    detail: str | None = None
    """Anything else worth knowing: the matched word, the document that was kept instead, the error's message."""


@dataclass(frozen=True)
class Measure:
    """What one rule says about one document, for the whole story of a page."""

    rule: str
    """The reason that a document failing this rule is dropped for."""
    value: float | str | None
    """What was measured, in the unit of the rule."""
    threshold: float | str | None
    """What the rule allows."""
    passed: bool
    """Whether the document passes."""


@dataclass
class DropLog:
    """Rows of the dropped table made by one task, in the order in which they were made."""

    rows: list[dict[str, Any]] = field(default_factory=list)

    def add(self, step: str, document: Document, drop: Drop) -> None:
        """Record that `step` dropped `document`."""
        self.rows.append(drop_row(step, document.id, document.metadata, drop))


def drop_row(step: str, document_id: str, where: Mapping[str, Any], drop: Drop) -> dict[str, Any]:
    """One row of the dropped table; `where` holds url, source, warc_file, warc_offset and warc_length."""
    return {
        "id": document_id,
        "url": where["url"],
        "step": step,
        "reason": drop.reason,
        "value": drop.value,
        "threshold": drop.threshold,
        "detail": drop.detail,
        "source": where["source"],
        "warc_file": where["warc_file"],
        "warc_offset": where["warc_offset"],
        "warc_length": where["warc_length"],
        "position": where["position"],
    }
