"""Held-out measures of a binary classifier: precision, recall, area under the ROC curve, calibration, threshold."""

from itertools import pairwise
from typing import Any

import numpy as np
from scipy.stats import binomtest, rankdata

BUCKETS = 20
"""Buckets of quality, as in Nemotron-CC (Su et al. 2024, section 3.2): each holds a twentieth of the raw pages."""


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


def bucket_edges(scores: np.ndarray) -> list[float]:
    """The 19 scores that cut raw pages into 20 buckets of equal size."""
    edges: list[float] = np.quantile(scores, np.arange(1, BUCKETS) / BUCKETS).tolist()
    return edges


def bucket_of(score: float, edges: list[float]) -> int:
    """The bucket of a score, 0 (worst) to 19: how many twentieths of the raw pages score less."""
    return int(np.searchsorted(edges, score, side="right"))


def expected_calibration_error(table: list[dict[str, Any]]) -> float:
    """Mean distance between score and share of positives over the examples (Naeini et al. 2015), from a calibration
    table. It says how far scores are probabilities of being a positive example, not of being good."""
    rows = [row for row in table if row["mean_score"] is not None]
    sizes = np.array([row["positives"] + row["negatives"] for row in rows])
    gaps = np.array([abs(row["positive_share"] - row["mean_score"]) for row in rows])
    return float((sizes * gaps).sum() / sizes.sum())


def share_interval(successes: int, trials: int) -> list[float]:
    """Wilson's 95% interval of a share."""
    interval = binomtest(successes, trials).proportion_ci(method="wilson")
    return [float(interval.low), float(interval.high)]


def measure(positive: np.ndarray, negative: np.ndarray, threshold: float) -> dict[str, Any]:
    """Measures of held-out scores at a threshold.

    `kept_negatives` is the share of raw pages that pass: what a filter with this threshold leaves of the crawl.
    `precision` depends on the held-out class sizes and counts good raw pages as mistakes.
    """
    true_positives, false_positives = int((positive >= threshold).sum()), int((negative >= threshold).sum())
    kept = true_positives + false_positives
    table = calibration_table(positive, negative)
    return {
        "heldout_positives": len(positive),
        "heldout_negatives": len(negative),
        "auc": area_under_roc(positive, negative),
        "threshold": threshold,
        "precision": true_positives / kept if kept else None,
        "precision_ci95": share_interval(true_positives, kept) if kept else None,
        "recall": true_positives / len(positive),
        "recall_ci95": share_interval(true_positives, len(positive)),
        "kept_negatives": false_positives / len(negative),
        "calibration": table,
        "calibration_error": expected_calibration_error(table),
    }
