"""Make a perplexity model: train an n-gram model or take a given one, and set its buckets on a sample of the crawl.

llmill corpus train-perplexity texts='[{path: wiki/*.jsonl.gz}]' crawl.path='crawl/*.warc.gz' crawl.language=en --out
runs/ppl
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from data_pipeline.perplexity.kneser_ney import train, write_arpa
from data_pipeline.perplexity.model import KIND, MODEL_FILE, PIECES_FILE, load_kenlm, perplexity
from data_pipeline.perplexity.tokens import Tokeniser
from data_pipeline.perplexity.train_config import PerplexityModelConfig
from data_pipeline.quality.crawl import sample_pages
from data_pipeline.texts import TextSource, input_files, sample_texts
from millbase.artifacts import create_artifact
from millbase.errors import InputError
from millbase.files import glob_files
from millbase.log import get_logger
from millbase.seeds import derive_seed

logger = get_logger(__name__)

_MIN_SAMPLE = 100


def train_perplexity(config: PerplexityModelConfig, out: str | Path) -> Path:
    """Write the `perplexity-model` artifact `out`.

    Raises InputError when a model is missing or damaged, or texts are missing or too few to set buckets by.
    """
    if config.model is not None:
        load_kenlm(config.model)  # a bad model is told now, not after sampling
    tokeniser = Tokeniser(config.sentencepiece, config.normalise)
    with create_artifact(out, kind=KIND, config=config, inputs=_inputs(config), seed=config.seed) as artifact:
        model_file = artifact.path / MODEL_FILE
        if config.model is not None:
            shutil.copyfile(config.model, model_file)
        else:
            lines = (tokeniser.line(text) for text in _texts(config.texts, config))
            artifact.stats["ngrams"] = write_arpa(train(lines, config.order, config.prune), model_file)
        if config.sentencepiece is not None:
            shutil.copyfile(config.sentencepiece, artifact.path / PIECES_FILE)
        model = load_kenlm(model_file)
        values = np.array([perplexity(model, tokeniser.line(text)) for text in _sample(config)])
        artifact.stats.update(_buckets(values, config))
        logger.info(
            "perplexity of %d sampled texts: median %.0f; head up to %.0f, tail above %.0f",
            len(values), np.median(values), artifact.stats["head"], artifact.stats["tail"],
        )  # fmt: skip
    return Path(out)


def _inputs(config: PerplexityModelConfig) -> dict[str, Any]:
    inputs: dict[str, Any] = {"model": config.model, "sentencepiece": config.sentencepiece}
    inputs["texts"] = [file for source in config.texts for file in input_files(source)]
    inputs["sample"] = [file for source in config.sample for file in input_files(source)]
    inputs["crawl"] = glob_files(config.crawl.path, what="WARC files") if config.crawl else []
    return inputs


def _texts(sources: list[TextSource], config: PerplexityModelConfig) -> Iterator[str]:
    for source in sources:
        yield from sample_texts(source, derive_seed(config.seed, "texts"))


def _sample(config: PerplexityModelConfig) -> list[str]:
    texts = list(_texts(config.sample, config))
    if config.crawl is not None:
        texts += [page.text for page in sample_pages(config.crawl, derive_seed(config.seed, "crawl"))]
    if len(texts) < _MIN_SAMPLE:
        raise InputError(f"{len(texts)} sampled texts set no buckets, expected at least {_MIN_SAMPLE}; give more")
    return texts


def _buckets(values: np.ndarray, config: PerplexityModelConfig) -> dict[str, Any]:
    """`head` and `tail` limits, and the percentiles 1 to 99 of the sample."""
    head, tail = np.percentile(values, [config.head_percentile, config.tail_percentile]).round(2).tolist()
    percentiles = np.percentile(values, np.arange(1, 100)).round(2).tolist()
    return {"head": head, "tail": tail, "sampled": len(values), "percentiles": percentiles}
