"""Worked examples before a question, of which the question itself can never be one.

lm-eval 0.4.13 takes the scored document out of its own examples only when `fewshot_split` is literally `test_split`:
a task scored on its validation split, or one whose training file repeats a test question, shows the answer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from lm_eval.api.task import ConfigurableTask

from millbase.errors import ConfigError

Document = dict[str, Any]


class LeakGuard:
    """Stands before a task's sampler and replaces examples that are the scored document or ask the same question."""

    def __init__(self, task: ConfigurableTask, replaced: Callable[[], None]) -> None:
        self.task = task
        self.inner = task.sampler
        self.scored: Document | None = None
        self._replaced = replaced

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def sample(self, n: int, eval_doc: Document | None = None, **options: Any) -> Sequence[Document]:
        """`n` examples; ConfigError when the split has too few that are not the scored document."""
        pool = list(self.inner.df)
        if len(pool) < n:
            raise ConfigError(
                f"task {self.task.config.task!r}: num_fewshot {n}, but split {self.task.fewshot_cfg.split!r} holds "
                f"only {len(pool)} documents; lower num_fewshot"
            )
        # lm-eval draws one more than it needs when it knows the document: that fails where there are exactly n
        known = eval_doc if len(pool) > n else None
        drawn = list(self.inner.sample(n, eval_doc=known, **options))
        kept = [example for example in drawn if not self._same(example)]
        if len(kept) == n:
            return kept
        self._replaced()
        spare = (example for example in pool if not self._same(example) and example not in kept)
        kept += [example for _, example in zip(range(n - len(kept)), spare, strict=False)]
        if len(kept) < n:
            raise ConfigError(
                f"task {self.task.config.task!r}: num_fewshot {n} needs as many documents besides the scored one in "
                f"split {self.task.fewshot_cfg.split!r}, which has {len(kept)}; lower num_fewshot"
            )
        return kept

    def _same(self, example: Document) -> bool:
        if self.scored is None:
            return False
        if example == self.scored:
            return True
        try:
            asked, shown = self.task.doc_to_text(self.scored), self.task.doc_to_text(example)
        except KeyError:  # examples written out in the task file may have other fields
            return False
        # an empty or numeric prompt (BLiMP, WinoGrande) says nothing about the question
        return isinstance(asked, str) and bool(asked.strip()) and shown == asked


def guard(task: ConfigurableTask, replaced: Callable[[], None] = lambda: None) -> None:
    """Make sure, in place, that no document of the task stands among its own examples.

    `replaced` is called whenever an example had to give way.
    """
    if not hasattr(task, "sampler") or isinstance(task.sampler, LeakGuard):
        return
    watch = LeakGuard(task, replaced)
    task.sampler = watch
    build = task.fewshot_context

    def fewshot_context(doc: Document, *args: Any, **kwargs: Any) -> Any:
        watch.scored = doc
        try:
            return build(doc, *args, **kwargs)
        finally:
            watch.scored = None

    task.fewshot_context = fewshot_context
