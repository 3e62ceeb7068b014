"""Made-up pages with known edits for the MinHash tests."""

import random

import pytest

_STARTS, _MIDDLES, _ENDS = ("ba", "ko", "ti", "ru", "se", "la"), ("mo", "vi", "ne", "du"), "aeiourstlnm"
_VOCABULARY = [start + middle + end for start in _STARTS for middle in _MIDDLES for end in _ENDS]
_EDITED_SHARES = (0.0, 0.005, 0.01, 0.02, 0.04, 0.08, 0.15)


class Pages:
    """Makes pages, which are lists of words."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)

    def page(self, words: int) -> list[str]:
        return self.rng.choices(_VOCABULARY, k=words)

    def edit(self, words: list[str], share: float) -> list[str]:
        """The page with each word replaced with probability `share`."""
        return [self.rng.choice(_VOCABULARY) if self.rng.random() < share else word for word in words]

    def pairs(self, count: int) -> list[tuple[str, str]]:
        """Pages and edited copies; 5-word shingle similarity from about 0.2 to 1."""
        result = []
        for _ in range(count):
            words = self.page(self.rng.randint(80, 400))
            copy = self.edit(words, self.rng.choice(_EDITED_SHARES))
            result.append((" ".join(words), " ".join(copy)))
        return result


@pytest.fixture
def pages() -> Pages:
    return Pages(seed=1)
