"""MinHash signatures and near-duplicate clusters of documents (Broder 1997; parameters of FineWeb, Penedo et al. 2024).

hasher = MinHasher(MinHashConfig())
signatures = hasher.signatures(texts)      # uint32 [N, permutations]
labels = cluster(signatures, config)       # int64 [N]; near-duplicates share a label, the lowest of their indices
"""

from data_pipeline.minhash.clusters import cluster
from data_pipeline.minhash.config import MinHashConfig
from data_pipeline.minhash.signatures import EMPTY, MinHasher, estimated_jaccard

__all__ = ["EMPTY", "MinHashConfig", "MinHasher", "cluster", "estimated_jaccard"]
