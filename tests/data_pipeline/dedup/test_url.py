"""Addresses that lead to the same page, and those that do not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_pipeline.dedup.url import normalise_url, url_hash

BASE = "https://example.com/a/b?x=1&y=2"


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/a/b?x=1&y=2",
        "HTTPS://WWW.EXAMPLE.COM./a/b?x=1&y=2",
        "https://example.com:443/a/b/?x=1&y=2#part",
        "http://example.com:80//a//b/?y=2&x=1",
        "https://user:secret@example.com/a/b?x=1&y=2&utm_source=mail&fbclid=Iw&gclid=1",
        "https://example.com/%61/b;jsessionid=0AFE?x=1&&y=2&",
        "//example.com/a/b?x=1&y=2",
    ],
)
def test_the_same_page(url: str) -> None:
    assert normalise_url(url) == normalise_url(BASE) == "example.com/a/b?x=1&y=2"
    assert url_hash(url) == url_hash(BASE)


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com/A/b?x=1&y=2",
        "https://example.com:8080/a/b?x=1&y=2",
        "https://sub.example.com/a/b?x=1&y=2",
        "https://example.com/a/b?x=1&y=2&id=3",
        "https://example.com/a/b?x=12",
        "https://example.com/a%2Fb?x=1&y=2",
        "https://example.com/a/b?x=1%26y=2",
    ],
)
def test_another_page(url: str) -> None:
    assert normalise_url(url) != normalise_url(BASE)


@pytest.mark.parametrize(
    ("url", "form"),
    [
        ("http://[2001:DB8::1]:80/", "[2001:db8::1]"),
        ("http://[::1]:8080/x", "[::1]:8080/x"),
        ("http://example.com", "example.com"),
        ("http://example.com/ü", "example.com/%C3%BC"),
        ("http://example.com/%c3%bc", "example.com/%C3%BC"),
        ("mailto:someone", "mailto:someone"),
        ("", ""),
    ],
)
def test_forms(url: str, form: str) -> None:
    assert normalise_url(url) == form


@given(st.text(max_size=60))
def test_anything_is_accepted_and_normalised_once(tail: str) -> None:
    form = normalise_url(f"http://example.com/{tail}")
    assert normalise_url(f"https://{form}") == form
    normalise_url(tail)
