"""Conversations of several turns: the model answers each user turn after its own earlier answers.

Answers are rated by a judge model (1 to 10, as MT-bench), by a reward model, or looked through for short right answers
that the file gives. Every answer is an item; those of one conversation share a cluster, so intervals over all turns are
clustered. An item is known by its conversation and the user's turns up to it, not by what the model said: two models
pair although their conversations differ.
"""

from __future__ import annotations

import json
import re
import unicodedata
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from evaluation import statistics
from evaluation.behaviour_config import DialoguesConfig
from evaluation.config import EvaluationConfig
from evaluation.generate import Completion, Sampling
from evaluation.records import Message, Prompt, Records, read_rows
from evaluation.responses import Responses
from evaluation.scores import BlockResult, Item, Score, make_score
from millbase.errors import ConfigError, InputError
from millbase.files import open_file
from millbase.hashing import value_digest

if TYPE_CHECKING:
    from training.load import LoadedModel

NAME = "dialogues"
METRICS = ("rating", "reward", "answered")


@dataclass
class Dialogue:
    """One conversation as it goes on."""

    id: str
    category: str | None
    system: list[Message]
    turns: list[str]
    answers: list[str | None]
    """Short right answers, one per turn."""
    references: list[str | None]
    """Good answers, one per turn."""
    said: list[Completion] = field(default_factory=list)

    def before(self, turn: int) -> list[Message]:
        """All that stands before the model's answer to a turn (from 0)."""
        messages = list(self.system)
        for number in range(turn + 1):
            messages.append({"role": "user", "content": self.turns[number]})
            if number < turn:
                messages.append({"role": "assistant", "content": self.said[number].text})
        return messages


def run_dialogues(model: LoadedModel, config: EvaluationConfig, responses: Responses) -> BlockResult:
    """Talk, judge, count.

    Raises:
        ConfigError: nothing to judge by.
        StageError: too many rows without turns; a judge that gives too few ratings.
    """
    block = config.dialogues
    assert block is not None, "the configuration asks for this block"
    records = read_dialogues(block, config.maximum_bad_share)
    dialogues = records.rows
    if block.judge_model is None and block.reward_model is None and not _known(dialogues):
        raise ConfigError(
            f"dialogues: nothing to judge by: no row of {block.prompts!r} has answers; give judge_model or reward_model"
        )
    truncated = _talk(model, dialogues, block, responses)
    items = [_item(one, turn) for one in dialogues for turn in range(len(one.turns))]
    details: dict[str, Any] = {"dialogues": len(dialogues), "truncated": truncated}
    if block.judge_model is not None:
        details["no_rating"] = _rate(dialogues, items, config, block)
    if block.reward_model is not None:
        _reward(dialogues, items, config, block.reward_model)
    for item in items:
        _spread(item)
    path = f"items/{NAME}.jsonl"
    return BlockResult(
        _scores(items, path, details),
        items={path: items},
        skipped={block.prompts: records.skipped} if records.skipped else {},
    )


def has_answers(block: DialoguesConfig, maximum_bad_share: float) -> bool:
    """Whether the file gives right answers, so that there will be a score `answered`. Raises as `read_dialogues`."""
    return _known(read_dialogues(block, maximum_bad_share).rows)


def _known(dialogues: list[Dialogue]) -> bool:
    return any(answer is not None for one in dialogues for answer in one.answers)


def read_dialogues(block: DialoguesConfig, maximum_bad_share: float) -> Records[Dialogue]:
    """The conversations of the file. StageError when too many rows have no turns; InputError for bad references."""
    published = {} if block.references is None else _published(block.references)

    def parse(line: int, row: dict[str, Any]) -> Dialogue:
        turns = row["turns"]
        if not isinstance(turns, list) or not turns or not all(isinstance(turn, str) for turn in turns):
            raise TypeError("turns must be a list of texts")
        name = str(row.get("question_id", row.get("id", line)))
        category, system = row.get("category"), row.get("system")
        return Dialogue(
            name,
            None if category is None else str(category),
            [] if not system else [{"role": "system", "content": str(system)}],
            turns,
            _per_turn(row.get("answers"), len(turns), "answers"),
            _per_turn(row.get("reference", published.get(name)), len(turns), "reference"),
        )

    return read_rows(block.prompts, parse, limit=block.limit, maximum_bad_share=maximum_bad_share, needed="turns")


def _per_turn(value: Any, turns: int, name: str) -> list[str | None]:
    if value is None:
        return [None] * turns
    if not isinstance(value, list) or len(value) > turns or not all(v is None or isinstance(v, str) for v in value):
        raise TypeError(f"{name} must be a list of texts (or nulls), at most one per turn")
    return [*value, *[None] * (turns - len(value))]


def _published(path: str) -> dict[str, list[str]]:
    """MT-bench's reference answers by question."""
    found = {}
    with open_file(path) as file:
        for number, line in enumerate(file, start=1):
            try:
                row = json.loads(line)
                found[str(row["question_id"])] = list(row["choices"][0]["turns"])
            except (ValueError, KeyError, IndexError, TypeError) as error:
                raise InputError(
                    f"{path!r}, line {number}: expected question_id and choices[0].turns ({error!r})"
                ) from None
    return found


def _talk(model: LoadedModel, dialogues: list[Dialogue], block: DialoguesConfig, responses: Responses) -> int:
    """Fill `said`, turn by turn; how many prompts lost their beginning because they did not fit."""
    drawn = block.sampling
    sampling = Sampling(drawn.temperature, drawn.top_p, drawn.top_k)
    truncated = 0
    for turn in range(max(len(one.turns) for one in dialogues)):
        going = [one for one in dialogues if len(one.turns) > turn]
        prompts = [Prompt(f"{one.id}/{turn + 1}", one.before(turn), None) for one in going]
        completions = responses(
            model, prompts, sampling=sampling, max_new_tokens=drawn.max_new_tokens, description=f"turn {turn + 1}"
        )
        for one, prompt, completion in zip(going, prompts, completions, strict=True):
            truncated += responses.length(model, prompt) > len(completion.prompt_ids)
            one.said.append(completion)
    return truncated


def _item(one: Dialogue, turn: int) -> Item:
    answer, said = one.answers[turn], one.said[turn].text
    return {
        "id": f"{one.id}/{turn + 1}",
        "prompt_hash": value_digest([one.system, one.turns[: turn + 1]]),
        "cluster": one.id,
        "category": one.category,
        "turn": turn + 1,
        "prompt": one.turns[turn],
        "answer": answer,
        "response": said,
        "scores": {} if answer is None else {"answered": float(holds(said, answer))},
    }


def holds(response: str, answer: str) -> bool:
    """Whether the answer stands in the response as whole words; case, punctuation and width do not matter."""
    plain, wanted = (
        " ".join(re.findall(r"\w+", unicodedata.normalize("NFKC", text).casefold())) for text in (response, answer)
    )
    return bool(wanted) and f" {wanted} " in f" {plain} "


def _rate(dialogues: list[Dialogue], items: list[Item], config: EvaluationConfig, block: DialoguesConfig) -> int:
    """Put the judge model's ratings into the items; how many answers it did not rate."""
    from evaluation.judges.grade import Graded, grade
    from evaluation.judges.model import make_chat

    assert block.judge_model is not None, "only a judge model is asked"
    chat = make_chat(block.judge_model, dtype=config.dtype, device=config.device, batch_size=config.batch_size)
    answers = [
        Graded(one.before(turn), one.said[turn].text, one.references[turn])
        for one in dialogues
        for turn in range(len(one.turns))
    ]
    ratings = grade(chat, answers, block.judge_model)
    for item, rating in zip(items, ratings, strict=True):
        item["said_of_it"] = rating.reply
        if rating.value is not None:
            item["scores"]["rating"] = rating.value
    return sum(rating.value is None for rating in ratings)


def _reward(dialogues: list[Dialogue], items: list[Item], config: EvaluationConfig, path: str) -> None:
    from training.load import load_reward_model

    judge = load_reward_model(path, dtype=config.dtype, device=config.device)
    conversations = [
        [*one.before(turn), {"role": "assistant", "content": one.said[turn].text}]
        for one in dialogues
        for turn in range(len(one.turns))
    ]
    for item, reward in zip(items, judge.score(conversations, batch_size=config.batch_size), strict=True):
        item["scores"]["reward"] = reward


def _spread(item: Item) -> None:
    """Each value also under its turn and its category, so that those compare between models as well."""
    for metric in [name for name in METRICS if name in item["scores"]]:
        item["scores"][f"{metric}_turn_{item['turn']}"] = item["scores"][metric]
        if item["category"] is not None:
            item["scores"][f"{metric} {item['category']}"] = item["scores"][metric]


def _scores(items: list[Item], path: str, details: dict[str, Any]) -> list[Score]:
    """Overall first, then by turn (where there are several) and category (where there are several)."""
    turns = {item["turn"] for item in items}
    categories = {item["category"] for item in items if item["category"] is not None}
    scores = []
    for metric in METRICS:
        names = [metric]
        names += [f"{metric}_turn_{turn}" for turn in sorted(turns)] if len(turns) > 1 else []
        names += [f"{metric} {category}" for category in sorted(categories)] if len(categories) > 1 else []
        for name in names:
            mine = [item for item in items if name in item["scores"]]
            if not mine:
                continue
            values = [item["scores"][name] for item in mine]
            clusters = [item["cluster"] for item in mine]
            grouped = clusters if len(set(clusters)) < len(clusters) else None
            estimate = statistics.share(values, grouped) if metric == "answered" else statistics.mean(values, grouped)
            scores.append(make_score(NAME, name, estimate, higher_is_better=True, items=path, details=details))
    return scores
