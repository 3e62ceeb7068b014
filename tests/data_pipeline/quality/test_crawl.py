"""Raw pages sampled from WARC files."""

import io
from pathlib import Path

import pytest
from warcio.statusandheaders import StatusAndHeaders
from warcio.warcwriter import WARCWriter

from data_pipeline.quality import CrawlSample
from data_pipeline.quality.crawl import language_of, sample_pages
from millbase.errors import InputError

ENGLISH = "The history of the mountain village begins with a river that the settlers followed in the winter. "
GERMAN = "Die Geschichte des Bergdorfes beginnt mit einem Fluss, dem die Siedler im Winter jenes Jahres gefolgt sind. "


def html(text: str) -> bytes:
    return f"<html><head><title>t</title></head><body><article><p>{text * 5}</p></article></body></html>".encode()


def write_warc(path: Path, pages: list[tuple[str, bytes, str, str]]) -> None:
    """Pages are (url, body, status, content type)."""
    with path.open("wb") as file:
        writer = WARCWriter(file, gzip=path.suffix == ".gz")
        for url, body, status, kind in pages:
            headers = StatusAndHeaders(status, [("Content-Type", kind)], protocol="HTTP/1.1")
            writer.write_record(writer.create_warc_record(url, "response", io.BytesIO(body), http_headers=headers))


@pytest.fixture
def crawl(tmp_path: Path) -> Path:
    pages = [(f"http://a.example/{i}", html(f"Page {i}. {ENGLISH}"), "200 OK", "text/html") for i in range(40)]
    pages += [(f"http://d.example/{i}", html(f"Seite {i}. {GERMAN}"), "200 OK", "text/html") for i in range(10)]
    pages += [("http://a.example/gone", html(ENGLISH), "404 Not Found", "text/html")]
    pages += [("http://a.example/x.pdf", b"%PDF-1.4", "200 OK", "application/pdf")]
    pages += [("http://a.example/empty", b"", "200 OK", "text/html")]
    write_warc(tmp_path / "one.warc.gz", pages[::2])
    write_warc(tmp_path / "two.warc", pages[1::2])
    return tmp_path


def test_sample_holds_html_pages_only(crawl: Path) -> None:
    texts = [page.text for page in sample_pages(CrawlSample(path=str(crawl / "*.warc*")), seed=0)]
    assert len(texts) == 50
    assert not any("PDF" in text or "<p>" in text for text in texts)


def test_sample_depends_on_urls_and_seed_not_on_files(crawl: Path) -> None:
    both = [str(crawl / "two.warc"), str(crawl / "one.warc.gz")]
    first = sample_pages(CrawlSample(path=both, max_pages=12), seed=0)
    assert first == sample_pages(CrawlSample(path=both[::-1], max_pages=12), seed=0)
    assert len(first) == 12
    assert first == sample_pages(CrawlSample(path=both, max_pages=30), seed=0)[:12]
    assert set(first) != set(sample_pages(CrawlSample(path=both, max_pages=12), seed=1))


def test_language_filter(crawl: Path) -> None:
    pages = sample_pages(CrawlSample(path=str(crawl / "*.warc*"), language="de"), seed=0)
    assert len(pages) == 10
    assert all("Geschichte" in page.text and page.url.startswith("http://d.example/") for page in pages)
    assert language_of(ENGLISH) == "en"


def test_nothing_left_is_an_error(crawl: Path) -> None:
    with pytest.raises(InputError, match="in language 'fi'"):
        sample_pages(CrawlSample(path=str(crawl / "*.warc*"), language="fi"), seed=0)
    with pytest.raises(InputError, match="nothing matches"):
        sample_pages(CrawlSample(path=str(crawl / "*.wet")), seed=0)
