"""IFEval on a chat model: shares of prompts and of instructions followed, strictly and loosely.

The checks are `millbase.verify.ifeval`'s. Instructions of one prompt share its response, so their share is a ratio over
prompts, with that ratio's interval.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from evaluation import statistics
from evaluation.generate import GREEDY, Completion
from evaluation.records import Message, Prompt, read_rows
from evaluation.responses import Responses
from evaluation.scores import BlockResult, Item, Score, make_score
from evaluation.verified_config import IfevalConfig
from millbase.errors import InputError
from millbase.verify.ifeval import check_instructions

if TYPE_CHECKING:
    from training.load import LoadedModel

NAME = "ifeval"
METRICS = ("prompt_strict", "prompt_loose", "instruction_strict", "instruction_loose")
VERSION = "1"


def run_ifeval(
    model: LoadedModel, block: IfevalConfig, responses: Responses, *, maximum_bad_share: float
) -> BlockResult:
    """Ask, check, count. InputError for an instruction that is not one of the English 25, before anything is asked."""
    rows = read_rows(
        block.prompts,
        _parse,
        limit=block.limit,
        maximum_bad_share=maximum_bad_share,
        needed="prompt, instruction_id_list",
    )
    for line, row in rows.rows:
        try:
            check_instructions("x", row["instruction_id_list"], row["kwargs"])
        except InputError as error:
            raise InputError(f"{block.prompts!r}, line {line}: {error}") from None
    prompts = [Prompt(str(line), _messages(row), None) for line, row in rows.rows]
    completions = responses(
        model, prompts, sampling=GREEDY, max_new_tokens=block.max_new_tokens, description="instructions"
    )
    items = [
        _item(prompt, row, completion)
        for prompt, (_, row), completion in zip(prompts, rows.rows, completions, strict=True)
    ]
    path = f"items/{NAME}.jsonl"
    skipped = {block.prompts: rows.skipped} if rows.skipped else {}
    return BlockResult(scores=ifeval_scores(items, path), items={path: items}, skipped=skipped)


def ifeval_scores(items: Sequence[Item], path: str | None) -> list[Score]:
    """The four published metrics of checked items."""
    scores = []
    for metric in METRICS:
        values = [item["scores"][metric] for item in items]
        if metric.startswith("prompt"):
            estimate = statistics.share(values)
        else:
            estimate = statistics.ratio([value[0] for value in values], [value[1] for value in values])
        scores.append(make_score(NAME, metric, estimate, higher_is_better=True, items=path, task_version=VERSION))
    return scores


def _parse(line: int, row: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    if not isinstance(row["prompt"], str):
        raise TypeError("prompt is not text")
    if len(row["instruction_id_list"]) != len(row["kwargs"]) or not row["kwargs"]:
        raise TypeError("instruction_id_list and kwargs must be of the same length, and not empty")
    return line, row


def _messages(row: dict[str, Any]) -> list[Message]:
    return [{"role": "user", "content": row["prompt"]}]


def _item(prompt: Prompt, row: dict[str, Any], completion: Completion) -> Item:
    verdict = check_instructions(completion.text, row["instruction_id_list"], row["kwargs"])
    count = float(len(verdict.strict))
    return {
        "id": str(row.get("key", prompt.id)),
        "prompt_hash": prompt.digest,
        "prompt": row["prompt"],
        "response": completion.text,
        "truncated": not completion.stopped,
        "instructions": row["instruction_id_list"],
        "strict": verdict.strict,
        "loose": verdict.loose,
        "scores": {
            "prompt_strict": float(verdict.followed_all),
            "prompt_loose": float(verdict.followed_all_loosely),
            "instruction_strict": [float(sum(verdict.strict)), count],
            "instruction_loose": [float(sum(verdict.loose)), count],
        },
    }
