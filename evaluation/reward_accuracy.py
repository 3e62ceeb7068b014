"""How often a reward model scores the chosen response of a pair above the rejected one; equal scores count as wrong."""

from __future__ import annotations

from evaluation import statistics
from evaluation.config import RewardAccuracyConfig
from evaluation.records import Pair, read_pairs
from evaluation.reward_report import calibration_error, category_scores, length_bias
from evaluation.scores import BlockResult, Item, make_comparison, make_score
from millbase.errors import StageError
from training.load import LoadedRewardModel

NAME = "reward_accuracy"
CHANCE = 0.5


def run_reward_accuracy(
    loaded: LoadedRewardModel,
    config: RewardAccuracyConfig,
    *,
    batch_size: int,
    maximum_bad_share: float,
    prefix: str = "items",
) -> BlockResult:
    """Score the pairs. StageError when the model gives NaN."""
    pairs = read_pairs(config.pairs, limit=config.limit, maximum_bad_share=maximum_bad_share)
    conversations = [one for pair in pairs.rows for one in (pair.chosen, pair.rejected, *pair.others)]
    rewards = loaded.score(conversations, batch_size=batch_size)
    if any(reward != reward for reward in rewards):
        raise StageError(f"{str(loaded.path)!r}: the reward model gave NaN; its training diverged, use an earlier one")
    left = iter(rewards)
    items = [_item(pair, next(left), [next(left) for _ in range(1 + len(pair.others))]) for pair in pairs.rows]
    right = [item["scores"]["accuracy"] for item in items]
    accuracy = statistics.share(right)
    margin = statistics.mean([item["margin"] for item in items])
    path = f"{prefix}/{NAME}.jsonl"
    choices = max(1 + 1 + len(pair.others) for pair in pairs.rows)
    details = {"ties": sum(item["margin"] == 0 for item in items), "most_choices": choices, **length_bias(items)}
    scores = [
        make_score(NAME, "accuracy", accuracy, higher_is_better=True, items=path, details=details),
        make_score(NAME, "margin", margin, higher_is_better=True, items=path),
        make_score(NAME, "calibration_error", calibration_error(items), higher_is_better=False, items=path),
        *category_scores(items, path),
    ]
    chance = make_comparison(NAME, "accuracy", "chance", accuracy, kind="value", null=CHANCE, higher_is_better=True)
    return BlockResult(scores, [chance], {path: items}, skipped={config.pairs: pairs.skipped} if pairs.skipped else {})


def _item(pair: Pair, chosen: float, rejected: list[float]) -> Item:
    """Right only when the chosen response scores above every rejected one."""
    best = max(rejected)
    return {
        "id": pair.id,
        "prompt_hash": pair.digest,
        "category": pair.category,
        "chosen_reward": chosen,
        "rejected_reward": best,
        "margin": chosen - best,
        "chosen_characters": len(pair.chosen[-1]["content"]),
        "rejected_characters": len(pair.rejected[-1]["content"]),
        "scores": {"accuracy": float(chosen > best), "margin": chosen - best},
    }
