"""How often a reward model scores the chosen response of a pair above the rejected one; equal scores count as wrong."""

from __future__ import annotations

from evaluation import statistics
from evaluation.config import RewardAccuracyConfig
from evaluation.records import read_pairs
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
    conversations = [conversation for pair in pairs.rows for conversation in (pair.chosen, pair.rejected)]
    rewards = loaded.score(conversations, batch_size=batch_size)
    if any(reward != reward for reward in rewards):
        raise StageError(f"{str(loaded.path)!r}: the reward model gave NaN; its training diverged, use an earlier one")
    items: list[Item] = [
        {
            "id": pair.id,
            "prompt_hash": pair.digest,
            "chosen_reward": chosen,
            "rejected_reward": rejected,
            "margin": chosen - rejected,
            "scores": {"accuracy": float(chosen > rejected), "margin": chosen - rejected},
        }
        for pair, chosen, rejected in zip(pairs.rows, rewards[0::2], rewards[1::2], strict=True)
    ]
    right = [item["scores"]["accuracy"] for item in items]
    accuracy = statistics.share(right)
    margin = statistics.mean([item["margin"] for item in items])
    path = f"{prefix}/{NAME}.jsonl"
    details = {"ties": sum(item["margin"] == 0 for item in items)}
    scores = [
        make_score(NAME, "accuracy", accuracy, higher_is_better=True, items=path, details=details),
        make_score(NAME, "margin", margin, higher_is_better=True, items=path),
    ]
    chance = make_comparison(NAME, "accuracy", "chance", accuracy, kind="value", null=CHANCE, higher_is_better=True)
    return BlockResult(scores, [chance], {path: items}, skipped={config.pairs: pairs.skipped} if pairs.skipped else {})
