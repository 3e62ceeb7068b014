"""Extraction against gold main texts, and the removal of boilerplate lines."""

import re
from collections import Counter
from pathlib import Path
from statistics import mean

import pytest

from data_pipeline.extract import ExtractConfig, extract_page, extract_text
from data_pipeline.extract.bound import MAX_DEPTH, MAX_FORMATS, bounded
from data_pipeline.extract.clean import clean_text, is_furniture
from data_pipeline.extract.gold import gold_pages
from data_pipeline.read import InputFile, InputReader, ReadConfig

WORD = re.compile(r"\w+")


def word_f1(text: str, gold: str) -> float:
    ours, wanted = Counter(WORD.findall(text.lower())), Counter(WORD.findall(gold.lower()))
    common = sum((ours & wanted).values())
    return 2 * common / (sum(ours.values()) + sum(wanted.values())) if common else 0.0


@pytest.mark.parametrize(("sources", "floor"), [(["wcxb_dev", "wcxb_test"], 0.87), (["scrapinghub_aeb"], 0.93)])
def test_word_f1_on_domains_not_trained_on(real_data: Path, sources: list[str], floor: float) -> None:
    """Floors one hundredth and more under what was measured when the model was trained (.882 and .947)."""
    pages = [page for page in gold_pages(real_data, sources) if page.held_out]
    scores = [word_f1(extract_page(page.html, ExtractConfig()).text, page.text) for page in pages]
    assert len(scores) >= 15 and mean(scores) >= floor


def test_engines_find_the_article_and_the_title(page) -> None:
    paragraphs = [f"Sentence number {n} of a fairly long paragraph about rivers and bridges. " * 4 for n in range(4)]
    for engine in ("blocks", "resiliparse", "trafilatura"):
        text, title = extract_text(page(paragraphs, "My title"), ExtractConfig(engine=engine))
        assert title == "My title" and "About" not in text and "Footer" not in text
        assert all(paragraph.strip() in text for paragraph in paragraphs), engine


def test_pages_without_an_article_fall_back_to_their_visible_text() -> None:
    items = "".join(f"<li><b>Lamp {n}</b><br>{n} euros, in stock.</li>" for n in range(60))
    html = f"<html><body><nav>Menu</nav><article><p>Shop.</p></article><div><ul>{items}</ul></div></body></html>"
    full, _ = extract_text(html, ExtractConfig(engine="resiliparse"))
    assert "Lamp 59" in full and "Menu" not in full


@pytest.mark.parametrize(
    "html", ["", "<", "<!--", "<p>" * 3000, "</div>" * 50, "\x00\ufffe<p>a", "<table><tr><td>" * 400]
)
def test_broken_html_gives_text_or_nothing(html: str) -> None:
    text, _ = extract_text(html, ExtractConfig())
    assert isinstance(clean_text(text), str)


@pytest.mark.parametrize(
    "line",
    [
        "Accept all cookies",
        "We use cookies to improve your experience on our site.".replace("We use", "This website uses"),
        "Share on Facebook",
        "Share this: Twitter, Facebook, LinkedIn",
        "© 2024 Example Ltd. All rights reserved.",
        "Copyright 2019 The Daily",
        "Skip to main content",
        "Log in or register",
        "Subscribe to our newsletter",
        "Advertisement",
        "12 comments",
        "Read more »",
    ],
)
def test_furniture_goes(line: str) -> None:
    assert clean_text(f"A sentence stays.\n{line}\nAnother one stays.") == "A sentence stays.\nAnother one stays."


@pytest.mark.parametrize(
    "line",
    [
        "Share prices fell by three percent on Monday.",
        "Cookies are small files that a web site stores in the browser.",
        "Home is where the heart is.",
        "The copyright law of 1911 changed all this.",
        "Follow the river until you reach the bridge.",
        "Log in to the server and run the command below.",
        "Comments in Python begin with a hash sign.",
        "Next, stir the flour into the milk.",
        "Like most birds, it sings in spring.",
        "Contents",
    ],
)
def test_sentences_stay(line: str) -> None:
    assert not is_furniture(line)


def test_link_runs_go_at_the_ends_only() -> None:
    links = "News\nSports\nWeather\nMarkets\nOpinion"
    poem = "Rose red\nSnow white\nSea blue\nLeaf green"
    text = f"{links}\n\nThe story begins here.\n{poem}\nAnd here it ends.\n{links}"
    assert clean_text(text) == f"The story begins here.\n{poem}\nAnd here it ends."
    assert clean_text(poem) == poem  # a page of nothing else stays


def test_characters_are_normalised() -> None:
    assert clean_text("Cafe\u0301 \u200bau\xa0 lait\r\nx\x07y\u202e\tz\n\n\n\nend") == "Café au lait\nxy z\n\nend"


def test_reading_and_extraction_of_one_file(warc, tmp_path: Path) -> None:
    from data_pipeline.base import DropLog
    from data_pipeline.extract import Extractor

    path = warc.prose(3).page("http://a.example/", "<html><body></body></html>").write(tmp_path / "a.warc.gz")
    log = DropLog()
    reader = InputReader([InputFile(str(path), "a", "web", "")], ReadConfig(), log)
    documents = list(Extractor(ExtractConfig(), log).run(reader.run()))
    assert len(documents) == 3 and [row["reason"] for row in log.rows] == ["empty"] and reader.read == 4
    assert all("html" not in document.metadata for document in documents)


@pytest.mark.parametrize("engine", ["blocks", "resiliparse", "trafilatura"])
def test_half_a_surrogate_pair_stops_no_engine(engine: str) -> None:
    sentences = " ".join(f"In the year {year} the river rose above its banks once more." for year in range(1900, 1940))
    html = f"<html><body><article><h1>The river</h1><p>{sentences}\ud800</p></article></body></html>"
    page = extract_page(html, ExtractConfig(engine=engine))
    assert "above its banks" in page.text
    page.text.encode("utf-8")


NESTED = {
    "div": "<div>word " * 20_000,
    "table": "<table><tr><td>word " * 20_000,
    "list": "<ul><li>word " * 20_000,
    "drawing": "<svg><td>word " * 20_000,
    "quotation": "<blockquote><p>word " * 3000,
}
FIRST = "<html><body><article><p>" + "The river rose above its banks once more this year. " * 12 + "</p>"


@pytest.mark.parametrize("engine", ["blocks", "resiliparse", "trafilatura"])
@pytest.mark.parametrize("kind", NESTED)
def test_deep_nesting_stops_no_engine(engine: str, kind: str) -> None:
    """resiliparse alone takes minutes for the first of these, and 870 MB for the third."""
    found = extract_page(FIRST + NESTED[kind], ExtractConfig(engine=engine))
    assert "above its banks" in found.text and len(found.text) < 20_000_000


@pytest.mark.parametrize("engine", ["blocks", "resiliparse", "trafilatura"])
def test_two_hundred_thousand_unclosed_elements(engine: str) -> None:
    assert "above its banks" in extract_page(FIRST + "<div>" * 200_000, ExtractConfig(engine=engine)).text


def test_formatting_left_open_is_not_opened_again_for_ever() -> None:
    """A parser opens every one of them again in every paragraph: 20,000 would be 200 million elements."""
    html = FIRST + "".join(f"<p><b class=c{n}>w" for n in range(20_000))
    kept = bounded(html)
    assert kept.count("<b ") == MAX_FORMATS and kept.count("<p>") == html.count("<p>")
    assert re.sub("<[^>]*>", "", kept) == re.sub("<[^>]*>", "", html)


def test_bounds_leave_ordinary_markup_alone() -> None:
    lists = "<ul>" + "<li>item<li>item" * 4000 + "</ul>"
    drawing = "<svg>" + "<path d='M0 0'/><rect/>" * 2000 + "</svg>"
    script = "<script>" + "document.write('<div>');" * 2000 + "</script><!--" + "<div>" * 2000 + "-->"
    breaks = "<p>a<br><img src=x>" * 3000
    for html in (lists, drawing, script, breaks, "<b>x</b>" * 5000, "<" * 5000, "</div>" * 5000, "<!--" * 5000):
        assert bounded(html) is html
    assert bounded("<p>x" * 100, max_tags=10) == "<p>x" * 10
    assert bounded("<i>" * 3 + "<div>" * (MAX_DEPTH + 2) + "a</div>b</div>c</div>").endswith("<div>abc</div>")


@pytest.mark.parametrize("unit", ["<!--", "<script>", "<", "<div", '<div a="', "<!", "</"])
def test_bounding_takes_linear_time_on_what_never_ends(unit: str) -> None:
    """A million bytes of each; a search from every one of them to the end would take hours."""
    assert bounded(unit * (1_000_000 // len(unit)), max_tags=10**7)
