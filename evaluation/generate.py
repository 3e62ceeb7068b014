"""Batched generation with a key/value cache: greedy or sampled, the same responses whatever the batch size.

Every sequence draws from its own random stream (one uniform number per token, turned into a token by the inverse of the
cumulative distribution), so its response depends on its prompt and seed, not on its neighbours. Batches of different
shapes round logits differently in the last bit; a token changes only when two candidates tie to that precision.

How prompts are read is in `reading.py`. Sequences that are done leave the batch (and the cache) at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from evaluation.reading import read_prompts, shared_head
from millbase.errors import ConfigError, StageError
from millbase.log import get_logger
from millbase.progress import Bar, progress

if TYPE_CHECKING:
    from training.load import LoadedModel

logger = get_logger(__name__)

IM_END = "<|im_end|>"
END_OF_TEXT = "<|endoftext|>"


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen."""

    temperature: float = 0.0
    """0: the most probable token."""
    top_p: float = 1.0
    top_k: int = 0


GREEDY = Sampling()


@dataclass(frozen=True)
class Completion:
    """What a model wrote after one prompt."""

    prompt_ids: list[int]
    """The prompt as the model saw it (cut on the left when it was too long)."""
    ids: list[int]
    """Generated tokens, the stop token included when there was one."""
    text: str
    """Generated text without special tokens, cut before the first stop string."""
    stopped: bool
    """False when the length limit cut it."""


def stop_token_ids(loaded: LoadedModel) -> frozenset[int]:
    """Tokens that end a response: end tokens of tokenizer and generation config, `<|im_end|>`, `<|endoftext|>`."""
    configured = getattr(loaded.model.generation_config, "eos_token_id", None)
    values = configured if isinstance(configured, list) else [configured]
    return tokenizer_stops(loaded.tokenizer) | {int(value) for value in values if value is not None}


def tokenizer_stops(tokenizer: Any) -> frozenset[int]:
    """The tokenizer's end token, `<|im_end|>`, `<|endoftext|>`."""
    added = tokenizer.get_added_vocab()
    found = {added[token] for token in (IM_END, END_OF_TEXT) if token in added}
    return frozenset(found | ({int(tokenizer.eos_token_id)} if tokenizer.eos_token_id is not None else set()))


def room_for_prompt(context: int, max_new_tokens: int, where: str) -> int:
    """Tokens of a prompt that fit before an answer. ConfigError, naming the model, when none do; for every engine."""
    if max_new_tokens >= context:
        raise ConfigError(
            f"max_new_tokens {max_new_tokens}: must be below the context of {where!r}, {context} tokens, to leave room "
            "for the prompt"
        )
    return context - max_new_tokens


def generate(
    loaded: LoadedModel,
    prompts: Sequence[Sequence[int]],
    *,
    max_new_tokens: int,
    sampling: Sampling = GREEDY,
    seeds: Sequence[int] | None = None,
    stop_strings: Sequence[str] = (),
    batch_size: int = 64,
    description: str = "generating",
) -> list[Completion]:
    """Complete every prompt (a list of token ids), in order.

    Args:
        loaded: the model.
        prompts: token ids; a prompt longer than the context minus `max_new_tokens` loses its beginning, with a warning.
        max_new_tokens: longest completion.
        sampling: how tokens are chosen.
        seeds: one per prompt; needed unless greedy.
        stop_strings: text that ends a completion, besides the model's stop tokens.
        batch_size: sequences per batch.
        description: shown beside the progress bar.

    Raises:
        ConfigError: `max_new_tokens` leaves no room for a prompt in the model's context.
        StageError: the model gave NaN or infinite logits.
    """
    room = room_for_prompt(loaded.max_length, max_new_tokens, str(loaded.path))
    if sampling.temperature > 0 and (seeds is None or len(seeds) != len(prompts)):
        raise ValueError("sampled generation needs one seed per prompt")
    cut = sum(len(prompt) > room for prompt in prompts)
    if cut:
        logger.warning(
            "%s: %d of %d prompts did not fit (%d tokens of the model's %d are left beside max_new_tokens %d) and lost "
            "their beginning; shorten them or lower max_new_tokens",
            *(description, cut, len(prompts), room, loaded.max_length, max_new_tokens),
        )
    rows = [list(prompt)[-room:] for prompt in prompts]
    for row in rows:
        assert row, "an empty prompt has nothing to be continued; start it with the document-start token"
    # longest first: memory peaks at once, and neighbours of like length need little padding
    order = sorted(range(len(rows)), key=lambda i: (-len(rows[i]), i))
    completions: list[Completion | None] = [None] * len(rows)
    stops = Stops.make(loaded.tokenizer, stop_token_ids(loaded), stop_strings)
    shared = shared_head(loaded, rows)
    with progress(description, total=len(rows), unit="responses") as bar:
        for start in range(0, len(order), batch_size):
            chosen = order[start : start + batch_size]
            draws = None if sampling.temperature == 0 else noise([seeds[i] for i in chosen], max_new_tokens)  # type: ignore[index]
            batch = [rows[i] for i in chosen]
            for index, ids, stopped in _complete(loaded, batch, max_new_tokens, sampling, draws, stops, bar, shared):
                position = chosen[index]
                completions[position] = Completion(rows[position], ids, stops.text(ids), stopped)
    return [completion for completion in completions if completion is not None]


@dataclass(frozen=True)
class Stops:
    """When a completion is over, and its text without the stop string."""

    tokenizer: Any
    ids: frozenset[int]
    strings: tuple[str, ...]

    @classmethod
    def make(cls, tokenizer: Any, ids: frozenset[int], strings: Sequence[str]) -> Stops:
        """Stop at tokens, and at strings; one that is a special token stops by its id, for text leaves those out."""
        special = tokenizer.get_added_vocab()
        also = {special[text] for text in strings if text in special}
        return cls(tokenizer, ids | also, tuple(text for text in strings if text))

    def __call__(self, ids: list[int]) -> bool:
        if ids[-1] in self.ids:
            return True
        if not self.strings:
            return False
        # a stop string of L bytes spans at most L tokens; one more may hold the bytes of a split character
        window = max(len(text.encode()) for text in self.strings) + 4
        tail = self.tokenizer.decode(ids[-window:], skip_special_tokens=False)
        return any(text in tail for text in self.strings)

    def text(self, ids: list[int]) -> str:
        text: str = self.tokenizer.decode(ids, skip_special_tokens=True)
        for stop in self.strings:
            text = text.split(stop)[0]
        return text


def noise(seeds: Sequence[int], steps: int) -> torch.Tensor:
    """`[B, steps]` uniform numbers, each row from its own seed; float64, because float32 skips rare tokens."""
    generator = torch.Generator()
    rows = [torch.rand(steps, generator=generator.manual_seed(seed), dtype=torch.float64) for seed in seeds]
    return torch.stack(rows)


def _complete(
    loaded: LoadedModel,
    rows: list[list[int]],
    max_new_tokens: int,
    sampling: Sampling,
    noise: torch.Tensor | None,
    stops: Stops,
    bar: Bar,
    shared: tuple[int, Any],
) -> Iterator[tuple[int, list[int], bool]]:
    """Yield `(row, generated ids, stopped)` as each row of the batch ends."""
    device = loaded.model.device
    prompts = read_prompts(loaded, rows, shared, filler=next(iter(stops.ids), 0))
    cache, mask_BT, last_B1, logits_BV = prompts.cache, prompts.mask, prompts.last, prompts.logits
    active = list(range(len(rows)))
    written: list[list[int]] = [[] for _ in rows]
    for step in range(max_new_tokens):
        draw = None if noise is None else noise[active, step].to(device)
        tokens = choose(logits_BV, sampling, draw, str(loaded.path)).tolist()
        staying: list[int] = []
        for slot, (row, token) in enumerate(zip(active, tokens, strict=True)):
            written[row].append(token)
            stopped = stops(written[row])
            if stopped or step == max_new_tokens - 1:
                bar.advance()
                yield row, written[row], stopped
            else:
                staying.append(slot)
        if not staying:
            return
        if len(staying) < len(active):
            keep = torch.tensor(staying, device=device)
            with torch.inference_mode():
                cache.batch_select_indices(keep)
            mask_BT, last_B1 = mask_BT[keep], last_B1[keep]
            active = [active[slot] for slot in staying]
        last_B1 = last_B1 + 1
        mask_BT = torch.cat([mask_BT, mask_BT.new_ones(len(active), 1)], dim=1)
        with torch.inference_mode():
            output = loaded.model(
                input_ids=torch.tensor([[tokens[slot]] for slot in staying], device=device),
                attention_mask=mask_BT,
                position_ids=last_B1,
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=1,
            )
        cache, logits_BV = output.past_key_values, output.logits[:, -1].float()


def choose(logits_BV: torch.Tensor, sampling: Sampling, draw_B: torch.Tensor | None, where: str) -> torch.Tensor:
    """`[B]` next tokens from float32 logits `[B, V]`; `draw_B` holds one uniform number per row unless greedy.

    Raises StageError, naming `where`, when the logits are not finite.
    """
    best = logits_BV.max(dim=-1)
    if not bool(torch.isfinite(best.values).all()):  # max passes NaN on
        raise StageError(f"{where}: the model gave NaN or infinite logits; its training diverged, use an earlier one")
    if draw_B is None:
        return best.indices
    probabilities = (logits_BV.double() / sampling.temperature).softmax(-1)
    if sampling.top_k:
        floor = probabilities.topk(min(sampling.top_k, probabilities.shape[-1])).values[:, -1:]
        probabilities = probabilities.where(probabilities >= floor, 0.0)
    if sampling.top_p < 1:
        ordered = probabilities.sort(descending=True)
        # a token stays when those before it do not yet hold top_p: the first always stays (Holtzman et al. 2020)
        before = ordered.values.cumsum(-1) - ordered.values
        cut = ordered.values.where(before < sampling.top_p * ordered.values.sum(-1, keepdim=True), 0.0)
        probabilities = torch.zeros_like(probabilities).scatter(-1, ordered.indices, cut)
    cumulative = probabilities.cumsum(-1)
    target = draw_B[:, None] * cumulative[:, -1:]
    # right=True skips tokens of probability zero; the clamp guards the last bit of rounding
    return torch.searchsorted(cumulative, target, right=True)[:, 0].clamp(max=logits_BV.shape[-1] - 1)
