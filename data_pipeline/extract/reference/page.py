"""A page as blocks of text and the elements they stand in; html.hpp explains the fields."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Node:
    """A block-level element."""

    parent: int = -1
    tag: int = 6  # BODY
    depth: int = 0
    ancestors: int = 0
    first: int = 0
    last: int = 0
    tokens: list[int] = field(default_factory=list)
    names: int = 0
    class_hash: int = 0
    path_hash: int = 0
    list_depth: int = 0
    ordinal: int = -1
    author: bool = False
    data_table: bool = False


@dataclass
class Block:
    """A run of text without a block-level boundary."""

    text: str
    node: int
    link_chars: int
    links: int
    inline: list[int]
    after_br: bool
    pre: bool
    author: bool
    tags: int


@dataclass
class Page:
    """What the parser finds."""

    nodes: list[Node] = field(default_factory=lambda: [Node()])
    blocks: list[Block] = field(default_factory=list)
    title: str = ""
    description: str = ""
    metas: list[tuple[str, str]] = field(default_factory=list)
    json_ld: list[str] = field(default_factory=list)
    times: list[str] = field(default_factory=list)
    forms: int = 0
    scripts: int = 0
    schema: int = 0
    og_type: int = 0
    cut: bool = False
