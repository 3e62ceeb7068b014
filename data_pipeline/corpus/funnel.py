"""The funnel: how many documents each step read, dropped and kept, and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

_FINGERPRINT = "minhash_dedup"
_AFTER = ("paragraph_dedup", "substring_dedup", "decontaminate", "mixture")


def funnel_rows(steps: list[str], read: int, reasons: Mapping[str, Counter[str]]) -> list[dict[str, Any]]:
    """One row a step in pipeline order: `step, read, dropped, kept, reasons` (most frequent reason first)."""
    if _FINGERPRINT in reasons and _FINGERPRINT not in steps:
        # fingerprints are taken even where near-duplicates are kept, and taking one can fail on a page
        place = min(steps.index(step) if step in steps else len(steps) for step in _AFTER)
        steps = [*steps[:place], _FINGERPRINT, *steps[place:]]
    unknown = set(reasons) - set(steps)
    assert not unknown, f"documents dropped by steps that are not in the pipeline: {unknown}"
    rows = []
    for step in steps:
        counts = reasons.get(step, Counter())
        kept = read - counts.total()
        ordered = dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))
        rows.append({"step": step, "read": read, "dropped": read - kept, "kept": kept, "reasons": ordered})
        read = kept
    return rows
