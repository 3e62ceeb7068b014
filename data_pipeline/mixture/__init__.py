"""Sampling of sources so that their shares of the corpus match given weights."""

from data_pipeline.mixture.sample import SourceShare, mixture_targets, sample_sources

__all__ = ["SourceShare", "mixture_targets", "sample_sources"]
