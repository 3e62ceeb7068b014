"""What the stages here write: an `answers` artifact with instructions, preference pairs, and all that was sampled."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from millbase.artifacts import OpenArtifact
from millbase.errors import StageError
from training.posttrain.feedback.answers import Answered, lengths_and_ends, write_jsonl
from training.posttrain.feedback.config import SelectionConfig
from training.posttrain.feedback.selection import Chosen, best_prompts, choose

KIND = "answers"


def write_selected(artifact: OpenArtifact, rows: Sequence[Answered], config: SelectionConfig) -> None:
    """Select from scored answers, write the three files, and count. StageError when nothing is left."""
    chosen = [choose(row, config) for row in rows]
    kept = best_prompts(chosen, config.prompt_share)
    pairs = preference_rows(chosen)
    if not kept and not pairs:
        raise StageError(
            f"none of {len(rows)} prompts has an answer to keep: {_why(rows, config)}; lower min_score, raise samples "
            "or max_new_tokens, or start from a better model"
        )
    write_jsonl(artifact.path / "answers.jsonl", [row.to_dict() for row in rows])
    write_jsonl(artifact.path / "instructions.jsonl", instruction_rows(kept))
    if config.pairs != "none":
        write_jsonl(artifact.path / "preferences.jsonl", pairs)
    artifact.stats.update(
        samples=config.samples,
        **lengths_and_ends(rows),
        duplicate_answers=sum(one.duplicates for one in chosen),
        without_score=sum(answer.score is None for row in rows for answer in row.answers),
        prompts_kept=len(kept),
        instructions=sum(len(one.kept) for one in kept),
        pairs=len(pairs),
    )


def instruction_rows(chosen: Sequence[Chosen]) -> list[dict[str, Any]]:
    """Conversations for SFT, with the prompt's other columns and the score."""
    return [
        {
            **_columns(one.row, ("messages", "score")),
            "messages": [*one.row.prompt, {"role": "assistant", "content": answer.text}],
            "score": answer.score,
        }
        for one in chosen
        for answer in one.kept
    ]


def preference_rows(chosen: Sequence[Chosen]) -> list[dict[str, Any]]:
    """Pairs for DPO and reward models, with the prompt's other columns and both scores."""
    return [
        {
            # `margin` would change the reward model's loss, `answers` the meaning of the row
            **_columns(one.row, ("prompt", "chosen", "rejected", "margin", "answers", "output_1")),
            "prompt": one.row.prompt,
            "chosen": [{"role": "assistant", "content": pair.chosen.text}],
            "rejected": [{"role": "assistant", "content": pair.rejected.text}],
            "score_chosen": pair.chosen.score,
            "score_rejected": pair.rejected.score,
        }
        for one in chosen
        for pair in one.pairs
    ]


def _columns(row: Answered, taken: Sequence[str]) -> dict[str, Any]:
    return {name: value for name, value in row.columns.items() if name not in taken}


def _why(rows: Sequence[Answered], config: SelectionConfig) -> str:
    answers = [answer for row in rows for answer in row.answers]
    finished = sum(answer.finished for answer in answers)
    scores = [answer.score for answer in answers if answer.score is not None]
    return (
        f"{finished} of {len(answers)} answers are finished, the best score is {max(scores):.4g}"
        if scores
        else f"{finished} of {len(answers)} answers are finished, none has a score"
    ) + (f", min_score is {config.min_score:g}" if config.min_score is not None else "")
