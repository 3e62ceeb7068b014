"""Rejection sampling: K answers to every prompt, scored; the best become instructions, pairs of them preferences.

    llmill reject configs/posttrain/reject_sums.yaml --out runs/mine/best

Writes an `answers` artifact: `instructions.jsonl` (`messages`, for SFT), `preferences.jsonl` (`prompt`, `chosen`,
`rejected`, for DPO and reward models, when pairs are asked for) and `answers.jsonl` (everything that was sampled, with
scores). Llama 2 (Touvron et al. 2023, section 3.2.3) and Llama 3 (section 4.2.2) fine-tune on the best of K.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from millbase.artifacts import OpenArtifact, create_artifact
from millbase.files import glob_files
from training.posttrain.feedback.answers import (
    Answered,
    Writer,
    choose_prompts,
    in_pieces,
    quiet_torch,
)
from training.posttrain.feedback.config import RejectConfig
from training.posttrain.feedback.output import KIND, write_selected
from training.posttrain.feedback.scores import Scorer, score_inputs
from training.posttrain.feedback.selection import gain_by_n
from training.posttrain.ppo.prompts import Prompt


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
    artifact.stats.update(
        stage="reject",
        prompts={**found.stats, "answered": len(rows), "repeated": repeated},
        best_of=gain_by_n(rows, config.samples),
    )
    write_selected(artifact, rows, config)
