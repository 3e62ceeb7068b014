"""Gates: requirements on a score or comparison, with what was found."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from evaluation.config import EvaluationConfig, GateConfig
from evaluation.scores import Comparison, Score
from millbase.config import suggest
from millbase.errors import ConfigError


def all_gates(config: EvaluationConfig) -> list[GateConfig]:
    """The configuration's gates, those of its blocks included."""
    gates = []
    if config.bits_per_byte and config.bits_per_byte.maximum_ratio_to_unigram is not None:
        gates.append(
            GateConfig(
                name=f"bits per byte at most {config.bits_per_byte.maximum_ratio_to_unigram:.0%} of a unigram model's",
                comparison="bits_per_byte vs unigram",
                maximum=config.bits_per_byte.maximum_ratio_to_unigram,
                interval_excludes_null=True,
            )
        )
    if config.kl and config.kl.maximum_kl is not None:
        gates.append(
            GateConfig(
                name=f"KL from the reference at most {config.kl.maximum_kl:g} nats",
                score="kl",
                maximum=config.kl.maximum_kl,
            )
        )
    return [*gates, *_behaviour_gates(config), *config.gates]


def _behaviour_gates(config: EvaluationConfig) -> list[GateConfig]:
    """Those of memorisation and of the alignment tax."""
    gates = []
    if config.memorisation and config.memorisation.maximum_extractable is not None:
        most = config.memorisation.maximum_extractable
        name = f"at most {most:.1%} of training passages extractable"
        gates.append(GateConfig(name=name, score="memorisation extractable", maximum=most))
    tax = config.alignment_tax
    if tax and tax.maximum_loss is not None:
        name = f"alignment tax at most {tax.maximum_loss:g}"
        gates.append(GateConfig(name=name, comparison="alignment_tax vs before", minimum=-tax.maximum_loss))
    if tax and tax.maximum_forgetting is not None:
        name = f"bits per byte of the old mix risen by at most {tax.maximum_forgetting:g}"
        gates.append(GateConfig(name=name, comparison="forgetting vs before", maximum=tax.maximum_forgetting))
    return gates


def check_names(gates: Sequence[GateConfig], scores: Sequence[str], comparisons: Sequence[str]) -> None:
    """ConfigError for a gate on something that this run does not measure, with the nearest name that it does."""
    for gate in gates:
        wanted, known = (gate.score, scores) if gate.score is not None else (gate.comparison, comparisons)
        if wanted not in known:
            kind = "score" if gate.score is not None else "comparison"
            hint = suggest(str(wanted), list(known)) or "; this run makes none"
            raise ConfigError(f"gate {gate.name!r}: no {kind} {wanted!r} in this evaluation{hint}")


def apply_gates(
    gates: Sequence[GateConfig], scores: Sequence[Score], comparisons: Sequence[Comparison]
) -> list[dict[str, Any]]:
    """What each gate found, as it stands in scores.json."""
    check_names(gates, [score.name for score in scores], [comparison.name for comparison in comparisons])
    subjects: dict[tuple[str, str], Score | Comparison] = {("score", score.name): score for score in scores}
    subjects |= {("comparison", comparison.name): comparison for comparison in comparisons}
    results = []
    for gate in gates:
        kind, wanted = ("score", gate.score) if gate.score is not None else ("comparison", gate.comparison)
        subject = subjects[kind, str(wanted)]
        results.append(
            {
                "name": gate.name,
                kind: wanted,
                "value": subject.value,
                "ci95": list(subject.ci95),
                "n": subject.n,
                "requirement": requirement(gate, subject),
                "passed": passes(gate, subject),
                "required": gate.required,
            }
        )
    return results


def requirement(gate: GateConfig, subject: Score | Comparison) -> str:
    """The requirement in words, for example `>= 0.3 and interval excludes 0`."""
    parts = []
    if gate.minimum is not None:
        parts.append(f">= {gate.minimum:g}")
    if gate.maximum is not None:
        parts.append(f"<= {gate.maximum:g}")
    if gate.interval_excludes_null and isinstance(subject, Comparison):
        parts.append(f"interval {'above' if subject.higher_is_better else 'below'} {subject.null:g}")
    return " and ".join(parts)


def passes(gate: GateConfig, subject: Score | Comparison) -> bool:
    """Whether the value is within the bounds, and the interval on the better side of the null value where asked."""
    if gate.minimum is not None and subject.value < gate.minimum:
        return False
    if gate.maximum is not None and subject.value > gate.maximum:
        return False
    if gate.interval_excludes_null:
        assert isinstance(subject, Comparison), "the configuration allows interval_excludes_null only on comparisons"
        return subject.verdict == "better"
    return True
