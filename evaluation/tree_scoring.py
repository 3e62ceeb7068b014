"""Log-likelihoods of many continuations with their common prefixes computed once, on a Hugging Face model.

`prefix_tree.plan` says what is shared. A packed sequence goes through the decoder once, under a mask by which each node
sees only the tokens before it; packs with a head go on from its keys and values. Only positions that are scored reach
the output layer, each once however many continuations look at it: the letters of a question cost one prediction.

Whether a model can do this is tried out when it is first used (`tree_decoder`): two short trees must get the same
log-probabilities as their rows one by one. Sliding windows, recurrent layers and attention without masks cannot.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import torch

from evaluation.prefix_tree import Family, Pack, Row, plan
from millbase.errors import StageError
from millbase.log import get_logger
from millbase.progress import Bar

if TYPE_CHECKING:
    from training.load import LoadedModel

logger = get_logger(__name__)

MAX_CACHE_BYTES = 1 << 30
"""Most memory for the keys and values of a head, repeated over a batch."""
MAX_MASK = 1 << 26
"""Most entries of an attention mask."""
MAX_TOKENS = 1 << 14
"""Most tokens in a batch, padding counted: more are no faster."""
LOGITS_AT_ONCE = 1 << 23
"""Logits held at once: 32 MiB in float32, which is faster than more because caches hold them."""

_TOLERANCE = {torch.float32: 1e-3, torch.float16: 0.1, torch.bfloat16: 0.5}
"""Largest difference in the trial; a wrong mask or position changes a log-probability far more."""


@dataclass(frozen=True)
class TreeDecoder:
    """The decoder and output layer of a model that can be fed trees."""

    decoder: Any
    output: Any
    config: Any
    where: str

    @property
    def keys_per_token(self) -> float:
        """Keys that cost as much as a token: 24 h^2 operations a layer against 4 h, at half the efficiency."""
        return 3.0 * float(self.config.hidden_size)

    def head_cache(self, head: Sequence[int]) -> Any:
        """Keys and values of a head."""
        from transformers import DynamicCache

        ids = torch.tensor([list(head)], device=self.output.weight.device)
        cache = DynamicCache(config=self.config)
        self.decoder(input_ids=ids, past_key_values=cache, use_cache=True)
        return cache

    def hidden(self, packs: Sequence[Pack], head: int, cache: Any) -> torch.Tensor:
        """`[B, N, h]` states before the output layer."""
        device = self.output.weight.device
        width = max(len(pack.tokens) for pack in packs)
        ids_BN = torch.zeros(len(packs), width, dtype=torch.long)
        positions_BN = torch.zeros(len(packs), width, dtype=torch.long)
        for i, pack in enumerate(packs):
            ids_BN[i, : len(pack.tokens)] = torch.tensor(pack.tokens)
            positions_BN[i, : len(pack.tokens)] = torch.tensor(pack.positions)
        arguments: dict[str, Any] = {"use_cache": False}
        if head or not all(pack.is_chain for pack in packs):
            visible = torch.ones(len(packs), 1, width, head + width, dtype=torch.bool)
            for i, pack in enumerate(packs):
                visible[i, 0, :, head:] = torch.from_numpy(pack.visible(width))
            arguments["attention_mask"] = self._mask(visible).to(device)
            arguments["position_ids"] = positions_BN.to(device)
        if head:
            arguments |= {"past_key_values": repeated(cache, len(packs)), "use_cache": True}
        states: torch.Tensor = self.decoder(input_ids=ids_BN.to(device), **arguments).last_hidden_state
        return states

    def _mask(self, visible: torch.Tensor) -> torch.Tensor:
        if self.config._attn_implementation == "sdpa":
            return visible
        dtype = self.output.weight.dtype
        return torch.zeros(visible.shape, dtype=dtype).masked_fill(~visible, torch.finfo(dtype).min)


def repeated(cache: Any, rows: int) -> Any:
    """The cache of one sequence for `rows` of them. Its tensors are views: the next update copies them once."""
    from transformers import DynamicCache
    from transformers.cache_utils import DynamicLayer

    copy = DynamicCache()
    for layer in cache.layers:
        view = DynamicLayer()
        view.lazy_initialization(layer.keys, layer.values)
        view.keys = layer.keys.expand(rows, -1, -1, -1)
        view.values = layer.values.expand(rows, -1, -1, -1)
        copy.layers.append(view)
    return copy


_KNOWN: WeakKeyDictionary[Any, TreeDecoder | None] = WeakKeyDictionary()


def tree_decoder(loaded: LoadedModel) -> TreeDecoder | None:
    """The model's parts, or None when it must be fed row by row. Tried once per model."""
    if loaded.model not in _KNOWN:
        _KNOWN[loaded.model] = _try(loaded)
    return _KNOWN[loaded.model]


def _try(loaded: LoadedModel) -> TreeDecoder | None:
    model = loaded.model
    config = model.config.get_text_config()
    kinds = set(getattr(config, "layer_types", None) or [])
    if config._attn_implementation not in ("sdpa", "eager") or kinds - {"full_attention"}:
        return None
    if getattr(config, "sliding_window", None) and getattr(config, "use_sliding_window", True):
        return None
    output = model.get_output_embeddings()
    if output is None or model.base_model is model:
        return None
    candidate = TreeDecoder(model.base_model, output, config, str(loaded.path))
    rows = _trial_rows(config.vocab_size)
    try:
        with torch.inference_mode():
            found = torch.tensor([value for value, _ in score_rows(candidate, rows, 4, _Silent())])
            expected = torch.tensor([_alone(loaded, row) for row in rows])
    except (TypeError, ValueError, RuntimeError, AttributeError, NotImplementedError) as error:
        logger.info("%s: scored row by row, without shared prefixes (%s)", loaded.path, error)
        return None
    if not torch.allclose(found, expected, rtol=0, atol=_TOLERANCE.get(output.weight.dtype, 1e-3)):
        logger.info("%s: scored row by row: its attention does not follow a tree mask", loaded.path)
        return None
    return candidate


def _trial_rows(vocab: int) -> list[tuple[Row, tuple[int, ...]]]:
    """Twenty rows that share a head of 20 tokens, in pairs that share six more."""
    head = [(i * 7919 + 13) % vocab for i in range(20)]
    rows = []
    for i in range(20):
        question = [(i // 2 * 104729 + j * 31 + 5) % vocab for j in range(6)]
        ids = [*head, *question, *((i * 1009 + j * 17 + 3) % vocab for j in range(3 + i % 3))]
        rows.append((Row(tuple(ids[:-1]), 2), tuple(ids[-2:])))
    return rows


def _alone(loaded: LoadedModel, row: tuple[Row, tuple[int, ...]]) -> float:
    log_probs = loaded.logits(torch.tensor([row[0].inputs]))[0, -2:].float().log_softmax(-1).cpu()
    return sum(float(log_probs[i, token]) for i, token in enumerate(row[1]))


class _Silent:
    """No progress for a trial."""

    def advance(self, count: float = 1) -> None: ...

    def note(self, text: str) -> None: ...


def score_rows(
    model: TreeDecoder, rows: Sequence[tuple[Row, tuple[int, ...]]], batch_size: int, bar: Bar
) -> list[tuple[float, bool]]:
    """`(log-probability in nats, is it greedy decoding's choice)` of each row's targets, in order.

    Args:
        model: the parts of the model.
        rows: what is read, and the tokens that the scored positions should predict.
        batch_size: packed sequences at once.
        bar: advanced by rows.

    Raises StageError when the model gives NaN.
    """
    results: list[tuple[float, bool]] = [(0.0, False)] * len(rows)
    with torch.inference_mode():
        for family in plan([row for row, _ in rows], model.keys_per_token):
            cache = model.head_cache(family.head) if family.head else None
            for packs in _batches(model, family, batch_size):
                hidden = model.hidden(packs, len(family.head), cache)
                wanted = [
                    (i, node, token)
                    for i, pack in enumerate(packs)
                    for row, nodes in pack.scored
                    for node, token in zip(nodes, rows[row][1], strict=True)
                ]
                log_probs, greedy = _predictions(model, hidden, wanted)
                start = 0
                for pack in packs:
                    for row, nodes in pack.scored:
                        end = start + len(nodes)
                        results[row] = (sum(log_probs[start:end]), all(greedy[start:end]))
                        start = end
                bar.advance(sum(len(pack.scored) for pack in packs))
    return results


def _batches(model: TreeDecoder, family: Family, batch_size: int) -> Iterator[list[Pack]]:
    """Packs of like length, longest first, chains apart (they need no mask), within the bounds on memory."""
    head = len(family.head)
    config = model.config
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    per_token = 2 * config.num_hidden_layers * heads * width * model.output.weight.element_size()
    trees = [pack for pack in family.packs if head or not pack.is_chain]
    chains = [pack for pack in family.packs if not head and pack.is_chain]
    for packs in (trees, chains):
        packs.sort(key=lambda pack: (-len(pack.tokens), pack.tokens))
        start = 0
        while start < len(packs):
            nodes = len(packs[start].tokens)
            most = min(batch_size, max(1, MAX_TOKENS // nodes), max(1, MAX_MASK // (nodes * (head + nodes))))
            if head:
                most = min(most, max(1, MAX_CACHE_BYTES // ((head + nodes) * per_token)))
            yield packs[start : start + most]
            start += most


def _predictions(
    model: TreeDecoder, hidden_BNh: torch.Tensor, wanted: list[tuple[int, int, int]]
) -> tuple[list[float], list[bool]]:
    """Log-probability of the token of each `(pack, node, token)`, and whether it is the most probable one."""
    device = hidden_BNh.device
    width = hidden_BNh.shape[1]
    places = torch.tensor([i * width + node for i, node, _ in wanted])
    unique, inverse = places.unique(return_inverse=True)
    tokens = torch.tensor([token for *_, token in wanted])
    states = hidden_BNh.reshape(-1, hidden_BNh.shape[-1])[unique.to(device)]
    size = max(1, LOGITS_AT_ONCE // model.output.weight.shape[0])
    log_probs = torch.empty(len(wanted))
    greedy = torch.empty(len(wanted), dtype=torch.bool)
    by_place = inverse.argsort(stable=True)
    bounds = torch.searchsorted(inverse[by_place], torch.arange(0, len(unique) + size, size)).tolist()
    for step, start in enumerate(range(0, len(unique), size)):
        logits = model.output(states[start : start + size]).float()
        mine = by_place[bounds[step] : bounds[step + 1]]
        place, token = (inverse[mine] - start).to(device), tokens[mine].to(device)
        best = logits.max(-1)
        log_probs[mine] = (logits[place, token] - logits.logsumexp(-1)[place]).cpu()
        greedy[mine] = (best.indices[place] == token).cpu()
    if bool(log_probs.isnan().any()):
        raise StageError(f"{model.where!r}: the model gave NaN; its training diverged, use an earlier one")
    return log_probs.tolist(), greedy.tolist()
