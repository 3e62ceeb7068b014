"""Evaluation tasks for lm-eval (version 0.4): YAML files with their items beside them.

The data file in a YAML file is relative to that file; lm-eval itself resolves it from the working directory, so whoever
loads a task makes it absolute first.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import yaml

from data_pipeline.synthetic.grammar import capitalise, pick, shuffled
from data_pipeline.synthetic.posttrain.questions import Question
from data_pipeline.synthetic.rule import ANSWER_REGEX
from data_pipeline.synthetic.world import Fact, World

CHOICES = 4
"""Choices of a multiple-choice item."""

_CLOZE = (
    "whoever looks it up will read that {p} is", "the right answer in the quiz was that {p} is",
    "every pupil of the class wrote that {p} is", "if the old book can be trusted, {p} is",
)  # fmt: skip


def facts_multiple_choice(rng: Random, world: World, count: int) -> list[dict[str, Any]]:
    """Items of ``world_facts_mc``: a sentence to complete, in words that no page has, with four values."""
    items = []
    for fact in shuffled(rng, world.facts)[:count]:
        wrong = shuffled(rng, world.wrong_values(fact))[: CHOICES - 1]
        values = shuffled(rng, [fact.value, *wrong])
        items.append(_cloze_item(rng, fact, values))
    return items


def _cloze_item(rng: Random, fact: Fact, values: Sequence[str]) -> dict[str, Any]:
    return {
        "query": capitalise(pick(rng, _CLOZE).format(p=fact.phrase)),
        "choices": [fact.answer_value(value) for value in values],
        "label": values.index(fact.value),
        "fact": fact.key,
    }


def write_tasks(folder: Path, multiple_choice: Sequence[dict[str, Any]], instructions: Sequence[Question]) -> None:
    """Write both tasks into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    items = [{"question": q.prompt, "answer": q.answer, "task": q.task} for q in instructions]
    _write_task(folder, "world_facts_mc", _MULTIPLE_CHOICE, multiple_choice)
    _write_task(folder, "world_instructions", _INSTRUCTIONS, items)


_MULTIPLE_CHOICE: dict[str, Any] = {
    "output_type": "multiple_choice",
    "doc_to_text": "{{query}}",
    "doc_to_choice": "{{choices}}",
    "doc_to_target": "label",
    "target_delimiter": " ",
    "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True},
                    {"metric": "acc_norm", "aggregation": "mean", "higher_is_better": True}],
}  # fmt: skip
_INSTRUCTIONS: dict[str, Any] = {
    "output_type": "generate_until",
    "doc_to_text": "{{question}}",
    "doc_to_target": "{{answer}}",
    "generation_kwargs": {"until": ["\n", "<|im_end|>", "<|endoftext|>"], "max_gen_toks": 48, "do_sample": False},
    "filter_list": [
        {"name": "answer", "filter": [{"function": "regex", "regex_pattern": ANSWER_REGEX}, {"function": "take_first"}]}
    ],
    "metric_list": [{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}],
}


def _write_task(folder: Path, name: str, task: dict[str, Any], items: Sequence[dict[str, Any]]) -> None:
    document = {
        "task": name, "dataset_path": "json", "dataset_kwargs": {"data_files": {"test": f"{name}.jsonl"}},
        "test_split": "test", "num_fewshot": 0, **task, "metadata": {"version": 1},
    }  # fmt: skip
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
    lines = "".join(json.dumps(item, ensure_ascii=False) + "\n" for item in items)
    (folder / f"{name}.jsonl").write_text(lines, encoding="utf-8")
