"""Batches as the model takes them, from sequences of token ids.

Shapes: B sequences, T = sequence_length positions.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from millbase.artifacts import open_artifact
from training.pretrain.config import DataConfig, PretrainConfig
from training.pretrain.order import SequenceOrder
from training.pretrain.shards import TokenShards


@dataclass(frozen=True)
class Batch:
    """One micro-batch."""

    tokens: torch.Tensor
    """Input token ids, `[B, T]` int64."""
    labels: torch.Tensor
    """The next token of each position, `[B, T]` int64."""
    loss_mask: torch.Tensor
    """1 where the loss counts, `[B, T]` float32."""
    attention_mask: torch.Tensor | None
    """True where a position must not look, `[B, 1, T, T]`; None for plain causal attention."""

    @property
    def position_ids(self) -> torch.Tensor:
        """`[B, T]`; rotary positions are taken from the place in the sequence."""
        return torch.arange(self.tokens.size(1), device=self.tokens.device).expand_as(self.tokens)

    def to(self, device: torch.device | int) -> Batch:
        """The same batch on another device."""
        mask = None if self.attention_mask is None else self.attention_mask.to(device)
        return Batch(self.tokens.to(device), self.labels.to(device), self.loss_mask.to(device), mask)


@dataclass(frozen=True)
class DocumentSpan:
    """A piece of a document in the training data: tokens `[start, end)` of `id` in sequence number `sequence`."""

    id: str
    source: str
    sequence: int
    start: int
    end: int


def collate(rows: list[np.ndarray], document_starts: list[list[int]], config: DataConfig) -> Batch:
    """Make a batch of rows of T + 1 token ids; `document_starts`: places in each row where a document begins."""
    stacked = torch.from_numpy(np.stack(rows))
    tokens, labels = stacked[:, :-1].contiguous(), stacked[:, 1:].contiguous()
    begins = torch.zeros(stacked.shape, dtype=torch.long)
    for row, places in enumerate(document_starts):
        begins[row, places] = 1
    loss_mask = torch.ones(labels.shape)
    if config.mask_loss_at_document_start:
        loss_mask -= begins[:, 1:]
    mask = None
    if config.mask_across_documents:
        segment = begins[:, :-1].cumsum(1)
        other = segment[:, :, None] != segment[:, None, :]
        length = tokens.size(1)
        later = torch.ones(length, length, dtype=torch.bool).triu(1)
        mask = (other | later)[:, None]
    return Batch(tokens, labels, loss_mask, mask)


class TrainingData:
    """The sequences of the training split, by their numbers."""

    def __init__(self, config: PretrainConfig, digest: str) -> None:
        """`digest`: the tokens artifact's."""
        self.config = config
        shards = TokenShards(Path(config.data.tokens) / "train")
        self.order = SequenceOrder(shards, digest, config.seed, config.data.sequence_length)

    def batch(self, sequences: list[int]) -> Batch:
        """The micro-batch of these sequences, in this order."""
        rows, starts = [], []
        for number in sequences:
            place, row, begins = 0, [], []
            for span in self.order.spans(number):
                if span.start == 0:
                    begins.append(place)
                place += span.end - span.start
                row.append(self.order.shards.tokens(span.document)[span.start : span.end])
            rows.append(np.concatenate(row).astype(np.int64))
            starts.append(begins)
        return collate(rows, starts, self.config.data)

    def step(self, step: int, data_rank: int) -> Iterator[Batch]:
        """The micro-batches of one data-parallel rank in optimizer step `step`."""
        micro, replicas = self.config.micro_batch_size, self.config.parallel.data
        first = step * self.config.global_batch_size
        for start in range(data_rank * micro, self.config.global_batch_size, replicas * micro):
            yield self.batch(list(range(first + start, first + start + micro)))

    def documents(self, step: int) -> list[DocumentSpan]:
        """Every piece of a document that optimizer step `step` trains on."""
        shards, size = self.order.shards, self.config.global_batch_size
        return [
            DocumentSpan(shards.id(span.document), shards.source(span.document), number, span.start, span.end)
            for number in range(step * size, (step + 1) * size)
            for span in self.order.spans(number)
        ]


def which_documents(config: PretrainConfig, step: int) -> list[DocumentSpan]:
    """The documents that optimizer step `step` (the first is 0) of a run of `config` trains on, without running it."""
    manifest = open_artifact(config.data.tokens, kind="tokens", verify=False)
    return TrainingData(config, manifest.digest).documents(step)


class HeldoutData:
    """Whole held-out documents as one stream in which every token is predicted exactly once.

    The end-of-document token stands before the first document, so its first token is predicted too. The last
    sequence is filled up with tokens that do not count.
    """

    def __init__(self, config: PretrainConfig, end_of_document: int) -> None:
        """Takes documents in their stored order until they hold `config.evaluation.tokens` tokens, one at least."""
        self.config = config
        shards = TokenShards(Path(config.data.tokens) / "heldout")
        ends = np.cumsum(shards.lengths)
        documents = min(int(np.searchsorted(ends, config.evaluation.tokens)) + 1, len(shards))
        pieces = [np.array([end_of_document])] + [shards.tokens(d) for d in range(documents)]
        self._stream = np.concatenate(pieces).astype(np.int64)
        self._starts = np.concatenate([[0], 1 + np.concatenate([[0], ends[: max(0, documents - 1)]])])
        self.documents = documents
        self.tokens = len(self._stream) - 1
        """Tokens that are predicted."""
        self.bytes = sum(shards.text_bytes(d) for d in range(documents))
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
        rows, starts, counted = [], [], []
        for number in sequences:
            piece = self._stream[number * length : (number + 1) * length + 1]
            row = np.full(length + 1, self.end_of_document)
            row[: len(piece)] = piece
            rows.append(row)
            inside = self._starts - number * length
            starts.append([int(place) for place in inside if 0 <= place < len(piece)])
            counted.append(max(0, len(piece) - 1))
        # Every token counts here, whatever the training loss leaves out.
        batch = collate(rows, starts, self.config.data.model_copy(update={"mask_loss_at_document_start": False}))
        mask = (torch.arange(length) < torch.tensor(counted)[:, None]).float()
        return Batch(batch.tokens, batch.labels, mask, batch.attention_mask)
