"""Rules of thumb about text quality: Gopher repetition and quality, C4, FineWeb, RefinedWeb's cleaning of lines.

Rules and decisions are datatrove's on the same words; limits, and what counts as a word, differ where human-reviewed
pages show that the published ones drop good text (each field says so), and `compat: datatrove` takes them back. Words
come from one native pass per document (`tokenise`), where datatrove runs spaCy in each of four filters. What depends on
the language stands in one table (`languages.yaml`).
"""

from data_pipeline.heuristics.c4 import C4Config, C4Filter
from data_pipeline.heuristics.compat import Compat
from data_pipeline.heuristics.fineweb import FineWebConfig, FineWebFilter
from data_pipeline.heuristics.gopher_quality import GopherQualityConfig, GopherQualityFilter
from data_pipeline.heuristics.gopher_repetition import GopherRepetitionConfig, GopherRepetitionFilter
from data_pipeline.heuristics.refinedweb import RefinedWebConfig, RefinedWebFilter
from data_pipeline.heuristics.steps import HeuristicBlocks, heuristic_steps, spread_compat

__all__ = [
    "C4Config",
    "C4Filter",
    "Compat",
    "FineWebConfig",
    "FineWebFilter",
    "GopherQualityConfig",
    "GopherQualityFilter",
    "GopherRepetitionConfig",
    "GopherRepetitionFilter",
    "HeuristicBlocks",
    "RefinedWebConfig",
    "RefinedWebFilter",
    "heuristic_steps",
    "spread_compat",
]
