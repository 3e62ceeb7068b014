"""Which blocks of a page belong to its gold main text: the labels the model is trained on.

A block of four words or more belongs if three in five of its runs of three words occur in the gold text. Shorter ones
belong if they are a line of it, or two or three words that stand there beside an accepted neighbour. Where a page
holds more copies of a block than the gold text does, those in the company of accepted blocks are taken.

Then the words of the gold text are counted. Long blocks without which the word-F1 of the accepted blocks is higher go:
an article that the page holds once more, whole. Runs of blocks that raise it come in: the cells of a table, which are
too short to be found one by one. The text of the blocks so chosen reaches a word-F1 of .96 to 1.0 with the gold texts.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

_TOKEN = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7a3]|[^\W\u3040-\u30ff\u3400-\u9fff\uac00-\ud7a3]+")
_MIN_RUNS = 0.6
_MAX_PLACES = 60
_COMPARED = 8
_LONG_COPY = 12  # words
_RUN_BLOCKS, _RUN_OVERLAP, _RUN_GAIN = 3, 0.6, 0.003
_MOST_OF_GAP = 0.6


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
        self._balance()
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

    def _balance(self) -> None:
        bag = _Bag(self.words, self.gold)
        kept = np.flatnonzero(self.kept).tolist()
        bag.add(kept)
        for i in sorted(kept, key=lambda i: -len(self.words[i])):
            if len(self.words[i]) >= _LONG_COPY and bag.f1_without(i) > bag.f1():
                bag.remove(i)
                self.kept[i] = False
        edges = [-1, *np.flatnonzero(self.kept).tolist(), len(self.words)]
        gaps = [range(a + 1, b) for a, b in pairwise(edges) if b - a > 1]
        inside = range(1, len(self.words))  # first between accepted blocks, then what stands before and after them all
        for gap in sorted(gaps, key=lambda gap: (gap.start not in inside or gap.stop not in inside, len(gap))):
            for run in self._runs(gap, bag):
                if bag.f1_with(run) > bag.f1() + _RUN_GAIN:
                    bag.add(run)
                    self.kept[run] = True
                    break

    def _runs(self, gap: range, bag: _Bag) -> list[list[int]]:
        """Blocks of a gap between accepted ones whose words the gold text mostly lacks yet: all, then runs of them."""
        runs: list[list[int]] = [[]]
        taken = Counter[str]()
        blocks = [i for i in gap if self.words[i]]
        for i in blocks:
            wanted = bag.lacks(self.words[i], taken)
            if wanted < _RUN_OVERLAP * len(self.words[i]):
                runs.append([])
                continue
            runs[-1].append(i)
            taken.update(self.words[i])
        found = [i for run in runs for i in run]
        whole = [found] if len(found) >= max(2, _MOST_OF_GAP * len(blocks)) else []
        return whole + [run for run in runs if len(run) >= _RUN_BLOCKS]


class _Bag:
    """The words of the accepted blocks against those of the gold text."""

    def __init__(self, words: list[list[str]], gold: list[str]) -> None:
        self.counts = [Counter(block) for block in words]
        self.gold, self.size = Counter(gold), len(gold)
        self.have = Counter[str]()
        self.taken = self.common = 0

    def add(self, blocks: list[int]) -> None:
        self.common, self.taken = self._with(blocks)
        for i in blocks:
            self.have.update(self.counts[i])

    def remove(self, block: int) -> None:
        self.common, self.taken = self._without(block)
        self.have.subtract(self.counts[block])

    def f1(self) -> float:
        return self._f1(self.common, self.taken)

    def f1_with(self, blocks: list[int]) -> float:
        return self._f1(*self._with(blocks))

    def f1_without(self, block: int) -> float:
        return self._f1(*self._without(block))

    def lacks(self, words: list[str], taken: Counter[str]) -> int:
        """How many of `words` the gold text holds beyond the accepted blocks and `taken`."""
        return sum(
            min(count, max(0, self.gold[word] - self.have[word] - taken[word]))
            for word, count in Counter(words).items()
        )

    def _f1(self, common: int, taken: int) -> float:
        return 2 * common / (taken + self.size) if taken + self.size else 0.0

    def _with(self, blocks: list[int]) -> tuple[int, int]:
        more = Counter[str]()
        for i in blocks:
            more.update(self.counts[i])
        gain = sum(min(n, max(0, self.gold[word] - self.have[word])) for word, n in more.items())
        return self.common + gain, self.taken + more.total()

    def _without(self, block: int) -> tuple[int, int]:
        count = self.counts[block]
        loss = sum(n - min(n, max(0, self.have[word] - self.gold[word])) for word, n in count.items())
        return self.common - loss, self.taken - count.total()


def _tokens(text: str) -> list[str]:
    return _TOKEN.findall(unicodedata.normalize("NFC", text).lower())
