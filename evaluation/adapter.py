"""lm-eval's model interface over a checkpoint in this process: no export, no server, no request cache.

lm-eval's own cache (`use_cache`) keys results by request alone and would give one model another's answers, so it is
never used here. Results equal those of lm-eval's `HFLM` (tests/evaluation/test_adapter.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from lm_eval.api.instance import Instance
from lm_eval.api.model import TemplateLM
from lm_eval.models.utils import normalize_gen_kwargs

from evaluation.generate import GREEDY, Sampling, generate
from evaluation.loglikelihood import document_start_id, rolling_windows, score_continuations
from millbase.errors import ConfigError
from millbase.seeds import derive_seed

if TYPE_CHECKING:
    from training.load import LoadedModel

DEFAULT_MAX_NEW_TOKENS = 256
"""What lm-eval assumes when a task does not say."""

_KNOWN_GENERATION = {"until", "max_gen_toks", "do_sample", "temperature", "top_p", "top_k"}


class CheckpointLM(TemplateLM):
    """A `LoadedModel` as lm-eval sees it."""

    def __init__(self, loaded: LoadedModel, *, batch_size: int = 64, seed: int = 0) -> None:
        super().__init__()
        self.loaded = loaded
        self.tokenizer = loaded.tokenizer
        self.batch_size = batch_size
        self.seed = seed
        self._prefix = document_start_id(loaded)
        self._prefix_text = str(loaded.tokenizer.decode([self._prefix]))

    @property
    def eot_token_id(self) -> int:
        """The token before a document."""
        return self._prefix

    @property
    def max_length(self) -> int:
        """Longest sequence in tokens."""
        return self.loaded.max_length

    @property
    def tokenizer_name(self) -> str:
        """lm-eval puts it into the key of its request cache, which is off."""
        return str(self.loaded.path)

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **kwargs: Any) -> list[int]:
        """Token ids; special tokens as the tokenizer adds them, unless the text already starts with one."""
        if add_special_tokens is None:
            add_special_tokens = not string.startswith(self._prefix_text)
        ids: list[int] = self.tokenizer(string, add_special_tokens=add_special_tokens)["input_ids"]
        return ids

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        """The conversation as text; ConfigError when the tokenizer has no chat template."""
        if self.tokenizer.chat_template is None:
            raise ConfigError(
                f"{str(self.loaded.path)!r}: the tokenizer has no chat template; "
                "set apply_chat_template: false for its tasks"
            )
        return str(
            self.tokenizer.apply_chat_template(
                chat_history,
                tokenize=False,
                add_generation_prompt=add_generation_prompt,
                continue_final_message=not add_generation_prompt,
            )
        )

    def loglikelihood(self, requests: list[Instance], disable_tqdm: bool = True) -> list[tuple[float, bool]]:
        """`(log-probability in nats, would greedy decoding write it)` of each continuation."""
        texts = [request.args for request in requests]
        return self._loglikelihood_tokens(
            [(pair, *ids) for pair, ids in zip(texts, self._encode_pairs(texts), strict=True)]
        )

    def _encode_pairs(self, pairs: Sequence[tuple[str, str]]) -> list[tuple[list[int], list[int]]]:
        """Token ids of contexts and continuations, cut as `TemplateLM` cuts them, every distinct text encoded once."""
        cut = []
        for context, continuation in pairs:
            spaces = len(context) - len(context.rstrip())  # they belong to the first word of the continuation
            cut.append((context[: len(context) - spaces], context[len(context) - spaces :] + continuation))
        # without a context the continuation stands alone after the document-start token
        ids = self._encode_all({context + continuation for context, continuation in cut if context}, None)
        ids |= self._encode_all({context for context, _ in cut if context}, None)
        alone = self._encode_all({continuation for context, continuation in cut if not context}, False)
        encoded = []
        for context, continuation in cut:
            if context:
                before = ids[context]
                encoded.append((before, ids[context + continuation][len(before) :]))
                continue
            after = alone[continuation]
            starts = bool(after) and after[0] == self._prefix
            encoded.append((after[:1], after[1:]) if starts else ([self._prefix], after))
        return encoded

    def _encode_all(self, texts: set[str], add_special_tokens: bool | None) -> dict[str, list[int]]:
        """Token ids of each text; None: special tokens unless the text already starts with one."""
        ids: dict[str, list[int]] = {}
        for special in (False, True):
            wanted = add_special_tokens
            group = sorted(
                text
                for text in texts
                if (wanted if wanted is not None else not text.startswith(self._prefix_text)) == special
            )
            if group:
                encoded = self.tokenizer(group, add_special_tokens=special, return_attention_mask=False)
                ids |= dict(zip(group, encoded["input_ids"], strict=True))
        return ids

    def _loglikelihood_tokens(
        self, requests: Sequence[tuple[Any, list[int], list[int]]], **kwargs: Any
    ) -> list[tuple[float, bool]]:
        windows: list[tuple[list[int], list[int]]] = []
        owners: list[int] = []
        for owner, (_, context, continuation) in enumerate(requests):
            # a continuation longer than the model's context is scored in windows, where lm-eval's own model gives up
            parts = [(context, continuation)]
            if len(continuation) > self.max_length:
                parts = rolling_windows(continuation, context[-1], self.max_length)
            windows += parts
            owners += [owner] * len(parts)
        scored = score_continuations(self.loaded, windows, batch_size=self.batch_size, description="log-likelihoods")
        results = [(0.0, True)] * len(requests)
        for owner, (log_prob, greedy) in zip(owners, scored, strict=True):
            total, all_greedy = results[owner]
            results[owner] = (total + log_prob, all_greedy and greedy)
        return results

    def loglikelihood_rolling(self, requests: list[Instance], disable_tqdm: bool = True) -> list[float]:
        """Log-probability (nats) of whole texts, in windows of the model's context."""
        windows: list[tuple[list[int], list[int]]] = []
        owners: list[int] = []
        for owner, request in enumerate(requests):
            parts = rolling_windows(self.tok_encode(request.args[0]), self._prefix, self.max_length)
            windows += parts
            owners += [owner] * len(parts)
        totals = [0.0] * len(requests)
        scored = score_continuations(self.loaded, windows, batch_size=self.batch_size, description="rolling")
        for owner, (log_prob, _) in zip(owners, scored, strict=True):
            totals[owner] += log_prob
        return totals

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = True) -> list[str]:
        """Generated texts; requests that ask for the same settings share batches."""
        groups: dict[tuple[Any, ...], list[int]] = {}
        for index, request in enumerate(requests):
            groups.setdefault(self._settings(request.args[1]), []).append(index)
        texts = [""] * len(requests)
        for (stop_strings, max_new_tokens, sampling), indices in groups.items():
            completions = generate(
                self.loaded,
                [self.tok_encode(requests[i].args[0]) or [self._prefix] for i in indices],
                max_new_tokens=max_new_tokens,
                sampling=sampling,
                seeds=[derive_seed(self.seed, "lm-eval", i) for i in indices],
                stop_strings=stop_strings,
                batch_size=self.batch_size,
            )
            for i, completion in zip(indices, completions, strict=True):
                texts[i] = completion.text
        return texts

    def _settings(self, raw: dict[str, Any]) -> tuple[tuple[str, ...], int, Sampling]:
        """A task's `generation_kwargs` as ours; ConfigError for settings that would be ignored."""
        settings = dict(normalize_gen_kwargs(raw, DEFAULT_MAX_NEW_TOKENS))
        if unknown := sorted(set(settings) - _KNOWN_GENERATION):
            raise ConfigError(
                f"generation_kwargs {', '.join(unknown)}: not supported; known: {', '.join(sorted(_KNOWN_GENERATION))}"
            )
        until = settings.get("until") or []
        stop_strings = (until,) if isinstance(until, str) else tuple(until)
        sampling = GREEDY
        if settings.get("do_sample"):
            temperature = float(settings.get("temperature", 1.0))
            sampling = Sampling(temperature, float(settings.get("top_p") or 1.0), int(settings.get("top_k") or 0))
        return stop_strings, int(settings["max_gen_toks"]), sampling
