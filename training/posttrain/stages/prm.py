"""The stage of process reward models: a trainer in TRL's style with a loss over the steps of solutions."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import torch
import torch.nn.functional as F
import trl
from peft import get_peft_model
from transformers import set_seed
from trl.trainer.base_trainer import _BaseTrainer
from trl.trainer.utils import disable_dropout_in_model

from training.load import PROCESS_KIND
from training.posttrain.data import Loaded, Row
from training.posttrain.encode import IGNORED, ChatEncoder
from training.posttrain.model import Start, load_start, new_head, peft_config
from training.posttrain.prm import PrmConfig
from training.posttrain.process_bench import process_bench
from training.posttrain.run import Stage
from training.posttrain.stages.trainer import StageTrainer, padded
from training.posttrain.stepwise import load_stepwise
from training.posttrain.worker import Place
from training.process_reward import RIGHT

UNKNOWN = -1
"""In the column of step labels: nobody said whether the step is right."""


class StepCollator:
    """Token rows to padded tensors: `input_ids`, `attention_mask` and `labels` `[B, T]`, a class at each step's end."""

    def __init__(self, pad_token_id: int) -> None:
        self.pad = pad_token_id

    def __call__(self, rows: list[Row]) -> dict[str, torch.Tensor]:
        batch = padded([row["input_ids"] for row in rows], self.pad)
        batch["labels"] = torch.full_like(batch["input_ids"], IGNORED)
        for number, row in enumerate(rows):
            for mark, label in zip(row["marks"], row["step_labels"], strict=True):
                if label != UNKNOWN:
                    batch["labels"][number, mark] = label
        return batch


class MetricsTrainer(_BaseTrainer):  # type: ignore[misc]
    """TRL's base trainer with what its own trainers have each: adapters, and metrics averaged between log lines."""

    def __init__(self, *, model: Any, peft_config: Any, **rest: Any) -> None:
        disable_dropout_in_model(model)
        if peft_config is not None:
            set_seed(rest["args"].seed)  # adapters start random
            model = get_peft_model(model, peft_config)
            if rest["args"].gradient_checkpointing:
                model.enable_input_require_grads()
        super().__init__(model=model, **rest)
        self.can_return_loss = True  # a validation calls compute_loss
        self.label_names: list[str] = []
        self._metrics: dict[str, dict[str, list[float]]] = {"train": defaultdict(list), "eval": defaultdict(list)}
        self._total_train_tokens = 0

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log, with the mean of each metric since the last line."""
        mode, prefix = ("train", "") if self.model.training else ("eval", "eval_")
        logs.update({prefix + name: sum(values) / len(values) for name, values in self._metrics[mode].items()})
        super().log(logs, start_time)
        self._metrics[mode].clear()


class PrmTrainer(StageTrainer, MetricsTrainer):
    """Cross-entropy of the labelled steps, summed and divided by their number in the whole optimizer step.

    TRL's own trainer of process reward models is gone, and its RewardTrainer refuses a head of two classes.
    """

    loss_is_scaled_for_ga = True  # the sum is divided by the count of all micro-batches already

    def _set_signature_columns_if_needed(self) -> None:
        self._signature_columns = ["input_ids", "marks", "step_labels"]

    def _get_num_items_in_batch(self, batch_samples: list[Any], device: Any) -> Any:
        return sum(int((batch["labels"] != IGNORED).sum()) for batch in batch_samples)

    def _weight(self, inputs: dict[str, Any]) -> float:
        return float((inputs["labels"] != IGNORED).sum())

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        mode = "train" if self.model.training else "eval"
        labels = inputs["labels"]
        mask = labels != IGNORED
        output = model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"], use_cache=False)
        logits, targets = output.logits[mask].float(), labels[mask]
        total = F.cross_entropy(logits, targets, reduction="sum")
        loss = total / (num_items_in_batch or len(targets))
        if mode == "train":
            self._total_train_tokens += int(inputs["attention_mask"].sum())
        self._metrics[mode]["num_tokens"] = [self._total_train_tokens]
        right = (logits.argmax(dim=1) == targets).float().mean()
        self._metrics[mode]["accuracy"].append(right.item())
        return (loss, output) if return_outputs else loss

    @torch.no_grad()
    def step_probabilities(self, dataset: Any) -> list[list[float]]:
        """For each row, the probability of every step being right, labelled or not."""
        self.model.eval()
        order = sorted(range(len(dataset)), key=lambda row: -len(dataset[row]["input_ids"]))
        found: list[list[float]] = [[] for _ in order]
        size = self.args.per_device_eval_batch_size
        for first in range(0, len(order), size):
            rows = order[first : first + size]
            batch = self.data_collator([dataset[row] for row in rows])
            given = {name: batch[name].to(self.accelerator.device) for name in ("input_ids", "attention_mask")}
            right = self.model(**given, use_cache=False).logits.float().softmax(dim=-1)[..., RIGHT].cpu()
            for place, row in enumerate(rows):
                found[row] = right[place, dataset[row]["marks"]].tolist()
        return found


class PrmStage(Stage[PrmConfig]):
    """Training of a process reward model."""

    name = "prm"
    what = "solutions"
    kind = PROCESS_KIND
    _trainer_made: PrmTrainer

    def start(self) -> Start:
        from transformers import AutoModelForTokenClassification

        return new_head(
            load_start(self.config),
            AutoModelForTokenClassification,
            num_labels=2,
            id2label={0: "wrong", 1: "right"},
            label2id={"wrong": 0, "right": 1},
            classifier_dropout=0.0,  # the library's default is 0.1
            step_separator=self.config.separator,
            step_aggregate=self.config.aggregate,
        )

    def load_rows(self, patterns: str | list[str]) -> Loaded:
        return load_stepwise(patterns, self.config.max_bad_share)

    def encode(self, encoder: ChatEncoder, row: Row) -> Row:
        ids, marks = encoder.steps(row, self.config.separator)
        labels = [UNKNOWN if label is None else int(label) for label in row["labels"][: len(marks)]]
        return {"input_ids": ids, "marks": marks, "step_labels": labels}

    def trainer(self, start: Start, arguments: dict[str, Any], train: Any, heldout: Any) -> Any:
        self._trainer_made = PrmTrainer(
            model=start.model,
            args=trl.RewardConfig(**arguments, max_length=None),
            data_collator=StepCollator(start.tokenizer.pad_token_id),
            train_dataset=train,
            eval_dataset=heldout,
            processing_class=start.tokenizer,
            peft_config=peft_config(self.config.lora, "TOKEN_CLS"),
        )
        return self._trainer_made

    def finish(self, art: Place) -> None:
        heldout = self._trainer_made.eval_dataset
        if heldout is None:
            return
        probabilities = self._trainer_made.step_probabilities(heldout)
        labels = [[None if x == UNKNOWN else bool(x) for x in row["step_labels"]] for row in heldout]
        figures = process_bench(probabilities, labels, self.config.threshold)
        art.stats["heldout"] = {name: float(f"{value:.6g}") for name, value in figures.items()}
