"""The DPO stage on TRL's DPOTrainer."""

from __future__ import annotations

from typing import Any

import torch
import trl

from millbase.progress import progress
from training.load import load_model
from training.posttrain.data import Loaded, Row, load_preferences
from training.posttrain.dpo import DpoConfig
from training.posttrain.encode import ChatEncoder
from training.posttrain.model import Start, peft_config
from training.posttrain.run import Stage, check_vocabulary, row_length
from training.posttrain.stages.trainer import StageTrainer


class DpoTrainer(StageTrainer, trl.DPOTrainer):  # type: ignore[misc]
    """TRL's DPOTrainer with our row order, on rows that are tokenised already."""

    def _prepare_dataset(self, dataset: Any, *_: Any) -> Any:
        return dataset

    def _precompute_ref_logps(self, dataset: Any, name: str, batch_size: int) -> Any:
        """The reference's summed log-probability of each answer, as columns `ref_chosen_logps`, `ref_rejected_logps`.

        TRL's own writes a cache file and shows its own bar; batches of like length are also faster.
        """
        model = (self.ref_model or self.model).eval()
        order = sorted(range(len(dataset)), key=lambda index: row_length(dataset[index]), reverse=True)
        logprobs = torch.empty(2, len(dataset))
        with progress(f"reference log-probabilities, {name}", total=len(order), unit="pairs") as bar:
            for first in range(0, len(order), batch_size):
                rows = order[first : first + batch_size]
                batch = self.data_collator([dataset[row] for row in rows])
                batch = {key: value.to(self.accelerator.device) for key, value in batch.items()}
                chosen, rejected = self.compute_ref_log_probs(model, batch)
                logprobs[0, rows], logprobs[1, rows] = chosen.float().cpu(), rejected.float().cpu()
                bar.advance(len(rows))
        dataset = dataset.add_column("ref_chosen_logps", logprobs[0].tolist())
        return dataset.add_column("ref_rejected_logps", logprobs[1].tolist())


class DpoStage(Stage[DpoConfig]):
    """Direct preference optimisation."""

    name = "dpo"
    what = "preferences"

    def load_rows(self, patterns: str | list[str]) -> Loaded:
        return load_preferences(patterns, self.config.max_bad_share)

    def encode(self, encoder: ChatEncoder, row: Row) -> Row:
        return encoder.pair(row)

    def inputs(self) -> dict[str, str | list[str] | None]:
        return {**super().inputs(), "reference": self.config.reference}

    def trainer(self, start: Start, arguments: dict[str, Any], train: Any, heldout: Any) -> Any:
        config = self.config
        losses, weights = [config.loss], [1.0]
        if config.sft_weight:
            losses, weights = [*losses, "sft"], [*weights, config.sft_weight]  # type: ignore[list-item]
        return DpoTrainer(
            model=start.model,
            ref_model=self._reference(start),
            args=trl.DPOConfig(
                **arguments,
                max_length=None,  # rows are cut already
                beta=config.beta,
                loss_type=losses,
                loss_weights=weights,
                label_smoothing=config.label_smoothing,
                precompute_ref_log_probs=config.precompute_reference,
            ),
            train_dataset=train,
            eval_dataset=heldout,
            processing_class=start.tokenizer,
            peft_config=peft_config(config.lora, "CAUSAL_LM"),
        )

    def _reference(self, start: Start) -> Any:
        """The reference model, or None where the trainer has it: the start before training, or adapters off."""
        config = self.config
        if config.reference is None:
            if config.lora is not None or config.precompute_reference:
                return None
            return load_model(config.model, device="cpu").model
        loaded = load_model(config.reference, device="cpu")
        check_vocabulary(f"reference {config.reference!r}", start.tokenizer, loaded.tokenizer)
        return loaded.model
