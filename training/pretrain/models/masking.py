"""Which tokens of a sequence a masked language model has to guess, and what it sees in their place.

A pure function of (dataset digest, seed, split, sequence number): like the order of the data it does not depend on
steps, batch size or ranks, and a sequence that comes again in a later epoch has another number and other tokens hidden
(dynamic masking, RoBERTa, Liu et al. 2019).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from millbase.errors import InputError
from millbase.seeds import derive_seed
from training.pretrain.models.config import MaskedLMConfig


@dataclass(frozen=True)
class MaskedSequence:
    """One sequence of T tokens as an encoder is trained on it."""

    inputs: np.ndarray
    """What the model sees, `[T]` int64."""
    labels: np.ndarray
    """The true tokens, `[T]` int64."""
    chosen: np.ndarray
    """True where the model has to say the true token, `[T]`."""


class Masking:
    """Masks the sequences of one dataset (Devlin et al. 2018, section 3.1)."""

    def __init__(self, config: MaskedLMConfig, tokenizer: Path, vocab_size: int, digest: str, seed: int) -> None:
        """`tokenizer`: its folder; `digest`: the tokens artifact's.

        InputError when the tokenizer lacks the mask token. Special tokens (end of document and the like) are never
        hidden and never stand in for others.
        """
        self.config, self.digest, self.seed = config, digest, seed
        added = _added_tokens(tokenizer)
        if config.mask_token not in added:
            raise InputError(
                f"{tokenizer}: has no special token {config.mask_token!r}, which model.masked_lm needs; it has "
                f"{', '.join(sorted(added)) or 'none'}: build the tokenizer with one, or set model.masked_lm.mask_token"
            )
        self.mask_id = added[config.mask_token]
        special = sorted(id_ for id_ in added.values() if id_ < vocab_size)
        self._is_special = np.zeros(vocab_size, dtype=bool)
        self._is_special[special] = True
        self._ordinary = np.flatnonzero(~self._is_special)

    def apply(self, tokens: np.ndarray, number: int, split: str = "train") -> MaskedSequence:
        """Mask sequence `number` of `split`; `tokens`, `[T]`, are left as they are."""
        generator = np.random.Generator(np.random.Philox(derive_seed(self.seed, "mask", self.digest, split, number)))
        draws = generator.random((2, len(tokens)))
        chosen = (draws[0] < self.config.probability) & ~self._is_special[tokens]
        masked = chosen & (draws[1] < self.config.masked)
        replaced = chosen & ~masked & (draws[1] < self.config.masked + self.config.random)
        labels = np.asarray(tokens, dtype=np.int64)
        inputs = labels.copy()
        inputs[masked] = self.mask_id
        others = self._ordinary[generator.integers(0, len(self._ordinary), len(tokens))]
        inputs[replaced] = others[replaced]
        return MaskedSequence(inputs, labels, chosen)


def _added_tokens(tokenizer: Path) -> dict[str, int]:
    """Special tokens of a tokenizer by their text."""
    try:
        content = json.loads((tokenizer / "tokenizer.json").read_text(encoding="utf-8"))
        return {token["content"]: int(token["id"]) for token in content["added_tokens"] if token.get("special", True)}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{tokenizer}: not a tokenizer folder ({error}); build the tokens artifact again") from None
