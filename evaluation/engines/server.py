"""A model behind an OpenAI-compatible server: completions for log-likelihoods and plain prompts, chat completions for
conversations.

Log-likelihoods need a server that gives back the prompt's own log-probabilities (`echo` with `logprobs`), as vLLM,
SGLang and llama.cpp do and OpenAI's hosted chat models do not; a server that cannot is told from one that fails.
Requests run several at a time; a busy, failing or silent server is asked again, longer and longer after (with jitter),
and an answer that makes no sense counts as a failure.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Any

import httpx
from lm_eval.api.instance import Instance
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from evaluation.adapter import DEFAULT_MAX_NEW_TOKENS, AnyLM, generation_settings
from evaluation.cache import AnswerCache, answer_key
from evaluation.config import ServerConfig
from evaluation.generate import Sampling
from millbase.errors import ConfigError, StageError
from millbase.hashing import value_digest
from millbase.log import get_logger
from millbase.progress import progress
from millbase.seeds import derive_seed

logger = get_logger(__name__)

_AGAIN = frozenset({408, 409, 425, 429, 500, 502, 503, 504})
"""Statuses that may pass by themselves."""


class _PassingError(Exception):
    """A failure that may pass."""


class Conversation(str):
    """Messages as JSON text, so that lm-eval can hash and record them like any prompt."""


class ServerLM(AnyLM):
    """A served model as lm-eval sees it."""

    tokenizer = None

    def __init__(self, config: ServerConfig, model: str, *, seed: int = 0, cache: AnswerCache | None = None) -> None:
        """ConfigError when the key's variable is not set. The server is asked when there is something to ask."""
        super().__init__()
        self.config = config
        self.model = model
        self.seed = seed
        self.cache = cache
        self.max_length = config.context
        self.identity = {"digest": server_digest(config, model), "engine": "server", "context": config.context}
        key = os.environ.get(config.api_key_variable) if config.api_key_variable else None
        if config.api_key_variable and not key:
            raise ConfigError(
                f"server.api_key_variable names the environment variable {config.api_key_variable!r}, which is not set"
            )
        self._client = httpx.Client(
            base_url=config.url.rstrip("/"),
            timeout=httpx.Timeout(config.timeout_seconds, connect=min(10.0, config.timeout_seconds)),
            headers={"Authorization": f"Bearer {key}"} if key else {},
        )

    @property
    def eot_token_id(self) -> int:
        raise NotImplementedError("a served model is asked in text")

    @property
    def tokenizer_name(self) -> str:
        return self.model

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **kwargs: Any) -> list[int]:
        raise NotImplementedError("a served model is asked in text")

    def _loglikelihood_tokens(self, requests: Any, **kwargs: Any) -> list[tuple[float, bool]]:
        raise NotImplementedError("a served model is asked in text")

    def chat_template(self, chat_template: bool | str = False) -> str | None:
        return "server"

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        """The messages themselves: the server has the template."""
        return Conversation(json.dumps(chat_history, ensure_ascii=False))

    def loglikelihood(self, requests: list[Instance], disable_tqdm: bool = True) -> list[tuple[float, bool]]:
        """`(log-probability in nats, would greedy decoding write it)` of each continuation."""
        texts = [tuple(request.args) for request in requests]
        if any(isinstance(context, Conversation) for context, _ in texts):
            raise ConfigError(
                f"task {self.task[0]!r} scores log-likelihoods through the chat template, which a server does not "
                "offer; set apply_chat_template: false"
            )
        answers = self._ask("log-likelihoods", "loglikelihood", texts, [None] * len(texts), self._log_likelihood)
        return [(log_prob, greedy) for log_prob, greedy in answers]

    def loglikelihood_rolling(self, requests: list[Instance], disable_tqdm: bool = True) -> list[float]:
        """Log-probability (nats) of whole texts, as far as the server gives the first token's."""
        texts = [("", request.args[0]) for request in requests]
        answers = self._ask("rolling", "loglikelihood_rolling", texts, [None] * len(texts), self._log_likelihood)
        return [log_prob for log_prob, _ in answers]

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = True) -> list[str]:
        """Generated texts, cut before the first stop string."""
        settings = []
        for index, request in enumerate(requests):
            stops, longest, sampling = generation_settings(request.args[1], DEFAULT_MAX_NEW_TOKENS)
            seed = derive_seed(self.seed, "lm-eval", index) % 2**31
            settings.append((stops, longest, sampling, seed if sampling.temperature > 0 else None))
        prompts = [request.args[0] for request in requests]
        plain = [[list(stops), longest, vars(sampling), seed] for stops, longest, sampling, seed in settings]
        kinds = {index: settings[index] for index in range(len(prompts))}
        return list(self._ask("generating", "generate_until", prompts, plain, self._generate, kinds))

    def _ask(
        self,
        description: str,
        kind: str,
        prompts: list[Any],
        settings: list[Any],
        ask: Callable[..., Any],
        options: dict[int, Any] | None = None,
    ) -> list[Any]:
        def compute(positions: list[int]) -> list[Any]:
            answers: dict[int, Any] = {}
            with (
                progress(description, total=len(positions), unit="requests") as bar,
                ThreadPoolExecutor(self.config.concurrency) as pool,
            ):
                waiting = {
                    pool.submit(ask, prompts[i], *([options[i]] if options is not None else [])): i for i in positions
                }
                try:
                    for future in as_completed(waiting):
                        answers[waiting[future]] = future.result()
                        bar.advance()
                except BaseException:
                    pool.shutdown(wait=False, cancel_futures=True)
                    raise
            return [answers[i] for i in positions]

        if self.cache is None:
            return compute(list(range(len(prompts))))
        keys = [
            answer_key(self.identity, self.task, kind, [kind, prompt], setting)
            for prompt, setting in zip(prompts, settings, strict=True)
        ]
        return self.cache.fill(keys, compute)

    def _log_likelihood(self, pair: tuple[str, str]) -> tuple[float, bool]:
        context, continuation = pair
        request = {"prompt": context + continuation, "max_tokens": 1, "echo": True, "logprobs": 1, "temperature": 0}

        def read(answer: Any) -> tuple[float, bool]:
            found = answer["choices"][0].get("logprobs")
            if not found or not found.get("token_logprobs"):
                raise ConfigError(
                    f"{self.config.url}: the server gives no log-probabilities of the prompt (echo with logprobs), so "
                    f"task {self.task[0]!r} cannot be scored there; use tasks that generate, or another engine"
                )
            return continuation_score(found, len(context), len(context) + len(continuation), self.config.url)

        return self._post("/completions", request, read)

    def _generate(self, prompt: str, options: tuple[tuple[str, ...], int, Sampling, int | None]) -> str:
        stops, longest, sampling, seed = options
        request: dict[str, Any] = {"max_tokens": longest, "temperature": sampling.temperature, "top_p": sampling.top_p}
        if stops:
            request["stop"] = list(stops)[:4]  # the protocol allows four; the others are looked for below
        if seed is not None:
            request["seed"] = seed
        if isinstance(prompt, Conversation):
            path, body = "/chat/completions", {"messages": json.loads(prompt)}
        else:
            path, body = "/completions", {"prompt": prompt}

        def read(answer: Any) -> str:
            choice = answer["choices"][0]
            text = choice["message"]["content"] if isinstance(prompt, Conversation) else choice["text"]
            if not isinstance(text, str):
                raise TypeError(f"the text is {type(text).__name__}")
            for stop in stops:
                text = text.split(stop)[0] if stop else text
            return text

        return self._post(path, {**body, **request}, read)

    def _post(self, path: str, body: dict[str, Any], read: Callable[[Any], Any]) -> Any:
        """Ask until there is an answer that `read` understands; StageError when there is none after all attempts."""
        attempts = Retrying(
            retry=retry_if_exception_type(_PassingError),
            stop=stop_after_attempt(self.config.attempts),
            wait=wait_random_exponential(self.config.wait_seconds, max=self.config.longest_wait_seconds),
            reraise=True,
        )
        try:
            return attempts(self._once, path, {"model": self.model, **body}, read)
        except _PassingError as error:
            raise StageError(
                f"{self.config.url}{path}: no usable answer after {self.config.attempts} attempts (last: {error}); "
                "check the server, or raise server.attempts and server.timeout_seconds. Finished tasks are kept: "
                "evaluate again"
            ) from error

    def _once(self, path: str, body: dict[str, Any], read: Callable[[Any], Any]) -> Any:
        try:
            response = self._client.post(path, json=body)
        except httpx.HTTPError as error:
            raise _PassingError(f"{type(error).__name__}: {error}") from error
        if response.status_code in _AGAIN:
            raise _PassingError(f"status {response.status_code}: {_short(response.text)}")
        if response.status_code >= 400:
            raise ConfigError(
                f"{self.config.url}{path}: the server refuses the request with status {response.status_code}: "
                f"{_short(response.text)}; check server.url, the model's name and its key"
            )
        try:
            return read(response.json())
        except (ValueError, KeyError, IndexError, TypeError) as error:
            raise _PassingError(f"not an answer: {type(error).__name__}: {error} in {_short(response.text)}") from error


def continuation_score(found: dict[str, Any], start: int, end: int, where: str) -> tuple[float, bool]:
    """Sum over the tokens whose text begins in characters `[start, end)`; `found` is the protocol's `logprobs`.

    A token that covers the border belongs to what it begins in. Raises ValueError when a log-probability that is needed
    is missing, ConfigError when the server has cut the prompt.
    """
    offsets, log_probs, tokens = found["text_offset"], found["token_logprobs"], found["tokens"]
    tops = found.get("top_logprobs") or [None] * len(tokens)
    chosen = [i for i, offset in enumerate(offsets) if start <= offset < end]
    if not chosen:
        raise ConfigError(f"{where}: the server's tokens hold nothing of the continuation: it cut the prompt")
    if chosen[0] == 0 and log_probs[0] is None:
        chosen = chosen[1:]  # the first token of all has nothing before it
    total, greedy = 0.0, True
    for i in chosen:
        if log_probs[i] is None:
            raise ValueError(f"no log-probability for token {i}")
        total += float(log_probs[i])
        top = tops[i] if i < len(tops) else None
        greedy = greedy and bool(top) and max((top or {}).values()) <= log_probs[i] + 1e-9
    return total, greedy


def server_digest(config: ServerConfig, model: str) -> str:
    """What stands for the checkpoint's digest: a server does not show its weights."""
    return value_digest({"url": config.url.rstrip("/"), "model": model, "revision": config.revision})


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= 200 else f"{text[:200]}..."
