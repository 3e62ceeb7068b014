"""How often a judge prefers the model's response to the reference's on the same prompts; a tie is half a win.

Both models respond to every prompt with the same random stream. The judge scores each response alone, so there is no
order of presentation to be biased by; what can still mislead is length, so a length-controlled rate stands beside it.
The interval is Wilson's on the per-prompt outcomes, conservative when there are ties.
"""

from __future__ import annotations

from collections.abc import Sequence
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
from millbase.seeds import derive_seed

if TYPE_CHECKING:
    from training.load import LoadedModel

NAME = "win_rate"
EVEN = 0.5


def make_judge(block: WinRateConfig, config: EvaluationConfig) -> tuple[Judge, bool]:
    """The judge, and whether it needs the right answers."""
    if block.rule is not None:
        rule = RuleJudge(block.rule)
        return rule, rule.needs_answer
    from evaluation.judges.reward import RewardModelJudge

    assert block.reward_model is not None, "the configuration holds exactly one judge"
    judge = RewardModelJudge(block.reward_model, dtype=config.dtype, device=config.device, batch_size=config.batch_size)
    return judge, judge.needs_answer


def run_win_rate(
    model: LoadedModel, reference: LoadedModel, block: WinRateConfig, config: EvaluationConfig, responses: Responses
) -> BlockResult:
    """Generate with both models, judge, count."""
    judge, needs_answer = make_judge(block, config)
    prompts = read_prompts(
        block.prompts, limit=block.limit, maximum_bad_share=config.maximum_bad_share, need_answer=needs_answer
    )
    sampling = Sampling(block.sampling.temperature, block.sampling.top_p, block.sampling.top_k)
    length = block.sampling.max_new_tokens
    ours = responses(model, prompts.rows, sampling=sampling, max_new_tokens=length, description="responses")
    theirs = responses(
        reference, prompts.rows, sampling=sampling, max_new_tokens=length, description="responses of the reference"
    )
    our_scores = judge.score(prompts.rows, [completion.text for completion in ours])
    their_scores = judge.score(prompts.rows, [completion.text for completion in theirs])
    items = [_item(*row) for row in zip(prompts.rows, ours, theirs, our_scores, their_scores, strict=True)]
    outcomes = [item["scores"][NAME] for item in items]
    estimate = statistics.share(outcomes)
    path = f"items/{NAME}.jsonl"
    details = {"judge": judge.name, **_details(outcomes, ours, theirs)}
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


def _item(prompt: Prompt, ours: Completion, theirs: Completion, our_score: float, their_score: float) -> Item:
    return {
        "id": prompt.id,
        "prompt_hash": prompt.digest,
        "prompt": prompt.text,
        "answer": prompt.answer,
        "response": ours.text,
        "reference_response": theirs.text,
        "judge_score": our_score,
        "reference_judge_score": their_score,
        "scores": {NAME: outcome(our_score, their_score), "judge_score": our_score},
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
