"""Evaluation items out of the corpus: documents that hold them are found by shared runs of words, and go, in whole or
part.

from data_pipeline.decontaminate import DecontaminateCorpusConfig, decontaminate_corpus

sets = [{"name": "gsm8k", "path": "evals/gsm8k/test.jsonl.gz", "fields": ["question"]}]
decontaminate_corpus(DecontaminateCorpusConfig(corpus="runs/corpus", sets=sets), "runs/clean")
"""

from data_pipeline.decontaminate.config import DecontaminateConfig, EvaluationSet
from data_pipeline.decontaminate.corpus import (
    DecontaminateCorpusConfig,
    decontaminate_corpus,
    measure_contamination,
)
from data_pipeline.decontaminate.decide import Edit, Outcome, decide
from data_pipeline.decontaminate.step import ContaminationFinder, load_index, prepare_index

__all__ = [
    "ContaminationFinder",
    "DecontaminateConfig",
    "DecontaminateCorpusConfig",
    "Edit",
    "EvaluationSet",
    "Outcome",
    "decide",
    "decontaminate_corpus",
    "load_index",
    "measure_contamination",
    "prepare_index",
]
