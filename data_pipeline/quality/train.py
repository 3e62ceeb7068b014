"""Train the quality classifier: gather examples, train fastText on folds of them, measure, set the threshold."""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from data_pipeline.native.fasttext import load_fasttext
from data_pipeline.quality.config import FastTextConfig, QualityModelConfig
from data_pipeline.quality.crawl import sample_pages
from data_pipeline.quality.fit import run_fit
from data_pipeline.quality.folds import Alignment, Example, align, group_of, hold_out, split
from data_pipeline.quality.measures import bucket_edges, measure, threshold_for_share
from data_pipeline.quality.model import KIND, NEGATIVE, POSITIVE, model_files, score_lines, to_line
from data_pipeline.texts import input_files, sample_texts, text_key
from millbase.artifacts import create_artifact
from millbase.atomic import atomic_write, write_json
from millbase.errors import InputError
from millbase.files import glob_files
from millbase.log import get_logger
from millbase.process import available_cores
from millbase.seeds import derive_seed

logger = get_logger(__name__)

_MIN_HELDOUT = 20
_SAMPLE = 5000


class Round(NamedTuple):
    """What one classifier learns from, and what it may score."""

    train: tuple[list[Example], list[Example]]
    """Positives, negatives."""
    heldout: tuple[list[Example], list[Example]]
    """Positives, negatives that the classifier does not see."""


def train_quality(config: QualityModelConfig, out: str | Path) -> Path:
    """Write the `quality-model` artifact `out`: a fastText model a fold, and metrics.json (also the manifest's stats).

    Raises InputError when there are too few examples to train on and to measure with.
    """
    with create_artifact(out, kind=KIND, config=config, inputs=_inputs(config), seed=config.seed) as artifact:
        positive = _in_order(_positives(config), config)[: config.max_positives]
        negative = _in_order(_negatives(config), config)[: round(len(positive) * config.negatives_per_positive)]
        rounds = _rounds(positive, negative, config)
        logger.info("training on %d positives and %d negatives", *map(len, rounds[0].train))
        files = [artifact.path / name for name in model_files(config.folds)]
        with ThreadPoolExecutor(min(len(rounds), available_cores())) as pool:
            trained = [
                pool.submit(_train, artifact.scratch / f"{file.name}.txt", file, part, config)
                for file, part in zip(files, rounds, strict=True)
            ]
            for future in trained:
                future.result()
        metrics = _measure(files, rounds, config)
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


def _positives(config: QualityModelConfig) -> list[Example]:
    size = config.max_characters
    texts = [text for source in config.positives for text in sample_texts(source, derive_seed(config.seed, "sample"))]
    return [Example(to_line(piece, size)) for text in texts for piece in cut(text, size, config.pieces_per_document)]


def _negatives(config: QualityModelConfig) -> list[Example]:
    seed = derive_seed(config.seed, "sample")
    size = config.max_characters
    examples = [Example(to_line(text, size)) for source in config.negatives for text in sample_texts(source, seed)]
    pages = sample_pages(config.crawl, seed) if config.crawl else []
    return examples + [Example(to_line(page.text, size), group_of(page.url), crawl=True) for page in pages]


def cut(text: str, size: int, pieces: int) -> list[str]:
    """At most `pieces` pieces of `size` characters, evenly spread over the text; the start of it when `pieces` is 1."""
    count = min(pieces, max(1, len(text) // size))
    return [text[len(text) * index // count :][:size] for index in range(count)]


def _in_order(examples: Iterable[Example], config: QualityModelConfig) -> list[Example]:
    """Distinct examples in the order of their keys, so that a prefix of the list is a fair sample."""
    seed = derive_seed(config.seed, "order")
    keyed = {text_key(example.line, seed): example for example in examples if example.line}
    return [keyed[key] for key in sorted(keyed)]


def _rounds(positive: list[Example], negative: list[Example], config: QualityModelConfig) -> list[Round]:
    """The parts of the examples that each classifier learns from and is measured on."""
    if config.folds == 1:
        parts = [[hold_out(examples, config.heldout_share, config.seed) for examples in (positive, negative)]]
    else:
        parts = [
            [split(examples, fold, config.seed, config.folds) for examples in (positive, negative)]
            for fold in range(config.folds)
        ]
    rounds = [Round((p[0], n[0]), (p[1], n[1])) for p, n in parts]
    for index, (name, examples) in enumerate((("positive", positive), ("negative", negative))):
        heldout = sum(len(part.heldout[index]) for part in rounds)
        if heldout < _MIN_HELDOUT or not all(part.train[index] for part in rounds):
            raise InputError(
                f"{len(examples)} {name} examples leave {heldout} held out (folds = {config.folds}, heldout_share = "
                f"{config.heldout_share}) or a classifier without any, expected at least {_MIN_HELDOUT}, of several "
                f"sites; give more {name} examples, other folds or another heldout_share"
            )
    return rounds


def _train(examples: Path, model_file: Path, part: Round, config: QualityModelConfig) -> None:
    """Train one classifier; `examples` is a file to write on the way. fastText reads them in the order of the file, so
    the classes are mixed."""
    labelled = [
        f"{label} {example.line}"
        for label, lines in zip((POSITIVE, NEGATIVE), part.train, strict=True)
        for example in lines
    ]
    order = derive_seed(config.seed, "mix")
    with atomic_write(examples, "w") as file:
        file.writelines(line + "\n" for line in sorted(labelled, key=lambda line: text_key(line, order)))
    run_fit(examples, model_file, fit_options(config.fasttext, config.seed))


def fit_options(config: FastTextConfig, seed: int) -> dict[str, Any]:
    """The arguments of fastText's `train_supervised`."""
    return {
        "dim": config.dim,
        "bucket": config.buckets,
        "wordNgrams": config.word_ngrams,
        "minCount": config.min_count,
        "epoch": config.epochs,
        "lr": config.learning_rate,
        "seed": seed,
    }


def _measure(files: list[Path], rounds: list[Round], config: QualityModelConfig) -> dict[str, Any]:
    """Scores of every held-out example by the classifier that did not see it, the threshold, and what it does."""
    models = [load_fasttext(file) for file in files]
    alignment = _align(models, rounds) if len(models) > 1 else []
    heldout: tuple[list[float], list[float]] = ([], [])
    crawl: list[float] = []
    seen: list[float] = []
    for fold, (model, part) in enumerate(zip(models, rounds, strict=True)):
        remembered = [example for example in part.train[1] if example.crawl or config.crawl is None]
        positive, negative, known = (
            alignment[fold].apply(scores) if alignment else scores
            for scores in (_score(model, examples) for examples in (*part.heldout, remembered[:_SAMPLE]))
        )
        heldout[0].extend(positive)
        heldout[1].extend(negative)
        crawl += [score for score, example in zip(negative, part.heldout[1], strict=True) if example.crawl]
        seen += known
    scores = np.array(heldout[0]), np.array(heldout[1])
    raw = np.array(crawl) if crawl else scores[1]
    threshold = threshold_for_share(scores[0] if config.threshold_by == "recall" else raw, config.threshold_target)
    return {
        **measure(*scores, threshold),
        "kept_crawl": float((raw >= threshold).mean()) if crawl else None,
        "mean_raw_score": float(raw.mean()),
        "mean_raw_score_in_training": float(np.mean(seen)) if seen else None,
        "bucket_edges": bucket_edges(raw),
        "alignment": [list(each) for each in alignment],
        "train_positives": len(rounds[0].train[0]),
        "train_negatives": len(rounds[0].train[1]),
    }


def _align(models: list[Any], rounds: list[Round]) -> list[Alignment]:
    """Over the same examples for every model: a fair sample of all, for most models have seen most of them."""
    sample = [example for part in rounds for examples in part.heldout for example in examples[: _SAMPLE // len(rounds)]]
    return align([_score(model, sample) for model in models])


def _score(model: Any, examples: list[Example]) -> list[float]:
    return score_lines(model, [example.line for example in examples]) if examples else []
