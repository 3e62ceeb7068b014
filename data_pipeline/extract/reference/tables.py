"""Tables of data, told from those that only lay out a page, as html_tables.cpp."""

from __future__ import annotations

from data_pipeline.extract.reference.page import Page
from data_pipeline.extract.reference.tags import TAG

_ROWS, _COLUMNS, _CELL_LENGTH = 3, 2, 400
_TABLE, _ROW, _CAPTION, _CELLS = TAG["TABLE"], TAG["TR"], TAG["CAPTION"], (TAG["TD"], TAG["TH"])


def mark_data_tables(page: Page) -> None:
    """Mark tables of rows and columns of short texts, one a cell, with no table inside and half of them filled."""
    nodes = page.nodes
    around = [-1] * len(nodes)  # the table that each element lies in, or is
    rows, cells, captions = ([0] * len(nodes) for _ in range(3))
    nested = [False] * len(nodes)
    for i, node in enumerate(nodes):
        outer = around[node.parent] if node.parent >= 0 else -1
        around[i] = i if node.tag == _TABLE else outer
        if outer >= 0:
            nested[outer] |= node.tag == _TABLE
            rows[outer] += node.tag == _ROW
            cells[outer] += node.tag in _CELLS
            captions[outer] += node.tag == _CAPTION
    for i, node in enumerate(nodes):
        if node.tag == _TABLE and not nested[i] and rows[i] >= _ROWS and cells[i] >= _COLUMNS * rows[i]:
            inside = page.blocks[node.first : node.last]
            filled = cells[i] <= 2 * len(inside) and len(inside) <= cells[i] + captions[i]
            node.data_table = filled and all(len(block.text) <= _CELL_LENGTH for block in inside)
