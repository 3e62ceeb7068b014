"""Repeating what failed for a while: exponential waits with jitter, the server's Retry-After, and an end."""

from __future__ import annotations

import time
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from typing import TypeVar

from tenacity import RetryCallState, Retrying, retry_if_exception_type, wait_exponential_jitter

from data_pipeline.fetch.config import FetchConfig
from data_pipeline.fetch.limits import Limits
from millbase.errors import InputError
from millbase.log import get_logger

logger = get_logger(__name__)
T = TypeVar("T")

_IMPATIENT_RETRIES = 2


class TemporaryError(Exception):
    """A failure that may pass: worth another attempt."""

    def __init__(self, message: str, retry_after: float | None = None, asked: bool = False, connect: bool = False):
        super().__init__(message)
        self.retry_after = retry_after
        """Seconds the server asked to wait."""
        self.asked = asked
        """The server asked for fewer requests: every process holds off."""
        self.connect = connect
        """No connection came about at all."""


def with_retries(
    attempt: Callable[[], T], address: str, config: FetchConfig, limits: Limits, patient: bool = True
) -> T:
    """The result of `attempt`, repeated while it raises TemporaryError.

    `patient=False` gives up a host that cannot be connected to after three attempts: before any work was done, the
    address is the likelier fault. Raises InputError, naming the address and the fix, when all attempts failed.
    """
    backoff = wait_exponential_jitter(
        initial=config.first_wait_seconds, max=config.max_wait_seconds, jitter=config.first_wait_seconds
    )

    def wait(state: RetryCallState) -> float:
        error = _error(state)
        return max(float(backoff(state)), error.retry_after or 0.0)

    def stop(state: RetryCallState) -> bool:
        error = _error(state)
        retries = config.retries if patient or not error.connect else min(config.retries, _IMPATIENT_RETRIES)
        return state.attempt_number > retries or (error.retry_after or 0.0) > config.max_wait_seconds

    def before_sleep(state: RetryCallState) -> None:
        error, seconds = _error(state), state.upcoming_sleep
        logger.info("%s: %s; attempt %d in %.1f s", address, error, state.attempt_number + 1, seconds)
        if error.asked:
            limits.hold_off(seconds)

    def give_up(state: RetryCallState) -> T:
        raise InputError(_advice(address, _error(state), state.attempt_number, config)) from None

    retrying = Retrying(
        retry=retry_if_exception_type(TemporaryError),
        wait=wait,
        stop=stop,
        before_sleep=before_sleep,
        retry_error_callback=give_up,
    )
    return retrying(attempt)


def _error(state: RetryCallState) -> TemporaryError:
    error = state.outcome.exception() if state.outcome is not None else None
    assert isinstance(error, TemporaryError), "only these are repeated"
    return error


def _advice(address: str, error: TemporaryError, attempts: int, config: FetchConfig) -> str:
    tries = "1 attempt" if attempts == 1 else f"{attempts} attempts"
    if (error.retry_after or 0.0) > config.max_wait_seconds:
        fix = f"start the same command again after {error.retry_after:.0f} s, or raise read.fetch.max_wait_seconds"
    elif error.connect:
        fix = "check the address, the network and a proxy"
    elif error.asked:
        fix = (
            "lower read.fetch.requests_per_second or check that the file may be read, and start the same command again"
        )
    else:
        fix = "start the same command again later, or raise read.fetch.retries"
    return f"{address!r} cannot be fetched: {error} ({tries}); {fix}"


def parse_retry_after(value: str | None) -> float | None:
    """Seconds of a Retry-After header (RFC 9110, section 10.2.3): a number, or a date; None when there is none."""
    if not value:
        return None
    try:
        return (
            max(0.0, float(value))
            if value.strip().isdigit()
            else max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
        )
    except (ValueError, TypeError, OverflowError):
        return None
