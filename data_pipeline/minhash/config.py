"""Parameters of MinHash near-duplicate detection."""

from typing import Self

from pydantic import Field, model_validator

from millbase.config import Config


class MinHashConfig(Config):
    """Near-duplicates by MinHash over word shingles and banded locality-sensitive hashing.

    Two documents of Jaccard similarity J share at least one band with probability 1 - (1 - J^rows)^bands:
    with the defaults, which are FineWeb's, 0.05 at J = 0.5, 0.56 at 0.7, 0.77 at 0.75, 0.92 at 0.8 and 1.00 at 0.9.
    """

    shingle_words: int = Field(default=5, ge=1, le=64)
    """Words in a shingle; a document with fewer words is one shingle of all its words."""
    bands: int = Field(default=14, ge=1)
    """Number of bands; two documents are candidates when all rows of any band agree."""
    rows: int = Field(default=8, ge=1)
    """Rows (permutations) in a band."""
    min_similarity: float = Field(default=0.65, ge=0.0, le=1.0)
    """Candidates whose estimated Jaccard similarity (share of equal signature entries) is lower are not merged; 0
    merges every candidate, as FineWeb does. The estimate's standard error at 112 permutations is 0.04 to 0.05."""
    lowercase: bool = True
    """Compare lower-cased words."""
    fold_digits: bool = False
    """Treat all digits as 0, so that pages that differ only in numbers or dates count as duplicates (FineWeb does; it
    would merge distinct arithmetic exercises and tables)."""
    strip_accents: bool = False
    """Ignore combining marks (FineWeb does; in Indic and Thai scripts it removes vowels)."""
    seed: int = Field(default=0, ge=0)
    """Chooses the permutations."""

    @property
    def permutations(self) -> int:
        """Entries of a signature: bands x rows."""
        return self.bands * self.rows

    @model_validator(mode="after")
    def _signature_size(self) -> Self:
        if self.permutations > 4096:
            raise ValueError(f"bands x rows = {self.permutations} permutations, expected at most 4096; lower either")
        return self
