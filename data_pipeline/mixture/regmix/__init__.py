"""Mixture weights learned from small proxy runs, as RegMix does (Liu et al. 2024, arXiv 2407.01492).

from data_pipeline.mixture.regmix import CandidatesConfig, MixFitConfig, fit_mixture, write_candidates

write_candidates(CandidatesConfig(corpus="runs/corpus", runs=64), "runs/candidates")
# train a small model on each of runs/candidates/runs/*.yaml, and note its losses in losses.csv
fit_mixture(MixFitConfig(table="runs/candidates/candidates.csv", losses="losses.csv"), "runs/mixture")
"""

from data_pipeline.mixture.regmix.candidates import write_candidates
from data_pipeline.mixture.regmix.config import CandidatesConfig, MixFitConfig
from data_pipeline.mixture.regmix.fit import fit_mixture

__all__ = ["CandidatesConfig", "MixFitConfig", "fit_mixture", "write_candidates"]
