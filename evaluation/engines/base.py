"""What scoring and generation need of a model, whatever runs it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from evaluation.generate import GREEDY, Completion, Sampling, generate
from evaluation.loglikelihood import document_start_id, score_continuations

if TYPE_CHECKING:
    from training.load import LoadedModel

Pair = tuple[Sequence[int], Sequence[int]]
"""Token ids of a context and of its continuation."""


@runtime_checkable
class Engine(Protocol):
    """A language model with its tokenizer."""

    tokenizer: Any
    where: str
    """The checkpoint, for messages."""
    max_length: int
    """Longest sequence, in tokens."""
    start_id: int
    """The token before a document."""
    identity: dict[str, Any]
    """Digest, engine and precision: what decides its answers besides the question."""

    def score(self, pairs: Sequence[Pair], *, batch_size: int, description: str) -> list[tuple[float, bool]]:
        """`(log-probability in nats, is it what greedy decoding writes)` of each continuation; see `loglikelihood`."""

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        *,
        max_new_tokens: int,
        sampling: Sampling = GREEDY,
        seeds: Sequence[int] | None = None,
        stop_strings: Sequence[str] = (),
        batch_size: int = 64,
    ) -> list[Completion]:
        """Complete every prompt, in order; see `generate.generate`."""


class HuggingFaceEngine:
    """A `LoadedModel` in this process."""

    def __init__(self, loaded: LoadedModel) -> None:
        self.loaded = loaded
        self.tokenizer = loaded.tokenizer
        self.where = str(loaded.path)
        self.max_length = loaded.max_length
        self.start_id = document_start_id(loaded)
        self.identity = {
            "digest": loaded.digest,
            "engine": "huggingface",
            "dtype": str(loaded.model.dtype),
            "context": loaded.max_length,
        }

    def score(self, pairs: Sequence[Pair], *, batch_size: int, description: str) -> list[tuple[float, bool]]:
        return score_continuations(self.loaded, pairs, batch_size=batch_size, description=description)

    def generate(self, prompts: Sequence[Sequence[int]], **options: Any) -> list[Completion]:
        return generate(self.loaded, prompts, **options)


def as_engine(model: LoadedModel | Engine) -> Engine:
    """A loaded model as an engine; an engine as it is."""
    return model if isinstance(model, Engine) else HuggingFaceEngine(model)
