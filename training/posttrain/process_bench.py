"""How well a process reward model finds errors: accuracy of single steps, and of the first error as ProcessBench has
it."""

from __future__ import annotations

from collections.abc import Sequence

from training.posttrain.stepwise import first_error


def predicted_error(probabilities: Sequence[float], threshold: float) -> int:
    """Index of the first step whose probability of being right is below `threshold`; -1 when there is none."""
    return next((place for place, value in enumerate(probabilities) if value < threshold), -1)


def process_bench(
    probabilities: Sequence[Sequence[float]], labels: Sequence[Sequence[bool | None]], threshold: float
) -> dict[str, float | int]:
    """Figures over solutions, `probabilities` one a step, None labels for steps that nobody judged.

    `step_accuracy` is over judged steps, `step_accuracy_wrong` over the wrong ones among them. `error_accuracy` is the
    share of wrong solutions whose first error is found exactly, `correct_accuracy` that of right solutions in which
    none is found, `f1` their harmonic mean (Zheng et al. 2024, ProcessBench, section 4.1). A figure without a case is
    absent.
    """
    judged = [
        (value >= threshold, label)
        for row, wanted in zip(probabilities, labels, strict=True)
        for value, label in zip(row, wanted, strict=True)
        if label is not None
    ]
    wrong = [not predicted for predicted, label in judged if not label]
    right: dict[bool, list[bool]] = {True: [], False: []}
    for row, wanted in zip(probabilities, labels, strict=True):
        expected = first_error(wanted)
        if expected is not None:
            right[expected < 0].append(predicted_error(row, threshold) == expected)
    figures: dict[str, float | int] = {"steps": len(judged), "solutions": len(right[True]) + len(right[False])}
    for name, cases in (
        ("step_accuracy", [predicted == label for predicted, label in judged]),
        ("step_accuracy_wrong", wrong),
        ("correct_accuracy", right[True]),
        ("error_accuracy", right[False]),
    ):
        if cases:
            figures[name] = sum(cases) / len(cases)
    if right[True] and right[False]:
        parts = figures["correct_accuracy"], figures["error_accuracy"]
        figures["f1"] = 2 * parts[0] * parts[1] / sum(parts) if sum(parts) else 0.0
    return figures
