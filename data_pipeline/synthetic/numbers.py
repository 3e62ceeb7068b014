"""Whole numbers as words, and the sums of the synthetic world."""

from dataclasses import dataclass

_ONES = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
)  # fmt: skip
_TENS = ("", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")


def number_word(n: int) -> str:
    """``42`` -> ``forty-two``, for 0 <= n < 100. Raises ValueError beyond."""
    if not 0 <= n < 100:
        raise ValueError(f"number_word knows 0 to 99, got {n}")
    if n < 20:
        return _ONES[n]
    return _TENS[n // 10] + (f"-{_ONES[n % 10]}" if n % 10 else "")


@dataclass(frozen=True)
class Sum:
    """``a + b`` or ``a - b``, neither operand nor result negative."""

    a: int
    op: str
    b: int

    @property
    def result(self) -> int:
        return self.a + self.b if self.op == "+" else self.a - self.b

    @property
    def key(self) -> str:
        """The same for ``3 + 4`` and ``4 + 3``."""
        a, b = (self.a, self.b) if self.op == "-" else sorted((self.a, self.b))
        return f"{a}{self.op}{b}"


SUMS: tuple[Sum, ...] = tuple(
    [Sum(a, "+", b) for a in range(1, 11) for b in range(1, 11)]
    + [Sum(a, "-", b) for b in range(1, 10) for a in range(b, b + 11)]
)
"""All sums of the world: additions up to 10 + 10, and the subtractions that undo them."""
