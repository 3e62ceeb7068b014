"""The distillation stage: TRL's SFTTrainer with a teacher's distributions as targets."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
import trl

from millbase.errors import InputError
from millbase.seeds import derive_seed
from training.load import load_model
from training.posttrain.data import Loaded, Row, load_instructions
from training.posttrain.distill import DistillConfig
from training.posttrain.divergences import buckets, divergence, with_rest
from training.posttrain.encode import IGNORED, ChatEncoder
from training.posttrain.model import Start, peft_config
from training.posttrain.ppo.models import Policy
from training.posttrain.ppo.sampling import sample
from training.posttrain.run import Stage, check_vocabulary
from training.posttrain.stages.sft import SftTrainer
from training.posttrain.stages.teacher import KeptTokens, keep_tokens, labelled, logits_at

_ROW = "teacher_row"


class DistillTrainer(SftTrainer):
    """SFT's trainer whose loss is a divergence from the teacher, summed over tokens and divided by the step's
    tokens."""

    def __init__(self, *, config: DistillConfig, teacher: Any, stop_id: int, **rest: Any) -> None:
        self.config, self.teacher, self.stop_id = config, teacher, stop_id
        self.kept: dict[str, KeptTokens] = {}
        super().__init__(**rest)
        self.teacher.to(self.accelerator.device).eval()
        self._collate = self.data_collator  # type: ignore[has-type]
        self.data_collator = self._with_rows

    def _with_rows(self, rows: list[Row]) -> dict[str, Any]:
        numbers = [row[_ROW] for row in rows]
        batch = self._collate([{name: value for name, value in row.items() if name != _ROW} for row in rows])
        return {**batch, _ROW: torch.tensor(numbers)}

    def _set_signature_columns_if_needed(self) -> None:
        super()._set_signature_columns_if_needed()
        if _ROW not in self._signature_columns:  # type: ignore[has-type]
            self._signature_columns = [*self._signature_columns, _ROW]  # type: ignore[has-type]

    def keep(self, digest: str, folder: Path) -> None:
        """Have the teacher's most probable tokens of both data sets at hand."""
        for mode, dataset in (("train", self.train_dataset), ("eval", self.eval_dataset)):
            if dataset is not None:
                self.kept[mode] = keep_tokens(
                    self.teacher, digest, dataset, self._collate, self.config.top_k or 1, self.config.temperature,
                    self.args.per_device_eval_batch_size, folder,
                )  # fmt: skip

    def get_batch_samples(self, epoch_iterator: Iterator[Any], num_batches: int, device: Any) -> Any:
        """The micro-batches of a step and its number of labelled tokens; on the student's own answers in some steps."""
        batches, items = super().get_batch_samples(epoch_iterator, num_batches, device)
        step = self.state.global_step
        drawn = torch.Generator().manual_seed(derive_seed(self.args.seed, "on-policy", step))
        if self.config.on_policy and float(torch.rand((), generator=drawn)) < self.config.on_policy:
            batches = [self._sampled(batch, drawn) for batch in batches]
            items = sum(int(labelled(batch).sum()) for batch in batches)
        return batches, items

    def _sampled(self, batch: dict[str, Any], drawn: torch.Generator) -> dict[str, Any]:
        """The same prompts with answers of the student; the noise is a pure function of (seed, step, row, position)."""
        prompts = []
        for ids, labels in zip(batch["input_ids"].tolist(), batch["labels"].tolist(), strict=True):
            prompts.append(ids[: next(place for place, label in enumerate(labels) if label != IGNORED)])
        room = min(self.config.max_new_tokens, self.model.config.max_position_embeddings - max(map(len, prompts)))
        uniforms = torch.rand(len(prompts), max(1, room), dtype=torch.float64, generator=drawn)
        training = self.model.training
        self.model.eval()
        policy = Policy(self.accelerator.unwrap_model(self.model), {self.stop_id})
        answers = sample(policy, prompts, uniforms, 1.0, len(prompts))
        self.model.train(training)
        rows = [
            {"input_ids": prompt + answer.tokens, "labels": [IGNORED] * len(prompt) + answer.tokens}
            for prompt, answer in zip(prompts, answers, strict=True)
        ]
        self._metrics["train"]["sampled_length"].append(sum(len(a.tokens) for a in answers) / len(answers))
        return {**self._collate(rows), _ROW: batch[_ROW]}

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        config, mode = self.config, "train" if self.model.training else "eval"
        rows = inputs.pop(_ROW).tolist()
        inputs = {name: value.to(self.accelerator.device) for name, value in inputs.items()}
        mask = labelled(inputs)
        logits = logits_at(model, inputs)
        student = (logits / config.temperature).log_softmax(dim=1)
        if mode in self.kept:
            ids, kept = self.kept[mode].at(rows, logits.device)
            whole = kept.shape[1] == student.shape[1]
            pair = (kept, student.gather(1, ids)) if whole else (with_rest(kept), buckets(student, ids))
        else:
            with torch.no_grad():
                pair = ((logits_at(self.teacher, inputs) / config.temperature).log_softmax(dim=1), student)
        from_teacher = divergence(config.divergence, *pair, config.jsd_beta).sum()
        targets = inputs["labels"][:, 1:][mask]
        crossentropy = F.cross_entropy(logits, targets, reduction="sum")
        tokens = mask.sum() if num_items_in_batch is None else num_items_in_batch
        loss = (config.temperature**2 * from_teacher + config.cross_entropy_weight * crossentropy) / tokens
        with torch.no_grad():
            self._metrics[mode]["divergence"].append(float(from_teacher / mask.sum()))
            self._metrics[mode]["cross_entropy"].append(float(crossentropy / mask.sum()))
            self._metrics[mode]["mean_token_accuracy"].append(float((logits.argmax(dim=1) == targets).float().mean()))
        if mode == "train":
            self._total_train_tokens += int(inputs["attention_mask"].sum())
        self._metrics[mode]["num_tokens"] = [self._total_train_tokens]
        return (loss, None) if return_outputs else loss

    def prediction_step(self, model: Any, inputs: Any, prediction_loss_only: bool, ignore_keys: Any = None) -> Any:
        """Validation: the loss alone."""
        self.__dict__.setdefault("_weights", []).append(self._weight(inputs))
        with torch.no_grad():
            loss = self.compute_loss(model, inputs)
        self._metrics["eval"]["loss"].append(loss.item())
        return loss, None, None


class DistillStage(Stage[DistillConfig]):
    """Distillation of a teacher."""

    name = "distill"
    what = "instructions"

    def load_rows(self, patterns: str | list[str]) -> Loaded:
        return load_instructions(patterns, self.config.max_bad_share)

    def encode(self, encoder: ChatEncoder, row: Row) -> Row:
        return encoder.instruction(row)

    def inputs(self) -> dict[str, str | list[str] | None]:
        return {**super().inputs(), "teacher": self.config.teacher}

    def trainer(self, start: Start, arguments: dict[str, Any], train: Any, heldout: Any) -> Any:
        config = self.config
        teacher = load_model(config.teacher, device="cpu")
        check_vocabulary(f"teacher {config.teacher!r}", start.tokenizer, teacher.tokenizer)
        if config.top_k is not None and config.top_k > teacher.model.config.vocab_size:
            raise InputError(
                f"top_k = {config.top_k} exceeds the teacher's vocabulary of {teacher.model.config.vocab_size}; "
                "lower it"
            )
        longest = max(len(row["input_ids"]) for row in train)
        if longest > teacher.max_length:
            raise InputError(
                f"a row of {longest} tokens exceeds the context of teacher {config.teacher!r}, {teacher.max_length}; "
                f"set max_length to {teacher.max_length} or less"
            )
        numbered = [
            None if rows is None else rows.add_column(_ROW, list(range(len(rows)))) for rows in (train, heldout)
        ]
        trainer = DistillTrainer(
            config=config,
            teacher=teacher.model.requires_grad_(False),
            stop_id=ChatEncoder(start.tokenizer, start.max_length).stop_id,
            model=start.model,
            args=trl.SFTConfig(**arguments, max_length=None),
            train_dataset=numbered[0],
            eval_dataset=numbered[1],
            processing_class=start.tokenizer,
            peft_config=peft_config(config.lora, "CAUSAL_LM"),
        )
        if config.top_k is not None:
            kept = config.teacher_cache
            trainer.keep(teacher.digest, Path(kept) if kept else Path(arguments["output_dir"]).parent / "teacher")
        return trainer
