"""The URL filter step."""

from __future__ import annotations

import functools
import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

from datatrove.data import Document

from data_pipeline.base import CorpusStep, Drop, DropLog, Measure
from data_pipeline.url.config import UrlConfig
from data_pipeline.url.lists import (
    DomainSet,
    fineweb_words,
    host_name,
    plain_address,
    read_addresses,
    read_domains,
    read_words,
    ut1_addresses,
    ut1_hashes,
    write_domains,
)

_WORD = re.compile(r"[^\W_]+")
_NO_WORD = re.compile(r"[\W_]+")
_BLOCKED, _ALLOWED, _ADDRESSES = "domains.npy", "allowed-domains.npy", "addresses.npy"
_HOSTS_CACHED = 1 << 16


class UrlFilter(CorpusStep):
    """Drops pages of listed domains and pages with listed words in their address.

    `lists` is the folder that `prepare_lists` filled.
    """

    name = "🔗 URL"
    step_name = "url"

    def __init__(self, config: UrlConfig, lists: Path, log: DropLog | None = None) -> None:
        super().__init__(log)
        self.config, self.lists = config, lists
        self._words_key = config.model_dump_json()

    def judge(self, document: Document) -> Drop | None:
        """Reasons: `domain`, `address`, `banned_word`, `banned_subword`, `soft_banned_words`."""
        url = plain_url(document.metadata["url"])
        allowed, blocked = _find_host(self.lists, host_of(url))
        if allowed:
            return None
        if blocked:
            return Drop("domain", detail=blocked)
        if (addresses := _load(self.lists / _ADDRESSES)) and addresses.has(address := plain_address(url)):
            return Drop("address", detail=address)
        return self._judge_words(url)

    def _judge_words(self, url: str) -> Drop | None:
        banned, subwords, soft = _words(self._words_key)
        if not (banned or subwords or soft):
            return None
        words = set(_WORD.findall(url))
        if hits := words & banned:
            return Drop("banned_word", detail=min(hits))
        if subwords and (hit := subwords.search(_NO_WORD.sub("", url))):
            return Drop("banned_subword", detail=hit[0])
        if len(hits := words & soft) >= self.config.soft_word_threshold:
            return Drop(
                "soft_banned_words", float(len(hits)), self.config.soft_word_threshold - 1.0, " ".join(sorted(hits))
            )
        return None

    def measure(self, document: Document) -> list[Measure]:
        """Every list that is given: what of it the address has."""
        url = plain_url(document.metadata["url"])
        allowed, blocked = _find_host(self.lists, host_of(url))
        if allowed:
            return [Measure("allowed", allowed, None, passed=True)]
        banned, subwords, soft = _words(self._words_key)
        words = set(_WORD.findall(url))
        measures = []
        if _load(self.lists / _BLOCKED):
            measures.append(Measure("domain", blocked or "not listed", None, blocked is None))
        if addresses := _load(self.lists / _ADDRESSES):
            listed = addresses.has(plain_address(url))
            measures.append(Measure("address", "listed" if listed else "not listed", None, not listed))
        if banned:
            measures.append(Measure("banned_word", " ".join(sorted(words & banned)), None, not words & banned))
        if subwords:
            hit = subwords.search(_NO_WORD.sub("", url))
            measures.append(Measure("banned_subword", hit[0] if hit else "", None, hit is None))
        if soft:
            count, limit = len(words & soft), self.config.soft_word_threshold - 1
            measures.append(Measure("soft_banned_words", float(count), float(limit), count <= limit))
        return measures


def plain_url(url: str) -> str:
    """`url` in lower case and without percent-encoding."""
    return (unquote(url, errors="replace") if "%" in url else url).lower()


def host_of(url: str) -> str:
    """Lower-cased host of a URL without port, in its IDNA form; empty when there is none."""
    try:
        host = (urlsplit(url).hostname or "").strip(".")
    except ValueError:  # such as a broken IPv6 address
        return ""
    return host_name(host)


def prepare_lists(config: UrlConfig, folder: Path) -> int:
    """Read every list once, before the workers start; number of blocked domains. Raises InputError on a bad list."""
    read_words([*config.banned_words, *config.banned_subwords, *config.soft_banned_words])
    addresses = (address for path in config.address_lists for address in read_addresses(path))
    if config.address_lists or config.use_ut1:
        write_domains(folder / _ADDRESSES, addresses, ut1_addresses() if config.use_ut1 else ())
    if config.allow_lists:
        write_domains(folder / _ALLOWED, (domain for path in config.allow_lists for domain in read_domains(path)))
    if not config.domain_lists and not config.use_ut1:
        return 0
    domains = (domain for path in config.domain_lists for domain in read_domains(path))
    return write_domains(folder / _BLOCKED, domains, ut1_hashes() if config.use_ut1 else ())


@functools.lru_cache(maxsize=_HOSTS_CACHED)
def _find_host(folder: Path, host: str) -> tuple[str | None, str | None]:
    """The allowed and the blocked domain that `host` is or lies under. Cached: a crawl has many pages of one host."""
    allowed, blocked = _load(folder / _ALLOWED), _load(folder / _BLOCKED)
    return allowed.find(host) if allowed else None, blocked.find(host) if blocked else None


@functools.cache
def _load(path: Path) -> DomainSet | None:
    return DomainSet.load(path) if path.is_file() else None


@functools.cache
def _words(config_json: str) -> tuple[frozenset[str], re.Pattern[str] | None, frozenset[str]]:
    config = UrlConfig.model_validate_json(config_json)
    lists = [read_words(paths) for paths in (config.banned_words, config.banned_subwords, config.soft_banned_words)]
    if config.use_fineweb_words:
        lists = [own | shipped for own, shipped in zip(lists, fineweb_words(), strict=True)]
    # as letters and digits alone, for that is what addresses are split into
    banned, subwords, soft = (frozenset(filter(None, (_NO_WORD.sub("", word) for word in words))) for words in lists)
    pattern = re.compile("|".join(sorted(map(re.escape, subwords)))) if subwords else None
    return banned, pattern, soft
