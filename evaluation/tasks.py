"""Runs lm-eval tasks on a checkpoint and turns what they report into scores with intervals and items.

lm-eval gives no standard error for bits per byte and perplexity, and a bootstrap for others; here every metric gets an
interval from its items: shares and means as in `statistics`, token- or byte-weighted metrics as ratios, metrics that
exist only for a whole set (such as BLEU) by the bootstrap.
"""

from __future__ import annotations

import json
import math
from collections.abc import Hashable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from lm_eval.api.metrics import bits_per_byte, mean, weighted_perplexity
from lm_eval.evaluator import evaluate as lm_eval_evaluate

from evaluation import statistics
from evaluation.adapter import AnyLM, CheckpointLM
from evaluation.cache import AnswerCache
from evaluation.engines.base import Engine
from evaluation.scores import BlockResult, Item, Score, make_score
from evaluation.statistics import Estimate
from evaluation.task_files import PER_ITEM, PreparedTask, compiled_once, first_line, quiet
from millbase.atomic import write_json
from millbase.errors import ConfigError, StageError, UserError
from millbase.log import get_logger
from millbase.seeds import derive_seed

if TYPE_CHECKING:
    from training.load import LoadedModel

logger = get_logger(__name__)


def run_tasks(
    model: LoadedModel | Engine | AnyLM,
    tasks: Sequence[PreparedTask],
    *,
    seed: int,
    batch_size: int,
    prefix: str = "items",
    cache: AnswerCache | None = None,
    keep: Path | None = None,
) -> BlockResult:
    """Run the tasks on one model.

    Args:
        model: what answers.
        tasks: what is asked.
        seed: origin of few-shot examples, sampled answers and bootstraps.
        batch_size: most sequences at once.
        prefix: items land in `PREFIX/TASK.jsonl`.
        cache: answers of earlier runs.
        keep: folder where the result of each finished task is kept, and taken from when it is there.

    Raises:
        ConfigError: a task wants the chat template and the checkpoint has none; nothing has run then.
        StageError: lm-eval itself fails.
    """
    lm = model if isinstance(model, AnyLM) else CheckpointLM(model, batch_size=batch_size, seed=seed, cache=cache)
    for prepared in tasks:
        if prepared.run.apply_chat_template:
            lm.check_chat_template(prepared.name)
    result = BlockResult()
    for prepared in tasks:
        kept = None if keep is None else keep / prefix / f"{_file_name(prepared.name)}.json"
        if kept is not None and kept.is_file():
            part = BlockResult.from_json(json.loads(kept.read_text(encoding="utf-8")))
        else:
            part = _run_task(lm, prepared, seed, prefix)
            if kept is not None:
                kept.parent.mkdir(parents=True, exist_ok=True)
                write_json(kept, part.to_json(), indent=None)
        result.scores += part.scores
        result.items |= part.items
        result.skipped |= part.skipped
    return result


def _run_task(lm: AnyLM, prepared: PreparedTask, seed: int, prefix: str) -> BlockResult:
    result = BlockResult()
    lm.begin(prepared.name, prepared.version)
    samples = _samples(lm, prepared, seed)
    path = f"{prefix}/{_file_name(prepared.name)}.jsonl"
    result.items[path] = _items(prepared, samples)
    details = {"num_fewshot": prepared.task.config.num_fewshot}
    if lm.truncated:
        details["truncated"] = lm.truncated
        logger.warning(
            "task %s: %d prompts did not fit the context of %d tokens and lost their beginning",
            *(prepared.name, lm.truncated, lm.max_length),
        )
    result.scores += _scores(prepared, samples, path, seed, details)
    if prepared.skipped:
        result.skipped[prepared.name] = prepared.skipped
    return result


def _samples(lm: AnyLM, prepared: PreparedTask, seed: int) -> list[dict[str, Any]]:
    """lm-eval's record of each document (and filter)."""
    prepared.task.set_fewshot_seed(seed)  # two models must see the same examples
    try:
        with quiet(), compiled_once():
            report = lm_eval_evaluate(
                lm=lm,
                task_dict={"tasks": {prepared.name: prepared.task}, "groups": {}, "group_map": {}},
                bootstrap_iters=0,
                log_samples=True,
                apply_chat_template=prepared.run.apply_chat_template,
                fewshot_as_multiturn=prepared.run.apply_chat_template,
            )
    except UserError:
        raise
    except Exception as error:
        raise StageError(f"task {prepared.name!r} failed: {first_line(error)}; check its task file") from error
    samples: list[dict[str, Any]] = report["samples"][prepared.name]
    if not samples:
        raise StageError(f"task {prepared.name!r} has no documents; check its data")
    return samples


def _items(prepared: PreparedTask, samples: list[dict[str, Any]]) -> list[Item]:
    """One item per document; the scores of all filters together."""
    items: dict[int, Item] = {}
    for sample in samples:
        request = sample["arguments"][0]
        item = items.setdefault(
            sample["doc_id"],
            {
                "id": sample["doc_id"] if prepared.chosen is None else prepared.chosen[sample["doc_id"]],
                "prompt_hash": sample["prompt_hash"],
                "doc_hash": sample["doc_hash"],
                "prompt": request[0] if len(request) > 1 else None,
                "target": sample["target"],
                "response": _response(sample),
                "scores": {},
            },
        )
        if prepared.run.cluster_by is not None:
            item["cluster"] = _cluster(sample, prepared)
        for metric in sample["metrics"]:
            value = _plain(sample[metric], prepared.task.aggregation().get(metric, mean))
            if value is not None:
                item["scores"][prepared.metric_label(metric, sample["filter"])] = value
    return list(items.values())


def _response(sample: dict[str, Any]) -> Any:
    """The generated text, or the log-likelihood of each choice."""
    responses = [
        response[0] if isinstance(response, (list, tuple)) else response for response in sample["filtered_resps"]
    ]
    return responses[0] if len(responses) == 1 else responses


def _cluster(sample: dict[str, Any], prepared: PreparedTask) -> Hashable:
    field = str(prepared.run.cluster_by)
    if field not in sample["doc"]:
        known = ", ".join(sorted(sample["doc"]))
        raise ConfigError(f"task {prepared.name!r}: cluster_by {field!r} is no field of its documents; known: {known}")
    return str(sample["doc"][field])


def _plain(value: Any, aggregation: Any) -> float | list[float] | None:
    """A number, or `[bits, bytes]`; None for what only means something for the whole set."""
    if aggregation is bits_per_byte:
        return [-float(value[0]) / math.log(2), float(value[1])]
    if aggregation in PER_ITEM and isinstance(value, (bool, int, float, np.number)):
        return float(value)
    return None


def _scores(
    prepared: PreparedTask, samples: list[dict[str, Any]], path: str, seed: int, details: dict[str, Any]
) -> list[Score]:
    scores = []
    for filter_name in dict.fromkeys(sample["filter"] for sample in samples):
        own = [sample for sample in samples if sample["filter"] == filter_name]
        for metric in dict.fromkeys(name for sample in own for name in sample["metrics"]):
            having = [sample for sample in own if metric in sample]
            clusters = [_cluster(sample, prepared) for sample in having] if prepared.run.cluster_by else None
            label = prepared.metric_label(metric, filter_name)
            estimate = _estimate(
                prepared.task.aggregation().get(metric, mean),
                [sample[metric] for sample in having],
                clusters,
                derive_seed(seed, "bootstrap", prepared.name, label),
            )
            scores.append(
                make_score(
                    prepared.name,
                    label,
                    estimate,
                    higher_is_better=bool(prepared.task.higher_is_better().get(metric, True)),
                    items=path,
                    task_version=prepared.version,
                    details=details,
                )
            )
    return scores


def _estimate(aggregation: Any, values: list[Any], clusters: list[Hashable] | None, seed: int) -> Estimate:
    """The estimate that fits how the task aggregates its items."""
    if aggregation is mean and all(isinstance(value, (bool, int, float, np.number)) for value in values):
        numbers = np.asarray(values, dtype=np.float64)
        shares = bool(((numbers == 0) | (numbers == 1)).all())
        return statistics.share(numbers, clusters) if shares else statistics.mean(numbers, clusters)
    if aggregation in (bits_per_byte, weighted_perplexity):
        # nats per unit; the natural interval of a perplexity is that of its logarithm
        nats = statistics.ratio([-value[0] for value in values], [value[1] for value in values], clusters)
        if aggregation is bits_per_byte:
            return nats.scaled(1 / math.log(2))
        value = math.exp(nats.value)
        return Estimate(value, value * nats.stderr, math.exp(nats.low), math.exp(nats.high), nats.n, nats.method)
    return statistics.bootstrap(values, partial(_number, aggregation), seed)


def _number(aggregation: Any, values: list[Any]) -> float:
    return float(aggregation(values))


def _file_name(task: str) -> str:
    return "".join(character if character.isalnum() or character in "-_." else "_" for character in task)
