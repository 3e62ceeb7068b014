"""The model that scores blocks and the text of those chosen, in plain Python, as html_model.cpp."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_pipeline.extract.reference.choice import Decision
from data_pipeline.extract.reference.features import Features, analyse, context
from data_pipeline.extract.reference.net import Net
from data_pipeline.extract.reference.page import Block, Page
from data_pipeline.extract.reference.parse import Parser
from data_pipeline.extract.reference.tags import TAG

ForestArrays = tuple[Any, Any, Any, Any, Any, float]


class _Forest:
    def __init__(self, arrays: ForestArrays) -> None:
        self.feature, self.threshold, self.left, self.right, self.roots, self.baseline = arrays

    def scores(self, x: NDArray[np.float32]) -> list[float]:
        """The sum of all trees for each row."""
        rows = np.arange(len(x))
        out = np.full(len(x), self.baseline)
        for root in self.roots:
            at = np.full(len(x), root)
            while True:
                feature = self.feature[at]
                inner = feature >= 0
                if not inner.any():
                    break
                low = x[rows, np.maximum(feature, 0)] <= self.threshold[at]
                at = np.where(inner, np.where(low, self.left[at], self.right[at]), at)
            out += self.threshold[at].astype(np.float64)
        return [float(score) for score in out]


class PythonModel:
    """Takes the arguments of the extension's `HtmlModel` and gives the same results."""

    def __init__(
        self,
        keys: NDArray[np.uint32],
        weights: NDArray[np.float32],
        first: ForestArrays,
        second: ForestArrays,
        net: dict[str, Any],
        net_share: float,
        probabilities: NDArray[np.float32],
        low: float,
        max_tags: int,
        max_blocks: int,
    ) -> None:
        self.weights = dict(zip(keys.tolist(), weights.astype(np.float64).tolist()))
        self.first, self.second = _Forest(first), _Forest(second)
        self.net, self.net_share = Net(net), net_share
        self.decision = Decision(probabilities, low)
        self.max_tags, self.max_blocks = max_tags, max_blocks

    def blocks(self, html: str) -> dict[str, Any]:
        """What the model sees and decides, for tests: texts, features, scores and the choice."""
        page = Parser(html, self.max_tags, self.max_blocks).run()
        a = analyse(page)
        out: dict[str, Any] = {"page": page, "texts": [block.text for block in page.blocks], "keep": [], "scores": []}
        if page.blocks:
            out["near"] = Features(page, a, self.weights).matrix()
            out["far"] = context(page, a, out["near"], self.first.scores(out["near"]))
            out["scores"] = self._scores(out["far"])
            out["keep"] = self.decision.choose(page, a, out["scores"])
        return out

    def _scores(self, far: NDArray[np.float32]) -> list[float]:
        share = self.net_share
        if share <= 0:
            return self.second.scores(far)
        net = self.net.scores(far)
        if share >= 1:
            return net
        return [share * a + (1 - share) * b for a, b in zip(net, self.second.scores(far), strict=True)]

    def extract(self, html: str) -> dict[str, Any]:
        """The main text, and what the page states about itself."""
        found = self.blocks(html)
        return {"text": render(found["page"], found["keep"]), **_stated(found["page"])}

    def facts(self, html: str) -> dict[str, Any]:
        """What the page states about itself, without its text."""
        return _stated(Parser(html, self.max_tags, self.max_blocks).run())


def _stated(page: Page) -> dict[str, Any]:
    return {
        "title": page.title,
        "metas": page.metas,
        "json_ld": page.json_ld,
        "times": page.times,
        "authors": [block.text[:200] for block in page.blocks if block.author][:5],
        "cut": page.cut,
    }


class _Place:
    """The list, table cell and so on that a block stands in; -1 where in none."""

    def __init__(self, page: Page, node: int) -> None:
        self.item = self.list = self.cell = self.row = self.table = self.term = -1
        while node > 0:
            made = page.nodes[node]
            tag = made.tag
            if tag == TAG["LI"] and self.item < 0:
                self.item = node
            if tag in (TAG["DD"], TAG["DT"]) and self.term < 0:
                self.term = made.parent
            if tag in (TAG["UL"], TAG["OL"]):
                self.list = node
            if tag in (TAG["TD"], TAG["TH"]) and self.cell < 0 and self.row < 0:
                self.cell = node
            if tag == TAG["TR"] and self.row < 0:
                self.row = node
            if tag == TAG["TABLE"]:
                self.table = node
                break
            node = made.parent


def _simple(page: Page, cell: int) -> bool:
    return cell >= 0 and page.nodes[cell].last - page.nodes[cell].first == 1


def _cells(page: Page, row: int, first: int, last: int) -> int:
    """Cells of a row among the elements `first` to `last`, without the latter."""
    return sum(node.parent == row and node.tag in (TAG["TD"], TAG["TH"]) for node in page.nodes[first:last])


def _separator(page: Page, block: Block, last: _Place, place: _Place, data: bool) -> str:
    same_row = place.row >= 0 and place.row == last.row and place.cell != last.cell
    if same_row and _simple(page, place.cell) and _simple(page, last.cell):
        skipped = data and _cells(page, place.row, last.cell + 1, place.cell)
        return " |" * (skipped + 1) + " "
    same_list = place.list >= 0 and place.list == last.list and place.table == last.table
    same_terms = place.term >= 0 and place.term == last.term
    rows = place.table >= 0 and place.table == last.table and _simple(page, place.cell)
    return "\n" if block.after_br or same_list or same_terms or rows else "\n\n"


def render(page: Page, keep: list[bool]) -> str:
    """The chosen blocks as text."""
    out: list[str] = []
    last, last_item = _Place(page, 0), -1
    for i, block in enumerate(page.blocks):
        if not keep[i]:
            continue
        place = _Place(page, block.node)
        data = place.table >= 0 and page.nodes[place.table].data_table
        if out:
            out.append(_separator(page, block, last, place, data))
        if data and place.row not in (-1, last.row) and _simple(page, place.cell):
            out.append("| " * _cells(page, place.row, place.row, place.cell))
        if place.item >= 0 and place.item != last_item and page.nodes[place.item].first == i:
            node = page.nodes[place.item]
            out.append("  " * (max(min(node.list_depth, 6), 1) - 1))
            out.append(f"{node.ordinal}. " if node.ordinal >= 0 else "- ")
        last_item = place.item
        out.append(block.text)
        last = place
    return "".join(out)
