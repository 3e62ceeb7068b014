"""WARC files made for tests, written with warcio: another library than the one that reads them."""

from __future__ import annotations

import io
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from warcio.statusandheaders import StatusAndHeaders
from warcio.warcwriter import WARCWriter

from data_pipeline.write import corpus_schema
from millbase.artifacts import create_artifact
from millbase.config import Config

WORDS = [
    "the",
    "of",
    "and",
    "to",
    "in",
    "that",
    "was",
    "with",
    "have",
    "been",
    "be",
    "which",
    "from",
    "they",
    "were",
    "their",
    "there",
    "would",
    "about",
    "after",
    "river",
    "mountain",
    "village",
    "history",
    "century",
    "people",
    "water",
    "during",
    "between",
    "several",
    "important",
    "small",
    "large",
    "against",
    "through",
    "winter",
    "summer",
    "market",
    "travel",
    "music",
    "garden",
    "stone",
    "bridge",
    "letters",
    "school",
    "family",
    "morning",
    "evening",
    "between",
    "children",
    "country",
    "answer",
    "question",
]


def prose(seed: int, sentences: int = 14) -> str:
    """English-looking sentences, different for every seed."""
    random_ = random.Random(seed)
    made = []
    for _ in range(sentences):
        words = [random_.choice(WORDS) for _ in range(random_.randint(9, 16))] + [f"{random_.randint(10, 10**6)}"]
        made.append(" ".join(words).capitalize() + ".")
    return " ".join(made)


def html_page(paragraphs: list[str], title: str = "A page") -> str:
    """A page with navigation, an article of the given paragraphs, and a footer."""
    article = "".join(f"<p>{paragraph}</p>" for paragraph in paragraphs)
    return (
        f"<!doctype html><html><head><title>{title}</title></head><body><nav><a href='/'>Home</a><a href='/a'>About</a>"
        f"</nav><main><article><h1>{title} in full</h1>{article}</article></main><footer>Footer links</footer>"
        "</body></html>"
    )


@dataclass
class WarcBuilder:
    """Collects response records and writes them as a WARC file."""

    records: list[tuple[str, str, str, list[tuple[str, str]], bytes]] = field(default_factory=list)

    def page(
        self,
        url: str,
        body: str | bytes,
        status: str = "200 OK",
        content_type: str = "text/html",
        headers: list[tuple[str, str]] | None = None,
        kind: str = "response",
    ) -> WarcBuilder:
        """Add one record."""
        data = body.encode() if isinstance(body, str) else body
        self.records.append((kind, url, status, [("Content-Type", content_type), *(headers or [])], data))
        return self

    def prose(self, count: int, start: int = 0, host: str = "site.example") -> WarcBuilder:
        """Add `count` pages of different prose."""
        for number in range(start, start + count):
            paragraphs = [prose(1000 * number + part, 7) for part in range(3)]
            self.page(f"http://{host}/page/{number}", html_page(paragraphs, f"Page {number}"))
        return self

    def to_bytes(self, gzip: bool = True, seed: int = 0) -> bytes:
        """The WARC file: a warcinfo record, then each record after a request record; ids follow from `seed`."""
        out = io.BytesIO()
        writer = WARCWriter(out, gzip=gzip)
        random_ = random.Random(f"{seed} {len(self.records)} {self.records[:1]}")
        info = writer.create_warcinfo_record("test.warc", {"software": "test"})
        info.rec_headers.replace_header("WARC-Record-ID", f"<urn:uuid:{_uuid(random_)}>")
        info.rec_headers.replace_header("WARC-Date", "2024-01-02T03:04:05Z")
        writer.write_record(info)
        for kind, url, status, headers, body in self.records:
            http = StatusAndHeaders(status, headers, protocol="HTTP/1.1")
            warc_headers = {"WARC-Record-ID": f"<urn:uuid:{_uuid(random_)}>", "WARC-Date": "2024-01-02T03:04:05Z"}
            record = writer.create_warc_record(
                url, kind, payload=io.BytesIO(body), http_headers=http, warc_headers_dict=warc_headers
            )
            writer.write_record(record)
        return out.getvalue()

    def write(self, path: Path, gzip: bool = True, seed: int = 0) -> Path:
        """Write the WARC file to `path`."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(self.to_bytes(gzip, seed))
        return path


def _uuid(random_: random.Random) -> str:
    digits = f"{random_.getrandbits(128):032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


@pytest.fixture
def warc() -> WarcBuilder:
    """An empty WARC file under construction."""
    return WarcBuilder()


@pytest.fixture
def new_warc() -> type[WarcBuilder]:
    """The builder itself, for tests that need several files."""
    return WarcBuilder


@pytest.fixture
def page() -> object:
    """`page(paragraphs, title)`: HTML of an article page."""
    return html_page


def write_corpus(path: Path, rows: list[dict[str, Any]], shards: int = 2, warc_root: str = "/crawl/") -> Path:
    """A corpus artifact of the given rows; every column but `id` and `text` has a default."""
    defaults = {"source": "web", "warc_file": "a.warc.gz", "warc_offset": 0, "warc_length": 900}
    full = [defaults | {"url": f"http://a.example/{row['id']}"} | row for row in rows]
    with create_artifact(path, kind="corpus", config=Config()) as artifact:
        (artifact.path / "data").mkdir(exist_ok=True)
        size = max(1, -(-len(full) // shards))
        for shard in range(shards):
            table = pa.Table.from_pylist(full[shard * size : (shard + 1) * size], corpus_schema())
            with pa.ipc.new_file(str(artifact.path / "data" / f"{shard:05d}.arrow"), table.schema) as writer:
                writer.write_table(table, max_chunksize=64)
        artifact.stats.update(warc_root=warc_root, read=len(full), documents=len(full), dropped=0)
    return path


@pytest.fixture
def corpus_from() -> Callable[..., Path]:
    """`corpus_from(path, rows)`: a small corpus artifact without a crawl behind it."""
    return write_corpus
