"""RefinedWeb's rules on lines, each by an example."""

from __future__ import annotations

import pytest
from datatrove.data import Document

from data_pipeline.heuristics import RefinedWebConfig, RefinedWebFilter
from data_pipeline.heuristics.refinedweb import clean_line

PROSE = "The river ran through the valley, and the people built a bridge."


@pytest.mark.parametrize(
    ("line", "left"),
    [
        (PROSE, PROSE),
        ("", ""),
        ("BREAKING NEWS FROM the CITY", None),
        ("12.4 / 3 - 2024", None),
        ("3 likes", None),
        ("1.2k views · 14 comments", None),
        ("Menu", None),
        ("Sign in", None),
        ("Sign in to leave a message", "to leave a message"),
        ("The city has a new bridge. Read more...", "The city has a new bridge."),
        ("You have 3 items in your cart today", "You have  today"),
        ("He said that we should read more books about rivers", "He said that we should read more books about rivers"),
        ("石橋を架けました", "石橋を架けました"),
    ],
)
def test_lines(line: str, left: str | None) -> None:
    assert clean_line(line, RefinedWebConfig()) == left


def test_each_rule_can_be_switched_off() -> None:
    off = RefinedWebConfig(
        max_uppercase=None,
        remove_numbers=False,
        remove_counters=False,
        remove_single_words=False,
        edit_short_lines=False,
    )
    for line in ("BREAKING NEWS TODAY", "12 34", "3 likes", "Menu", "Sign in now"):
        assert clean_line(line, off) == line


def test_documents_that_lose_too_much_are_dropped() -> None:
    step = RefinedWebFilter(RefinedWebConfig(enabled=True))
    good = Document(text="\n".join([PROSE] * 8 + ["3 likes", "Menu"]), id="x", metadata={})
    assert step.judge(good) is None and good.text == "\n".join([PROSE] * 8)
    bad = Document(text="\n".join([PROSE] * 4 + ["3 likes", "Menu"]), id="x", metadata={})
    drop = step.judge(bad)
    assert drop is not None and (drop.reason, drop.value, drop.threshold) == ("removed_words", 3 / 51, 0.05)
    kept = RefinedWebFilter(RefinedWebConfig(enabled=True, max_removed_words=None))
    assert kept.judge(bad) is None and bad.text == "\n".join([PROSE] * 4)
