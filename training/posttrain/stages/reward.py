"""The reward-model stage on TRL's RewardTrainer, with all pairs of a prompt's ranked answers in one batch."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
import trl

from training.posttrain.data import Loaded, Row, load_rankings
from training.posttrain.encode import ChatEncoder
from training.posttrain.model import Start, load_start, new_head, peft_config
from training.posttrain.reward import RewardConfig
from training.posttrain.run import Stage
from training.posttrain.stages.trainer import StageTrainer, padded


class RankingCollator:
    """Rows of ranked answers to padded tensors: every answer once, `[A, T]`, and the pairs among them.

    `pairs` `[P, 2]` are rows of `input_ids`, the better first; `weights` `[P]` are 1 / (pairs of the prompt), so that
    they sum to the number of prompts (Ouyang et al. 2022, equation 1); `margins` `[P]`.
    """

    def __init__(self, pad_token_id: int) -> None:
        self.pad = pad_token_id

    def __call__(self, rows: list[Row]) -> dict[str, torch.Tensor]:
        answers = [ids for row in rows for ids in row["answer_ids"]]
        pairs, weights, margins, first = [], [], [], 0
        for row in rows:
            pairs += [[first + better, first + worse] for better, worse in row["pairs"]]
            weights += [1 / len(row["pairs"])] * len(row["pairs"])
            margins += row["margins"]
            first += len(row["answer_ids"])
        return {
            **padded(answers, self.pad),
            "pairs": torch.tensor(pairs),
            "weights": torch.tensor(weights),
            "margins": torch.tensor(margins, dtype=torch.float32),
        }


class RewardTrainer(StageTrainer, trl.RewardTrainer):  # type: ignore[misc]
    """TRL's RewardTrainer with our row order, on ranked answers that are tokenised already."""

    def _prepare_dataset(self, dataset: Any, *_: Any) -> Any:
        return dataset

    def _set_signature_columns_if_needed(self) -> None:
        self._signature_columns = ["answer_ids", "pairs", "margins"]

    def _weight(self, inputs: dict[str, Any]) -> float:
        return float(inputs["weights"].sum())

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        mode = "train" if self.model.training else "eval"
        output = model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"], use_cache=False)
        rewards = output.logits.squeeze(-1).float()
        better, worse = rewards[inputs["pairs"]].unbind(dim=1)
        shares = inputs["weights"] / inputs["weights"].sum()
        losses = -F.logsigmoid(better - worse - inputs["margins"])
        if self.args.center_rewards_coefficient is not None:
            losses = losses + self.args.center_rewards_coefficient * (better + worse) ** 2
        loss = (shares * losses).sum()
        if mode == "train":
            self._total_train_tokens += self.over_processes(inputs["attention_mask"].sum())
        metrics = self._metrics[mode]
        metrics["num_tokens"] = [self._total_train_tokens]
        with torch.no_grad():
            for name, value in (
                ("min_reward", rewards.min()),
                ("mean_reward", rewards.mean()),
                ("max_reward", rewards.max()),
                ("accuracy", (shares * (better > worse)).sum()),
                ("margin", (shares * (better - worse)).sum()),
            ):
                metrics[name].append(value.item())
        return (loss, output) if return_outputs else loss


class RewardStage(Stage[RewardConfig]):
    """Training of a reward model."""

    name = "reward"
    what = "preferences"
    kind = "reward-model"
    parallel = True

    def start(self) -> Start:
        return with_scalar_head(load_start(self.config))

    def load_rows(self, patterns: str | list[str]) -> Loaded:
        return load_rankings(patterns, self.config.max_bad_share)

    def encode(self, encoder: ChatEncoder, row: Row) -> Row:
        if "answers" in row:
            answer_ids, pairs = encoder.scored_answers(row)
            return {"answer_ids": answer_ids, "pairs": pairs, "margins": [0.0] * len(pairs)}
        encoded = encoder.scored_pair(row)
        margin = encoded.get("margin", 0.0) if self.config.use_margin else 0.0
        return {
            "answer_ids": [encoded["chosen_ids"], encoded["rejected_ids"]],
            "pairs": [[0, 1]],
            "margins": [margin],
        }

    def trainer(self, start: Start, arguments: dict[str, Any], train: Any, heldout: Any) -> Any:
        return RewardTrainer(
            model=start.model,
            args=trl.RewardConfig(
                **arguments,
                max_length=None,  # rows are cut already
                center_rewards_coefficient=self.config.center_rewards or None,
            ),
            data_collator=RankingCollator(start.tokenizer.pad_token_id),
            train_dataset=train,
            eval_dataset=heldout,
            processing_class=start.tokenizer,
            peft_config=peft_config(self.config.lora, "SEQ_CLS"),
        )


def with_scalar_head(start: Start) -> Start:
    """The same model with one number per sequence instead of next-token logits."""
    from transformers import AutoModelForSequenceClassification

    return new_head(start, AutoModelForSequenceClassification, num_labels=1)
