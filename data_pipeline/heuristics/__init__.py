"""Rules of thumb about text quality: Gopher repetition and quality, C4, FineWeb.

Decisions equal datatrove's on the same words; deliberate differences are named in each module. The words come from one
regular expression, evaluated once per document (`tokenise`), where datatrove runs spaCy in each of four filters.
"""

from data_pipeline.heuristics.c4 import C4Config, C4Filter
from data_pipeline.heuristics.fineweb import FineWebConfig, FineWebFilter
from data_pipeline.heuristics.gopher_quality import GopherQualityConfig, GopherQualityFilter
from data_pipeline.heuristics.gopher_repetition import GopherRepetitionConfig, GopherRepetitionFilter

__all__ = [
    "C4Config",
    "C4Filter",
    "FineWebConfig",
    "FineWebFilter",
    "GopherQualityConfig",
    "GopherQualityFilter",
    "GopherRepetitionConfig",
    "GopherRepetitionFilter",
]
