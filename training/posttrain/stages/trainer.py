"""What we add to each of TRL's trainers: our order of rows, and validation metrics that are means over all rows.

Written against TRL 1.16, whose private `_metrics` and `_prepare_dataset` are used here.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.utils.data import DataLoader

from training.posttrain.order import TrainingOrder


def padded(rows: list[list[int]], pad_token_id: int) -> dict[str, torch.Tensor]:
    """`input_ids` and `attention_mask` `[B, T]` of token rows, padded on the right."""
    width = max(len(row) for row in rows)
    return {
        "input_ids": torch.tensor([row + [pad_token_id] * (width - len(row)) for row in rows]),
        "attention_mask": torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows]),
    }


def even_batches(rows: int, size: int, processes: int, process: int) -> list[list[int]]:
    """This process's batches of at most `size` of `rows` row numbers; the n-th have the same number in all processes.

    At most `processes - 1` rows, the last ones, are left out; with fewer rows than processes every process reads all.
    """
    if rows < processes:
        return [list(range(rows))]
    rows -= rows % processes
    together = range(0, rows, size * processes)
    return [list(range(first + process, min(first + size * processes, rows), processes)) for first in together]


class StageTrainer:
    """Mixin before a TRL trainer."""

    order: TrainingOrder
    """Set after construction: the order of training rows."""
    accelerator: Any
    _metrics: Any

    def __init__(self, *, args: Any, **rest: Any) -> None:
        # One process drives one GPU; with several visible, Trainer would wrap the model in nn.DataParallel, which TRL
        # refuses. This is how Trainer itself says not to.
        if args.n_gpu > 1:
            args._n_gpu = 1
        super().__init__(args=args, **rest)  # type: ignore[call-arg]
        if self.accelerator.num_processes > 1:
            # The remainder that gather_for_metrics cuts off is that of the training data; our batches have none.
            self.accelerator.gather_for_metrics = self.gather_function = self.accelerator.gather

    def _get_train_sampler(self, train_dataset: Any = None) -> TrainingOrder:
        return self.order

    def get_eval_dataloader(self, eval_dataset: Any = None) -> Any:
        """Validation rows; of several processes each reads its part, in batches of equal size at the same time."""
        processes = self.accelerator.num_processes
        if processes == 1:
            return super().get_eval_dataloader(eval_dataset)  # type: ignore[misc]
        dataset = self._remove_unused_columns(  # type: ignore[attr-defined]
            self.eval_dataset if eval_dataset is None else eval_dataset,  # type: ignore[attr-defined]
            description="evaluation",
        )
        batches = even_batches(
            len(dataset),
            self.args.per_device_eval_batch_size,  # type: ignore[attr-defined]
            processes,
            self.accelerator.process_index,
        )
        return DataLoader(dataset, batch_sampler=batches, collate_fn=self.data_collator)  # type: ignore[attr-defined, arg-type]

    def over_processes(self, count: torch.Tensor) -> int:
        """The sum of `count` over the processes."""
        return int(self.accelerator.reduce(count))

    def create_model_card(self, *_: Any, **__: Any) -> None:
        """No model card: the artifact's manifest says how the model was made."""

    def _weight(self, inputs: dict[str, Any]) -> float:
        """What the means over a validation batch are means over: its pairs, or (SFT) its labelled tokens."""
        return inputs["input_ids"].shape[0] / 2

    def prediction_step(self, model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        """Also remember the batch's loss and weight; TRL averages batch means, so rows of a short batch count more."""
        self.__dict__.setdefault("_weights", []).append(self._weight(inputs))
        result = super().prediction_step(model, inputs, *args, **kwargs)  # type: ignore[misc]
        self._metrics["eval"]["loss"].append(result[0].item())  # type: ignore[attr-defined]
        return result

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log; for a validation, the weighted means of its batches."""
        weights = self.__dict__.pop("_weights", None)
        validation = bool(weights) and any(name.startswith("eval_") for name in logs)
        metrics = self._metrics["eval" if validation else "train"]
        for name in sorted(metrics):  # in the same order in every process
            values = metrics[name]
            shares = weights if validation and len(values) == len(weights) else [1.0] * len(values)
            if values and (validation or self.accelerator.num_processes > 1):
                metrics[name] = [self._mean(values, shares)]
        super().log(logs, start_time)  # type: ignore[misc]

    def _mean(self, values: list[float], weights: list[float]) -> float:
        """The weighted mean over all processes."""
        total, weight = sum(w * v for w, v in zip(weights, values, strict=True)), sum(weights)
        if self.accelerator.num_processes > 1:
            sums = torch.tensor([total, weight], dtype=torch.float64, device=self.accelerator.device)
            total, weight = self.accelerator.reduce(sums).tolist()
        return total / weight
