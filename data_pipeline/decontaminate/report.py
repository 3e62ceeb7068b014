"""What was found where: the content of `contamination.json`, for each evaluation set and item, and as a table."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from data_pipeline.decontaminate.config import DecontaminateConfig
from data_pipeline.decontaminate.index import ContaminationIndex
from data_pipeline.decontaminate.judge import Verdict, excerpt

_COMMON_SHOWN = 20
_ITEMS_SHOWN = 3
_WIDTH = 60


class Tally:
    """Counts over documents as they are judged.

    `documents` is int64 [K]: in how many documents each run of the index was found; `common` bool [K].
    """

    def __init__(
        self, config: DecontaminateConfig, index: ContaminationIndex, documents: np.ndarray, common: np.ndarray
    ) -> None:
        self.config, self.index, self.run_documents, self.common = config, index, documents, common
        self.with_runs = self.matched = self.dropped = self.edited = self.removed = 0
        self.set_documents: Counter[int] = Counter()
        self.items: dict[int, dict[str, Any]] = {}
        self.common_texts: dict[int, str] = {}

    def add(self, document_id: str, text: str, verdict: Verdict) -> None:
        """Count one document that holds a run."""
        self.with_runs += 1
        self._remember_common(text)
        if not verdict.matches:
            return
        self.matched += 1
        self.dropped += verdict.drop is not None
        self.edited += verdict.text is not None
        self.removed += verdict.removed
        self.set_documents.update({int(self.index.item_sets[match.item]) for match in verdict.matches})
        for match in verdict.matches:
            row = self.items.setdefault(match.item, {"documents": 0, "largest_share": 0.0, "examples": []})
            row["documents"] += 1
            row["largest_share"] = max(row["largest_share"], round(match.share, 4))
            if len(row["examples"]) < self.config.examples:
                row["examples"].append({"document": document_id, "text": excerpt(text, match)})

    def _remember_common(self, text: str) -> None:
        """Note how some of the common runs read."""
        if len(self.common_texts) >= _COMMON_SHOWN or not self.common.any() or self.config.method == "paragraph":
            return
        places, rows = self.index.finder.find(text)
        _, starts, ends = self.index.finder.words(text)
        for place, row in zip(places.tolist(), rows.tolist(), strict=True):
            if self.common[row] and row not in self.common_texts and len(self.common_texts) < _COMMON_SHOWN:
                last = place + int(self.index.lengths[row]) - 1
                self.common_texts[row] = " ".join(text[int(starts[place]) : int(ends[last])].split())

    def report(self, documents: int) -> dict[str, Any]:
        """The counts over `documents` documents, as JSON."""
        config = self.config
        return {
            "method": config.method,
            "run_words": None if config.method == "paragraph" else config.run_words,
            "min_words": config.least_words,
            "action": config.action,
            "documents": {
                "read": documents,
                "with_runs": self.with_runs,
                "contaminated": self.matched,
                "dropped": self.dropped,
                "edited": self.edited,
                "characters_removed": self.removed,
            },
            "runs": {
                "looked_for": len(self.index.keys),
                "found": int(np.count_nonzero(self.run_documents)),
                "common": int(np.count_nonzero(self.common)),
                "common_examples": [
                    {"text": text, "documents": int(self.run_documents[row])} for row, text in self.common_texts.items()
                ],
            },
            "sets": [self._set_row(number) for number in range(len(config.sets))],
        }

    def _set_row(self, number: int) -> dict[str, Any]:
        index = self.index
        items = np.flatnonzero(index.item_sets == number)
        looked_for = int(np.isin(items, index.text_items).sum())
        found = sorted(
            (item for item in self.items if index.item_sets[item] == number),
            key=lambda item: (-self.items[item]["documents"], -self.items[item]["largest_share"], item),
        )
        return {
            "set": index.set_names[number],
            "items": len(items),
            "too_short": len(items) - looked_for,
            "found": len(found),
            "share": round(len(found) / len(items), 6),
            "documents": self.set_documents[number],
            "items_found": [{"item": index.item_names[item], **self.items[item]} for item in found],
        }


def describe_report(report: dict[str, Any], items: int = _ITEMS_SHOWN) -> str:
    """The report in words and tables, with `items` items of each set."""
    documents, runs = report["documents"], report["runs"]
    size = f"runs of {report['run_words']} words" if report["run_words"] else f"of {report['min_words']} words or more"
    lines = [
        f"method {report['method']}, {size}; action: {report['action']}",
        f"{documents['contaminated']:,} of {documents['read']:,} documents hold evaluation items: "
        f"{documents['dropped']:,} dropped, {documents['edited']:,} edited "
        f"({documents['characters_removed']:,} characters removed)",
        f"{runs['found']:,} of {runs['looked_for']:,} runs were found, {runs['common']:,} of them too common to count",
        "",
        f"{'set':<24} {'items':>8} {'too short':>9} {'found':>8} {'share':>8} {'documents':>9}",
    ]
    for row in report["sets"]:
        lines.append(
            f"{row['set']:<24} {row['items']:>8,} {row['too_short']:>9,} {row['found']:>8,} {row['share']:>8.2%} "
            f"{row['documents']:>9,}"
        )
    for row in report["sets"]:
        for found in row["items_found"][:items]:
            lines += ["", f"{row['set']} item {found['item']}: {found['documents']:,} documents, up to "
                      f"{found['largest_share']:.0%} of its text"]  # fmt: skip
            lines += [f"  {example['document']}: {_short(example['text'])}" for example in found["examples"]]
    if runs["common_examples"]:
        lines += ["", "too common to count:"]
        lines += [
            f"  {_short(row['text'])} ({row['documents']:,} documents)" for row in runs["common_examples"][:items]
        ]
    return "\n".join(lines)


def _short(text: str) -> str:
    return text if len(text) <= _WIDTH else text[: _WIDTH - 1] + "…"
