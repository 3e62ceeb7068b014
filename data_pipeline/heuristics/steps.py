"""The heuristics that a configuration asks for, in order."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from data_pipeline.base import DropLog
from data_pipeline.base.rules import RuleFilter
from data_pipeline.heuristics.c4 import C4Config, C4Filter
from data_pipeline.heuristics.compat import PUBLISHED
from data_pipeline.heuristics.fineweb import FineWebConfig, FineWebFilter
from data_pipeline.heuristics.gopher_quality import GopherQualityConfig, GopherQualityFilter
from data_pipeline.heuristics.gopher_repetition import GopherRepetitionConfig, GopherRepetitionFilter
from data_pipeline.heuristics.refinedweb import RefinedWebConfig, RefinedWebFilter


class HeuristicBlocks(Protocol):
    """A configuration with a block for each heuristic."""

    @property
    def gopher_repetition(self) -> GopherRepetitionConfig: ...
    @property
    def gopher_quality(self) -> GopherQualityConfig: ...
    @property
    def c4(self) -> C4Config: ...
    @property
    def fineweb(self) -> FineWebConfig: ...
    @property
    def refinedweb(self) -> RefinedWebConfig: ...


def heuristic_steps(config: HeuristicBlocks, log: DropLog | None = None) -> list[RuleFilter]:
    """A step for every block that is enabled.

    C4 comes first, for it takes lines out: the others judge what is kept (of human-reviewed documentation pages they
    drop a tenth otherwise, none so), and words are cut once. With any `compat`, datatrove's order: C4 after Gopher.
    """
    c4: list[RuleFilter] = [C4Filter(config.c4, log)] if config.c4.enabled else []
    gopher: list[RuleFilter] = []
    if config.gopher_repetition.enabled:
        gopher.append(GopherRepetitionFilter(config.gopher_repetition, log))
    if config.gopher_quality.enabled:
        gopher.append(GopherQualityFilter(config.gopher_quality, log))
    compat = any(
        (config.gopher_repetition.compat, config.gopher_quality.compat, config.c4.compat, config.fineweb.compat)
    )
    last: list[RuleFilter] = [FineWebFilter(config.fineweb, log)] if config.fineweb.enabled else []
    if config.refinedweb.enabled:
        last.append(RefinedWebFilter(config.refinedweb, log))
    return [*gopher, *c4, *last] if compat else [*c4, *gopher, *last]


def spread_compat(values: Any) -> Any:
    """Raw values of a configuration with the blocks: its `compat` put into each block that does not set its own."""
    if not isinstance(values, Mapping) or values.get("compat") is None:
        return values
    blocks = {}
    for step in PUBLISHED:
        block = values.get(step, {})
        blocks[step] = {"compat": values["compat"], **block} if isinstance(block, Mapping) else block
    return {**values, **blocks}
