"""Log-likelihoods of token sequences, batched by a budget of logits, so that memory does not depend on lengths."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch

from evaluation.generate import END_OF_TEXT
from evaluation.prefix_tree import Row
from evaluation.tree_scoring import score_rows, tree_decoder
from millbase.errors import InputError, StageError
from millbase.progress import progress

if TYPE_CHECKING:
    from training.load import LoadedModel

MAX_LOGITS = 1 << 26
"""Most logits held at once: 256 MiB in float32."""


def document_start_id(loaded: LoadedModel) -> int:
    """The token before a document: the beginning-of-sequence token, else `<|endoftext|>`, else the end token.

    Raises InputError when the tokenizer has none of them.
    """
    return start_token(loaded.tokenizer, str(loaded.path))


def start_token(tokenizer: Any, where: str) -> int:
    """As `document_start_id`; `where` is named when there is none."""
    if tokenizer.bos_token_id is not None:
        return int(tokenizer.bos_token_id)
    added = tokenizer.get_added_vocab()
    if END_OF_TEXT in added:
        return int(added[END_OF_TEXT])
    if tokenizer.eos_token_id is None:
        raise InputError(f"{where!r}: the tokenizer has no bos, eos or {END_OF_TEXT} token to start from")
    return int(tokenizer.eos_token_id)


def rolling_windows(ids: Sequence[int], start_id: int, context: int) -> list[tuple[list[int], list[int]]]:
    """`(context, continuation)` windows that predict every token of `ids` exactly once.

    The first window holds `context` predicted tokens after the document-start token; each later one the next `context`
    tokens after as much as fits of what stands before them. lm-eval cuts its rolling log-likelihood the same way.
    """
    windows = [([start_id], list(ids[:context]))] if ids else []
    for begin in range(context, len(ids), context):
        end = min(begin + context, len(ids))
        windows.append((list(ids[end - context - 1 : begin]), list(ids[begin:end])))
    return windows


def score_continuations(
    loaded: LoadedModel,
    pairs: Sequence[tuple[Sequence[int], Sequence[int]]],
    *,
    batch_size: int = 64,
    description: str = "scoring",
    context: int | None = None,
) -> list[tuple[float, bool]]:
    """Log-probability (nats) of each continuation after its context, and whether greedy decoding would write it.

    Args:
        loaded: the model.
        pairs: `(context, continuation)` token ids; a context that does not fit loses its beginning.
        batch_size: most sequences per batch; batches also keep below `MAX_LOGITS`.
        description: shown beside the progress bar.
        context: tokens the model may see; default its longest.

    Raises:
        InputError: an empty context or continuation, or a continuation longer than the context.
        StageError: the model gave NaN logits.
    """
    rows = clipped(pairs, context or loaded.max_length)
    results: list[tuple[float, bool]] = [(0.0, False)] * len(rows)
    decoder = tree_decoder(loaded)
    with progress(description, total=len(rows), unit="sequences") as bar:
        if decoder is not None:
            counted = zip(rows, pairs, strict=True)
            trees = [(Row(tuple(row[:-1]), len(after)), tuple(after)) for row, (_, after) in counted]
            return score_rows(decoder, trees, batch_size, bar)
        for batch in batches([len(row) for row in rows], batch_size, loaded.model.config.vocab_size):
            counts = [len(pairs[i][1]) for i in batch]
            for i, result in zip(batch, _score_batch(loaded, [rows[i] for i in batch], counts), strict=True):
                results[i] = result
            bar.advance(len(batch))
    return results


def clipped(pairs: Sequence[tuple[Sequence[int], Sequence[int]]], limit: int) -> list[list[int]]:
    """Context and continuation as one row of at most `limit` inputs and a last target; InputError as above."""
    rows: list[list[int]] = []
    for before, after in pairs:
        if not before or not after or len(after) > limit:
            raise InputError(
                f"cannot score a continuation of {len(after)} tokens after {len(before)}: expected at least one token "
                f"each and at most {limit} in the continuation"
            )
        rows.append([*before, *after][-(limit + 1) :])
    return rows


def batches(lengths: Sequence[int], batch_size: int, vocab_size: int) -> Iterator[list[int]]:
    """Indices in batches of like length, longest first, each within `batch_size` rows and `MAX_LOGITS` logits."""
    order = sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
    start = 0
    while start < len(order):
        fits = max(1, MAX_LOGITS // (lengths[order[start]] * vocab_size))
        size = min(batch_size, fits)
        yield order[start : start + size]
        start += size


def _score_batch(loaded: LoadedModel, rows: list[list[int]], counts: list[int]) -> list[tuple[float, bool]]:
    """Score the last `counts[i]` tokens of each row."""
    log_probs, greedy, _ = scored_positions(loaded, rows, counts)
    sums = [part.sum().item() for part in log_probs.split(counts)]
    matches = [bool(part.all()) for part in greedy.split(counts)]
    return list(zip(sums, matches, strict=True))


def scored_positions(
    loaded: LoadedModel, rows: list[list[int]], counts: list[int]
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """`(log_probs [N], greedy [N], log_softmax [N, V])` of the last `counts[i]` tokens of each row, rows in order.

    N is the sum of `counts`. Rows are padded on the right, which causal attention never sees. Only the scored positions
    go through the softmax, in float32.
    """
    device = loaded.model.device
    width = max(map(len, rows)) - 1
    ids_BT = torch.zeros(len(rows), width, dtype=torch.long)
    for i, row in enumerate(rows):
        ids_BT[i, : len(row) - 1] = torch.tensor(row[:-1])
    batch_index = torch.tensor([i for i, count in enumerate(counts) for _ in range(count)], device=device)
    time_index = torch.tensor(
        [t for row, count in zip(rows, counts, strict=True) for t in range(len(row) - 1 - count, len(row) - 1)],
        device=device,
    )
    targets_N = torch.tensor(
        [token for row, count in zip(rows, counts, strict=True) for token in row[len(row) - count :]], device=device
    )
    with torch.inference_mode():
        logits_NV = loaded.logits(ids_BT)[batch_index, time_index].float()
        log_softmax_NV = logits_NV.log_softmax(-1)
        log_probs_N = log_softmax_NV.gather(1, targets_N[:, None])[:, 0]
        if bool(log_probs_N.isnan().any()):
            raise StageError(f"{str(loaded.path)!r}: the model gave NaN; its training diverged, use an earlier one")
        # argmax of the logits themselves: the softmax may round two of them to the same value
        greedy_N = logits_NV.argmax(-1) == targets_N
    return log_probs_N, greedy_N, log_softmax_NV
