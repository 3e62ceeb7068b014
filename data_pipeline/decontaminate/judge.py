"""Which evaluation items a document holds, and what becomes of the document."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from data_pipeline.base import Drop
from data_pipeline.decontaminate.config import DecontaminateConfig
from data_pipeline.decontaminate.index import ContaminationIndex

_EXCERPT = 160
_PIECE_BREAK = "\n\n"


class Match(NamedTuple):
    """One evaluation item found in a document."""

    item: int
    """Index of the item."""
    share: float
    """The largest share of the words of one of its texts that runs shared with the document cover."""
    start: int
    """Where in the document the longest shared stretch begins, in characters."""
    end: int
    """Where it ends."""


@dataclass(frozen=True)
class Verdict:
    """What becomes of one document."""

    matches: list[Match]
    """Items found, those of the largest share first; ties in the order of the index."""
    drop: Drop | None = None
    """Why the document goes; null when it stays."""
    text: str | None = None
    """The text that is left after removal; null when it is unchanged or the document goes."""
    removed: int = 0
    """Characters removed."""


class _Hits(NamedTuple):
    """Runs found in a document."""

    starts: np.ndarray
    """int64 [H] first character."""
    ends: np.ndarray
    """int64 [H] the character after the last."""
    rows: np.ndarray
    """int64 [H] rows of the index."""


class Judge:
    """Applies a configuration to documents; `common` is bool [K], true for runs in too many documents."""

    def __init__(self, config: DecontaminateConfig, index: ContaminationIndex, common: np.ndarray) -> None:
        self.config, self.index, self.common = config, index, common

    def judge(self, text: str) -> Verdict:
        """The items in `text`, and what follows from them."""
        hits = self._hits(text)
        texts = self._contaminated_texts(hits.rows)
        if not texts:
            return Verdict([])
        spans = self._spans(hits, texts)
        matches = self._matches(texts, spans)
        if self.config.action == "drop":
            return Verdict(matches, drop=self._drop(text, matches))
        kept, pieces, removed = remove_spans(text, [span for group in spans.values() for span in group], self.config)
        if not kept or pieces > self.config.max_pieces:
            return Verdict(matches, drop=self._drop(text, matches, pieces))
        return Verdict(matches, text=kept, removed=removed)

    def _hits(self, text: str) -> _Hits:
        finder = self.index.finder
        if self.config.method == "paragraph":
            places, rows = finder.find_lines(text, self.config.least_words)
        else:
            places, rows = finder.find(text)
        _, starts, ends = finder.words(text)
        last = places + self.index.lengths[rows].astype(np.int64) - 1
        return _Hits(np.asarray(starts)[places], np.asarray(ends)[last], rows)

    def _contaminated_texts(self, rows: np.ndarray) -> dict[int, float]:
        """Texts of the index that the runs `rows` give away -> the share of their words that the runs cover."""
        distinct = np.unique(rows)
        live = distinct[~self.common[distinct]]
        everything, counted = self._shares(distinct), self._shares(live)
        if self.config.method == "coverage":
            found = {text for text, share in counted.items() if share >= self.config.min_share}
        else:
            found = set(counted)
        if self.config.sure_share is not None:
            found |= {text for text, share in everything.items() if share >= self.config.sure_share}
        return {text: everything[text] for text in sorted(found)}

    def _shares(self, rows: np.ndarray) -> dict[int, float]:
        """text -> share of its words that occurrences of the runs `rows` cover."""
        index = self.index
        at = index.occurrences(rows)
        lengths = np.repeat(index.lengths[rows], index.offsets[rows + 1] - index.offsets[rows]).astype(np.int64)
        texts, places = index.texts[at].astype(np.int64), index.places[at].astype(np.int64)
        # every covered word as one number; a text has fewer than 2^31 words
        inside = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        words = np.unique((np.repeat(texts, lengths) << 31) + np.repeat(places, lengths) + inside)
        covered, counts = np.unique(words >> 31, return_counts=True)
        shares = counts / index.text_words[covered]
        return dict(zip(covered.tolist(), shares.tolist(), strict=True))

    def _spans(self, hits: _Hits, texts: dict[int, float]) -> dict[int, list[tuple[int, int]]]:
        """text -> stretches of the document, in characters, that it shares; overlapping runs are merged."""
        by_text: dict[int, list[tuple[int, int]]] = {text: [] for text in texts}
        for start, end, row in zip(*(column.tolist() for column in hits), strict=True):
            for text in self.index.texts[self.index.offsets[row] : self.index.offsets[row + 1]].tolist():
                if text in by_text:
                    by_text[text].append((start, end))
        return {text: merge_spans(spans) for text, spans in by_text.items()}

    def _matches(self, texts: dict[int, float], spans: dict[int, list[tuple[int, int]]]) -> list[Match]:
        best: dict[int, Match] = {}
        for text, share in texts.items():
            item = int(self.index.text_items[text])
            start, end = max(spans[text], key=lambda span: (span[1] - span[0], -span[0]))
            if item not in best or share > best[item].share:
                best[item] = Match(item, share, start, end)
        return sorted(best.values(), key=lambda match: (-match.share, match.item))

    def _drop(self, text: str, matches: list[Match], pieces: int | None = None) -> Drop:
        first = matches[0]
        name = self.index.set_names[self.index.item_sets[first.item]]
        more = f" and {len(matches) - 1} more items" if len(matches) > 1 else ""
        detail = f"item {self.index.item_names[first.item]}{more}: {excerpt(text, first)!r}"
        if pieces is not None:
            left = f"{pieces} pieces, more than {self.config.max_pieces}" if pieces else "nothing"
            detail = f"removal would leave {left}; {detail}"
        threshold = self.config.min_share if self.config.method == "coverage" else None
        return Drop(name, round(first.share, 4), threshold, detail)


def excerpt(text: str, match: Match) -> str:
    """The longest stretch of `text` that is shared, on one line, cut where it is long."""
    words = " ".join(text[match.start : match.end].split())
    return words if len(words) <= _EXCERPT else words[: _EXCERPT - 1] + "…"


def merge_spans(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """`spans` in order, overlapping ones joined."""
    merged: list[tuple[int, int]] = []
    for start, end in sorted(spans):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


def remove_spans(text: str, spans: list[tuple[int, int]], config: DecontaminateConfig) -> tuple[str, int, int]:
    """`text` without the spans and their context; (what is left, number of pieces, characters removed).

    Cuts are moved outwards to white space, so that no word is cut. GPT-3 makes a document of each piece; here the
    pieces stay together, a blank line between them. Too short pieces go too, and their characters count as removed.
    """
    context = config.context_characters
    wide = merge_spans([(_left(text, start - context), _right(text, end + context)) for start, end in spans])
    bounds = [0, *(bound for span in wide for bound in span), len(text)]
    pieces = [text[bounds[i] : bounds[i + 1]].strip() for i in range(0, len(bounds), 2)]
    kept = [piece for piece in pieces if piece and len(piece) >= config.min_piece_characters]
    return _PIECE_BREAK.join(kept), len(kept), len(text) - sum(map(len, kept))


def _left(text: str, place: int) -> int:
    while place > 0 and not text[place - 1].isspace():
        place -= 1
    return max(0, place)


def _right(text: str, place: int) -> int:
    while place < len(text) and not text[place].isspace():
        place += 1
    return min(place, len(text))
