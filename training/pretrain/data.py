"""Batches as the model takes them, from sequences of token ids.

Shapes: B sequences, T = sequence_length positions.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from millbase.artifacts import open_artifact
from training.pretrain.config import PretrainConfig
from training.pretrain.data_config import DataConfig, SourceConfig
from training.pretrain.models.masking import Masking
from training.pretrain.positions import batch_size, first_sequence
from training.pretrain.sources import TrainingOrder, documents_of
from training.shards import TokenShards


@dataclass(frozen=True)
class Batch:
    """One micro-batch."""

    tokens: torch.Tensor
    """Input token ids, `[B, T]` int64."""
    labels: torch.Tensor
    """The next token of each position, `[B, T]` int64."""
    loss_mask: torch.Tensor
    """1 where the loss counts, `[B, T]` float32."""
    segments: torch.Tensor | None = None
    """Number of the document a position belongs to within its row, `[B, T]` int64; None for plain causal attention."""

    @property
    def position_ids(self) -> torch.Tensor:
        """`[B, T]`; rotary positions are taken from the place in the sequence."""
        return torch.arange(self.tokens.size(1), device=self.tokens.device).expand_as(self.tokens)

    @property
    def attention_mask(self) -> torch.Tensor | None:
        """True where a position must not look, `[B, 1, T, T]`; None for plain causal attention."""
        if self.segments is None:
            return None
        other = self.segments[:, :, None] != self.segments[:, None, :]
        length = self.segments.size(1)
        later = torch.ones(length, length, dtype=torch.bool, device=self.segments.device).triu(1)
        return (other | later)[:, None]

    def to(self, device: torch.device | int) -> Batch:
        """The same batch on another device."""
        segments = None if self.segments is None else self.segments.to(device)
        return Batch(self.tokens.to(device), self.labels.to(device), self.loss_mask.to(device), segments)


@dataclass(frozen=True)
class DocumentSpan:
    """A piece of a document in the training data: tokens `[start, end)` of `id` in sequence number `sequence`."""

    id: str
    source: str
    """The document's column `source`."""
    sequence: int
    start: int
    end: int
    mixture: str = "tokens"
    """Name of the source in the mixture."""
    tokens: str = ""
    """The tokens artifact it lies in."""


def collate(rows: np.ndarray, document_starts: list[list[int]], config: DataConfig) -> Batch:
    """A batch of rows `[B, T + 1]` of token ids; `document_starts`: places in each row where a document begins."""
    stacked = torch.from_numpy(rows)
    tokens, labels = stacked[:, :-1].contiguous(), stacked[:, 1:].contiguous()
    loss_mask = torch.ones(labels.shape)
    segments = None
    if config.mask_loss_at_document_start or config.mask_across_documents:
        begins = torch.zeros(stacked.shape, dtype=torch.long)
        for row, places in enumerate(document_starts):
            begins[row, places] = 1
        if config.mask_loss_at_document_start:
            loss_mask -= begins[:, 1:]
        if config.mask_across_documents:
            segments = begins[:, :-1].cumsum(1)
    return Batch(tokens, labels, loss_mask, segments)


def masking(config: PretrainConfig) -> Masking | None:
    """What hides tokens from a masked language model; None for the others."""
    if config.model.masked_lm is None:
        return None
    tokens = open_artifact(config.data.tokens, kind="tokens", verify=False)
    tokenizer = Path(config.data.tokens) / "tokenizer"
    return Masking(config.model.masked_lm, tokenizer, int(tokens.stats["vocab_size"]), tokens.digest, config.seed)


def hide(rows: np.ndarray, numbers: Iterable[int], hidden: Masking, split: str) -> Batch:
    """The batch of a masked language model, of rows `[B, T + 1]` with their sequence numbers."""
    masked = [hidden.apply(row[:-1], number, split) for row, number in zip(rows, numbers, strict=True)]
    stacked = (np.stack([getattr(m, name) for m in masked]) for name in ("inputs", "labels", "chosen"))
    inputs, labels, chosen = (torch.from_numpy(array) for array in stacked)
    return Batch(inputs, labels, chosen.float())


class TrainingData:
    """The batches of the training split, by optimizer step, read ahead by a thread."""

    def __init__(self, config: PretrainConfig, digest: str | None = None) -> None:
        """`digest`: that of the artifact `data.tokens`; default what its manifest says."""
        self.config = config
        self.order = TrainingOrder(config, digest)
        self._masking = masking(config)
        self._ahead: dict[tuple[int, int], Future[list[Batch]]] = {}
        self._reader = ThreadPoolExecutor(1, "token-reader") if config.data.prefetch else None

    def batch(self, sequences: list[int]) -> Batch:
        """The micro-batch of these sequences, in this order."""
        rows = np.empty((len(sequences), self.config.data.sequence_length + 1), np.int64)
        starts = [self.order.tokens(number, row) for number, row in zip(sequences, rows, strict=True)]
        if self._masking is not None:
            return hide(rows, sequences, self._masking, "train")
        return collate(rows, starts, self.config.data)

    def step(self, step: int, data_rank: int) -> Iterator[Batch]:
        """The micro-batches of one data-parallel rank in optimizer step `step`; the next steps are read meanwhile."""
        if self._reader is None:
            return iter(self._read(step, data_rank))
        waiting = self._ahead.pop((step, data_rank), None)
        for stale in [key for key in self._ahead if key[0] <= step]:
            self._ahead.pop(stale).cancel()
        batches = self._read(step, data_rank) if waiting is None else waiting.result()
        for after in range(step + 1, min(step + 1 + self.config.data.prefetch, self.config.steps)):
            if (after, data_rank) not in self._ahead:
                self._ahead[after, data_rank] = self._reader.submit(self._read, after, data_rank)
        return iter(batches)

    def _read(self, step: int, data_rank: int) -> list[Batch]:
        micro, replicas = self.config.micro_batch_size, self.config.parallel.data
        first = first_sequence(self.config, step)
        return [
            self.batch(list(range(first + start, first + start + micro)))
            for start in range(data_rank * micro, batch_size(self.config, step), replicas * micro)
        ]

    def documents(self, step: int) -> list[DocumentSpan]:
        """Every piece of a document that optimizer step `step` trains on."""
        first = first_sequence(self.config, step)
        found = []
        for number in range(first, first + batch_size(self.config, step)):
            source, _ = self.order.locate(number)
            shards, spans = self.order.spans(number)
            for span in spans:
                ids = shards.id(span.document), shards.source(span.document)
                found.append(DocumentSpan(*ids, number, span.start, span.end, source.config.name, str(source.path)))
        return found

    def close(self) -> None:
        """End the reading thread."""
        if self._reader is not None:
            self._reader.shutdown(cancel_futures=True)


def which_documents(config: PretrainConfig, step: int) -> list[DocumentSpan]:
    """The documents that optimizer step `step` (the first is 0) of a run of `config` trains on, without running it.

    Raises InputError when all sources are used up before that step.
    """
    return TrainingData(config).documents(step)


class HeldoutData:
    """Whole held-out documents as one stream in which every token is predicted exactly once.

    The end-of-document token stands before the first document, so its first token is predicted too. The last
    sequence is filled up with tokens that do not count.
    """

    def __init__(self, config: PretrainConfig, end_of_document: int, source: SourceConfig | None = None) -> None:
        """Takes documents in their stored order until they hold `config.evaluation.tokens` tokens, one at least.

        `source`: take its documents instead of all of `data.tokens`; InputError when none of them is held out.
        """
        self.config = config
        shards = TokenShards(Path((source and source.tokens) or config.data.tokens) / "heldout")
        chosen = None if source is None else documents_of(shards, source)
        numbers = np.arange(len(shards)) if chosen is None else chosen
        ends = np.cumsum(shards.lengths[numbers])
        documents = min(int(np.searchsorted(ends, config.evaluation.tokens)) + 1, len(numbers))
        taken = [int(number) for number in numbers[:documents]]
        pieces = [np.array([end_of_document])] + [shards.tokens(d) for d in taken]
        self._stream = np.concatenate(pieces).astype(np.int64)
        self._starts = np.concatenate([[0], 1 + np.concatenate([[0], ends[: max(0, documents - 1)]])])
        self._masking = masking(config)
        self.documents = documents
        self.tokens = len(self._stream) - 1
        """Tokens that are predicted."""
        self.bytes = sum(shards.text_bytes(d) for d in taken)
        """UTF-8 bytes of the documents' text."""
        self.end_of_document = end_of_document

    @property
    def micro_batches(self) -> int:
        """Micro-batches of each data-parallel rank; the same number for all."""
        share = self.config.micro_batch_size * self.config.parallel.data
        return math.ceil(math.ceil(self.tokens / self.config.data.sequence_length) / share)

    def batches(self, data_rank: int) -> Iterator[Batch]:
        """The micro-batches of one data-parallel rank."""
        micro, replicas = self.config.micro_batch_size, self.config.parallel.data
        for index in range(self.micro_batches):
            first = (index * replicas + data_rank) * micro
            yield self._batch(range(first, first + micro))

    def _batch(self, sequences: range) -> Batch:
        length = self.config.data.sequence_length
        rows = np.full((len(sequences), length + 1), self.end_of_document)
        starts, counted = [], []
        for row, number in zip(rows, sequences, strict=True):
            piece = self._stream[number * length : (number + 1) * length + 1]
            row[: len(piece)] = piece
            inside = self._starts - number * length
            starts.append([int(place) for place in inside if 0 <= place < len(piece)])
            counted.append(max(0, len(piece) - 1))
        mask = (torch.arange(length) < torch.tensor(counted)[:, None]).float()
        if self._masking is not None:
            masked = hide(rows, sequences, self._masking, "heldout")
            return replace(masked, loss_mask=masked.loss_mask * mask)
        # Every token counts here, whatever the training loss leaves out.
        batch = collate(rows, starts, self.config.data.model_copy(update={"mask_loss_at_document_start": False}))
        return replace(batch, loss_mask=mask)
