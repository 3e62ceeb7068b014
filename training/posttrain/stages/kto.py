"""The KTO stage on TRL's KTOTrainer, with our pairing of mismatched answers and the KL of the whole step."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import trl

from millbase.errors import InputError
from millbase.log import get_logger
from millbase.progress import progress
from training.load import load_model
from training.posttrain import objectives
from training.posttrain.data import Loaded, Row, load_labelled
from training.posttrain.encode import ChatEncoder
from training.posttrain.kto import KtoConfig
from training.posttrain.model import Start, peft_config
from training.posttrain.run import Stage, check_vocabulary, row_length
from training.posttrain.stages.reference import cached, rows_digest
from training.posttrain.stages.trainer import StageTrainer

logger = get_logger(__name__)

_COLUMNS = ("prompt_ids", "completion_ids", "KL_completion_ids")
_BALANCE = (0.75, 4 / 3)


def mismatched(rows: list[Row], longest: int) -> list[list[int]]:
    """For each row the answer of another row with another prompt, cut so that both fit `longest` tokens.

    Rows are taken in the order of their answers' lengths and the answers moved on to the next row of another prompt:
    the answers are then the same set (each about once), and little is cut.

    Raises InputError when all rows have one prompt.
    """
    if all(row["prompt_ids"] == rows[0]["prompt_ids"] for row in rows):
        raise InputError("all labelled answers have the same prompt; KTO's KL estimate needs answers to other prompts")
    order = sorted(range(len(rows)), key=lambda number: (len(rows[number]["completion_ids"]), number))
    found: list[list[int]] = [[] for _ in rows]
    for place, number in enumerate(order):
        prompt = rows[number]["prompt_ids"]
        others = (order[(place + step) % len(order)] for step in range(1, len(order)))
        other = next(candidate for candidate in others if rows[candidate]["prompt_ids"] != prompt)
        found[number] = rows[other]["completion_ids"][: longest - len(prompt)]
    return found


class KtoTrainer(StageTrainer, trl.KTOTrainer):  # type: ignore[misc]
    """TRL's KTOTrainer on rows that are tokenised already; the KL is estimated once an optimizer step, on all its
    rows."""

    def __init__(self, *, config: KtoConfig, reference_digest: str, longest: int, **rest: Any) -> None:
        # set first: TRL prepares data and computes the reference's log-probabilities while it is constructed
        self.config, self.reference_digest, self.longest = config, reference_digest, longest
        self._kl: torch.Tensor | None = None
        self._sides: dict[str, dict[str, list[float]]] = {"train": {}, "eval": {}}
        super().__init__(**rest)

    def _prepare_dataset(self, dataset: Any, *_: Any) -> Any:
        return dataset.add_column("KL_completion_ids", mismatched(list(dataset), self.longest))

    def _weight(self, inputs: dict[str, Any]) -> float:
        return float(inputs["input_ids"].shape[0])

    def _precompute_ref_logps(self, dataset: Any, name: str, batch_size: int) -> Any:
        """The reference's log-probability of each row's answer and mismatched answer, kept by digest."""
        digest = rows_digest(list(dataset), _COLUMNS, self.reference_digest, str(self.args.bf16))
        kept = self.config.reference_cache
        folder = Path(kept) if kept is not None else Path(self.args.output_dir).parent / "reference"
        logprobs = cached(folder, digest, name, lambda: self._reference_logprobs(dataset, name, batch_size))
        dataset = dataset.add_column("ref_logps", logprobs[0].tolist())
        return dataset.add_column("ref_KL_logps", logprobs[1].tolist())

    def _reference_logprobs(self, dataset: Any, name: str, batch_size: int) -> torch.Tensor:
        """`[2, rows]`: of the answers and of the mismatched ones."""
        model = (self.ref_model or self.model).eval()
        order = sorted(range(len(dataset)), key=lambda index: row_length(dataset[index]), reverse=True)
        logprobs = torch.empty(2, len(dataset))
        with progress(f"reference log-probabilities, {name}", total=len(order), unit="rows") as bar:
            for first in range(0, len(order), batch_size):
                rows = order[first : first + batch_size]
                batch = self.data_collator([dataset[row] for row in rows])
                batch = {key: value.to(self.accelerator.device) for key, value in batch.items()}
                own, other = self.compute_ref_log_probs(model, batch)
                logprobs[0, rows], logprobs[1, rows] = own.float().cpu(), other.float().cpu()
                bar.advance(len(rows))
        return logprobs

    def get_batch_samples(self, epoch_iterator: Iterator[Any], num_batches: int, device: Any) -> Any:
        """The micro-batches of a step; the KL estimate of all of them is computed first."""
        batches, items = super().get_batch_samples(epoch_iterator, num_batches, device)
        self._kl = self._estimate(batches) if batches else None
        return batches, items

    @torch.no_grad()
    def _estimate(self, batches: list[Any]) -> torch.Tensor:
        """max(0, mean log-ratio of the mismatched answers) over the rows of some batches; 0 where the loss has none."""
        device = self.accelerator.device
        if self.config.loss != "kto":
            return torch.zeros((), device=device)
        ratios = []
        for batch in batches:
            batch = {name: value.to(device) for name, value in batch.items()}
            with self.compute_loss_context_manager():
                ratios.append(self._compute_kl_logps(self.model, batch) - batch["ref_KL_logps"])
        return torch.cat(ratios).mean().clamp(min=0)

    def _compute_loss(self, model: Any, inputs: Any, return_outputs: bool) -> Any:
        config, mode = self.config, "train" if self.model.training else "eval"
        mask, label = inputs["completion_mask"][:, 1:], inputs["label"]
        kl = self._kl if mode == "train" else self._estimate([inputs])
        assert kl is not None
        output = model(
            input_ids=inputs["input_ids"],
            attention_mask=inputs["attention_mask"],
            labels=inputs["input_ids"].masked_fill(inputs["completion_mask"] == 0, -100),
            use_cache=False,
            fused_lm_head=True,  # TRL's patched forward pass: log-probabilities without the [B, T, V] logits
        )
        logprobs = output.log_probs.sum(dim=1)
        ratio = logprobs - inputs["ref_logps"]
        weights = config.desirable_weight, config.undesirable_weight
        losses = objectives.kto(ratio, label, kl, config.beta, weights)
        metrics = self._metrics[mode]
        if mode == "train":
            self._total_train_tokens += int(inputs["attention_mask"].sum())
        metrics["num_tokens"] = [self._total_train_tokens]
        metrics["kl"].append(kl.item())
        metrics["accuracy"].append(((ratio > kl) == label).float().mean().item())
        metrics["entropy"].append(((output.entropy * mask).sum() / mask.sum()).item())
        self._note_sides(mode, label, {"rewards": config.beta * ratio.detach(), "logps": logprobs.detach()})
        return losses.mean()

    def _note_sides(self, mode: str, label: torch.Tensor, values: dict[str, torch.Tensor]) -> None:
        """Sums and counts apart for desirable and undesirable answers: a batch may have none of one kind."""
        sums = self._sides[mode]
        for name, column in values.items():
            for side, rows in (("chosen", label), ("rejected", ~label)):
                entry = sums.setdefault(f"{name}/{side}", [0.0, 0.0])
                entry[0] += float(column[rows].sum())
                entry[1] += int(rows.sum())

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        mode = "train" if self.model.training else "eval"
        for name, (total, count) in self._sides[mode].items():
            if count:
                self._metrics[mode][name] = [total / count]
        self._sides[mode] = {}
        super().log(logs, start_time)


class KtoStage(Stage[KtoConfig]):
    """Alignment on labelled answers."""

    name = "kto"
    what = "labelled answers"

    def load_rows(self, patterns: str | list[str]) -> Loaded:
        return load_labelled(patterns, self.config.max_bad_share)

    def encode(self, encoder: ChatEncoder, row: Row) -> Row:
        return encoder.answer(row)

    def inputs(self) -> dict[str, str | list[str] | None]:
        return {**super().inputs(), "reference": self.config.reference}

    def trainer(self, start: Start, arguments: dict[str, Any], train: Any, heldout: Any) -> Any:
        config = self.config
        self._check_balance(train["label"])
        reference, digest = None, start.digest
        if config.reference is not None:
            loaded = load_model(config.reference, device="cpu")
            check_vocabulary(f"reference {config.reference!r}", start.tokenizer, loaded.tokenizer)
            reference, digest = loaded.model, loaded.digest
        return KtoTrainer(
            config=config,
            reference_digest=digest,
            longest=start.max_length,
            model=start.model,
            ref_model=reference,
            args=trl.KTOConfig(
                **arguments,
                max_length=None,  # rows are cut already
                beta=config.beta,
                precompute_ref_log_probs=True,
            ),
            train_dataset=train,
            eval_dataset=heldout,
            processing_class=start.tokenizer,
            peft_config=peft_config(config.lora, "CAUSAL_LM"),
        )

    def _check_balance(self, labels: list[bool]) -> None:
        config, desirable = self.config, sum(labels)
        if desirable in (0, len(labels)):
            raise InputError(
                f"all {len(labels)} answers are {'desirable' if desirable else 'undesirable'}; KTO needs some of both"
            )
        ratio = config.desirable_weight * desirable / (config.undesirable_weight * (len(labels) - desirable))
        if not _BALANCE[0] <= ratio <= _BALANCE[1]:
            logger.warning(
                "%d desirable and %d undesirable answers stand at %.2f to 1 with these weights, not at 0.75 to 1.33; "
                "desirable_weight=%.2f would even them out",
                desirable, len(labels) - desirable, ratio, config.desirable_weight / ratio,
            )  # fmt: skip
