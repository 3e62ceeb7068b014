"""Cross-fitting: which classifier may score a page.

The fold of a page follows from its host (of a text without one, from the text), and classifier k learns from the
examples of all other folds. So nothing that a page is scored by has seen the page, or another of its site, and it makes
no difference whether the page served as an example (Chernozhukov et al. 2018 call it cross-fitting).

Classifiers trained on different examples differ in the level and spread of their scores, most of all after little
training. So their logits are brought to the same mean and standard deviation over one set of examples.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from data_pipeline.texts import text_key
from data_pipeline.url.step import host_of
from millbase.seeds import derive_seed


class Example(NamedTuple):
    """One prepared example."""

    line: str
    """As fastText reads it."""
    group: str = ""
    """The site it comes from; empty for none."""
    crawl: bool = False
    """Whether it was sampled from the crawl."""


def group_of(url: str) -> str:
    """The site of a page: its host, lower-cased, without `www.`."""
    return host_of(url.lower()).removeprefix("www.")


def fold_of(line: str, group: str, seed: int, folds: int) -> int:
    """The fold, in [0, folds), of a prepared text; by the group, or where there is none by the text."""
    return text_key(group or line, derive_seed(seed, "fold")) % folds


def split(examples: list[Example], fold: int, seed: int, folds: int) -> tuple[list[Example], list[Example]]:
    """(examples of the other folds, examples of `fold`), both in order."""
    parts: tuple[list[Example], list[Example]] = ([], [])
    for example in examples:
        parts[fold_of(example.line, example.group, seed, folds) == fold].append(example)
    return parts


def hold_out(examples: list[Example], share: float, seed: int) -> tuple[list[Example], list[Example]]:
    """(examples to train on, about `share` of them held out), by hash, so that none changes sides when others come and
    go."""
    seed, bound = derive_seed(seed, "heldout"), int(share * 2**64)
    parts: tuple[list[Example], list[Example]] = ([], [])
    for example in examples:
        parts[text_key(example.line, seed) < bound].append(example)
    return parts


class Alignment(NamedTuple):
    """Mean and standard deviation of a classifier's logits over the common examples, and those all are brought to."""

    mean: float
    spread: float
    common_mean: float
    common_spread: float

    def apply(self, scores: Sequence[float]) -> list[float]:
        """Scores in [0, 1] on the common scale; 0, the score of a text without words, stays."""
        logits = (_logit(scores) - self.mean) / self.spread * self.common_spread + self.common_mean
        aligned = np.where(np.asarray(scores) > 0, 1 / (1 + np.exp(-logits)), 0.0)
        return [float(score) for score in aligned]


def align(scores: Sequence[Sequence[float]]) -> list[Alignment]:
    """The alignment of each classifier, from the scores that each gives to the same examples."""
    logits = [_logit(each) for each in scores]
    means, spreads = [float(each.mean()) for each in logits], [max(float(each.std()), 1e-6) for each in logits]
    common = float(np.mean(means)), float(np.mean(spreads))
    return [Alignment(mean, spread, *common) for mean, spread in zip(means, spreads, strict=True)]


def _logit(scores: Sequence[float]) -> np.ndarray:
    clipped = np.clip(np.asarray(scores, dtype=np.float64), 1e-6, 1 - 1e-6)
    logits: np.ndarray = np.log(clipped / (1 - clipped))
    return logits
