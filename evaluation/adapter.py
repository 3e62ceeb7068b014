"""lm-eval's model interface over an engine, with answers remembered by checkpoint and task.

lm-eval's own cache (`use_cache`) keys results by request alone and would give one model another's answers: ours
(`evaluation/cache.py`) stands in its place. Results equal those of lm-eval's `HFLM` (tests/evaluation/test_adapter.py).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from lm_eval.api.instance import Instance
from lm_eval.api.model import TemplateLM
from lm_eval.models.utils import normalize_gen_kwargs

from evaluation.cache import AnswerCache, answer_key
from evaluation.engines.base import Engine, as_engine
from evaluation.generate import GREEDY, Sampling
from evaluation.loglikelihood import rolling_windows
from millbase.errors import ConfigError
from millbase.seeds import derive_seed

if TYPE_CHECKING:
    from training.load import LoadedModel

DEFAULT_MAX_NEW_TOKENS = 256
"""What lm-eval assumes when a task does not say."""

_KNOWN_GENERATION = {"until", "max_gen_toks", "do_sample", "temperature", "top_p", "top_k"}


class AnyLM(TemplateLM):
    """What `tasks.run_tasks` needs besides lm-eval's own interface."""

    task: tuple[str, str] = ("", "")
    """Name and version of the task whose requests are answered."""
    truncated: int = 0
    """Prompts that lost their beginning because they did not fit the context, since `begin`."""
    max_length: int

    def begin(self, task: str, version: str) -> None:
        """The next requests are this task's."""
        self.task, self.truncated = (task, version), 0

    def check_chat_template(self, task: str) -> None:
        """ConfigError when conversations cannot be put to the model."""


class CheckpointLM(AnyLM):
    """A `LoadedModel` or another engine as lm-eval sees it."""

    def __init__(
        self, model: LoadedModel | Engine, *, batch_size: int = 64, seed: int = 0, cache: AnswerCache | None = None
    ) -> None:
        super().__init__()
        self.engine = as_engine(model)
        self.tokenizer = self.engine.tokenizer
        self.batch_size = batch_size
        self.seed = seed
        self.cache = cache
        self._prefix = self.engine.start_id
        self._prefix_text = str(self.tokenizer.decode([self._prefix]))

    def _answer(self, kind: str, prompts: list[Any], settings: list[Any], compute: Callable[[list[int]], Any]) -> Any:
        """What `compute` answers to the requests at the given positions, unless it is remembered."""
        if self.cache is None:
            return compute(list(range(len(prompts))))
        keys = [
            answer_key(self.engine.identity, self.task, kind, prompt, setting)
            for prompt, setting in zip(prompts, settings, strict=True)
        ]
        return self.cache.fill(keys, compute)

    @property
    def eot_token_id(self) -> int:
        """The token before a document."""
        return self._prefix

    @property
    def max_length(self) -> int:  # type: ignore[override]
        """Longest sequence in tokens."""
        return self.engine.max_length

    @property
    def tokenizer_name(self) -> str:
        """lm-eval puts it into the key of its request cache, which is off."""
        return self.engine.where

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **kwargs: Any) -> list[int]:
        """Token ids; special tokens as the tokenizer adds them, unless the text already starts with one."""
        if add_special_tokens is None:
            add_special_tokens = not string.startswith(self._prefix_text)
        ids: list[int] = self.tokenizer(string, add_special_tokens=add_special_tokens)["input_ids"]
        return ids

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        """The conversation as text; ConfigError when the tokenizer has no chat template."""
        self.check_chat_template(self.task[0])
        return str(
            self.tokenizer.apply_chat_template(
                chat_history,
                tokenize=False,
                add_generation_prompt=add_generation_prompt,
                continue_final_message=not add_generation_prompt,
            )
        )

    def check_chat_template(self, task: str) -> None:
        if self.tokenizer.chat_template is None:
            raise ConfigError(
                f"task {task!r} has apply_chat_template: true, and the tokenizer of {self.engine.where!r} has no chat "
                "template; set apply_chat_template: false, or evaluate a checkpoint after SFT"
            )

    def loglikelihood(self, requests: list[Instance], disable_tqdm: bool = True) -> list[tuple[float, bool]]:
        """`(log-probability in nats, would greedy decoding write it)` of each continuation."""
        texts = [request.args for request in requests]
        ids = self._encode_pairs(texts)
        self.truncated += sum(len(before) + len(after) > self.max_length + 1 for before, after in ids)

        def compute(positions: list[int]) -> list[tuple[float, bool]]:
            return self._loglikelihood_tokens([(texts[i], *ids[i]) for i in positions])

        answers = self._answer("loglikelihood", [list(pair) for pair in texts], [None] * len(texts), compute)
        return [(log_prob, greedy) for log_prob, greedy in answers]

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
        scored = self.engine.score(windows, batch_size=self.batch_size, description="log-likelihoods")
        results = [(0.0, True)] * len(requests)
        for owner, (log_prob, greedy) in zip(owners, scored, strict=True):
            total, all_greedy = results[owner]
            results[owner] = (total + log_prob, all_greedy and greedy)
        return results

    def loglikelihood_rolling(self, requests: list[Instance], disable_tqdm: bool = True) -> list[float]:
        """Log-probability (nats) of whole texts, in windows of the model's context."""
        texts = [request.args[0] for request in requests]

        def compute(positions: list[int]) -> list[float]:
            windows: list[tuple[list[int], list[int]]] = []
            owners: list[int] = []
            for owner, position in enumerate(positions):
                parts = rolling_windows(self.tok_encode(texts[position]), self._prefix, self.max_length)
                windows += parts
                owners += [owner] * len(parts)
            totals = [0.0] * len(positions)
            scored = self.engine.score(windows, batch_size=self.batch_size, description="rolling")
            for owner, (log_prob, _) in zip(owners, scored, strict=True):
                totals[owner] += log_prob
            return totals

        return list(self._answer("loglikelihood_rolling", texts, [None] * len(texts), compute))

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = True) -> list[str]:
        """Generated texts; requests that ask for the same settings share batches."""
        prompts = [request.args[0] for request in requests]
        settings = [generation_settings(request.args[1], DEFAULT_MAX_NEW_TOKENS) for request in requests]
        seeds = [derive_seed(self.seed, "lm-eval", i) for i in range(len(requests))]
        ids = self._encode_all(set(prompts), None)
        for prompt, (_, max_new_tokens, _) in zip(prompts, settings, strict=True):
            self.truncated += len(ids[prompt]) > self.max_length - max_new_tokens

        def compute(positions: list[int]) -> list[str]:
            groups: dict[tuple[Any, ...], list[int]] = {}
            for position in positions:
                groups.setdefault(settings[position], []).append(position)
            texts: dict[int, str] = {}
            for (stop_strings, max_new_tokens, sampling), group in groups.items():
                room = max(1, self.max_length - max_new_tokens)  # cut here, where it is counted for the task's warning
                completions = self.engine.generate(
                    [ids[prompts[i]][-room:] or [self._prefix] for i in group],
                    max_new_tokens=max_new_tokens,
                    sampling=sampling,
                    seeds=[seeds[i] for i in group],
                    stop_strings=stop_strings,
                    batch_size=self.batch_size,
                )
                texts |= {i: completion.text for i, completion in zip(group, completions, strict=True)}
            return [texts[position] for position in positions]

        remembered = [
            [list(stop_strings), max_new_tokens, asdict(sampling), seed if sampling.temperature > 0 else None]
            for (stop_strings, max_new_tokens, sampling), seed in zip(settings, seeds, strict=True)
        ]
        return list(self._answer("generate_until", prompts, remembered, compute))


def generation_settings(raw: dict[str, Any], longest: int) -> tuple[tuple[str, ...], int, Sampling]:
    """A task's `generation_kwargs` as `(stop strings, most new tokens, sampling)`.

    ConfigError for settings that would be ignored. `longest` is for tasks that do not say.
    """
    settings = dict(normalize_gen_kwargs(raw, longest))
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
