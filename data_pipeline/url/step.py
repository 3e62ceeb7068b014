"""The URL filter step."""

from __future__ import annotations

import functools
import re
from pathlib import Path
from urllib.parse import urlsplit

from datatrove.data import Document

from data_pipeline.base import CorpusStep, Drop, DropLog
from data_pipeline.url.config import UrlConfig
from data_pipeline.url.lists import DomainSet, read_domains, read_words, ut1_hashes, write_domains

_WORD = re.compile(r"[a-z0-9]+")


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
        """Reasons: `domain`, `banned_word`, `banned_subword`, `soft_banned_words`."""
        url = document.metadata["url"].lower()
        host = host_of(url)
        if (domains := _domains(self.lists)) and (found := domains.find(host)):
            return Drop("domain", detail=found)
        banned, subwords, soft = _words(self._words_key)
        words = set(_WORD.findall(url))
        if hits := words & banned:
            return Drop("banned_word", detail=min(hits))
        if subwords and (hit := subwords.search(re.sub(r"[^a-z0-9]+", "", url))):
            return Drop("banned_subword", detail=hit[0])
        if len(hits := words & soft) >= self.config.soft_word_threshold:
            return Drop(
                "soft_banned_words", float(len(hits)), self.config.soft_word_threshold - 1.0, " ".join(sorted(hits))
            )
        return None


def host_of(url: str) -> str:
    """Lower-cased host of a URL without port; empty when there is none."""
    try:
        return (urlsplit(url).hostname or "").strip(".")
    except ValueError:  # such as a broken IPv6 address
        return ""


def prepare_lists(config: UrlConfig, folder: Path) -> int:
    """Read every list once, before the workers start; number of blocked domains. Raises InputError on a bad list."""
    read_words([*config.banned_words, *config.banned_subwords, *config.soft_banned_words])
    if not config.domain_lists and not config.use_ut1:
        return 0
    domains = (domain for path in config.domain_lists for domain in read_domains(path))
    return write_domains(folder / "domains.npy", domains, ut1_hashes() if config.use_ut1 else ())


@functools.cache
def _domains(folder: Path) -> DomainSet | None:
    path = folder / "domains.npy"
    return DomainSet.load(path) if path.is_file() else None


@functools.cache
def _words(config_json: str) -> tuple[frozenset[str], re.Pattern[str] | None, frozenset[str]]:
    config = UrlConfig.model_validate_json(config_json)
    subwords = sorted(re.sub(r"[^a-z0-9]+", "", word) for word in read_words(config.banned_subwords))
    pattern = re.compile("|".join(subword for subword in subwords if subword)) if subwords else None
    return read_words(config.banned_words), pattern, read_words(config.soft_banned_words)
