"""pass@k: the chance that one of k programs passes, from n of which c did (Chen et al. 2021, arXiv:2107.03374)."""

from __future__ import annotations

import math
from collections.abc import Sequence

from evaluation import statistics
from evaluation.statistics import Estimate


def pass_at_k(n: int, c: int, k: int) -> float:
    """1 - C(n - c, k) / C(n, k): unbiased, unlike 1 - (1 - c / n) ** k (section 2.1, equation 1)."""
    if not 0 <= c <= n or not 1 <= k <= n:
        raise ValueError(f"pass@{k} of {n} programs, {c} right: expected 1 <= k <= n and 0 <= c <= n")
    return 1.0 - math.comb(n - c, k) / math.comb(n, k)


def estimate_pass_at_k(counts: Sequence[tuple[int, int]], k: int) -> Estimate:
    """Mean over problems of (n, c) pairs, with an interval over problems: Wilson's for one program each, else t."""
    values = [pass_at_k(n, c, k) for n, c in counts]
    return statistics.share(values) if all(value in (0.0, 1.0) for value in values) else statistics.mean(values)
