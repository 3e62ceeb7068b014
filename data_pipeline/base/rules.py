"""Steps made of rules, each of which measures a document against a limit: the heuristics, and others like them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator

from datatrove.data import Document

from data_pipeline.base.drops import Drop, Measure
from data_pipeline.base.step import CorpusStep


class RuleFilter(CorpusStep):
    """A step made of rules; the first that fails drops the document, and `measure` tells them all."""

    @abstractmethod
    def rules(self, document: Document) -> Iterator[Measure]:
        """What each rule that is switched on measures on `document`, computed as it is asked for."""

    def finish(self, document: Document) -> None:
        """Change a document that passed every rule; by default nothing."""

    def judge(self, document: Document) -> Drop | None:
        """The first rule that fails, by its name."""
        for rule in self.rules(document):
            if not rule.passed:
                assert not isinstance(rule.value, str) and not isinstance(rule.threshold, str), "rules measure numbers"
                return Drop(rule.rule, rule.value, rule.threshold)
        self.finish(document)
        return None

    def measure(self, document: Document) -> list[Measure]:
        """All rules; a document that passes them is changed as `judge` changes it."""
        measures = list(self.rules(document))
        if all(rule.passed for rule in measures):
            self.finish(document)
        return measures


def at_most(rule: str, value: float, limit: float) -> Measure:
    """A rule with an upper limit."""
    return Measure(rule, value, limit, value <= limit)


def at_least(rule: str, value: float, limit: float) -> Measure:
    """A rule with a lower limit."""
    return Measure(rule, value, limit, value >= limit)
