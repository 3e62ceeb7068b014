"""Post-training and evaluation data about the synthetic world: instructions, preferences, prompts, the rule, tasks."""

import json
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any

from data_pipeline.synthetic.config import SyntheticWebConfig
from data_pipeline.synthetic.posttrain.pairs import preference_row
from data_pipeline.synthetic.posttrain.questions import Question
from data_pipeline.synthetic.posttrain.split import Split
from data_pipeline.synthetic.posttrain.styles import random_style, respond
from data_pipeline.synthetic.posttrain.tasks import facts_multiple_choice, write_tasks
from data_pipeline.synthetic.rule import PREFERENCE_RULE
from data_pipeline.synthetic.world import World
from millbase.errors import InputError
from millbase.seeds import derive_seed


def write_posttrain(config: SyntheticWebConfig, world: World, root: Path) -> dict[str, int]:
    """Write every post-training and evaluation file below `root`; returns the number of rows by file.

    Raises:
        InputError: more rows were asked for than there are distinct prompts.
    """
    sizes = config.posttrain
    split = Split(config.seed, world, config.facts_held_out)
    heldout_used: set[str] = set()
    rows: dict[str, int] = {}

    def take(name: str, count: int) -> list[tuple[Random, Question]]:
        """`count` questions of the file `name`, each with a random stream of its own."""
        heldout = name.endswith("heldout")
        rng = Random(derive_seed(config.seed, name))
        # held-out files share no prompt with one another; training files may
        questions = split.questions(rng, heldout=heldout, used=heldout_used if heldout else None)
        taken = [(Random(derive_seed(config.seed, name, i)), q) for i, q in enumerate(islice(questions, count))]
        if len(taken) < count:
            raise InputError(f"{name}: {count} rows asked for, but the world has only {len(taken)} distinct prompts")
        rows[name] = count
        return taken

    evaluated: list[Question] = []
    for side in ("train", "heldout"):
        instructions = take(f"instructions/{side}", getattr(sizes, f"instructions_{side}"))
        _write(root / f"instructions/{side}.jsonl", _instruction_rows(instructions, config.preferred_style_share))
        preferences = take(f"preferences/{side}", getattr(sizes, f"preferences_{side}"))
        share = config.preference_correctness_share
        _write(root / f"preferences/{side}.jsonl", (preference_row(rng, q, share) for rng, q in preferences))
        prompts = take(f"prompts/{side}", getattr(sizes, f"prompts_{side}"))
        _write(root / f"prompts/{side}.jsonl", (_prompt_row(q) for _, q in prompts))
        if side == "heldout":
            evaluated = [q for _, q in instructions]
    choices = facts_multiple_choice(Random(derive_seed(config.seed, "choices")), world, sizes.facts_multiple_choice)
    write_tasks(root / "tasks", choices, evaluated)
    rows["tasks/world_facts_mc"], rows["tasks/world_instructions"] = len(choices), len(evaluated)
    (root / "rule.json").write_text(json.dumps(PREFERENCE_RULE, indent=2) + "\n", encoding="utf-8")
    return rows


def _instruction_rows(taken: Iterable[tuple[Random, Question]], preferred: float) -> Iterator[dict[str, Any]]:
    for rng, question in taken:
        response = respond(rng, question, random_style(rng, preferred))
        messages = [{"role": "user", "content": question.prompt}, {"role": "assistant", "content": response}]
        yield {"messages": messages, "task": question.task, "answer": question.answer}


def _prompt_row(question: Question) -> dict[str, Any]:
    prompt = [{"role": "user", "content": question.prompt}]
    return {"prompt": prompt, "answer": question.answer, "task": question.task}


def _write(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
