"""Corpus and tokenizer in, shuffled token shards out."""

import shutil
from pathlib import Path

import numpy as np

from data_pipeline.tokens.config import TokensConfig
from data_pipeline.tokens.merge import Runs
from data_pipeline.tokens.runs import take_rows, write_runs
from data_pipeline.tokens.shards import ShardWriter
from data_pipeline.tokens.vocabulary import Vocabulary, load_vocabulary
from millbase.artifacts import OpenArtifact, create_artifact, open_artifact
from millbase.atomic import write_json
from millbase.errors import InputError
from millbase.log import get_logger
from millbase.progress import progress

logger = get_logger(__name__)

KIND = "tokens"
SPLITS = ("train", "heldout")


def build_tokens(config: TokensConfig, out: str | Path) -> Path:
    """Write the `tokens` artifact `out`; its bytes depend on corpus, tokenizer, config and seed, not on `workers`.

    Raises ArtifactError for a wrong or damaged corpus or tokenizer, ConfigError for a tokenizer that does not fit, and
    InputError when the corpus is empty or leaves a split without documents.
    """
    vocabulary = load_vocabulary(config)
    corpus = open_artifact(config.corpus, kind="corpus")
    inputs = {"corpus": config.corpus, "tokenizer": config.tokenizer}
    with create_artifact(out, kind=KIND, config=config, inputs=inputs, seed=config.seed) as artifact:
        runs = Runs(write_runs(corpus, vocabulary, config, artifact.scratch))
        writers = _write_splits(runs, vocabulary, config, artifact.path)
        for split, writer in writers.items():
            if writer.documents == 0 and (split == "train" or config.heldout_share or config.heldout_documents):
                raise InputError(
                    f"none of {runs.documents} documents of {config.corpus!r} fell to the {split} split; change"
                    f" heldout_share ({config.heldout_share}) or set heldout_documents, or give a larger corpus"
                )
        counts = writers["train"].counts.tolist()
        write_json(artifact.path / "unigram.json", {"counts": counts, "tokens": writers["train"].tokens}, indent=None)
        _copy_tokenizer(vocabulary, artifact.path / "tokenizer")
        _record(artifact, writers, vocabulary, config)
    return Path(out)


def _write_splits(runs: Runs, vocabulary: Vocabulary, config: TokensConfig, folder: Path) -> dict[str, ShardWriter]:
    """Merge the runs into the shards of both splits."""
    writers = {}
    for split in SPLITS:
        shutil.rmtree(folder / split, ignore_errors=True)  # left by an interrupted merge
        writers[split] = ShardWriter(
            folder / split, vocabulary.dtype, vocabulary.size, config.batch_tokens, config.shard_tokens
        )
    with progress("writing token shards", total=runs.documents, unit="documents") as bar:
        with writers["train"] as train, writers["heldout"] as heldout:
            for table in runs.in_order():
                held = table["heldout"].to_numpy()
                train.write(take_rows(table, np.flatnonzero(~held)))
                heldout.write(take_rows(table, np.flatnonzero(held)))
                bar.advance(len(table))
    return writers


def _copy_tokenizer(vocabulary: Vocabulary, folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    for file in vocabulary.files:
        shutil.copyfile(file, folder / file.name)


def _record(
    artifact: OpenArtifact, writers: dict[str, ShardWriter], vocabulary: Vocabulary, config: TokensConfig
) -> None:
    splits = {
        split: {"documents": writer.documents, "tokens": writer.tokens, "bytes": writer.bytes, "shards": writer.shards}
        for split, writer in writers.items()
    }
    tokens, text_bytes = (sum(split[name] for split in splits.values()) for name in ("tokens", "bytes"))
    artifact.stats.update(
        tokens=tokens,
        documents=sum(split["documents"] for split in splits.values()),
        bytes_per_token=round(text_bytes / tokens, 4),
        splits=splits,
        vocab_size=vocabulary.size,
        dtype=vocabulary.dtype.name,
        end_of_document=config.end_of_document,
        end_of_document_id=vocabulary.end_of_document,
        tokenizer_digest=vocabulary.digest,
    )
    train, heldout = splits["train"], splits["heldout"]
    logger.info(
        "%d documents, %d tokens for training; %d documents, %d tokens held out",
        train["documents"], train["tokens"], heldout["documents"], heldout["tokens"],
    )  # fmt: skip
