"""Train the quality classifier: gather examples, hold some out, train fastText, measure, set the threshold."""

import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import fasttext
import numpy as np

from data_pipeline.quality import fit
from data_pipeline.quality.config import FastTextConfig, QualityModelConfig
from data_pipeline.quality.crawl import sample_pages
from data_pipeline.quality.measures import measure, threshold_for_share
from data_pipeline.quality.model import KIND, MODEL_FILE, NEGATIVE, POSITIVE, score_lines, to_line
from data_pipeline.texts import input_files, sample_texts, text_key
from millbase.artifacts import create_artifact
from millbase.atomic import atomic_write, write_json
from millbase.errors import InputError, StageError
from millbase.files import glob_files
from millbase.log import get_logger
from millbase.process import die_with_parent
from millbase.seeds import derive_seed

logger = get_logger(__name__)

_MIN_HELDOUT = 20


def train_quality(config: QualityModelConfig, out: str | Path) -> Path:
    """Write the `quality-model` artifact `out`: model.bin and metrics.json (also in the manifest's stats).

    Raises InputError when there are too few examples to train on and to measure with.
    """
    with create_artifact(out, kind=KIND, config=config, inputs=_inputs(config), seed=config.seed) as artifact:
        positive = _lines(_positives(config), config)[: config.max_positives]
        negative = _lines(_negatives(config), config)[: round(len(positive) * config.negatives_per_positive)]
        train_positive, heldout_positive = _split(positive, config, "positive")
        train_negative, heldout_negative = _split(negative, config, "negative")
        logger.info("training on %d positives and %d negatives", len(train_positive), len(train_negative))
        examples = artifact.scratch / "train.txt"
        _write_examples(examples, train_positive, train_negative, config.seed)
        _train(examples, artifact.path / MODEL_FILE, config.fasttext, config.seed)
        model = fasttext.load_model(str(artifact.path / MODEL_FILE))
        positive_scores = np.array(score_lines(model, heldout_positive))
        negative_scores = np.array(score_lines(model, heldout_negative))
        reference = positive_scores if config.threshold_by == "recall" else negative_scores
        metrics = measure(positive_scores, negative_scores, threshold_for_share(reference, config.threshold_target))
        metrics |= {"train_positives": len(train_positive), "train_negatives": len(train_negative)}
        write_json(artifact.path / "metrics.json", metrics)
        artifact.stats.update(metrics)
        logger.info(
            "held-out AUC %.3f; threshold %.3f keeps %.0f%% of positives and %.0f%% of raw pages",
            metrics["auc"], metrics["threshold"], 100 * metrics["recall"], 100 * metrics["kept_negatives"],
        )  # fmt: skip
    return Path(out)


def _inputs(config: QualityModelConfig) -> dict[str, list[str]]:
    inputs = {"positives": [file for source in config.positives for file in input_files(source)]}
    if config.negatives:
        inputs["negatives"] = [file for source in config.negatives for file in input_files(source)]
    if config.crawl:
        inputs["crawl"] = glob_files(config.crawl.path, what="WARC files")
    return inputs


def _positives(config: QualityModelConfig) -> list[str]:
    texts = [text for source in config.positives for text in sample_texts(source, derive_seed(config.seed, "sample"))]
    return [piece for text in texts for piece in cut(text, config.max_characters, config.pieces_per_document)]


def _negatives(config: QualityModelConfig) -> list[str]:
    seed = derive_seed(config.seed, "sample")
    texts = [text for source in config.negatives for text in sample_texts(source, seed)]
    return texts + (sample_pages(config.crawl, seed) if config.crawl else [])


def cut(text: str, size: int, pieces: int) -> list[str]:
    """At most `pieces` pieces of `size` characters, evenly spread over the text; the start of it when `pieces` is 1."""
    count = min(pieces, max(1, len(text) // size))
    return [text[len(text) * index // count :][:size] for index in range(count)]


def _lines(texts: list[str], config: QualityModelConfig) -> list[str]:
    """Distinct prepared lines in the order of their keys, so that a prefix of the list is a fair sample."""
    seed = derive_seed(config.seed, "order")
    lines = {text_key(line, seed): line for line in (to_line(text, config.max_characters) for text in texts) if line}
    return [lines[key] for key in sorted(lines)]


def _split(lines: list[str], config: QualityModelConfig, name: str) -> tuple[list[str], list[str]]:
    """Training and held-out lines; by hash, so an example keeps its side when others come and go."""
    seed, bound = derive_seed(config.seed, "heldout"), int(config.heldout_share * 2**64)
    parts: tuple[list[str], list[str]] = ([], [])
    for line in lines:
        parts[text_key(line, seed) < bound].append(line)
    if len(parts[1]) < _MIN_HELDOUT or not parts[0]:
        raise InputError(
            f"{len(lines)} {name} examples leave {len(parts[1])} held out at heldout_share = {config.heldout_share},"
            f" expected at least {_MIN_HELDOUT}; give more {name} examples or raise heldout_share"
        )
    return parts


def _write_examples(path: Path, positive: list[str], negative: list[str], seed: int) -> None:
    """fastText reads examples in the order of the file, so the classes are mixed."""
    labelled = [f"{POSITIVE} {line}" for line in positive] + [f"{NEGATIVE} {line}" for line in negative]
    order = derive_seed(seed, "mix")
    with atomic_write(path, "w") as file:
        file.writelines(line + "\n" for line in sorted(labelled, key=lambda line: text_key(line, order)))


def _train(examples: Path, model_file: Path, config: FastTextConfig, seed: int) -> None:
    """Run fastText in a process of its own, where it is deterministic (`fit` says why)."""
    options = {
        "dim": config.dim,
        "bucket": config.buckets,
        "wordNgrams": config.word_ngrams,
        "minCount": config.min_count,
        "epoch": config.epochs,
        "lr": config.learning_rate,
        "seed": seed,
    }
    command = [sys.executable, "-P", fit.__file__, str(examples), str(model_file), json.dumps(options)]
    result = subprocess.run(
        command,
        env=os.environ | fit.MALLOC_ENVIRONMENT,
        preexec_fn=partial(die_with_parent, os.getpid()),
        capture_output=True,
        text=True,
    )
    if result.returncode:
        reason = (result.stderr.strip().splitlines() or ["no message"])[-1]
        raise StageError(
            f"fastText failed with status {result.returncode} ({reason}); 'Encountered NaN' means that"
            f" fasttext.learning_rate = {config.learning_rate} is too high, lower it"
        )
