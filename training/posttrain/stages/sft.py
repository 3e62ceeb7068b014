"""The supervised fine-tuning stage on TRL's SFTTrainer."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import datasets
import trl

from millbase.files import glob_files
from millbase.log import get_logger
from millbase.seeds import derive_seed
from training.posttrain.data import Loaded, Row, load_instructions
from training.posttrain.encode import IGNORED, ChatEncoder
from training.posttrain.model import Start, peft_config
from training.posttrain.quantize import check_quantization, in_four_bits, unquantised
from training.posttrain.replay import replay_rows
from training.posttrain.run import Stage, trained_tokens
from training.posttrain.sft import SftConfig
from training.posttrain.split import is_held_out, repeat
from training.posttrain.stages.trainer import StageTrainer

logger = get_logger(__name__)


class SftTrainer(StageTrainer, trl.SFTTrainer):  # type: ignore[misc]
    """TRL's SFTTrainer with our row order."""

    def _weight(self, inputs: dict[str, Any]) -> float:
        return float((inputs["labels"][:, 1:] != IGNORED).sum())


class SftStage(Stage[SftConfig]):
    """Supervised fine-tuning."""

    name = "sft"
    what = "instructions"
    parallel = True

    def load_rows(self, patterns: str | list[str]) -> Loaded:
        return load_instructions(patterns, self.config.max_bad_share)

    def start(self) -> Start:
        if self.config.quantize:
            check_quantization(self.config)
        start = super().start()
        return replace(start, model=in_four_bits(start.path)) if self.config.quantize else start

    def to_write(self, model: Any, start: Start) -> Any:
        return unquantised(model, start.path) if self.config.quantize else model

    def inputs(self) -> dict[str, str | list[str] | None]:
        config, named = self.config, super().inputs()
        for number, source in enumerate(config.mix):
            named[f"mix_{number}"] = glob_files(source.data, f"{self.what} files")
        return {**named, "replay": config.replay.tokens if config.replay else None}

    def mix(self, rows: list[Row], stats: dict[str, Any]) -> list[Row]:
        config, counts = self.config, []
        mixed = list(rows)
        for number, source in enumerate(config.mix):
            loaded = self.load_rows(source.data)
            usable = [row for row in loaded.rows if not is_held_out(row, config.eval_share)]
            repeated = repeat(usable, source.weight, derive_seed(config.seed, "mix", number))
            counts.append({"read": loaded.stats, "held_out": len(loaded.rows) - len(usable), "rows": len(repeated)})
            mixed += repeated
        if counts:
            stats["mix"] = [{"rows": len(rows)}, *counts]
        return mixed

    def encode(self, encoder: ChatEncoder, row: Row) -> Row:
        return encoder.instruction(row)

    def arrange(self, train: Any, start: Start) -> Any:
        if self.config.replay is not None:
            trained = sum(trained_tokens(list(train)) or [])
            rows = replay_rows(self.config.replay, start.path, start.max_length, trained, self.config.seed)
            logger.info("replay: %d windows of pretraining text beside %d conversations", len(rows), len(train))
            train = datasets.Dataset.from_list([*train, *rows])
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
                neftune_noise_alpha=self.config.neftune_alpha,
            ),
            train_dataset=train,
            eval_dataset=heldout,
            processing_class=start.tokenizer,
            peft_config=peft_config(self.config.lora, "CAUSAL_LM"),
        )
