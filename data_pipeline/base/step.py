"""The contract of a corpus step: documents in, documents out, and a reason for each document that stays behind."""

from __future__ import annotations

import time
from abc import abstractmethod
from collections import Counter
from collections.abc import Iterable
from typing import ClassVar

from datatrove.data import Document, DocumentsPipeline
from datatrove.pipeline.base import PipelineStep
from datatrove.utils.stats import MetricStats
from datatrove.utils.typeshelper import StatHints

from data_pipeline.base.drops import Drop, DropLog, Measure
from millbase.errors import UserError


class CorpusStep(PipelineStep):
    """A datatrove step that judges documents one at a time.

    A page on which the step itself fails is dropped with the reason `error: <exception type>` and the run goes on;
    the share of such pages is checked after every task (`max_error_share`).
    """

    type = "🔻 - FILTER"
    step_name: ClassVar[str]
    """One of `data_pipeline.base.STEPS`."""

    def __init__(self, log: DropLog | None = None) -> None:
        super().__init__()
        self.log = log if log is not None else DropLog()
        self.seconds = 0.0
        """CPU time spent in this step by this task."""

    @abstractmethod
    def judge(self, document: Document) -> Drop | None:
        """None to pass the document on (its text and metadata may have been changed), or why it is dropped."""

    def measure(self, document: Document) -> list[Measure]:
        """What each rule of this step says about `document`, which is changed as by `judge`; all rules, where `judge`
        stops at the first that fails. Steps without an implementation of their own tell only that one."""
        drop = self._judge_safely(document)
        return [] if drop is None else [Measure(drop.reason, drop.value, drop.threshold, passed=False)]

    def run(self, data: DocumentsPipeline, rank: int = 0, world_size: int = 1) -> DocumentsPipeline:
        """Pass on the documents of `data` that `judge` lets through; log the others."""
        documents: Iterable[Document] = data or ()
        passed = 0
        dropped: Counter[str] = Counter()
        try:
            for document in documents:
                started = time.process_time()
                drop = self._judge_safely(document)
                self.seconds += time.process_time() - started
                if drop is None:
                    passed += 1
                    yield document
                else:
                    dropped[drop.reason] += 1
                    self.log.add(self.step_name, document, drop)
        finally:
            self._count(passed, dropped)

    def _count(self, passed: int, dropped: Counter[str]) -> None:
        """Hand the counts of a task to datatrove's statistics, at once: a call for each document costs as much as a
        cheap step."""
        counts = {StatHints.total: passed + dropped.total(), StatHints.forwarded: passed}
        counts |= {StatHints.dropped: dropped.total()} | {f"dropped_{reason}": n for reason, n in dropped.items()}
        for label, count in counts.items():
            if count:
                self.stats[label] += MetricStats(total=count, n=count, mean=1.0, min=1, max=1)

    def _judge_safely(self, document: Document) -> Drop | None:
        try:
            return self.judge(document)
        except UserError:  # a missing model or list is no property of the page
            raise
        except Exception as error:  # one bad page must not end a crawl of billions
            return Drop(f"error: {type(error).__name__}", detail=str(error)[:300])
