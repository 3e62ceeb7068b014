"""The supervised fine-tuning stage on TRL's SFTTrainer."""

from __future__ import annotations

from typing import Any

import trl

from training.posttrain.data import Loaded, Row, load_instructions
from training.posttrain.encode import IGNORED, ChatEncoder
from training.posttrain.model import Start, peft_config
from training.posttrain.run import Stage
from training.posttrain.sft import SftConfig
from training.posttrain.stages.trainer import StageTrainer


class SftTrainer(StageTrainer, trl.SFTTrainer):  # type: ignore[misc]
    """TRL's SFTTrainer with our row order."""

    def _weight(self, inputs: dict[str, Any]) -> float:
        return float((inputs["labels"][:, 1:] != IGNORED).sum())


class SftStage(Stage[SftConfig]):
    """Supervised fine-tuning."""

    name = "sft"
    what = "instructions"

    def load_rows(self, patterns: str | list[str]) -> Loaded:
        return load_instructions(patterns, self.config.max_bad_share)

    def encode(self, encoder: ChatEncoder, row: Row) -> Row:
        return encoder.instruction(row)

    def arrange(self, train: Any, start: Start) -> Any:
        if not self.config.packing:
            return train
        # Best-fit decreasing (Ding et al. 2024) puts whole conversations together and notes where each begins.
        return trl.pack_dataset(train, seq_length=start.max_length, strategy="bfd")

    def trainer(self, start: Start, arguments: dict[str, Any], train: Any, heldout: Any) -> Any:
        return SftTrainer(
            model=start.model,
            args=trl.SFTConfig(
                **arguments,
                # Rows come tokenised, labelled, cut and packed.
                max_length=None,
                padding_free=self.config.packing,
            ),
            train_dataset=train,
            eval_dataset=heldout,
            processing_class=start.tokenizer,
            peft_config=peft_config(self.config.lora, "CAUSAL_LM"),
        )
