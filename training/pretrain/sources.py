"""The sources of a training mixture, opened, and the order in which their sequences follow one another.

Sequence number `k` is sequence `n` of source `i`: `blend.py` says which, from the weights; `order.py` says which tokens
that is, from the source's digest. So the whole is a pure function of (digests, seed, k), and each source's own order
does not depend on the others.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from millbase.artifacts import Manifest, open_artifact
from millbase.errors import InputError
from training.pretrain.blend import Blend
from training.pretrain.config import PretrainConfig
from training.pretrain.data_config import SourceConfig
from training.pretrain.order import SequenceOrder, Span
from training.pretrain.positions import stage_sequence
from training.shards import TokenShards


@dataclass(frozen=True)
class Source:
    """An opened source."""

    config: SourceConfig
    path: Path
    """Its tokens artifact."""
    key: str
    """What its order is drawn from: the digest of the artifact, and the value of `source` when it is a part of it."""
    order: SequenceOrder


def source_configs(config: PretrainConfig) -> list[SourceConfig]:
    """The configured sources; all of `data.tokens` as one when there are none."""
    return config.data.sources or [SourceConfig(name="tokens")]


def artifact_paths(config: PretrainConfig) -> list[str]:
    """The tokens artifacts that are read, `data.tokens` first."""
    return list(dict.fromkeys([config.data.tokens, *(s.tokens or config.data.tokens for s in config.data.sources)]))


def documents_of(shards: TokenShards, source: SourceConfig) -> np.ndarray | None:
    """Numbers of the documents of a source, or None for all. InputError when there are none."""
    if source.column is None:
        return None
    found = shards.with_source(source.column)
    if not len(found):
        raise InputError(
            f"source {source.name!r}: no document under {shards.directory} says {source.column!r} in column source; "
            f"it holds {', '.join(shards.sources()[:10])}"
        )
    return found


class TrainingOrder:
    """The sequences of the training split, by their numbers."""

    def __init__(self, config: PretrainConfig, digest: str | None = None) -> None:
        """Open the sources. `digest`: that of `data.tokens`, else its manifest's.

        InputError when a source is empty, too small for a sequence, or the same data as another one.
        """
        self.config = config
        self.sources: dict[str, Source] = {}
        shards: dict[str, TokenShards] = {}
        digests = {config.data.tokens: digest} if digest is not None else {}
        for source in source_configs(config):
            path = source.tokens or config.data.tokens
            if path not in digests:
                digests[path] = open_artifact(path, kind="tokens", verify=False).digest
            if path not in shards:
                shards[path] = TokenShards(Path(path) / "train")
            opened = _open(source, Path(path), shards[path], str(digests[path]), config)
            if opened.key in self.sources:
                other = self.sources[opened.key].config.name
                raise InputError(f"sources {other!r} and {source.name!r} are the same data; leave one out")
            self.sources[opened.key] = opened
        self.lengths = _stages(config)
        self.blend = Blend(self._phases(), self.lengths, self._token_limits())
        for first, length in self.lengths[1:]:
            for key, number in self.blend.counts(first).items():
                self.sources[key].order.cut(number, length)

    def locate(self, sequence: int) -> tuple[Source, int]:
        """(source, number within the source) of a sequence. InputError when all sources are used up."""
        key, number = self.blend.locate(sequence)
        return self.sources[key], number

    def spans(self, sequence: int) -> tuple[TokenShards, Iterator[Span]]:
        """The shards a sequence is read from, and its pieces of documents."""
        source, number = self.locate(sequence)
        return source.order.shards, source.order.spans(number)

    def tokens(self, sequence: int, out: np.ndarray) -> list[int]:
        """Copy the token ids of a sequence into `out`, `[length + 1]`; returns where documents begin in it."""
        shards, spans = self.spans(sequence)
        place, begins = 0, []
        for span in spans:
            if span.start == 0:
                begins.append(place)
            end = place + span.end - span.start
            out[place:end] = shards.tokens(span.document)[span.start : span.end]
            place = end
        assert place == len(out), f"sequence {sequence} has {place} tokens, expected {len(out)}"
        return begins

    def past(self, sequence: int) -> list[list[object]]:
        """What decides the sequences numbered below `sequence`; equal for two orders that agree on them."""
        return self.blend.past(sequence)

    def _phases(self) -> list[tuple[int, dict[str, float]]]:
        keys = {source.config.name: key for key, source in self.sources.items()}
        weights = {key: source.config.weight for key, source in self.sources.items()}
        phases = {0: weights}
        for phase in self.config.data.schedule:
            if phase.from_sequence is not None:
                first = phase.from_sequence
            else:
                first = _sequence_at(phase.from_tokens or 0, self.lengths)
            weights = weights | {keys[name]: weight for name, weight in phase.weights.items()}
            if first < max(phases):
                raise InputError(
                    f"data.schedule: a phase from sequence {first} stands after one from {max(phases)}; "
                    "put the phases in order of position"
                )
            phases[first] = weights
        return list(phases.items())

    def _token_limits(self) -> dict[str, int]:
        return {
            key: int(source.config.max_epochs * source.order.tokens_per_epoch)
            for key, source in self.sources.items()
            if source.config.max_epochs is not None
        }


def _open(source: SourceConfig, path: Path, shards: TokenShards, digest: str, config: PretrainConfig) -> Source:
    key = digest if source.column is None else f"{digest}#{source.column}"
    length = _stages(config)[0][1]
    name = f"source {source.name!r} ({path})" if config.data.sources else None
    order = SequenceOrder(shards, key, config.seed, length, documents_of(shards, source), name)
    return Source(source, path, key, order)


def _stages(config: PretrainConfig) -> list[tuple[int, int]]:
    """(first sequence, tokens of a sequence) of each stage of the training."""
    stages, first = [], 0
    for past in config.data.history:
        stages.append((first, past.sequence_length))
        first += past.sequences
    assert first == stage_sequence(config)
    stages.append((first, config.data.sequence_length))
    # an empty stage, or one that changes no length, leaves no mark on the order
    starts = dict(stages)
    kept: list[tuple[int, int]] = []
    for start, length in starts.items():
        if not kept or kept[-1][1] != length:
            kept.append((start, length))
    return kept


def _sequence_at(tokens: int, lengths: list[tuple[int, int]]) -> int:
    """The first sequence that begins at or after `tokens` tokens of training."""
    done = 0
    for (first, length), (after, _) in pairwise(lengths):
        stage = (after - first) * length
        if done + stage >= tokens:
            return first + -(-(tokens - done) // length)
        done += stage
    first, length = lengths[-1]
    return first + -(-(tokens - done) // length)


def check_same_tokenizer(config: PretrainConfig, manifests: list[Manifest]) -> None:
    """InputError when two of the artifacts were made with different tokenizers."""
    from training.load import tokenizer_digest

    main, *others = artifact_paths(config)
    expected = tokenizer_digest(Path(main) / "tokenizer")
    for path, manifest in zip(others, manifests[1:], strict=True):
        if tokenizer_digest(Path(path) / "tokenizer") != expected:
            raise InputError(
                f"{path}: made with another tokenizer than {main} (vocabulary {manifest.stats.get('vocab_size')} and "
                f"{manifests[0].stats.get('vocab_size')}); build both tokens artifacts with the same one"
            )
