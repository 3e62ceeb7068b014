"""Bits per byte of held-out documents, and the ratio to a unigram model of the same tokens.

Bits per byte do not depend on the tokenizer, so any two models can be compared on the same documents. Each document is
scored alone, from the document-start token; the end-of-document token is not scored, as in lm-eval. The unigram model
has the token frequencies of the training split with one added to each count (Laplace), and scores the same tokens. With
documents of several sources, each source has a figure of its own, and so has each domain where asked (`domains.py`).
Intervals are those of the ratio estimator; those of resampled documents (bootstrap) stand in the details.
"""

from __future__ import annotations

import json
import math
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from evaluation import statistics
from evaluation.config import BitsPerByteConfig
from evaluation.domains import domains_of
from evaluation.generate import END_OF_TEXT
from evaluation.loglikelihood import document_start_id, rolling_windows, score_continuations
from evaluation.scores import BlockResult, Item, Score, make_comparison, make_score
from evaluation.token_documents import TokenDocument, read_documents
from millbase.artifacts import Manifest, open_artifact
from millbase.errors import ConfigError, InputError
from training.load import tokenizer_digest

if TYPE_CHECKING:
    from training.load import LoadedModel

NAME = "bits_per_byte"


def run_bits_per_byte(
    loaded: LoadedModel, config: BitsPerByteConfig, *, batch_size: int, prefix: str = "items"
) -> BlockResult:
    """Score the documents. InputError when the token artifact has another tokenizer or no documents."""
    context = config.context or loaded.max_length
    if context > loaded.max_length:
        raise ConfigError(f"bits_per_byte.context {context}: the model was configured for {loaded.max_length} tokens")
    manifest = open_artifact(config.tokens, kind="tokens")
    check_tokenizer(loaded, manifest)
    documents = _read_documents(manifest.path / config.split, config.max_documents, loaded)
    domains = domains_of([one.id for one in documents], config.domains, manifest) if config.domains else []
    unigram_bits = _unigram_bits(manifest.path / "unigram.json")
    start = document_start_id(loaded)
    windows, owners = [], []
    for owner, document in enumerate(documents):
        parts = rolling_windows(document.ids.tolist(), start, context)
        windows += parts
        owners += [owner] * len(parts)
    bits = np.zeros(len(documents))
    scored = score_continuations(loaded, windows, batch_size=batch_size, description=NAME, context=context)
    for owner, (log_prob, _) in zip(owners, scored, strict=True):
        bits[owner] -= log_prob / math.log(2)
    items = [
        _item(document, float(own), float(unigram_bits[document.ids].sum()))
        for document, own in zip(documents, bits, strict=True)
    ]
    result = _summary(items, f"{prefix}/{NAME}.jsonl", context, config.split)
    path = f"{prefix}/{NAME}.jsonl"
    if config.by_source:
        result.scores += _by_group(items, [str(item["source"]) for item in items], "", path)
    if config.domains is not None:
        result.scores += _by_group(items, domains, f"{config.domains.by} ", path)
    return result


def _item(document: TokenDocument, bits: float, unigram_bits: float) -> Item:
    size = document.size
    return {
        "id": document.id,
        "prompt_hash": f"bytes:{size}",  # another tokenizer gives other tokens for the same bytes, and may be compared
        "source": document.source,
        "bytes": size,
        "tokens": len(document.ids),
        "unigram_bits": unigram_bits,
        "scores": {NAME: [bits, float(size)]},
    }


def _by_group(items: list[Item], groups: list[str], kind: str, path: str) -> list[Score]:
    """One score for each group, when there are several; the values are also put into the items."""
    scores: list[Score] = []
    for group in sorted(set(groups)) if len(set(groups)) > 1 else []:
        name = f"of {kind}{group}"
        mine = [item for item, own in zip(items, groups, strict=True) if own == group]
        for item in mine:
            item["scores"][name] = item["scores"][NAME]
        bits, sizes = [item["scores"][NAME][0] for item in mine], [item["bytes"] for item in mine]
        estimate = statistics.ratio(bits, sizes)
        details = {"bytes": sum(sizes), "bootstrap95": _bootstrap(bits, sizes)}
        scores.append(make_score(NAME, name, estimate, higher_is_better=False, items=path, details=details))
    return scores


def _bootstrap(bits: list[float], sizes: list[int]) -> list[float]:
    return list(statistics.ratio_bootstrap(bits, sizes, seed=0)[:2])


def _summary(items: list[Item], path: str, context: int, split: str) -> BlockResult:
    bits = [item["scores"][NAME][0] for item in items]
    sizes = [item["bytes"] for item in items]
    unigram = [item["unigram_bits"] for item in items]
    estimate = statistics.ratio(bits, sizes)
    details: dict[str, Any] = {
        "split": split,
        "context": context,
        "bytes": sum(sizes),
        "tokens": sum(item["tokens"] for item in items),
        "unigram_bits_per_byte": sum(unigram) / sum(sizes),
        "bootstrap95": _bootstrap(bits, sizes),
    }
    score = make_score(NAME, NAME, estimate, higher_is_better=False, items=path, details=details)
    against_unigram = make_comparison(
        NAME, NAME, "unigram", statistics.ratio(bits, unigram), kind="ratio", null=1.0, higher_is_better=False
    )
    return BlockResult(scores=[score], comparisons=[against_unigram], items={path: items})


def check_tokenizer(loaded: LoadedModel, manifest: Manifest) -> None:
    """InputError when the model's tokenizer is not the one that made the tokens."""
    ours, theirs = tokenizer_digest(loaded.path), tokenizer_digest(manifest.path / "tokenizer")
    if ours != theirs:
        raise InputError(
            f"{str(manifest.path)!r} was made with another tokenizer (digest {theirs[:12]}) than "
            f"{str(loaded.path)!r} has ({ours[:12]}); give the token artifact the "
            "model was trained on, or tokenize the text again"
        )


def _read_documents(folder: Path, limit: int, loaded: LoadedModel) -> list[TokenDocument]:
    """The first documents with any text."""
    end = loaded.tokenizer.get_added_vocab().get(END_OF_TEXT)
    documents = list(islice(read_documents(folder, end, loaded.model.config.vocab_size), limit))
    if not documents:
        raise InputError(f"{str(folder)!r} holds no documents to score; choose another split or tokenize more text")
    return documents


def _unigram_bits(path: Path) -> np.ndarray:
    """`[V]` code length of each token in bits, from add-one smoothed training counts."""
    try:
        counts = np.asarray(json.loads(path.read_text(encoding="utf-8"))["counts"], dtype=np.float64)
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{str(path)!r} holds no token counts ({error}); tokenize the corpus again") from None
    smoothed = counts + 1
    bits: np.ndarray = -np.log2(smoothed / smoothed.sum())
    return bits
