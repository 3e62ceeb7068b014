"""Shares with intervals, out of verdicts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from data_pipeline.audit.judge import Verdict
from data_pipeline.audit.pages import DROP, KEEP
from data_pipeline.corpus.truth import wilson

CHAIN = "all"


@dataclass(frozen=True)
class Rate:
    """How many pages of one kind a filter or rule drops."""

    filter: str
    """A step, `step.rule`, or `all` for the steps in order."""
    kind: str
    """Page type; `all` for every page."""
    pages: int
    dropped: int
    share: float
    ci95: list[float] | None
    """Wilson's interval."""


def good_rates(verdicts: Sequence[Verdict]) -> list[Rate]:
    """False drops of every filter, alone and in order, and of every rule alone, by page type."""
    kinds = [CHAIN, *sorted({verdict.page.kind for verdict in verdicts})]
    pages = Counter(verdict.page.kind for verdict in verdicts)
    pages[CHAIN] = len(verdicts)
    dropped: Counter[tuple[str, str]] = Counter()
    for verdict in verdicts:
        for name in _dropped_by(verdict):
            dropped[name, verdict.page.kind] += 1
            dropped[name, CHAIN] += 1
    names = dict.fromkeys([CHAIN, *(name for name, _ in sorted(dropped, key=lambda key: (key[0].count("."), key)))])
    return [
        Rate(name, kind, pages[kind], n := dropped[name, kind], n / pages[kind], wilson(n, pages[kind]))
        for name in names
        for kind in kinds
    ]


def truth_rates(verdicts: Sequence[Verdict]) -> list[dict[str, Any]]:
    """Precision and recall of every filter alone and of all in order, on pages that should be dropped or kept; and the
    share dropped of each kind of page."""
    names = dict.fromkeys([CHAIN, *(step for verdict in verdicts for step in verdict.failed)])
    kinds: dict[str, str] = {verdict.page.kind: verdict.page.label for verdict in verdicts}
    rows = []
    for name in names:
        hits = [verdict for verdict in verdicts if name in _dropped_by(verdict)]
        right = sum(verdict.page.label == DROP for verdict in hits)
        wrong = sum(verdict.page.label == KEEP for verdict in hits)
        positive = sum(verdict.page.label == DROP for verdict in verdicts)
        shares = {}
        for kind in sorted(kinds):
            total = sum(verdict.page.kind == kind for verdict in verdicts)
            shares[kind] = sum(verdict.page.kind == kind for verdict in hits) / total
        rows.append(
            {
                "filter": name,
                "precision": right / (right + wrong) if right + wrong else None,
                "precision_ci95": wilson(right, right + wrong),
                "recall": right / positive if positive else None,
                "recall_ci95": wilson(right, positive),
                "dropped_by_kind": shares,
            }
        )
    return rows


def rates_to_json(rates: Iterable[Rate]) -> list[dict[str, Any]]:
    """Rates as plain values."""
    return [asdict(rate) for rate in rates]


def _dropped_by(verdict: Verdict) -> list[str]:
    """Everything that drops the page."""
    rules = [f"{step}.{rule}" for step, failed in verdict.failed.items() for rule in failed]
    return [*([CHAIN] if verdict.chain else []), *verdict.failed, *rules]
