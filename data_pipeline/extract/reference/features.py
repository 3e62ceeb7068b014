"""Features of blocks in plain Python, number by number as html_features.cpp; the groups are named there."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from data_pipeline.extract.reference.page import Block, Node, Page
from data_pipeline.extract.reference.tags import ANCESTORS, FNV, TAG, fnv, name_hash, salted

Weights = dict[int, float]

(TEXT_WORD, SHORT_WORD, HEADING_WORD, OWN_NAME, PARENT_NAME, ANCESTOR_NAME, INLINE_NAME, OWN_TAG, PARENT_TAG,
 ANCESTOR_TAG) = range(1, 11)  # fmt: skip
_BLOCK_WORDS, SHORT = 120, 8
_HEADINGS = range(TAG["H1"], TAG["H6"] + 1)
_SENTENCE = frozenset(".!?。！？؟।…\u037e")
_COMMAS = frozenset(",;，、،；")
_CLOSING = frozenset("\"')\u201d\u2019»」）")
_MONEY = frozenset("$€£¥₹")
_PIPES = frozenset("|»›·/>")
_GROUPS, _SCHEMA = 44, 12


def _is_wide(c: str) -> bool:
    return "\u3040" <= c <= "\u30ff" or "\u3400" <= c <= "\u9fff" or "\uac00" <= c <= "\ud7a3"


def _is_word(c: str) -> bool:
    return c.isalnum() or c == "_"


def _fold(c: str) -> str:
    return c.lower()[0]


def ratio(a: float, b: float) -> float:
    """a / b, and 0 where there is nothing to divide by."""
    return a / b if b > 0 else 0.0


@dataclass
class TextStats:
    """What is measured on the text of a block alone."""

    length: int = 0
    solid: int = 0
    words: float = 0.0
    sentences: int = 0
    commas: int = 0
    digits: int = 0
    uppers: int = 0
    pipes: int = 0
    wides: int = 0
    hash: int = FNV
    flags: list[bool] = field(default_factory=list)
    title_share: float = 0.0
    description_share: float = 0.0


def text_stats(text: str) -> TextStats:
    """Counts over the characters of a block."""
    t = TextStats(length=len(text))
    inside = copyright_ = money = at = False
    for c in text:
        if c.isspace():
            inside = False
            continue
        t.solid += 1
        if _is_word(c):
            t.hash = fnv(t.hash, ord(_fold(c)))
            if _is_wide(c):
                t.wides += 1
                t.length += 2
                t.words += 0.5
                inside = False
            else:
                t.words += not inside
                inside = True
            t.digits += "0" <= c <= "9"
            t.uppers += c.isupper()
            continue
        inside = False
        t.sentences += c in _SENTENCE
        t.commas += c in _COMMAS
        t.pipes += c in _PIPES
        copyright_ = copyright_ or c == "\xa9"
        money = money or c in _MONEY
        at = at or c == "@"
    last = len(text) - 1
    while last > 0 and (text[last] in _CLOSING or text[last].isspace()):
        last -= 1
    t.flags = [
        text[last] in _SENTENCE, text[last] in ":：", text[0].isupper(), text[0].islower(), "0" <= text[0] <= "9",
        copyright_, money, at,
    ]  # fmt: skip
    return t


def hashed_words(text: str, limit: int, same_digits: bool = True) -> list[int]:
    """The first words of a text, hashed; ideographs are words; digits are all alike unless told otherwise."""
    out: list[int] = []
    word = ""
    for c in text:
        if len(out) >= limit:
            break
        if _is_wide(c) or not _is_word(c):
            if word:
                out.append(name_hash(word))
            word = ""
            if _is_wide(c) and len(out) < limit:
                out.append(fnv(FNV, ord(c)))
        else:
            word += "0" if same_digits and "0" <= c <= "9" else _fold(c)
    if word and len(out) < limit:
        out.append(name_hash(word))
    return out


@dataclass
class Analysis:
    """What is known of the blocks before anything is weighed."""

    stats: list[TextStats]
    words: list[list[int]]
    heading: list[int]


def analyse(page: Page) -> Analysis:
    """Measure every block."""
    title, description = set(hashed_words(page.title, 80)), set(hashed_words(page.description, 80))
    a = Analysis([], [], [])
    heading = -1
    for i, block in enumerate(page.blocks):
        stats, words = text_stats(block.text), hashed_words(block.text, _BLOCK_WORDS)
        stats.title_share = ratio(sum(word in title for word in words), len(words))
        stats.description_share = ratio(sum(word in description for word in words), len(words))
        a.stats.append(stats)
        a.words.append(words)
        a.heading.append(heading)
        if page.nodes[block.node].tag in _HEADINGS:
            heading = i
    return a


@dataclass
class _Names:
    own: float = 0.0
    parent: float = 0.0
    ancestors: float = 0.0
    lowest: float = 0.0
    highest: float = 0.0


def _name_scores(page: Page, weights: Weights) -> list[_Names]:
    def weight(hash_: int, salt: int) -> float:
        return weights.get(salted(hash_, salt), 0.0)

    out = [_Names()]
    for node in page.nodes[1:]:
        up, parent = out[node.parent], page.nodes[node.parent]
        own, far = weight(node.tag, OWN_TAG), weight(node.tag, ANCESTOR_TAG)
        for word in node.tokens:
            own += weight(word, OWN_NAME)
            far += weight(word, ANCESTOR_NAME)
        near = weight(parent.tag, PARENT_TAG)
        for word in parent.tokens:
            near += weight(word, PARENT_NAME)
        out.append(_Names(own, near, up.ancestors + far, min(up.lowest, far), max(up.highest, far)))
    return out


class _Sums:
    """Sums over the first i blocks."""

    def __init__(self, page: Page, a: Analysis, word_scores: list[float]) -> None:
        links = [block.link_chars for block in page.blocks]
        self.length = _sums([t.length for t in a.stats])
        self.link = _sums(links)
        self.solid = _sums([t.solid for t in a.stats])
        self.words = _sums([t.words for t in a.stats])
        self.sentences = _sums([t.sentences for t in a.stats])
        self.prose = _sums([max(0.0, t.length - 2 * link) for t, link in zip(a.stats, links)])
        self.word_scores = _sums(word_scores)


def _sums(values: Sequence[float]) -> list[float]:
    out = [0.0]
    for value in values:
        out.append(out[-1] + value)
    return out


def _group_keys(page: Page, block: Block) -> tuple[int, int]:
    node = page.nodes[block.node]
    parent = page.nodes[node.parent].class_hash if node.parent >= 0 else 0
    return node.path_hash, fnv(fnv(node.class_hash, parent), node.tag)


class _PageStats:
    def __init__(self, page: Page, a: Analysis, sums: _Sums) -> None:
        nodes = page.nodes
        self.in_p = self.long_p = self.headings = self.wide = 0
        self.h1 = -1
        self.scores = [0.0] * len(nodes)
        for i, (block, t) in enumerate(zip(page.blocks, a.stats)):
            node = nodes[block.node]
            self.in_p += t.length if node.tag == TAG["P"] else 0
            self.long_p += node.tag == TAG["P"] and t.length >= 80
            self.headings += node.tag in _HEADINGS
            if node.tag == TAG["H1"] and self.h1 < 0:
                self.h1 = i
            self.wide += t.wides
            if t.length < 25:
                continue
            score = (1 + t.commas + min(t.length / 100, 3.0)) * (1 - ratio(block.link_chars, t.solid + 1))
            if node.parent >= 0:
                self.scores[node.parent] += score
                if nodes[node.parent].parent >= 0:
                    self.scores[nodes[node.parent].parent] += score / 2
        self.best, self.best_score, self.core = 0, 0.0, [0, 0, 0]
        for i, node in enumerate(nodes):
            if self.scores[i] > self.best_score:
                self.best, self.best_score = i, self.scores[i]
            held = ratio(sums.prose[node.last] - sums.prose[node.first], sums.prose[-1])
            for k, wanted in enumerate((0.7, 0.5, 0.3)):
                if held >= wanted and node.depth >= nodes[self.core[k]].depth:
                    self.core[k] = i
        tags = [node.tag for node in nodes]
        self.articles, self.main = tags.count(TAG["ARTICLE"]), tags.count(TAG["MAIN"])
        self.items, self.cells = tags.count(TAG["LI"]), tags.count(TAG["TD"])


def _common_depth(nodes: list[Node], a: int, b: int) -> int:
    while a != b:
        if nodes[a].depth >= nodes[b].depth:
            a = nodes[a].parent
        else:
            b = nodes[b].parent
    return nodes[a].depth


def _ancestor(nodes: list[Node], node: int, levels: int) -> int:
    while levels > 0 and nodes[node].parent >= 0:
        node, levels = nodes[node].parent, levels - 1
    return node


class _Groups:
    """Blocks that stand alike in the page."""

    def __init__(self, page: Page, a: Analysis) -> None:
        self.groups: dict[tuple[int, int], list[float]] = defaultdict(lambda: [0.0] * 6)
        self.keys = [_group_keys(page, block) for block in page.blocks]
        for block, t, keys in zip(page.blocks, a.stats, self.keys):
            for which, key in enumerate(keys):
                group = self.groups[which, key]
                for k, value in enumerate((1, t.length, block.link_chars, t.solid, t.sentences)):
                    group[k] += value
                group[5] = max(group[5], t.length)

    def features(self, i: int, whole: float) -> list[float]:
        """Of both groups that block `i` is in."""
        out: list[float] = []
        for which, key in enumerate(self.keys[i]):
            count, length, link, solid, sentences, longest = self.groups[which, key]
            out += [
                count,
                ratio(length, count),
                ratio(link, solid),
                ratio(length, whole),
                longest,
                ratio(sentences, count),
            ]
        return out


class Features:
    """Features of the first look at a page."""

    def __init__(self, page: Page, a: Analysis, weights: Weights) -> None:
        self.page, self.a, self.nodes, self.n = page, a, page.nodes, len(page.blocks)
        self.names = _name_scores(page, weights)
        self.text_score = [0.0] * self.n
        self.heading_score = [0.0] * self.n
        self.inline_score = [0.0] * self.n
        for i, block in enumerate(page.blocks):
            salt = SHORT_WORD if a.stats[i].words <= SHORT else TEXT_WORD
            for word in a.words[i]:
                self.text_score[i] += weights.get(salted(word, salt), 0.0)
                if self.nodes[block.node].tag in _HEADINGS:
                    self.heading_score[i] += weights.get(salted(word, HEADING_WORD), 0.0)
            for word in block.inline:
                self.inline_score[i] += weights.get(salted(word, INLINE_NAME), 0.0)
        self.sums = _Sums(page, a, self.text_score)
        self.whole = _PageStats(page, a, self.sums)
        self.groups = _Groups(page, a)

    def matrix(self) -> NDArray[np.float32]:
        """A row for each block."""
        copies: dict[int, int] = defaultdict(int)
        seen: dict[int, int] = defaultdict(int)
        for t in self.a.stats:
            copies[t.hash] += 1
        ending = self._page_row()
        rows = []
        for i in range(self.n):
            hash_ = self.a.stats[i].hash
            row = self._block_row(i, copies[hash_], seen[hash_])
            seen[hash_] += 1
            rows.append([*row, *self._word_row(i), *self._place_row(i), *self._container_row(i),
                         *self.groups.features(i, self.sums.length[-1]), *self._neighbour_row(i), *ending])  # fmt: skip
        return np.array(rows, dtype=np.float32)

    def _block_row(self, i: int, copies: int, seen: int) -> list[float]:
        block, t = self.page.blocks[i], self.a.stats[i]
        return [
            t.length, t.words, ratio(block.link_chars, t.solid), block.links, ratio(t.sentences, t.words + 1),
            ratio(t.commas, t.words + 1), t.sentences, t.commas, ratio(t.digits, t.solid), ratio(t.uppers, t.solid),
            ratio(t.solid, t.words + 1), ratio(t.pipes, t.words + 1), *t.flags, t.title_share, t.description_share,
            copies, seen, block.pre, block.after_br, block.author,
        ]  # fmt: skip

    def _word_row(self, i: int) -> list[float]:
        page, name, length = self.page, self.names[self.page.blocks[i].node], self.sums.length
        h = self.a.heading[i]
        return [
            self.text_score[i], ratio(self.text_score[i], len(self.a.words[i])), name.own, name.parent, name.ancestors,
            name.lowest, name.highest, self.inline_score[i], 0 if h < 0 else self.heading_score[h],
            -1 if h < 0 else self.nodes[page.blocks[h].node].tag - TAG["H1"], -1 if h < 0 else i - h,
            -1 if h < 0 else length[i] - length[h], self.heading_score[i],
        ]  # fmt: skip

    def _place_row(self, i: int) -> list[float]:
        blocks, length, whole = self.page.blocks, self.sums.length, self.whole
        block = blocks[i]
        node = self.nodes[block.node]
        before = block.tags - blocks[i - 1].tags if i else block.tags
        after = blocks[i + 1].tags - block.tags if i + 1 < self.n else 0
        return [
            node.tag, self.nodes[_ancestor(self.nodes, block.node, 1)].tag, node.depth, node.list_depth,
            *((node.ancestors >> bit) & 1 for bit in range(ANCESTORS)),
            *((node.names >> bit) & 1 for bit in range(_GROUPS)),
            ratio(i, self.n), ratio(length[i], length[-1]), i, self.n - i, -9999 if whole.h1 < 0 else i - whole.h1,
            -9999 if whole.h1 < 0 else length[i] - length[whole.h1], before, after,
        ]  # fmt: skip

    def _container_row(self, i: int) -> list[float]:
        s, whole, own = self.sums, self.whole, self.page.blocks[i].node
        out: list[float] = []
        for level in (0, 1, 2, 3, 5):
            index = _ancestor(self.nodes, own, level)
            up = self.nodes[index]
            first, last = up.first, up.last
            length, count = s.length[last] - s.length[first], last - first
            solid, words = s.solid[last] - s.solid[first], s.words[last] - s.words[first]
            out += [
                ratio(length, s.length[-1]), ratio(s.link[last] - s.link[first], solid), count, ratio(length, count),
                ratio(s.sentences[last] - s.sentences[first], words),
                ratio(s.word_scores[last] - s.word_scores[first], words), ratio(whole.scores[index], whole.best_score),
            ]  # fmt: skip
        best = self.nodes[whole.best]
        out += [best.first <= i < best.last, i - best.first, best.last - i]
        for index in whole.core:
            core = self.nodes[index]
            inside = core.first <= i < core.last
            out += [_common_depth(self.nodes, own, index) if inside else -1, i - core.first, core.last - i, core.depth]
        return out

    def _neighbour_row(self, i: int) -> list[float]:
        s, a, own = self.sums, self.a, self.page.blocks[i].node
        out: list[float] = []
        for offset in (-3, -2, -1, 1, 2, 3):
            j = i + offset
            if not 0 <= j < self.n:
                out += [-1] * 7
                continue
            u, other = a.stats[j], self.page.blocks[j]
            out += [
                u.length, ratio(other.link_chars, u.solid), ratio(u.sentences, u.words + 1),
                ratio(self.text_score[j], len(a.words[j])), self.names[other.node].ancestors,
                self.nodes[other.node].tag,
                _common_depth(self.nodes, own, other.node) - self.nodes[own].depth,
            ]  # fmt: skip
        for radius in (3, 8, 20):
            first, last = max(0, i - radius), min(self.n, i + radius + 1)
            out += [
                s.prose[last] - s.prose[first], ratio(s.link[last] - s.link[first], s.solid[last] - s.solid[first]),
                ratio(s.word_scores[last] - s.word_scores[first], s.words[last] - s.words[first]),
            ]  # fmt: skip
        return out

    def _page_row(self) -> list[float]:
        s, w, page = self.sums, self.whole, self.page
        return [
            self.n, s.length[-1], ratio(s.link[-1], s.solid[-1]), ratio(w.in_p, s.length[-1]), w.long_p, w.headings,
            w.articles, w.main, w.items, w.cells, ratio(w.wide, s.solid[-1]), ratio(s.sentences[-1], s.words[-1]),
            ratio(s.length[-1], self.n), ratio(s.word_scores[-1], s.words[-1]), ratio(s.prose[-1], s.length[-1]),
            page.scripts, page.og_type, *((page.schema >> bit) & 1 for bit in range(_SCHEMA)), page.forms,
            len(page.json_ld),
        ]  # fmt: skip


def context(page: Page, a: Analysis, first: NDArray[np.float32], scores: list[float]) -> NDArray[np.float32]:
    """Features of the second look: those of the first, and the first look's scores of a block's surroundings."""
    n, nodes = len(scores), page.nodes
    lengths = [t.length for t in a.stats]
    mass, plain = _sums(lengths), _sums(scores)
    weighted = _sums([length * score for length, score in zip(lengths, scores)])
    positive = _sums([length if score > 0 else 0 for length, score in zip(lengths, scores)])
    keys = [_group_keys(page, block) for block in page.blocks]
    groups: dict[tuple[int, int], list[float]] = defaultdict(lambda: [0.0, 0.0])
    for pair, score in zip(keys, scores):
        for which, key in enumerate(pair):
            groups[which, key][0] += score
            groups[which, key][1] += 1

    def mean(start: int, end: int) -> float:
        return ratio(weighted[end] - weighted[start], mass[end] - mass[start])

    def plain_mean(start: int, end: int) -> float:
        return ratio(plain[end] - plain[start], end - start)

    rows = []
    for i, block in enumerate(page.blocks):
        row = [scores[i]]
        row += [scores[i + k] if 0 <= i + k < n else -9 for k in (-4, -3, -2, -1, 1, 2, 3, 4)]
        for radius in (2, 5, 12, 30):
            start, end = max(0, i - radius), min(n, i + radius + 1)
            row += [mean(start, end), plain_mean(start, end)]
        row += [mean(0, i), mean(i + 1, n), positive[i], positive[n] - positive[i]]
        for level in (0, 1, 2, 3, 5):
            up = nodes[_ancestor(nodes, block.node, level)]
            held = ratio(positive[up.last] - positive[up.first], mass[up.last] - mass[up.first])
            row += [mean(up.first, up.last), plain_mean(up.first, up.last), held]
        row += [groups[which, key][0] / groups[which, key][1] for which, key in enumerate(keys[i])]
        row += [scores[a.heading[i]] if a.heading[i] >= 0 else -9, max(scores), ratio(positive[n], mass[n]), mean(0, n)]
        rows.append(row)
    return np.hstack([first, np.array(rows, dtype=np.float32)])
