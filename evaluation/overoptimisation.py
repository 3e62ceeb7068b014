"""Has a policy gone beyond what the reward model it was trained against knows?

Every checkpoint of a run answers the same prompts with the same random streams; each answer gets the learned reward,
and the true one (a rule, or a reward model that was not trained against). Where the learned reward still rises and the
true one falls, the policy exploits the reward model (Gao, Schulman & Hilton 2022, arXiv:2210.10760).

The last checkpoint is held against the best by true reward, prompt by prompt. The best of several looks better than it
is, so it is chosen on one half of the prompts and measured on the other, both ways round.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from evaluation import statistics
from evaluation.config import EvaluationConfig
from evaluation.generate import Completion, Sampling
from evaluation.judges import Judge
from evaluation.judges.reward import RewardModelJudge
from evaluation.judges.rule import RuleJudge
from evaluation.kl import sequence_kl
from evaluation.records import Prompt, read_prompts
from evaluation.responses import Responses
from evaluation.scores import BlockResult, Comparison, Item, make_comparison, make_score
from millbase.errors import InputError

if TYPE_CHECKING:
    from training.load import LoadedModel

NAME = "overoptimisation"
Table = NDArray[np.float64]
"""`[checkpoints, prompts]`."""


class Load(Protocol):
    """Opens a checkpoint."""

    def __call__(self, path: str, /) -> LoadedModel: ...


def run_overoptimisation(
    load: Load, reference: LoadedModel | None, config: EvaluationConfig, responses: Responses
) -> BlockResult:
    """Answer with every checkpoint, judge twice, compare. InputError for fewer than four prompts."""
    block = config.overoptimisation
    assert block is not None, "the configuration asks for this block"
    judges = _judges(config)
    prompts = read_prompts(
        block.prompts,
        limit=block.limit,
        maximum_bad_share=config.maximum_bad_share,
        need_answer=judges["true"].needs_answer,
    )
    if len(prompts.rows) < 4:
        raise InputError(f"{block.prompts!r}: over-optimisation needs at least 4 prompts, found {len(prompts.rows)}")
    paths = [*block.checkpoints, config.model]
    labels = checkpoint_labels(paths)
    rows: dict[str, list[list[float]]] = {"learned": [], "true": [], "kl": []}
    texts: list[list[str]] = []
    for path in paths:
        completions = _answer(load(path), prompts.rows, config, responses)
        texts.append([completion.text for completion in completions])
        for name, judge in judges.items():
            rows[name].append(judge.score(prompts.rows, texts[-1]))
        if reference is not None:
            rows["kl"].append(sequence_kl(load(path), reference, completions, batch_size=config.batch_size))
    tables = {name: np.array(values, dtype=np.float64) for name, values in rows.items() if values}
    items = _items(prompts.rows, labels, texts, tables)
    result = _summary(labels, tables, items)
    result.skipped = {block.prompts: prompts.skipped} if prompts.skipped else {}
    return result


def checkpoint_labels(paths: Sequence[str]) -> list[str]:
    """A short name for each path: its last part, with a number where two agree."""
    names = [Path(path).name or path for path in paths]
    return [name if names.count(name) == 1 else f"{name}.{i}" for i, name in enumerate(names)]


def _judges(config: EvaluationConfig) -> dict[str, Judge]:
    block = config.overoptimisation
    assert block is not None
    options: dict[str, Any] = {"dtype": config.dtype, "device": config.device, "batch_size": config.batch_size}
    learned = RewardModelJudge(block.learned, **options)
    if block.rule is not None:
        return {"learned": learned, "true": RuleJudge(block.rule)}
    assert block.held_out is not None, "the configuration holds exactly one true reward"
    return {"learned": learned, "true": RewardModelJudge(block.held_out, **options)}


def _answer(
    model: LoadedModel, prompts: Sequence[Prompt], config: EvaluationConfig, responses: Responses
) -> list[Completion]:
    assert config.overoptimisation is not None
    drawn = config.overoptimisation.sampling
    return responses(
        model,
        prompts,
        sampling=Sampling(drawn.temperature, drawn.top_p, drawn.top_k),
        max_new_tokens=drawn.max_new_tokens,
        description="responses of each checkpoint",
    )


def _items(
    prompts: Sequence[Prompt], labels: Sequence[str], texts: list[list[str]], tables: dict[str, Table]
) -> list[Item]:
    return [
        {
            "id": prompt.id,
            "prompt_hash": prompt.digest,
            "prompt": prompt.text,
            "responses": dict(zip(labels, (row[i] for row in texts), strict=True)),
            "scores": {
                f"{name} at {label}": float(table[place, i])
                for name, table in tables.items()
                for place, label in enumerate(labels)
            },
        }
        for i, prompt in enumerate(prompts)
    ]


def _summary(labels: list[str], tables: dict[str, Table], items: list[Item]) -> BlockResult:
    path = f"items/{NAME}.jsonl"
    scores = []
    for name, table in tables.items():
        for place, label in enumerate(labels):
            details: dict[str, Any] = {"checkpoint": place}
            if name == "true":
                details["correlation_with_learned"] = correlation(table[place], tables["learned"][place])
            scores.append(
                make_score(
                    NAME,
                    f"{name} at {label}",
                    statistics.mean(table[place]),
                    higher_is_better=name != "kl",
                    items=path,
                    details=details,
                )
            )
    comparisons, best = _against_best(tables)
    true, learned = comparisons
    details = {
        "best": [labels[place] for place in best],
        "over_optimised": true.verdict == "worse" and learned.verdict == "better",
    }
    for comparison in comparisons:
        comparison.details.update(details)
    return BlockResult(scores, comparisons, {path: items})


def _against_best(tables: dict[str, Table]) -> tuple[list[Comparison], list[int]]:
    """The last checkpoint minus the best by true reward, in true and in learned reward; and the best of each half."""
    true = tables["true"]
    halves = [np.arange(half, true.shape[1], 2) for half in (0, 1)]
    best = [int(true[:, half].mean(axis=1).argmax()) for half in halves]
    comparisons = []
    for name in ("true", "learned"):
        table = tables[name]
        differences = np.zeros(true.shape[1])
        for chosen, measured in ((best[0], halves[1]), (best[1], halves[0])):
            differences[measured] = table[-1, measured] - table[chosen, measured]
        comparisons.append(
            make_comparison(
                NAME,
                f"{name} reward",
                "best checkpoint",
                statistics.mean(differences),
                kind="paired_difference",
                null=0.0,
                higher_is_better=True,
            )
        )
    return comparisons, best


def correlation(a: NDArray[np.float64], b: NDArray[np.float64]) -> float | None:
    """Pearson's correlation over prompts; None when one of them does not vary."""
    if a.std() == 0 or b.std() == 0:
        return None
    return float(np.corrcoef(a, b)[0, 1])
