"""Rejection sampling: K answers to every prompt, scored; the best become instructions, pairs of them preferences.

    llmill reject configs/posttrain/reject_sums.yaml --out runs/mine/best

Writes an `answers` artifact: `instructions.jsonl` (`messages`, for SFT), `preferences.jsonl` (`prompt`, `chosen`,
`rejected`, for DPO and reward models, when pairs are asked for) and `answers.jsonl` (everything that was sampled, with
scores). Llama 2 (Touvron et al. 2023, section 3.2.3) and Llama 3 (section 4.2.2) fine-tune on the best of K.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from millbase.artifacts import OpenArtifact, create_artifact
from millbase.errors import StageError
from millbase.files import glob_files
from training.posttrain.feedback.answers import (
    Answered,
    Writer,
    choose_prompts,
    in_pieces,
    lengths_and_ends,
    quiet_torch,
    write_jsonl,
)
from training.posttrain.feedback.config import RejectConfig
from training.posttrain.feedback.scores import Scorer, score_inputs
from training.posttrain.feedback.selection import Chosen, best_prompts, choose, gain_by_n
from training.posttrain.ppo.prompts import Prompt

KIND = "answers"


def reject(config: RejectConfig, out: str | Path) -> Path:
    """Sample, score, select, and write the `answers` artifact `out`.

    A killed run continues after its last whole piece, to the same bytes. Raises UserError for whatever a user can mend.
    """
    inputs = {
        "model": config.model,
        "prompts": glob_files(config.prompts, "prompt files"),
        **score_inputs(config.reward),
    }
    with create_artifact(out, kind=KIND, config=config, inputs=inputs, seed=config.seed) as artifact:
        with quiet_torch(config.threads):
            _run(config, artifact)
    return Path(out)


def _run(config: RejectConfig, artifact: OpenArtifact) -> None:
    writer = Writer(config)
    scorer = Scorer(config.reward, writer.device)
    found = writer.prompts()
    prompts, repeated = choose_prompts(config, found)
    scorer.check(prompts)

    def make(number: int, part: Sequence[Prompt]) -> list[Answered]:
        rows = writer.answer(number, part)
        scorer.score(rows, part)
        return rows

    rows: list[Answered] = []
    for piece in in_pieces(artifact.scratch / "pieces", prompts, config.piece, make):
        scorer.count(piece)
        rows += piece
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
        stage="reject",
        prompts={**found.stats, "answered": len(rows), "repeated": repeated},
        samples=config.samples,
        **lengths_and_ends(rows),
        duplicate_answers=sum(one.duplicates for one in chosen),
        without_score=scorer.failed,
        prompts_kept=len(kept),
        instructions=sum(len(one.kept) for one in kept),
        pairs=len(pairs),
        best_of=gain_by_n(rows, config.samples),
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


def _why(rows: Sequence[Answered], config: RejectConfig) -> str:
    answers = [answer for row in rows for answer in row.answers]
    finished = sum(answer.finished for answer in answers)
    scores = [answer.score for answer in answers if answer.score is not None]
    return (
        f"{finished} of {len(answers)} answers are finished, the best score is {max(scores):.4g}"
        if scores
        else f"{finished} of {len(answers)} answers are finished, none has a score"
    ) + (f", min_score is {config.min_score:g}" if config.min_score is not None else "")
