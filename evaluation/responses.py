"""A model's responses to a prompt file, generated once per run however many blocks look at them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from evaluation.generate import Completion, Sampling, generate
from evaluation.records import Prompt, prompt_ids
from millbase.seeds import derive_seed

if TYPE_CHECKING:
    from training.load import LoadedModel


class Responses:
    """Remembers what was generated; each prompt's random stream depends on the seed and the prompt alone."""

    def __init__(self, seed: int, batch_size: int) -> None:
        self.seed = seed
        self.batch_size = batch_size
        self._known: dict[tuple[object, ...], Completion] = {}

    def __call__(
        self,
        loaded: LoadedModel,
        prompts: Sequence[Prompt],
        *,
        sampling: Sampling,
        max_new_tokens: int,
        description: str,
    ) -> list[Completion]:
        """One completion per prompt, in order. Two models get the same seeds, so equal models respond equally."""
        keys = [(loaded.digest, sampling, max_new_tokens, prompt.id, prompt.digest) for prompt in prompts]
        missing = [i for i, key in enumerate(keys) if key not in self._known]
        if missing:
            completions = generate(
                loaded,
                [prompt_ids(loaded.tokenizer, prompts[i].messages, str(loaded.path)) for i in missing],
                max_new_tokens=max_new_tokens,
                sampling=sampling,
                seeds=[derive_seed(self.seed, "response", prompts[i].id, prompts[i].digest) for i in missing],
                batch_size=self.batch_size,
                description=description,
            )
            for i, completion in zip(missing, completions, strict=True):
                self._known[keys[i]] = completion
        return [self._known[key] for key in keys]

    def length(self, loaded: LoadedModel, prompt: Prompt) -> int:
        """Tokens of a prompt; more than a completion's `prompt_ids` when its beginning did not fit the context."""
        return len(prompt_ids(loaded.tokenizer, prompt.messages, str(loaded.path)))
