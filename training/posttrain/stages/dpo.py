"""The DPO stage on TRL's DPOTrainer, with the objectives it lacks (`objectives.py`)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import trl

from millbase.progress import progress
from training.load import load_model
from training.posttrain import objectives
from training.posttrain.callbacks import ChosenDrop
from training.posttrain.data import Loaded, Row, load_preferences
from training.posttrain.dpo import OURS, DpoConfig
from training.posttrain.encode import ChatEncoder
from training.posttrain.model import Start, peft_config
from training.posttrain.run import Stage, check_vocabulary, row_length
from training.posttrain.stages.reference import cached, rows_digest
from training.posttrain.stages.trainer import StageTrainer
from training.posttrain.worker import Place


class DpoTrainer(StageTrainer, trl.DPOTrainer):  # type: ignore[misc]
    """TRL's DPOTrainer with our row order, on rows that are tokenised already."""

    def __init__(self, *, config: DpoConfig, reference_digest: str, **rest: Any) -> None:
        # set first: TRL computes the reference's log-probabilities while it is constructed
        self.config, self.reference_digest = config, reference_digest
        super().__init__(**rest)

    def _prepare_dataset(self, dataset: Any, *_: Any) -> Any:
        return dataset

    def _precompute_ref_logps(self, dataset: Any, name: str, batch_size: int) -> Any:
        """The reference's summed log-probability of each answer, as columns `ref_chosen_logps`, `ref_rejected_logps`.

        TRL's own writes a cache file beside the data set's and shows its own bar; batches of like length are also
        faster.
        """
        if self.config.without_reference:
            return dataset
        columns = ("prompt_ids", "chosen_ids", "rejected_ids")
        digest = rows_digest(list(dataset), columns, self.reference_digest, str(self.args.bf16))
        kept = self.config.reference_cache
        folder = Path(kept) if kept is not None else Path(self.args.output_dir).parent / "reference"
        logprobs = cached(folder, digest, name, lambda: self._reference_logprobs(dataset, name, batch_size))
        dataset = dataset.add_column("ref_chosen_logps", logprobs[0].tolist())
        return dataset.add_column("ref_rejected_logps", logprobs[1].tolist())

    def _reference_logprobs(self, dataset: Any, name: str, batch_size: int) -> torch.Tensor:
        """`[2, rows]`: of the chosen and of the rejected answers."""
        model = (self.ref_model or self.model).eval()
        order = sorted(range(len(dataset)), key=lambda index: row_length(dataset[index]), reverse=True)
        logprobs = torch.zeros(2, len(dataset))
        with progress(f"reference log-probabilities, {name}", total=len(order), unit="pairs") as bar:
            mine = order[self.accelerator.process_index :: self.accelerator.num_processes]
            for first in range(0, len(mine), batch_size):
                rows = mine[first : first + batch_size]
                batch = self.data_collator([dataset[row] for row in rows])
                batch = {key: value.to(self.accelerator.device) for key, value in batch.items()}
                chosen, rejected = self.compute_ref_log_probs(model, batch)
                logprobs[0, rows], logprobs[1, rows] = chosen.float().cpu(), rejected.float().cpu()
                bar.advance(len(rows) * self.accelerator.num_processes)
        return self.accelerator.reduce(logprobs.to(self.accelerator.device)).cpu()  # each process has filled in its own

    def _compute_loss(self, model: Any, inputs: dict[str, Any], return_outputs: bool) -> Any:
        if self.config.loss not in OURS:
            return super()._compute_loss(model, inputs, return_outputs)
        mask = inputs["completion_mask"]
        given = {name: inputs[name] for name in ("input_ids", "attention_mask")}
        # TRL's patched forward pass: log-probabilities without the [B, T, V] logits
        labels = inputs["input_ids"].masked_fill(mask == 0, -100)
        output = model(**given, use_cache=False, labels=labels, fused_lm_head=True)
        chosen, rejected = output.log_probs.sum(dim=1).chunk(2)
        lengths = mask[:, 1:].sum(dim=1).chunk(2)
        losses, rewards = self._objective(inputs, model, (chosen, rejected), lengths)
        if self.config.sft_weight:
            losses = losses - self.config.sft_weight * chosen / lengths[0]
        self._note(inputs, output, mask[:, 1:], (chosen, rejected), rewards)
        return losses.mean()

    def _objective(self, inputs: Any, model: Any, logprobs: Any, lengths: Any) -> tuple[torch.Tensor, torch.Tensor]:
        """(losses `[B]`, implicit rewards `[2, B]`)."""
        config, (chosen, rejected) = self.config, logprobs
        if config.loss == "cdpo":
            if self.precompute_ref_logps:
                before = inputs["ref_chosen_logps"], inputs["ref_rejected_logps"]
            else:
                before = self.compute_ref_log_probs(self.ref_model or model, inputs)
            rewards = config.beta * (torch.stack([chosen, rejected]) - torch.stack(list(before)))
            margin = (rewards[0] - rewards[1]) / config.beta
            return objectives.cdpo(margin, config.beta, config.label_smoothing), rewards
        rewards = config.beta * torch.stack([chosen / lengths[0], rejected / lengths[1]])
        if config.loss == "simpo":
            loss = objectives.simpo(chosen, rejected, lengths[0], lengths[1], config.beta, config.simpo_gamma)
        else:
            loss = objectives.orpo(chosen, rejected, lengths[0], lengths[1], config.beta)
        return loss, rewards

    def _note(self, inputs: Any, output: Any, mask: Any, logprobs: Any, rewards: torch.Tensor) -> None:
        """The same metrics as TRL's objectives have, of this process's rows."""
        mode = "train" if self.model.training else "eval"
        if mode == "train":
            self._total_train_tokens += self.over_processes(inputs["attention_mask"].sum())
        rewards, chosen_mask = rewards.detach(), mask.chunk(2)[0]
        values = {
            "entropy": (output.entropy * mask).sum() / mask.sum(),
            "mean_token_accuracy": (output.is_top1.chunk(2)[0] * chosen_mask).sum() / chosen_mask.sum(),
            "rewards/chosen": rewards[0].mean(),
            "rewards/rejected": rewards[1].mean(),
            "rewards/accuracies": (rewards[0] > rewards[1]).float().mean(),
            "rewards/margins": (rewards[0] - rewards[1]).mean(),
            "logps/chosen": logprobs[0].mean(),
            "logps/rejected": logprobs[1].mean(),
        }
        for name, value in values.items():
            self._metrics[mode][name].append(float(value))
        self._metrics[mode]["num_tokens"] = [self._total_train_tokens]


class DpoStage(Stage[DpoConfig]):
    """Direct preference optimisation."""

    name = "dpo"
    what = "preferences"
    parallel = True
    alarm: ChosenDrop | None = None

    def load_rows(self, patterns: str | list[str]) -> Loaded:
        return load_preferences(patterns, self.config.max_bad_share)

    def encode(self, encoder: ChatEncoder, row: Row) -> Row:
        return encoder.pair(row)

    def inputs(self) -> dict[str, str | list[str] | None]:
        return {**super().inputs(), "reference": self.config.reference}

    def trainer(self, start: Start, arguments: dict[str, Any], train: Any, heldout: Any) -> Any:
        config = self.config
        ours = config.loss in OURS
        losses: list[str] = ["sigmoid" if ours else config.loss]
        weights = [1.0]
        if config.sft_weight and not ours:
            losses, weights = [*losses, "sft"], [*weights, config.sft_weight]
        reference, digest = self._reference(start)
        trainer = DpoTrainer(
            config=config,
            reference_digest=digest,
            model=start.model,
            ref_model=reference,
            args=trl.DPOConfig(
                **arguments,
                max_length=None,  # rows are cut already
                beta=config.beta,
                loss_type=losses,
                loss_weights=weights,
                label_smoothing=config.label_smoothing,
                # an objective without a reference has none to load either
                precompute_ref_log_probs=config.precompute_reference or config.without_reference,
            ),
            train_dataset=train,
            eval_dataset=heldout,
            processing_class=start.tokenizer,
            peft_config=peft_config(config.lora, "CAUSAL_LM"),
        )
        if config.chosen_drop is not None and not config.without_reference:
            self.alarm = ChosenDrop(config.beta, config.chosen_drop, config.on_chosen_drop, heldout is not None)
            trainer.add_callback(self.alarm)
        return trainer

    def finish(self, art: Place) -> None:
        if self.alarm is not None:
            art.stats["chosen_drop"] = self.alarm.summary()

    def _reference(self, start: Start) -> tuple[Any, str]:
        """(model or None where the trainer has it: the start before training, or adapters off; digest of its
        weights)."""
        config = self.config
        if config.reference is None:
            if config.lora is not None or config.precompute_reference or config.without_reference:
                return None, start.digest
            return load_model(config.model, device="cpu").model, start.digest
        loaded = load_model(config.reference, device="cpu")
        check_vocabulary(f"reference {config.reference!r}", start.tokenizer, loaded.tokenizer)
        return loaded.model, loaded.digest
