"""Training text that the model gives back when it is shown the beginning (extractable memorisation).

A passage of `prefix + continuation` tokens is taken from each document; it counts as extractable when greedy decoding
after the prefix alone writes the whole continuation (Carlini et al. 2023, "Quantifying Memorization Across Neural
Language Models", arXiv:2202.07646, definition 3.1). Boilerplate and lists can be guessed without having been seen, so
held-out passages are tried the same way, and what counts is the difference.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from evaluation import statistics
from evaluation.bits_per_byte import check_tokenizer
from evaluation.config import EvaluationConfig
from evaluation.generate import END_OF_TEXT, Completion, generate
from evaluation.scores import BlockResult, Item, make_comparison, make_score
from evaluation.token_documents import TokenDocument, count_documents, read_documents
from millbase.artifacts import open_artifact
from millbase.errors import ConfigError, InputError
from millbase.hashing import value_digest
from millbase.seeds import derive_seed

if TYPE_CHECKING:
    from training.load import LoadedModel

NAME = "memorisation"


@dataclass(frozen=True)
class Passage:
    """A piece of a document."""

    document: TokenDocument
    start: int
    prefix: list[int]
    continuation: list[int]


def run_memorisation(model: LoadedModel, config: EvaluationConfig) -> BlockResult:
    """Try training and held-out passages.

    Raises:
        ConfigError: prefix and continuation do not fit the model's context.
        InputError: another tokenizer, or no document that is long enough.
    """
    block = config.memorisation
    assert block is not None, "the configuration asks for this block"
    if block.prefix + block.continuation > model.max_length:
        raise ConfigError(
            f"memorisation: prefix {block.prefix} + continuation {block.continuation} tokens exceed the context of "
            f"{str(model.path)!r}, {model.max_length}; make them shorter"
        )
    manifest = open_artifact(block.tokens, kind="tokens")
    check_tokenizer(model, manifest)
    found: dict[str, list[Item]] = {}
    short = {}
    for split in ("train", "heldout"):
        passages, short[split] = read_passages(manifest.path / split, model, config)
        if not passages:
            raise InputError(
                f"{str(manifest.path / split)!r}: no document has {block.prefix + block.continuation} tokens; lower "
                "memorisation.prefix or memorisation.continuation"
            )
        completions = generate(
            model,
            [passage.prefix for passage in passages],
            max_new_tokens=block.continuation,
            batch_size=config.batch_size,
            description=f"{split} passages",
        )
        found[split] = [_item(model, *pair) for pair in zip(passages, completions, strict=True)]
    return _summary(found, short)


def read_passages(folder: Path, model: LoadedModel, config: EvaluationConfig) -> tuple[list[Passage], int]:
    """One passage of each chosen document, at a place drawn from the seed; and how many documents were too short."""
    block = config.memorisation
    assert block is not None
    end = model.tokenizer.get_added_vocab().get(END_OF_TEXT)
    size = block.prefix + block.continuation
    step = max(1, count_documents(folder) // block.documents)
    passages: list[Passage] = []
    short = 0
    for number, document in enumerate(read_documents(folder, end, model.model.config.vocab_size)):
        if number % step or len(passages) == block.documents:
            continue
        if len(document.ids) < size:
            short += 1
            continue
        generator = np.random.default_rng(derive_seed(config.seed, NAME, document.id))
        start = int(generator.integers(0, len(document.ids) - size + 1))
        ids = [int(token) for token in document.ids[start : start + size]]
        passages.append(Passage(document, start, ids[: block.prefix], ids[block.prefix :]))
    return passages, short


def _item(model: LoadedModel, passage: Passage, completion: Completion) -> Item:
    wanted, written = passage.continuation, completion.ids
    same = next((i for i, (a, b) in enumerate(zip(wanted, written, strict=False)) if a != b), len(written))
    text: Any = model.tokenizer.decode
    return {
        "id": passage.document.id,
        "prompt_hash": value_digest(passage.prefix),
        "source": passage.document.source,
        "start": passage.start,
        "prompt": text(passage.prefix),
        "target": text(wanted),
        "response": completion.text,
        "scores": {"extractable": float(same == len(wanted)), "matching_share": same / len(wanted)},
    }


def _summary(found: dict[str, list[Item]], short: dict[str, int]) -> BlockResult:
    paths = {split: f"items/{NAME}_{split}.jsonl" for split in found}
    columns = {
        (split, metric): [item["scores"][metric] for item in items]
        for split, items in found.items()
        for metric in ("extractable", "matching_share")
    }
    share = {split: statistics.share(columns[split, "extractable"]) for split in found}
    by_source: dict[str, list[float]] = {}
    for item in found["train"]:
        by_source.setdefault(item["source"], []).append(item["scores"]["extractable"])
    details = {
        "too_short": short["train"],
        "by_source": {name: [sum(row) / len(row), len(row)] for name, row in sorted(by_source.items())},
    }
    scores = [
        make_score(NAME, "extractable", share["train"], higher_is_better=False, items=paths["train"], details=details),
        make_score(
            NAME,
            "matching_share",
            statistics.mean(columns["train", "matching_share"]),
            higher_is_better=False,
            items=paths["train"],
        ),
        make_score(
            f"{NAME}_heldout",
            "extractable",
            share["heldout"],
            higher_is_better=False,
            items=paths["heldout"],
            details={"too_short": short["heldout"]},
        ),
    ]
    comparison = make_comparison(
        NAME,
        "extractable",
        "heldout",
        statistics.independent_shares(columns["train", "extractable"], columns["heldout", "extractable"]),
        kind="difference",
        null=0.0,
        higher_is_better=False,
    )
    return BlockResult(scores, [comparison], {paths[split]: items for split, items in found.items()})
