"""What every corpus step shares: the step contract and the log of dropped documents."""

from data_pipeline.base.drops import STEPS, Drop, DropLog, Measure
from data_pipeline.base.step import CorpusStep

__all__ = ["STEPS", "CorpusStep", "Drop", "DropLog", "Measure"]
