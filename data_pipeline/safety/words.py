"""Lists of words and phrases, and fast counting of them in texts.

A regular expression over a whole list is slow, for it tries every entry at every word. So the words of the text are
first met with the first words of all entries, as sets; only the few entries that can match are then looked for.
"""

from __future__ import annotations

import functools
import json
import re

from millbase.errors import InputError
from millbase.files import open_file

_RUN = re.compile(r"\w+")
_NO_BOUNDARIES = ("ja", "th", "zh")
"""Languages written without spaces: an entry matches anywhere, as in mC4 and datatrove."""


class WordList:
    """Words and phrases of one language; compared in lower case."""

    def __init__(self, entries: frozenset[str], language: str) -> None:
        self._entries = sorted(entries, key=lambda entry: (-len(entry), entry))
        self._boundaries = language not in _NO_BOUNDARIES
        self._by_run: dict[str, list[str]] = {}
        self._bare: list[str] = []
        """Entries that have to be looked for in every text: without a letter, or of a language without spaces."""
        for entry in self._entries:
            run = _RUN.search(entry)
            if run is None or not self._boundaries:
                self._bare.append(entry)
            else:
                self._by_run.setdefault(run[0], []).append(entry)

    def count(self, text: str) -> tuple[int, int]:
        """(matches that do not overlap, longer entries first; characters in them). A match stands between characters
        that are no letters, digits or underscores, or ends of the text; anywhere in languages without spaces."""
        lowered = text.lower()
        present = [entry for entry in self._bare if entry in lowered]
        if self._by_run:
            for run in self._by_run.keys() & set(_RUN.findall(lowered)):
                present += self._by_run[run]
        if not present:
            return 0, 0
        pattern = _pattern(tuple(sorted(present, key=lambda entry: (-len(entry), entry))), self._boundaries)
        lengths = [len(match[0]) for match in pattern.finditer(lowered)]
        return len(lengths), sum(lengths)


@functools.lru_cache(maxsize=1024)
def _pattern(entries: tuple[str, ...], boundaries: bool) -> re.Pattern[str]:
    either = "|".join(map(re.escape, entries))
    return re.compile(rf"(?<!\w)(?:{either})(?!\w)" if boundaries else either)


@functools.cache
def load_words(path: str, language: str, allow: frozenset[str]) -> WordList:
    """The list at `path` without the entries of `allow`. Raises InputError when it is missing, damaged or empty."""
    try:
        with open_file(path) as file:
            text = file.read()
        entries = json.loads(text) if text.lstrip().startswith("[") else text.splitlines()
    except (OSError, EOFError, ValueError) as error:
        raise InputError(
            f"bad_words.lists.{language} {path!r} cannot be read ({error}); give a JSON array or one word a line"
        ) from None
    if not all(isinstance(entry, str) for entry in entries):
        raise InputError(f"bad_words.lists.{language} {path!r} holds other things than words; give an array of strings")
    words = frozenset(entry.strip().lower() for entry in entries) - {"", *allow}
    if not words:
        raise InputError(f"bad_words.lists.{language} {path!r} holds no word; fix the file or leave the language out")
    return WordList(words, language)
