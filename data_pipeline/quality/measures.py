"""Held-out measures of a binary classifier: precision, recall, area under the ROC curve, calibration, threshold."""

from itertools import pairwise
from typing import Any

import numpy as np
from scipy.stats import rankdata


def area_under_roc(positive: np.ndarray, negative: np.ndarray) -> float:
    """Probability that a random positive scores above a random negative, ties half (Mann-Whitney U / (n m))."""
    ranks = rankdata(np.concatenate([positive, negative]))[: len(positive)]
    wins = ranks.sum() - len(positive) * (len(positive) + 1) / 2
    return float(wins / (len(positive) * len(negative)))


def threshold_for_share(scores: np.ndarray, share: float) -> float:
    """The highest threshold that keeps (score >= threshold) at least `share` of the scores."""
    descending = np.sort(scores)[::-1]
    kept = min(len(descending), max(1, int(np.ceil(share * len(descending) - 1e-9))))
    return float(descending[kept - 1])


def calibration_table(positive: np.ndarray, negative: np.ndarray, buckets: int = 10) -> list[dict[str, Any]]:
    """For each equal score bucket: how many held-out positives and negatives, their share, and the mean score."""
    table = []
    edges = np.linspace(0.0, 1.0, buckets + 1)
    for index, (low, high) in enumerate(pairwise(edges.tolist())):
        last = index == buckets - 1
        in_bucket = [scores[(scores >= low) & ((scores < high) | last)] for scores in (positive, negative)]
        both = np.concatenate(in_bucket)
        table.append(
            {
                "from": round(low, 3),
                "to": round(high, 3),
                "positives": len(in_bucket[0]),
                "negatives": len(in_bucket[1]),
                "positive_share": len(in_bucket[0]) / len(both) if len(both) else None,
                "mean_score": float(both.mean()) if len(both) else None,
            }
        )
    return table


def measure(positive: np.ndarray, negative: np.ndarray, threshold: float) -> dict[str, Any]:
    """Measures of held-out scores at a threshold.

    `kept_negatives` is the share of raw pages that pass: what a filter with this threshold leaves of the crawl.
    `precision` depends on the held-out class sizes and counts good raw pages as mistakes.
    """
    true_positives, false_positives = int((positive >= threshold).sum()), int((negative >= threshold).sum())
    kept = true_positives + false_positives
    return {
        "heldout_positives": len(positive),
        "heldout_negatives": len(negative),
        "auc": area_under_roc(positive, negative),
        "threshold": threshold,
        "precision": true_positives / kept if kept else None,
        "recall": true_positives / len(positive),
        "kept_negatives": false_positives / len(negative),
        "calibration": calibration_table(positive, negative),
    }
