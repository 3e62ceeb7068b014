"""Rounds of a recipe: the same few stages again and again, each round on what the one before it made.

    rounds:
      count: 3
      first: {dpo: "${sft}"}                    # what ${previous.dpo} is in round 1
      stages:
        best: {run: reject, config: {model: "${previous.dpo}", block: "${round}"}}
        reward: {run: reward, config: {data: ["${world}/pairs.jsonl", "${earlier.best}/preferences.jsonl"]}}
        dpo: {run: dpo, config: {model: "${previous.dpo}", data: "${best}/preferences.jsonl"}}
    stages:
      evaluate: {run: evaluate, config: {model: "${last.dpo}"}}

Rounds are written out before anything else looks at the recipe: `r1-best`, `r1-reward`, `r1-dpo`, `r2-best`, ... are
stages like any other, with directories, keys and logs of their own, so a run continues between rounds and inside them.
A larger `count` adds rounds and reruns none.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from millbase.config import suggest
from millbase.errors import ConfigError

_REFERENCE = re.compile(r"(?<!\$)\$\{\s*([^{}]*?)\s*\}")
_EARLIER = re.compile(r"(?<!\$)\$\{\s*earlier\.([^{}]*?)\s*\}")
_AFTER = re.compile(r"^(last\.|r\d+-)")


def stage_name(name: str, number: int) -> str:
    """What stage `name` of the rounds is called in round `number` (from 1)."""
    return f"r{number}-{name}"


class Rounds:
    """The names that stand for something inside the rounds, and their values in each."""

    def __init__(self, names: Collection[str], count: int, first: Mapping[str, str], where: str) -> None:
        """ConfigError when `first` names no stage of the rounds."""
        self.names, self.count, self.first, self.where = list(names), count, first, where
        for name in first:
            self._known(name, f"rounds.first.{name}")

    def inside(self, values: Any, number: int) -> Any:
        """The configuration of a stage of round `number`, with its references made those of the run.

        `${NAME}` of a stage of the rounds is that of this round; `${previous.NAME}` that of the round before, in the
        first one what `first` says; a list item with `${earlier.NAME}` becomes one for each earlier round; `${round}`
        is the number.
        """
        if isinstance(values, dict):
            return {key: self.inside(item, number) for key, item in values.items()}
        if isinstance(values, list):
            return [self.inside(item, number) for item in self._spread(values, number)]
        if not isinstance(values, str):
            return values
        if _EARLIER.search(values):
            raise ConfigError(
                f"{self.where}: {values!r}: ${{earlier.NAME}} gives several values and must stand in a list"
            )
        whole = _REFERENCE.fullmatch(values)
        if whole and whole.group(1) == "round":
            return number
        return _REFERENCE.sub(lambda found: self._resolve(found.group(1), found.group(0), number), values)

    def outside(self, values: Any) -> Any:
        """The configuration of a stage outside, where `${last.NAME}` is that of the last round."""
        if isinstance(values, dict):
            return {key: self.outside(item) for key, item in values.items()}
        if isinstance(values, list):
            return [self.outside(item) for item in values]
        return _REFERENCE.sub(self._last, values) if isinstance(values, str) else values

    def _resolve(self, name: str, text: str, number: int) -> str:
        if name == "round":
            return str(number)
        if name in self.names:
            return f"${{{stage_name(name, number)}}}"
        head, _, rest = name.partition(".")
        if head != "previous":
            return text
        self._known(rest, text)
        if number > 1:
            return f"${{{stage_name(rest, number - 1)}}}"
        if rest not in self.first:
            raise ConfigError(
                f"{self.where}: {text} has no meaning in round 1; say in rounds.first what {rest!r} is there"
            )
        return self.first[rest]

    def _spread(self, items: list[Any], number: int) -> Iterator[Any]:
        for item in items:
            found = _EARLIER.search(item) if isinstance(item, str) else None
            if found is None:
                yield item
                continue
            self._known(found.group(1), found.group(0))
            for earlier in range(1, number):
                yield item.replace(found.group(0), f"${{{stage_name(found.group(1), earlier)}}}")

    def _last(self, found: re.Match[str]) -> str:
        head, _, rest = found.group(1).partition(".")
        if head != "last":
            return found.group(0)
        self._known(rest, found.group(0))
        return f"${{{stage_name(rest, self.count)}}}"

    def _known(self, name: str, text: str) -> None:
        if name not in self.names:
            raise ConfigError(f"{self.where}: {text}: the rounds have no stage {name!r}{suggest(name, self.names)}")


def comes_after(values: Any) -> bool:
    """Whether a configuration outside the rounds refers to something inside them."""
    if isinstance(values, dict):
        return any(comes_after(item) for item in values.values())
    if isinstance(values, list):
        return any(comes_after(item) for item in values)
    return isinstance(values, str) and any(_AFTER.match(name) for name in _REFERENCE.findall(values))
