"""Title, author and date as pages state them."""

import json

import pytest

from data_pipeline.extract import ExtractConfig, extract_page
from data_pipeline.extract.metadata import iso_day


def page(head: str, body: str = "") -> str:
    return f"<html><head><title> A &amp; B | Site </title>{head}</head><body>{body}<p>Text.</p></body></html>"


def ld(value: object) -> str:
    return f'<script type="application/ld+json">{json.dumps(value)}</script>'


@pytest.mark.parametrize("engine", ["blocks", "resiliparse"])
def test_json_ld_comes_first(engine: str) -> None:
    work = {
        "@type": "NewsArticle",
        "headline": "A",
        "datePublished": "2024-03-05T10:00:00Z",
        "author": {"name": "Ann O'Hara"},
    }
    other = {"@type": "Comment", "author": {"name": "Troll"}, "datePublished": "1999-01-01"}
    html = page(ld({"@graph": [other, work]}) + '<meta name="author" content="Webmaster">')
    found = extract_page(html, ExtractConfig(engine=engine))
    assert (found.title, found.author, found.published) == ("A & B | Site", "Ann O'Hara", "2024-03-05")


@pytest.mark.parametrize(
    ("head", "body", "author", "published"),
    [
        (
            '<meta name="author" content="Bo &amp; Co"><meta property="article:published_time" content="2021-7-4">',
            *("", "Bo & Co", "2021-07-04"),
        ),
        ('<meta name="date" content="Tue, 05 Mar 2019 10:00:00 GMT">', "", None, "2019-03-05"),
        ("", '<p class="byline">By Jane Doe</p><time datetime="2018-02-03">then</time>', "Jane Doe", "2018-02-03"),
        ('<meta name="author" content="https://example.org/jane">', "", None, None),
        (ld({"@type": "Article", "author": ["A", {"name": ["B"]}], "datePublished": "2020-02-31"}), "", "A, B", None),
        ('<script type="application/ld+json">{"author": broken</script>', "", None, None),
        ("", "", None, None),
    ],
)
def test_other_places(head: str, body: str, author: str | None, published: str | None) -> None:
    found = extract_page(page(head, body), ExtractConfig())
    assert (found.author, found.published) == (author, published)


@pytest.mark.parametrize(
    ("text", "day"),
    [
        ("2024-01-31", "2024-01-31"),
        ("20240131T0900", "2024-01-31"),
        ("20240131", "2024-01-31"),
        ("2024年1月5日", "2024-01-05"),
        ("2024-13-01", None),
        ("soon", None),
        ("", None),
    ],
)
def test_days(text: str, day: str | None) -> None:
    assert iso_day(text) == day


def test_deep_json_ld_is_no_danger() -> None:
    script = '<script type="application/ld+json">' + '{"author":' * 90_000 + "</script>"
    assert extract_page(page(script), ExtractConfig()).author is None
