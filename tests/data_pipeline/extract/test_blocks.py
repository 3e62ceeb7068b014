"""The block engine: what it makes of each structure, and that both implementations agree on anything."""

from __future__ import annotations

import os
import random
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_pipeline.extract import ExtractConfig, extract_page, extract_text
from data_pipeline.extract.blocks import block_model
from data_pipeline.extract.clean import clean_text
from data_pipeline.extract.reference.choice import Decision
from data_pipeline.extract.reference.features import analyse
from data_pipeline.extract.reference.model import render
from data_pipeline.extract.reference.parse import Parser
from data_pipeline.native import kernels


def all_text(html: str) -> str:
    """Every block of a page, rendered: what the parser sees, whatever the model would choose."""
    page = Parser(html, 10_000, 10_000).run()
    return render(page, [True] * len(page.blocks))


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("<p>One <b>bo</b>ld&nbsp;word.<p>Two", "One bold word.\n\nTwo"),
        ("<p>line<br>line<br/>line", "line\nline\nline"),
        ("<div>a<div>b</div>c</div>", "a\n\nb\n\nc"),
        ("<ul><li>a<li>b<ul><li>c</ul><li>d</ul>", "- a\n- b\n  - c\n- d"),
        ("<ol start=3><li>a</li><li><p>b</p></li></ol>", "3. a\n4. b"),
        ("<dl><dt>term<dd>meaning<dt>other<dd>more</dl>", "term\nmeaning\nother\nmore"),
        ("<table><tr><th>x<th>y<tr><td>1<td>2</table>", "x | y\n1 | 2"),
        (
            "<table><tr><th><th>x<th>y<th>z<tr><td>a<td><td><td>3<tr><td>b<td>1<td>2<td></table>",
            "| x | y | z\na | | | 3\nb | 1 | 2",
        ),
        ("<table><td>0<tr><td><td>1<tr><td>a<td>2<tr><td>b<td>3</tr><td>c</table>", "0\n| 1\na | 2\nb | 3\nc"),
        ("<table>" + "<tr><td>a<td><td><td><td>b" * 3 + "</table>", "a | b\na | b\na | b"),  # nearly empty
        ("<table><tr><td>menu<td width=9><td>text</table>", "menu | text"),  # layout: an empty cell is white space
        ("<table><tr><td><p>a</p><p>b</p></td><td>c</td></tr></table>", "a\n\nb\nc"),
        ("<pre><code>def f():\n    return 1\n\n\nf()</code></pre>", "def f():\n    return 1\n\n\nf()"),
        ("<pre>\n\n  <span>if</span> x:\n\ty</pre>", "  if x:\n\ty"),
        ("<blockquote><p>outer<blockquote>inner</blockquote>outer</blockquote>", "outer\n\ninner\n\nouter"),
        ("<p><math alttext='{\\displaystyle x^2}'><mi>x</mi></math> is", "$x^2$ is"),
        ("<p>so <math><mi>y</mi><annotation encoding='application/x-tex'>y_1</annotation></math>.", "so $y_1$."),
        ("<p><math><mi>a</mi><mo>+</mo><mi>b</mi></math>", "a+b"),
        ('<p>then <script type="math/tex">\\sqrt 2</script> ends', "then $\\sqrt 2$ ends"),
        ("<a href=a>one</a><a href=b>two</a>", "one two"),
        ("<p>a<script>var x = '</p>';</script>b<style>p{}</style>", "ab"),
        ("<p>a<svg><text>no</text><path d=''/></svg>b", "ab"),
        ("<svg><text>no<p>out of it", "out of it"),
        ("<select><option>no</select><p>yes", "yes"),
        ("<!-- <p>no --><p>yes<!-- no", "yes"),
        ("<p title='unclosed>text", "text"),
        ("<p>1 < 2 &amp;&amp; 3 > 2 &lt;p&gt; &#x41;&#66; &notit; &#128;", "1 < 2 && 3 > 2 <p> AB ¬it; €"),
        ("<p>a</div></span>b</p>c", "ab\n\nc"),
        ("<b><p>a</b>b<p>c", "ab\n\nc"),
        ("<noscript><p>read me</p></noscript>", "read me"),
        ("<textarea>no</textarea><title>no</title>yes", "yes"),
    ],
)
def test_structures(html: str, text: str) -> None:
    assert all_text(html) == text


PLACES = [
    "The river rises in the northern hills, runs through three towns and reaches the sea after a long way. ",
    "Its water comes from the northern hills, where snow lies until May, and it is cold in every season. ",
    "Old maps of the northern hills, drawn by hand, show four bridges, of which the floods have left only one. ",
    "Farmers below the northern hills, who need it for their fields, share it by rules that nobody wrote down. ",
    "Boats never went up to the northern hills, but the towns on its banks lived by trade for six hundred years. ",
    "From the northern hills, in a dry summer, you can follow its whole course as a line of darker green. ",
]


def article(extra: str = "") -> str:
    paragraphs = "".join(f"<p>{number}. {PLACES[number] * 3}</p>" for number in range(6))
    menu = "".join(f"<li><a href='/{number}'>Section {number}</a></li>" for number in range(12))
    return (
        "<html><head><title>The river</title></head><body><header><nav class=menu><ul>" + menu + "</ul></nav></header>"
        f"<main><article class=post-content><h1>The river</h1>{paragraphs}{extra}</article></main>"
        "<aside class=sidebar><h3>Related</h3><ul>" + menu + "</ul></aside>"
        "<footer class=footer>Copyright 2024 Example Ltd. <a href=/terms>Terms</a></footer></body></html>"
    )


def test_the_article_stays_and_its_surroundings_go() -> None:
    page = extract_page(article(), ExtractConfig())
    assert page.text.count("northern hills") == 18 and "Section 3" not in page.text and "Terms" not in page.text
    assert page.title == "The river"


def test_a_second_copy_of_the_article_is_left_out() -> None:
    """As pages hold it for printing, for search engines, or in a tab that is not shown."""
    whole = " ".join(place * 3 for place in PLACES)
    page = extract_page(article(f"<div class=post-content><p>{whole}</p></div>"), ExtractConfig())
    assert page.text.count("northern hills") == 18 and page.text.count("four bridges") == 3


def test_short_blocks_may_repeat_and_long_ones_not() -> None:
    decision = Decision(np.linspace(0, 1, 65, dtype=np.float32), low=0.05)
    refrain, place = "<p>And the river runs down to the sea.</p>", f"<p>{PLACES[0]}</p>"
    page = Parser((refrain + place) * 2 + refrain, 100, 100).run()
    assert decision.choose(page, analyse(page), [3.0] * 5) == [True, True, True, False, True]
    page = Parser((refrain + place) * 3, 100, 100).run()  # little but repetitions, which later filters shall see
    assert decision.choose(page, analyse(page), [3.0] * 6) == [True] * 6


def test_of_an_article_and_the_same_in_one_block_the_paragraphs_stay() -> None:
    """Whatever the scores: the block would be a wall of text."""
    decision = Decision(np.linspace(0, 1, 65, dtype=np.float32), low=0.05)
    pieces, whole = "".join(f"<p>{place}</p>" for place in PLACES), f"<div>{' '.join(PLACES)}</div>"
    page = Parser(pieces + whole, 100, 100).run()
    assert decision.choose(page, analyse(page), [3.0] * 3 + [1.0] * 3 + [2.0]) == [True] * 6 + [False]
    page = Parser("<p>The river, which is long.</p>" + whole, 100, 100).run()  # nothing else tells it
    assert decision.choose(page, analyse(page), [3.0, 2.0]) == [True, True]
    page = Parser(pieces + whole, 100, 100).run()  # the pieces are hardly main text
    assert decision.choose(page, analyse(page), [-3.0] * 6 + [2.0])[-1]


def rows(count: int, cell: str = "td") -> str:
    return "".join(
        f"<tr><td>Bridge {number}</td><{cell}>{1900 + number}</{cell}><td>{number} m</td></tr>"
        for number in range(count)
    )


@pytest.mark.parametrize(
    ("table", "whole"),
    [
        (f"<table>{rows(3)}</table>", True),
        (f"<table><caption>Bridges</caption><thead>{rows(1, 'th')}</thead><tbody>{rows(4)}</tbody></table>", True),
        (f"<table>{rows(2)}</table>", False),  # too short to be one for sure
        ("<table>" + "<tr><td>a menu</td></tr>" * 9 + "</table>", False),  # one column
        (f"<table><tr><td>{PLACES[0] * 4}</td><td>b</td></tr>{rows(3)}</table>", False),  # layout: long texts
        ("<table>" + "<tr><td><p>a</p><p>b</p><p>c</p></td><td>d</td></tr>" * 4 + "</table>", False),  # blocks in cells
    ],
)
def test_a_table_of_data_stays_whole_or_goes_whole(table: str, whole: bool) -> None:
    """Half a table says nothing, whatever the scores of its cells."""
    decision = Decision(np.linspace(0, 1, 65, dtype=np.float32), low=0.05)
    page = Parser("<p>The bridges of the river.</p>" + table, 1000, 100).run()
    cells = len(page.blocks) - 1
    for low, high in ((-8.0, 8.0), (-8.0, 2.0)):  # every second cell is wanted, more or less
        scores = [5.0] + [high if cell % 2 else low for cell in range(cells)]
        kept = decision.choose(page, analyse(page), scores)[1:]
        assert (len(set(kept)) == 1) == whole


def test_a_table_around_others_is_layout() -> None:
    decision = Decision(np.linspace(0, 1, 65, dtype=np.float32), low=0.05)
    inner = f"<table>{rows(3)}</table>"
    menu = "<tr><td>Home</td><td>About</td></tr>"
    page = Parser(f"<table>{menu * 3}<tr><td>{inner}</td><td>{inner}</td></tr></table>", 1000, 100).run()
    scores = [-8.0] * 6 + [-1.0, 8.0, 8.0] * 3 + [1.0, -8.0, -8.0] * 3
    assert decision.choose(page, analyse(page), scores) == [False] * 6 + [True] * 9 + [False] * 9


def test_code_keeps_its_indentation_through_cleaning() -> None:
    code = "def rise(level):\n    if level:\n        return level + {}\n    return {}"
    steps = "".join(
        f"<p>To raise the level by {number}, call the function below; it returns the new level of the water:</p>"
        f"<pre><code>{code.format(number, number)}</code></pre>"
        for number in range(4)
    )
    html = article(steps + "<p>That is all there is to say about functions that raise a level, for now.</p>")
    assert code.format(2, 2) in extract_page(html, ExtractConfig()).text


def test_layout_of_the_text_survives_cleaning() -> None:
    text = "Text here.\n\n- one\n- two\n- three\n- four\n  - five\u200b"
    assert clean_text(text, layout=True) == text.removesuffix("\u200b")
    assert clean_text("a  =  1\n\n\n\nShare on Facebook\n    b", layout=True) == "a  =  1\n\n    b"


# ---- the two implementations

_OPENED = "p div li ul ol td tr table tbody pre a b span h1 h2 button form svg select math br hr x-y noscript script"
_CLOSED = "p div li ul ol td tr table pre a b span h1 button form svg select math script title noscript"
_PIECES = """<a href='x'>|<p class='comment-list authorBox' hidden>|<div style='display: none' id=main>|<!--|-->|<title>
<nav role=x>|<annotation encoding=tex>|<span class='katex-html'>|<ol start=7>|<meta property=og:type content=product>
<time datetime=2020-01-02>|<script type="application/ld+json">{"@type": "NewsArticle"}</script>|&amp;|&|&#|&#x;|&notit;
&#1234567890123;|&#xD800;|<|>|</|<!|<?|"|'|=|/|word |Word, and more. |1234 |漢字かな|İΣς|©$@:"""
SOUP = [
    *(f"<{name}>" for name in _OPENED.split()),
    *(f"</{name}>" for name in _CLOSED.split()),
    *re.split(r"[|\n]", _PIECES),
    *("\n", "\t", " ", "\u00a0", "\u200b", "\U0001f600", "\ud800", "|"),
]


def assert_same(html: str) -> None:
    native, plain = block_model(), block_model(native=False)
    found, wanted = native.blocks(html), plain.blocks(html)
    assert list(found["texts"]) == wanted["texts"]
    if wanted["texts"]:
        assert (found["near"] == wanted["near"]).all() and (found["far"] == wanted["far"]).all()
        assert found["scores"].tolist() == wanted["scores"] and found["keep"].astype(bool).tolist() == wanted["keep"]
    assert native.extract(html) == plain.extract(html)
    assert native.facts(html) == plain.facts(html)


needs_native = pytest.mark.skipif(
    kernels is None or not hasattr(kernels, "HtmlModel"), reason="the native extension is not built"
)


@needs_native
@settings(max_examples=120, deadline=None)
@given(st.lists(st.sampled_from(SOUP), max_size=60).map("".join))
def test_both_implementations_agree_on_tag_soup(html: str) -> None:
    assert_same(html)


@needs_native
@settings(max_examples=40, deadline=None)
@given(st.text(max_size=200))
def test_both_implementations_agree_on_any_text(text: str) -> None:
    assert_same(text)


@pytest.mark.slow
@needs_native
@settings(max_examples=int(os.environ.get("LLMILL_FUZZ_EXAMPLES", "10000")) // 4, deadline=None, database=None)
@given(st.lists(st.sampled_from(SOUP) | st.text(max_size=20), max_size=200).map("".join))
def test_any_markup_by_every_engine(html: str) -> None:
    """Other pages every time; `LLMILL_FUZZ_EXAMPLES` says how many (a quarter of them here)."""
    assert_same(html)
    for engine in ("blocks", "resiliparse", "trafilatura"):
        page = extract_page(html, ExtractConfig(engine=engine))
        assert page.text == page.text.strip("\n") and not re.search("[\x00-\x08\ud800-\udfff]|\n{3}", page.text)


@needs_native
def test_both_implementations_agree_on_real_pages(real_data: Path) -> None:
    from data_pipeline.extract.gold import gold_pages

    pages = [page for page in gold_pages(real_data, ["scrapinghub_aeb", "cleanportaleval"]) if len(page.html) < 60_000]
    chosen = random.Random(0).sample(pages, 8)
    assert all(assert_same(page.html) is None for page in chosen)


def test_the_same_page_gives_the_same_text_again() -> None:
    assert extract_page(article(), ExtractConfig()) == extract_page(article(), ExtractConfig())


# ---- bounds


def counted(html: str, **bounds: int) -> dict[str, Any]:
    return block_model(**bounds).extract(html)


@pytest.mark.parametrize("unit", ["<div>", "<p>x", "</p>", "<a href=x>y</a>", "<table><tr><td>z", "<b><i>t"])
def test_a_page_of_too_many_tags_is_cut_off(unit: str) -> None:
    found = counted(unit * 3000, max_tags=2000, max_blocks=500)
    assert found["cut"]
    assert not counted("<p>text</p>" * 10, max_tags=2000, max_blocks=500)["cut"]


@needs_native
@pytest.mark.parametrize(
    "html",
    [
        "<p title='" * 200_000,  # quotes that never close
        "<title>" * 300_000,  # elements that never close
        "<!-" * 500_000,
        '<script type="application/ld+json">x</script>' * 20_000,
        "<math><annotation encoding=tex>" * 50_000,
        "<svg><p>" * 100_000,
        "&" * 2_000_000,
        "<pre>" + " " * 3_000_000,
        "<div>" * 200_000 + "text" + "</div>" * 200_000,
        "<p class='" + "a-" * 1_000_000 + "'>x",
    ],
)
def test_hostile_pages_take_linear_work(html: str) -> None:
    """Quadratic work on any of these takes minutes; the time limit of the test is generous for a busy machine."""
    text, _ = extract_text(html, ExtractConfig())
    assert isinstance(text, str)


@needs_native
def test_a_huge_single_line_is_cut_at_the_limit() -> None:
    html = "<p>" + "word " * 20_000_000  # 100 MB
    text, _ = extract_text(html, ExtractConfig(max_html_bytes=1 << 20))
    assert len(text) <= 1 << 20
