"""Distil educational scores into a small transformer (Penedo et al. 2024, section 4; FineWeb-Edu's classifier).

llmill corpus train-educational labels='[{path: scored/*.jsonl.gz}]' base_model=models/arctic-embed-m --out
runs/educational
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.stats import spearmanr
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from data_pipeline.educational.config import EducationalModelConfig, LabelledSource
from data_pipeline.educational.model import HIGHEST, LOWEST, MODEL_FOLDER, EducationalModel
from data_pipeline.educational.step import KIND
from data_pipeline.texts import input_files, read_records, text_key, text_of
from millbase.artifacts import create_artifact
from millbase.atomic import write_json
from millbase.errors import InputError
from millbase.log import get_logger
from millbase.progress import progress
from millbase.seeds import derive_seed, seed_everything

logger = get_logger(__name__)

_MIN_HELDOUT = 10
_MAX_BAD_SHARE = 0.05


class Row(NamedTuple):
    """One labelled text."""

    text: str
    score: float


def train_educational(config: EducationalModelConfig, out: str | Path) -> Path:
    """Write the `educational-model` artifact `out`: the model, its tokenizer and metrics.json (also the manifest's
    stats).

    Raises InputError when the base model is missing, rows hold no text or score, or too few are there to measure with.
    """
    base = Path(config.base_model)
    if not (base / "config.json").is_file():
        raise InputError(
            f"base_model {config.base_model!r} is no folder of a Hugging Face model: it has no config.json; give one"
        )
    files = [file for source in config.labels for file in input_files(source)]
    inputs: dict[str, Any] = {"labels": files, "base_model": config.base_model}
    with create_artifact(out, kind=KIND, config=config, inputs=inputs, seed=config.seed) as artifact:
        train, heldout = split(read_rows(config.labels), config)
        seed_everything(derive_seed(config.seed, "weights") % 2**31)
        tokenizer = AutoTokenizer.from_pretrained(base, local_files_only=True)
        model = AutoModelForSequenceClassification.from_pretrained(
            base, num_labels=1, problem_type="regression", local_files_only=True
        )
        scorer = EducationalModel(model, tokenizer, config.max_tokens)
        _fit(scorer, train, config)
        labels = np.array([row.score for row in heldout])
        metrics = measure(_score_all(scorer, heldout, config), labels, config.threshold)
        metrics["train_rows"] = len(train)
        scorer.model.save_pretrained(artifact.path / MODEL_FOLDER)
        tokenizer.save_pretrained(artifact.path / MODEL_FOLDER)
        write_json(artifact.path / "metrics.json", metrics)
        artifact.stats.update(metrics)
        logger.info(
            "held-out mean error %.2f, where the mean label errs by %.2f",
            metrics["mean_error"],
            metrics["mean_error_of_the_mean"],
        )
    return Path(out)


def read_rows(sources: list[LabelledSource]) -> list[Row]:
    """Distinct texts with their scores, in the order of a hash. InputError when over 5% of a file's rows lack
    either."""
    rows: dict[int, Row] = {}
    for source in sources:
        for file in input_files(source):
            total, reasons = 0, []
            for record in read_records(file):
                total += 1
                try:
                    row = _row(record, source)
                    rows[text_key(row.text, 0)] = row
                except InputError as error:
                    reasons.append(str(error))
            if len(reasons) > _MAX_BAD_SHARE * total:
                raise InputError(f"{file!r}: {len(reasons)} of {total} rows are unusable ({reasons[0]}); mend the file")
    return [rows[key] for key in sorted(rows)]


def _row(record: Any, source: LabelledSource) -> Row:
    text = text_of(record, source.field)
    score = record.get(source.score_field) if isinstance(record, dict) else None
    if isinstance(score, bool) or not isinstance(score, int | float) or not LOWEST <= score <= HIGHEST:
        raise InputError(f"key {source.score_field!r} holds {score!r}, expected a number from 0 to 5")
    if not text.strip():
        raise InputError(f"key {source.field!r} holds no text")
    return Row(text, float(score))


def split(rows: list[Row], config: EducationalModelConfig) -> tuple[list[Row], list[Row]]:
    """(rows to train on, held-out rows). InputError when there are too few to measure with."""
    seed, bound = derive_seed(config.seed, "heldout"), int(config.heldout_share * 2**64)
    parts: tuple[list[Row], list[Row]] = ([], [])
    for row in rows:
        parts[text_key(row.text, seed) < bound].append(row)
    if len(parts[1]) < _MIN_HELDOUT or not parts[0]:
        raise InputError(
            f"{len(rows)} labelled rows leave {len(parts[1])} held out at heldout_share = {config.heldout_share}, "
            f"expected at least {_MIN_HELDOUT}; give more rows or raise heldout_share"
        )
    return parts


def _fit(scorer: EducationalModel, rows: list[Row], config: EducationalModelConfig) -> None:
    """Least squares, AdamW, learning rate falling linearly to 0."""
    model = scorer.model
    if config.freeze_encoder:
        model.base_model.requires_grad_(False)
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    steps = config.epochs * math.ceil(len(rows) / config.batch_size)
    optimizer = torch.optim.AdamW(weights, lr=config.learning_rate)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / steps)
    model.train(not config.freeze_encoder)  # a frozen encoder gives every text one representation: no dropout
    with progress("training", total=steps, unit="steps") as bar:
        for batch in _batches(rows, config):
            tokens = scorer.tokenizer(
                [row.text.encode("utf-8", "replace").decode() for row in batch],
                truncation=True, max_length=config.max_tokens, padding=True, return_tensors="pt",
            ).to(scorer.device)  # fmt: skip
            wanted = torch.tensor([row.score for row in batch], device=scorer.device)
            loss = torch.nn.functional.mse_loss(model(**tokens).logits[:, 0].float(), wanted)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            bar.advance(1)
    model.eval()


def _batches(rows: list[Row], config: EducationalModelConfig) -> Iterator[list[Row]]:
    """Batches of every epoch, each in an order of its own."""
    for epoch in range(config.epochs):
        order = np.random.default_rng(derive_seed(config.seed, "order", epoch)).permutation(len(rows))
        for start in range(0, len(rows), config.batch_size):
            yield [rows[index] for index in order[start : start + config.batch_size]]


def _score_all(scorer: EducationalModel, rows: list[Row], config: EducationalModelConfig) -> np.ndarray:
    size = config.batch_size
    parts = [scorer.score([row.text for row in rows[start : start + size]]) for start in range(0, len(rows), size)]
    return np.array([score for part in parts for score in part])


def measure(scores: np.ndarray, labels: np.ndarray, threshold: float) -> dict[str, Any]:
    """Held-out measures: mean absolute error, beside that of always giving the mean label; rank correlation (null where
    scores or labels are all equal); precision, recall and F1 of "scores at least `threshold`"."""
    told, true = scores >= threshold, labels >= threshold
    right = int((told & true).sum())
    varied = len(set(scores.tolist())) > 1 and len(set(labels.tolist())) > 1
    precision = right / int(told.sum()) if told.any() else None
    recall = right / int(true.sum()) if true.any() else None
    return {
        "heldout_rows": len(labels),
        "mean_error": float(np.abs(scores - labels).mean()),
        "mean_error_of_the_mean": float(np.abs(labels.mean() - labels).mean()),
        "spearman": float(spearmanr(scores, labels).statistic) if varied else None,
        "threshold": threshold,
        "precision": precision,
        "recall": recall,
        "f1": 2 * right / int(told.sum() + true.sum()) if (told | true).any() else None,
    }
