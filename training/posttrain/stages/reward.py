"""The reward-model stage on TRL's RewardTrainer."""

from __future__ import annotations

import math
from typing import Any

import torch
import trl

from training.posttrain.data import Loaded, Row, load_preferences
from training.posttrain.encode import ChatEncoder
from training.posttrain.model import Start, load_start, peft_config
from training.posttrain.reward import RewardConfig
from training.posttrain.run import Stage
from training.posttrain.stages.trainer import StageTrainer


class RewardTrainer(StageTrainer, trl.RewardTrainer):  # type: ignore[misc]
    """TRL's RewardTrainer with our row order."""


class RewardStage(Stage[RewardConfig]):
    """Training of a reward model."""

    name = "reward"
    what = "preferences"
    kind = "reward-model"

    def start(self) -> Start:
        return with_scalar_head(load_start(self.config))

    def load_rows(self, patterns: str | list[str]) -> Loaded:
        return load_preferences(patterns, self.config.max_bad_share)

    def encode(self, encoder: ChatEncoder, row: Row) -> Row:
        encoded = encoder.scored_pair(row)
        if not self.config.use_margin:
            encoded.pop("margin", None)
        return encoded

    def trainer(self, start: Start, arguments: dict[str, Any], train: Any, heldout: Any) -> Any:
        return RewardTrainer(
            model=start.model,
            args=trl.RewardConfig(
                **arguments,
                max_length=None,  # rows are cut already
                center_rewards_coefficient=self.config.center_rewards or None,
            ),
            train_dataset=train,
            eval_dataset=heldout,
            processing_class=start.tokenizer,
            peft_config=peft_config(self.config.lora, "SEQ_CLS"),
        )


def with_scalar_head(start: Start) -> Start:
    """The same model with one number per sequence instead of next-token logits.

    The head starts normal with standard deviation 1 / sqrt(hidden size + 1) (Stiennon et al. 2020; Huang et al. 2024,
    section 3.2), from torch's global seed.
    """
    from transformers import AutoModelForSequenceClassification

    model = AutoModelForSequenceClassification.from_pretrained(
        start.path, num_labels=1, dtype=torch.float32, use_safetensors=True
    )
    # The head finds a sequence's last token by looking for padding: it must know the padding token.
    model.config.pad_token_id = start.tokenizer.pad_token_id
    torch.nn.init.normal_(model.score.weight, std=1 / math.sqrt(model.config.hidden_size + 1))
    return Start(model, start.tokenizer, start.path, start.max_length, start.digest)
