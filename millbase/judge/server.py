"""Chat completions of an OpenAI-compatible server that may be down, busy, slow, or talk nonsense.

A failure that may pass is tried again, longer and longer after (with jitter, and no sooner than the server's
`Retry-After` asks, up to `longest_wait_seconds`). What then happens to a request without an answer:

- no connection, an overloaded or a failing server, after all attempts: StageError, the stage stops;
- the request itself is refused (400, 413, 422): that conversation has no reply, with the reason; the others go on;
- wrong address, key or model (401, 403, 404 and the like): ConfigError at once.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import httpx
from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from millbase.errors import ConfigError, StageError
from millbase.judge.chat import Conversation, Reply
from millbase.judge.config import ServerConfig

_AGAIN = frozenset({408, 409, 425, 429, 500, 502, 503, 504})
"""Statuses that may pass by themselves."""
_REFUSED = frozenset({400, 413, 422})
"""Statuses that say something about this one conversation (too long, filtered)."""


class _PassingError(Exception):
    """A failure that may pass; `wait` is what the server asked for, in seconds."""

    def __init__(self, message: str, wait: float = 0.0) -> None:
        super().__init__(message)
        self.wait = wait


class ServerChat:
    """A served model as a chat."""

    def __init__(self, config: ServerConfig) -> None:
        """ConfigError when the key's variable is not set. The server is asked when there is something to ask."""
        self.config = config
        key = os.environ.get(config.api_key_variable) if config.api_key_variable else None
        if config.api_key_variable and not key:
            raise ConfigError(
                f"api_key_variable names the environment variable {config.api_key_variable!r}, which is not set"
            )
        self._client = httpx.Client(
            timeout=httpx.Timeout(config.timeout_seconds, connect=min(10.0, config.timeout_seconds)),
            headers={"Authorization": f"Bearer {key}"} if key else {},
        )
        self._pace = _Pace(config.requests_per_minute)

    @property
    def identity(self) -> str:
        """Address, model and what shapes its replies; not how patiently it is asked."""
        config = self.config
        return json.dumps(["server", config.url.rstrip("/"), config.model, config.temperature, config.max_tokens])

    def reply(self, conversations: Sequence[Conversation]) -> list[Reply]:
        """One reply per conversation; see the module's docstring."""
        if not conversations:
            return []
        with ThreadPoolExecutor(min(self.config.concurrency, len(conversations))) as pool:
            futures = [pool.submit(self._one, conversation) for conversation in conversations]
            try:
                return [future.result() for future in futures]
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def _one(self, conversation: Conversation) -> Reply:
        config = self.config
        patience = wait_random_exponential(config.wait_seconds, max=config.longest_wait_seconds)

        def wait(state: RetryCallState) -> float:
            error = state.outcome.exception() if state.outcome else None
            asked = error.wait if isinstance(error, _PassingError) else 0.0
            return min(max(patience(state), asked), config.longest_wait_seconds)

        attempts = Retrying(
            retry=retry_if_exception_type(_PassingError),
            stop=stop_after_attempt(config.attempts),
            wait=wait,
            reraise=True,
        )
        try:
            return attempts(self._once, conversation)
        except _PassingError as error:
            raise StageError(
                f"judge {config.model!r} at {config.url}: no usable answer after {config.attempts} attempts (last: "
                f"{error}); check the server, or raise attempts and timeout_seconds. What was answered is kept: the "
                "same command goes on from there"
            ) from error

    def _once(self, conversation: Conversation) -> Reply:
        config = self.config
        self._pace.wait()
        body = {
            "model": config.model,
            "messages": conversation,
            "temperature": config.temperature,
            "max_tokens": config.max_tokens,
        }
        url = f"{config.url.rstrip('/')}/chat/completions"
        try:
            response = self._client.post(url, json=body)
        except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
            raise ConfigError(f"judge: {config.url!r} is no address of a server ({error})") from None
        except httpx.HTTPError as error:
            raise _PassingError(f"{type(error).__name__}: {error}") from error
        if response.status_code in _AGAIN:
            raise _PassingError(f"status {response.status_code}: {_short(response.text)}", _retry_after(response))
        if response.status_code in _REFUSED:
            return Reply(None, f"refused with status {response.status_code}: {_short(response.text)}")
        if response.status_code != 200:
            raise ConfigError(
                f"judge {config.model!r}: {url} answers with status {response.status_code}: {_short(response.text)}; "
                "check url, model and api_key_variable"
            )
        return _read(response)


def _read(response: httpx.Response) -> Reply:
    try:
        choice = response.json()["choices"][0]
        text = choice["message"]["content"]
    except (ValueError, KeyError, IndexError, TypeError) as error:
        kind = type(error).__name__
        raise _PassingError(f"not a chat completion ({kind}: {error}): {_short(response.text)}") from error
    if isinstance(text, str) and text.strip():
        return Reply(text)
    return Reply(None, f"empty reply (finish_reason {choice.get('finish_reason')!r})")


def _retry_after(response: httpx.Response) -> float:
    """Seconds of a `Retry-After` header; 0 without one (dates are not read: servers of models send seconds)."""
    try:
        return max(0.0, float(response.headers.get("retry-after", 0)))
    except ValueError:
        return 0.0


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= 200 else f"{text[:200]}..."


class _Pace:
    """Spaces the starts of requests evenly over the threads."""

    def __init__(self, per_minute: float | None) -> None:
        self.interval = 0.0 if per_minute is None else 60.0 / per_minute
        self._lock = threading.Lock()
        self._next = 0.0

    def wait(self) -> None:
        if not self.interval:
            return
        with self._lock:
            now = time.monotonic()
            start = max(now, self._next)
            self._next = start + self.interval
        time.sleep(start - now)
