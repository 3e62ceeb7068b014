"""How often a judge prefers the model's response to the reference's on the same prompts; a tie is half a win.

Both models respond to every prompt with the same random stream. A rule or a reward model scores each response alone, so
there is no order of presentation to be biased by; a judge model sees both, so it is asked in both orders, and a verdict
that goes with the position is a tie (`millbase.judge.pairwise`). What can still mislead is length, so a
length-controlled rate stands beside it. The interval is Wilson's on the per-prompt outcomes, conservative when there
are ties.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING, Any

from evaluation import statistics
from evaluation.config import EvaluationConfig, WinRateConfig
from evaluation.generate import Completion, Sampling
from evaluation.judges import Judge, outcome
from evaluation.judges.rule import RuleJudge
from evaluation.length_control import length_controlled
from evaluation.records import Prompt, read_prompts
from evaluation.responses import Responses
from evaluation.scores import BlockResult, Item, make_comparison, make_score
from millbase.errors import StageError
from millbase.seeds import derive_seed

if TYPE_CHECKING:
    from training.load import LoadedModel

NAME = "win_rate"
EVEN = 0.5


@dataclass(frozen=True)
class Judged:
    """What the judge made of one prompt's two responses."""

    outcome: float | None
    """1 for a win, 0.5 for a tie, 0 for a loss; None when a judge model gave no verdict."""
    record: dict[str, Any]
    """For the item."""
    scores: dict[str, float]


def make_judge(block: WinRateConfig, config: EvaluationConfig) -> Judge | None:
    """The judge that scores responses one by one; None for a judge model, which sees both."""
    if block.judge_model is not None:
        return None
    if block.rule is not None:
        return RuleJudge(block.rule)
    from evaluation.judges.reward import RewardModelJudge

    assert block.reward_model is not None, "the configuration holds exactly one judge"
    return RewardModelJudge(block.reward_model, dtype=config.dtype, device=config.device, batch_size=config.batch_size)


def run_win_rate(
    model: LoadedModel, reference: LoadedModel, block: WinRateConfig, config: EvaluationConfig, responses: Responses
) -> BlockResult:
    """Generate with both models, judge, count. StageError when a judge model gives too few verdicts."""
    judge = make_judge(block, config)
    prompts = read_prompts(
        block.prompts,
        limit=block.limit,
        maximum_bad_share=config.maximum_bad_share,
        need_answer=judge is not None and judge.needs_answer,
    )
    sampling = Sampling(block.sampling.temperature, block.sampling.top_p, block.sampling.top_k)
    length = block.sampling.max_new_tokens
    ours = responses(model, prompts.rows, sampling=sampling, max_new_tokens=length, description="responses")
    theirs = responses(
        reference, prompts.rows, sampling=sampling, max_new_tokens=length, description="responses of the reference"
    )
    details: dict[str, Any] = {"judge": "judge_model" if judge is None else judge.name}
    if judge is None:
        judged, asked = _ask_model(prompts.rows, ours, theirs, block, config)
        details["verdicts"] = asked
    else:
        judged = _score_each(judge, prompts.rows, ours, theirs)
    items = [_item(*row) for row in zip(prompts.rows, ours, theirs, judged, strict=True)]
    counted = [i for i, one in enumerate(judged) if one.outcome is not None]
    if not counted:
        raise StageError(f"the judge gave no verdict on any of {len(judged)} prompts of {block.prompts!r}")
    outcomes = [float(judged[i].outcome or 0.0) for i in counted]
    ours, theirs = [ours[i] for i in counted], [theirs[i] for i in counted]
    estimate = statistics.share(outcomes)
    path = f"items/{NAME}.jsonl"
    details |= _details(outcomes, ours, theirs)
    score = make_score(NAME, NAME, estimate, higher_is_better=True, items=path, details=details)
    comparison = make_comparison(
        NAME, NAME, "reference", estimate, kind="win_rate", null=EVEN, higher_is_better=True, details=details
    )
    controlled = length_controlled(
        outcomes, [len(one.text) for one in ours], [len(one.text) for one in theirs], derive_seed(config.seed, NAME)
    )
    fair = make_score(NAME, "length_controlled", controlled, higher_is_better=True, items=None)
    return BlockResult(
        [score, fair], [comparison], {path: items}, skipped={block.prompts: prompts.skipped} if prompts.skipped else {}
    )


def _score_each(
    judge: Judge, prompts: Sequence[Prompt], ours: Sequence[Completion], theirs: Sequence[Completion]
) -> list[Judged]:
    our_scores = judge.score(prompts, [completion.text for completion in ours])
    their_scores = judge.score(prompts, [completion.text for completion in theirs])
    return [
        Judged(outcome(a, b), {"judge_score": a, "reference_judge_score": b}, {"judge_score": a})
        for a, b in zip(our_scores, their_scores, strict=True)
    ]


def _ask_model(
    prompts: Sequence[Prompt],
    ours: Sequence[Completion],
    theirs: Sequence[Completion],
    block: WinRateConfig,
    config: EvaluationConfig,
) -> tuple[list[Judged], dict[str, Any]]:
    """A verdict per prompt, and the counts of all: wins, failures, how much the order of presentation mattered."""
    from evaluation.judges.model import make_chat
    from millbase.judge import pairwise
    from millbase.judge.prompts import prompt_text

    assert block.judge_model is not None, "only a judge model is asked"
    chat = make_chat(block.judge_model, dtype=config.dtype, device=config.device, batch_size=config.batch_size)
    pairs = [
        pairwise.Comparison(prompt_text(prompt.messages), a.text, b.text)
        for prompt, a, b in zip(prompts, ours, theirs, strict=True)
    ]
    verdicts = pairwise.compare(chat, pairs, block.judge_model.asking)
    judged = [
        Judged(
            verdict.outcome,
            {"sides": verdict.sides, "ours_first": verdict.ours_first, "why": verdict.reason, "said": verdict.replies},
            {},
        )
        for verdict in verdicts
    ]
    return judged, pairwise.summary(verdicts)


def _item(prompt: Prompt, ours: Completion, theirs: Completion, judged: Judged) -> Item:
    scores = dict(judged.scores) if judged.outcome is None else {NAME: judged.outcome, **judged.scores}
    return {
        "id": prompt.id,
        "prompt_hash": prompt.digest,
        "prompt": prompt.text,
        "answer": prompt.answer,
        "response": ours.text,
        "reference_response": theirs.text,
        **judged.record,
        "scores": scores,
    }


def _details(outcomes: Sequence[float], ours: Sequence[Completion], theirs: Sequence[Completion]) -> dict[str, Any]:
    """Counts, lengths, truncation, and the win rate among prompts where our response was the longer or the shorter."""
    longer = [o for o, a, b in zip(outcomes, ours, theirs, strict=True) if len(a.text) > len(b.text)]
    shorter = [o for o, a, b in zip(outcomes, ours, theirs, strict=True) if len(a.text) < len(b.text)]
    return {
        "wins": outcomes.count(1.0),
        "ties": outcomes.count(EVEN),
        "losses": outcomes.count(0.0),
        "mean_characters": fmean(len(completion.text) for completion in ours),
        "reference_mean_characters": fmean(len(completion.text) for completion in theirs),
        "mean_tokens": fmean(len(completion.ids) for completion in ours),
        "reference_mean_tokens": fmean(len(completion.ids) for completion in theirs),
        "truncated": sum(not completion.stopped for completion in ours),
        "reference_truncated": sum(not completion.stopped for completion in theirs),
        "win_rate_when_longer": fmean(longer) if longer else None,
        "win_rate_when_shorter": fmean(shorter) if shorter else None,
    }
