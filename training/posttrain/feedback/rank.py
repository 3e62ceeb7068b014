"""AI feedback: a judge ranks K answers to every prompt; pairs of them become preferences.

    llmill feedback configs/posttrain/feedback.yaml model=runs/demo/sft judge.server.url=http://localhost:8000/v1 \\
        judge.server.model=my-judge --out runs/mine/ranked

Writes an `answers` artifact as `reject` does; an answer's score is the share of the other answers that it beats.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from millbase.artifacts import OpenArtifact, create_artifact
from millbase.files import glob_files
from millbase.judge.chat import Chat
from millbase.judge.config import JudgeConfig
from millbase.judge.prompts import prompt_text
from millbase.judge.ranking import Candidates, rank
from training.posttrain.feedback.answers import Answered, Writer, choose_prompts, in_pieces, quiet_torch
from training.posttrain.feedback.config import FeedbackConfig
from training.posttrain.feedback.judges import open_chat
from training.posttrain.feedback.output import KIND, write_selected
from training.posttrain.feedback.selection import distinct


def give_feedback(config: FeedbackConfig, out: str | Path) -> Path:
    """Sample, rank, select, and write the `answers` artifact `out`.

    A killed run, or one whose server died, goes on where it stopped. Raises UserError for whatever a user can mend.
    """
    inputs = {
        "model": config.model,
        "prompts": glob_files(config.prompts, "prompt files"),
        "judge": config.judge.model,
        "template": config.verdict.template,
    }
    with create_artifact(out, kind=KIND, config=config, inputs=inputs, seed=config.seed) as artifact:
        with quiet_torch(config.threads):
            _run(config, artifact)
    return Path(out)


def _run(config: FeedbackConfig, artifact: OpenArtifact) -> None:
    writer = Writer(config)
    chat = open_chat(config.judge, artifact.scratch, writer.device)
    found = writer.prompts()
    prompts, repeated = choose_prompts(config, found)
    rows = [
        row for piece in in_pieces(artifact.scratch / "pieces", prompts, config.piece, writer.answer) for row in piece
    ]
    judge = rank_answers(chat, rows, config.verdict, config.require_end)
    chat.close()
    artifact.stats.update(
        stage="feedback",
        prompts={**found.stats, "answered": len(rows), "repeated": repeated},
        judge={**judge, "asked": chat.asked, "from_cache": chat.hits},
    )
    write_selected(artifact, rows, config)


def rank_answers(chat: Chat, rows: Sequence[Answered], verdict: JudgeConfig, require_end: bool) -> dict[str, Any]:
    """Fill in the scores of `rows`; returns the judge's statistics.

    Only different, finished (unless `require_end` is off) answers with a text are judged, and only where there are two.
    """
    contests: list[tuple[Answered, list[str]]] = []
    for row in rows:
        fit = [answer for answer in row.answers if answer.finished or not require_end]
        texts = [answer.text.strip() for answer in distinct(fit) if answer.text.strip()]
        if len(texts) > 1:
            contests.append((row, texts))
    items = [Candidates(prompt_text(row.prompt), texts) for row, texts in contests]
    rankings, stats = rank(chat, items, verdict)
    for (row, texts), ranking in zip(contests, rankings, strict=True):
        strengths = dict(zip(texts, ranking.strengths or ()))
        for answer in row.answers:
            answer.score = strengths.get(answer.text.strip()) if answer.finished or not require_end else None
            answer.error = ranking.reason if answer.score is None else None
    return {**stats, "prompts_judged": len(items), "prompts_with_one_answer": len(rows) - len(items)}
