"""Reading a judge's reply. The policy, in one place:

- The last line that holds `Verdict:` (or `Ranking:`, any case, markdown stars and brackets around it allowed) counts,
  so a judge may reason first and change its mind. Without such a line, the last line counts, if all of it is a verdict.
- A verdict is `A`, `B`, `tie` (also `Answer A`, `[[A]]`, `C` for tie as in MT-Bench). Any other word is none: nothing
  is guessed from the text.
- A ranking names every number from 1 to K exactly once, best first; `=` between two is a tie. Anything else is none.
"""

from __future__ import annotations

import re
from typing import Literal

Side = Literal["A", "B", "tie"]

_VERDICT = re.compile(r"verdict\W*?:(.*)", re.IGNORECASE)
_RANKING = re.compile(r"ranking\W*?:(.*)", re.IGNORECASE)
_SIDE = re.compile(r"^\W*(?:answer\s+|option\s+)?(A|B|C|tie|equal|draw)\W*$", re.IGNORECASE)
_ORDER = re.compile(r"^\W*\d+(?:\s*(?:>|=|,|\s)\s*\d+)*\W*$")
_TIES = {"c", "tie", "equal", "draw"}


def read_verdict(reply: str, allow_tie: bool = True) -> Side | None:
    """The verdict of a reply, or None when there is no readable one (a tie counts as none where none was offered)."""
    text = _last(reply, _VERDICT)
    found = _SIDE.match(text) if text is not None else None
    if found is None:
        return None
    word = found.group(1).lower()
    if word in _TIES:
        return "tie" if allow_tie else None
    return "A" if word == "a" else "B"


def read_ranking(reply: str, count: int) -> list[float] | None:
    """Rank of each of `count` answers, 1 the best and ties shared evenly (1.5, 1.5, 3); None when not readable."""
    text = _last(reply, _RANKING)
    if text is None or not _ORDER.match(text):
        return None
    groups: list[list[int]] = []
    tied = False
    for word in re.findall(r"\d+|=", text):
        if word == "=":
            tied = True
        elif tied and groups:
            groups[-1].append(int(word))
            tied = False
        else:
            groups.append([int(word)])
    if sorted(number for group in groups for number in group) != list(range(1, count + 1)):
        return None
    ranks = [0.0] * count
    before = 0
    for group in groups:
        for number in group:
            ranks[number - 1] = before + (len(group) + 1) / 2
        before += len(group)
    return ranks


def _last(reply: str, mark: re.Pattern[str]) -> str | None:
    lines = [line.strip() for line in reply.strip().splitlines() if line.strip()]
    if not lines:
        return None
    marked = [found.group(1) for line in lines if (found := mark.search(line))]
    return marked[-1] if marked else lines[-1]
