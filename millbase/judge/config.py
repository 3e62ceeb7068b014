"""Configuration of a judge: the question, the orders, what a tie is, and the server that may answer."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from millbase.config import Config

CRITERION = (
    "Prefer the answer that is correct, does what the user asked, is honest about what it does not know, and is no "
    "longer than it needs to be. Do not let length, style or the order of the answers sway you."
)


class ServerConfig(Config):
    """A model behind an OpenAI-compatible server."""

    url: str
    """Address up to and with the version, such as `http://localhost:8000/v1`."""
    model: str
    """The model's name there."""
    api_key_variable: str | None = None
    """Environment variable that holds the key; null sends none. The key is never written anywhere."""
    temperature: float = Field(default=0.0, ge=0)
    """Temperature of the answers; 0 makes most servers repeatable."""
    max_tokens: int = Field(default=512, gt=0)
    """Longest reply, in tokens."""
    timeout_seconds: float = Field(default=120.0, gt=0)
    """A request that takes longer counts as failed and is tried again."""
    concurrency: int = Field(default=8, gt=0)
    """Requests under way at once."""
    requests_per_minute: float | None = Field(default=None, gt=0)
    """Requests are spaced so that no more start in a minute; null for no limit. A 429 is waited out in any case."""
    attempts: int = Field(default=6, gt=0)
    """Attempts for one request that fails in a way that may pass: no connection, timeout, 408, 409, 425, 429, 5xx, or a
    body that is no chat completion."""
    wait_seconds: float = Field(default=1.0, ge=0)
    """Scale of the random, doubling wait between attempts. A `Retry-After` of the server is kept
    to, up to `longest_wait_seconds`."""
    longest_wait_seconds: float = Field(default=60.0, gt=0)
    """No wait is longer than this."""


class JudgeConfig(Config):
    """How a judge is asked and how its replies become verdicts."""

    criterion: str = CRITERION
    """What makes an answer better; stands in every question."""
    template: str | None = None
    """Text file of a question of your own for pairs, with `{prompt}`, `{a}`, `{b}` and `{criterion}`; the reply must
    end with `A`, `B` or `tie`. null takes ours."""
    orders: Literal["both", "one"] = "both"
    """`both`: every pair is asked twice, the answers swapped, and a verdict needs both to agree; `one`: asked once, in
    an order drawn from the pair's text, half as dear and open to position bias."""
    disagreement: Literal["tie", "drop"] = "tie"
    """A pair whose two orders disagree: `tie` is half a win for each, `drop` leaves it out, and counts it as
    `inconsistent`."""
    allow_tie: bool = True
    """Whether the question offers a tie. A tie in one order beside a win in the other counts as that win."""
    ranking: Literal["pairs", "list"] = "pairs"
    """How K answers are ranked. `pairs`: every pair is compared, and answers are ordered by their wins (Copeland), ties
    half; K(K-1)/2 comparisons. `list`: the judge orders all K at once, asked in the given and in the reversed order,
    and mean ranks decide; 2 questions, but long ones, and small judges do it badly."""
    ask_again: int = Field(default=1, ge=0, le=5)
    """A reply without a readable verdict is answered with a reminder of the format this often."""
    max_failed_share: float = Field(default=0.05, ge=0, le=1)
    """Comparisons without a verdict (unreadable replies, refused requests) are left out and counted; more than this
    share of them stops the stage. What was answered is kept."""
