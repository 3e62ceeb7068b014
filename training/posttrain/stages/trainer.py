"""What we add to each of TRL's trainers: our order of rows, and validation metrics that are means over all rows.

Written against TRL 1.16, whose private `_metrics` and `_prepare_dataset` are used here.
"""

from __future__ import annotations

from typing import Any

import torch

from training.posttrain.order import TrainingOrder


def padded(rows: list[list[int]], pad_token_id: int) -> dict[str, torch.Tensor]:
    """`input_ids` and `attention_mask` `[B, T]` of token rows, padded on the right."""
    width = max(len(row) for row in rows)
    return {
        "input_ids": torch.tensor([row + [pad_token_id] * (width - len(row)) for row in rows]),
        "attention_mask": torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows]),
    }


class StageTrainer:
    """Mixin before a TRL trainer."""

    order: TrainingOrder
    """Set after construction: the order of training rows."""

    def __init__(self, *, args: Any, **rest: Any) -> None:
        # One process drives one GPU; with several visible, Trainer would wrap the model in nn.DataParallel, which TRL
        # refuses. This is how Trainer itself says not to.
        if args.n_gpu > 1:
            args._n_gpu = 1
        super().__init__(args=args, **rest)  # type: ignore[call-arg]

    def _get_train_sampler(self, train_dataset: Any = None) -> TrainingOrder:
        return self.order

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
        if weights and any(name.startswith("eval_") for name in logs):
            metrics = self._metrics["eval"]  # type: ignore[attr-defined]
            for name, values in metrics.items():
                if len(values) == len(weights):
                    mean = sum(w * v for w, v in zip(weights, values, strict=True)) / sum(weights)
                    metrics[name] = [mean]
        super().log(logs, start_time)  # type: ignore[misc]
