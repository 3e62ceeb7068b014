# ruff: noqa: E501  (a template stands on one line)
"""The sites of the synthetic web: hosts, and the page templates ("layouts") they put around their texts."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from random import Random

from data_pipeline.synthetic.grammar import pick
from data_pipeline.synthetic.pages import fragments as f
from data_pipeline.synthetic.pages.foreign import MENUS
from data_pipeline.synthetic.prose.article import Article


@dataclass(frozen=True)
class Site:
    """One host with its layout. Hosts lie under the reserved example domains (RFC 2606)."""

    host: str
    layout: str
    language: str = "en"


@dataclass(frozen=True)
class Content:
    """What a layout needs to make a page."""

    site: Site
    article: Article
    meta: str
    """Elements for the head, such as a charset declaration."""
    titles: Sequence[str]
    """Titles of other pages, for boxes of links."""


def _inline(rng: Random, paragraph: str) -> str:
    """Escaped text, now and then with a link or an emphasis inside."""
    words = escape(paragraph, quote=False).split(" ")
    if len(words) > 8 and rng.random() < 0.5:
        i = rng.randrange(len(words))
        before, after = pick(
            rng, (('<a href="/go">', "</a>"), ("<b>", "</b>"), ("<em>", "</em>"), ("<span>", "</span>"))
        )
        words[i] = f"{before}{words[i]}{after}"
    return " ".join(words)


def _paragraphs(rng: Random, article: Article, between: Callable[[], str] | None = None) -> str:
    out = []
    for i, paragraph in enumerate(article.paragraphs):
        out.append(f"<p>{_inline(rng, paragraph)}</p>")
        if between and 0 < i < len(article.paragraphs) - 1 and rng.random() < 0.25:
            out.append(between())
    return "\n".join(out)


def _head(rng: Random, c: Content, doctype: str = "<!DOCTYPE html>") -> str:
    title = escape(c.article.title)
    description = escape(c.article.paragraphs[0][:120]) if c.article.paragraphs else ""
    return (
        f'{doctype}\n<html lang="{c.site.language}">\n<head>{c.meta}<title>{title} | {c.site.host}</title>\n'
        f'<meta name="viewport" content="width=device-width"><meta name="description" content="{description}">\n'
        f'<link rel="stylesheet" href="/css/main.css">{f.STYLE}\n{f.script(rng)}</head>\n'
    )


def _wiki(rng: Random, c: Content) -> str:
    entries = MENUS[c.site.language]
    title = escape(c.article.title)
    return (
        f'{_head(rng, c)}<body class="mediawiki"><div id="mw-navigation">{f.menu(entries, "div")}'
        f'<form action="/search"><input name="q" placeholder="Search"></form></div>\n<div id="content" class="mw-body" role="main">'
        f'<h1 id="firstHeading">{title}</h1>\n<div id="mw-content-text"><div class="mw-parser-output">\n'
        f"{_paragraphs(rng, c.article)}\n</div></div>\n"
        f"{f.link_box(rng, 'See also', c.titles, 'navbox')}</div>\n"
        f'<div id="catlinks">Categories: <a href="/c/1">Articles</a> | <a href="/c/2">All pages</a></div>'
        f"{f.footer(rng, c.site.host, entries)}</body></html>"
    )


def _news(rng: Random, c: Content) -> str:
    entries = MENUS[c.site.language]
    title = escape(c.article.title)
    return (
        f"{_head(rng, c)}<body>{f.cookie_banner(rng)}<header><div class='wrap'><a class='logo' href='/'>{c.site.host}</a>"
        f"{f.menu(entries)}</div></header>\n<div class='wrap'>{f.advert(rng)}{f.breadcrumbs(entries, c.article.title)}\n"
        f"<div class='side'>{f.link_box(rng, 'Most read', c.titles, 'popular', 6)}{f.advert(rng)}</div>\n"
        f"<main><article><h1>{title}</h1><div class='byline'>By the editors</div>{f.share_buttons()}\n"
        f"<div class='article-body'>{_paragraphs(rng, c.article, lambda: f.advert(rng))}</div></article></main>\n"
        f"{f.link_box(rng, 'Related', c.titles, 'related')}{f.comments(rng)}</div>\n"
        f"{f.footer(rng, c.site.host, entries)}{f.script(rng)}</body></html>"
    )


def _blog(rng: Random, c: Content) -> str:
    entries = MENUS[c.site.language]
    title = escape(c.article.title)
    return (
        f'{_head(rng, c)}<body class="single-post"><div id="page"><header id="masthead"><h2 class="site-title">{c.site.host}</h2>'
        f'{f.menu(entries)}</header>\n<div id="primary"><article class="post type-post"><header class="entry-header">'
        f'<h1 class="entry-title">{title}</h1></header>\n<div class="entry-content">{_paragraphs(rng, c.article)}</div>\n'
        f'<footer class="entry-meta">Posted in <a href="/cat">Notes</a> | <a href="#respond">Leave a reply</a></footer></article>\n'
        f'{f.comments(rng)}</div><div id="secondary" class="widget-area">{f.link_box(rng, "Recent posts", c.titles, "widget")}'
        f"{f.link_box(rng, 'Archive', c.titles, 'widget', 3)}</div>{f.footer(rng, c.site.host, entries)}</div>{f.script(rng)}</body></html>"
    )


def _magazine(rng: Random, c: Content) -> str:
    entries = MENUS[c.site.language]
    title = escape(c.article.title)
    hero = f'<figure><img src="/img/{rng.randint(1, 99)}.jpg" alt=""><figcaption>Photo: archive</figcaption></figure>'
    return (
        f"{_head(rng, c)}<body>{f.script(rng)}{f.menu(entries)}<div class='ticker'>{f.advert(rng)}{f.advert(rng)}</div>\n"
        f"<section class='story wrap' itemscope itemtype='https://schema.org/Article'><h1 itemprop='headline'>{title}</h1>{hero}\n"
        f"<div itemprop='articleBody' class='story-text'>{_paragraphs(rng, c.article, lambda: f.advert(rng))}</div>{f.share_buttons()}</section>\n"
        f"<section class='more'>{f.link_box(rng, 'You may also like', c.titles, 'recommend', 8)}</section>\n"
        f"<div class='newsletter'><h3>Newsletter</h3><form><input type='email'><button>Subscribe</button></form></div>"
        f"{f.cookie_banner(rng)}{f.footer(rng, c.site.host, entries)}</body></html>"
    )


def _table(rng: Random, c: Content) -> str:
    """An old site: tables, fonts, upper-case tags."""
    entries = MENUS[c.site.language]
    links = "<BR>".join(f'<A HREF="/{i}.htm">{escape(entry)}</A>' for i, entry in enumerate(entries))
    body = "\n".join(f'<P><FONT FACE="Arial" SIZE="2">{_inline(rng, p)}</FONT></P>' for p in c.article.paragraphs)
    doctype = '<!DOCTYPE HTML PUBLIC "-//W3C//DTD HTML 4.01 Transitional//EN">'
    return (
        f'{_head(rng, c, doctype)}<BODY BGCOLOR="#FFFFFF">\n<TABLE WIDTH="100%" BORDER="0"><TR><TD WIDTH="140" VALIGN="top">{links}'
        f'<BR><IMG SRC="/counter.gif" ALT=""></TD>\n<TD VALIGN="top"><H1>{escape(c.article.title)}</H1>\n{body}\n</TD></TR></TABLE>\n'
        f"<HR><CENTER><SMALL>Best viewed at 800x600 | {c.site.host} | Visitors: {rng.randint(100, 99999)}</SMALL></CENTER></BODY></HTML>"
    )


def _plain(rng: Random, c: Content) -> str:
    """A site of few words: semantic tags and nothing else."""
    entries = MENUS[c.site.language]
    return (
        f"{_head(rng, c)}<body><header>{f.menu(entries)}</header>\n<main><h1>{escape(c.article.title)}</h1>\n"
        f"{_paragraphs(rng, c.article)}\n</main>\n{f.footer(rng, c.site.host, entries)}</body></html>"
    )


LAYOUTS: dict[str, Callable[[Random, Content], str]] = {
    "wiki": _wiki, "news": _news, "blog": _blog, "magazine": _magazine, "table": _table, "plain": _plain,
}  # fmt: skip
"""Name of a layout -> what makes a page of it."""

ENCYCLOPEDIA_SITES = tuple(
    Site(host, layout)
    for host, layout in (
        ("wiki.worldbook.example.org", "wiki"), ("lexicon.example.org", "wiki"), ("www.knowledge-base.example.org", "plain"),
    )
)  # fmt: skip
_WEB_HOSTS = (
    "dailyherald", "villagevoice", "morningpost", "coastnews", "travelnotes", "kitchentales", "gardenlog", "schoolyard",
    "storytime", "handyman", "quizcorner", "riverside", "oldtown", "lanternmag", "wanderer", "thebench", "homestead",
    "paperboat", "hilltop", "numbers-for-kids", "askus", "tea-and-talk", "harbourlights", "little-library",
)  # fmt: skip
_WEB_LAYOUTS = ("news", "blog", "magazine", "table", "plain", "blog", "news")
WEB_SITES = tuple(
    Site(f"{'www.' if i % 2 else ''}{name}.example.com", _WEB_LAYOUTS[i % len(_WEB_LAYOUTS)])
    for i, name in enumerate(_WEB_HOSTS)
)
MIRROR_SITES = tuple(
    Site(f"{name}.example.net", layout)
    for name, layout in (("mirror.copycat", "plain"), ("reader-cache", "table"), ("news-collector", "magazine"),
                         ("allthetexts", "blog"))
)  # fmt: skip
JUNK_SITES = tuple(
    Site(f"{name}.example.net", layout)
    for name, layout in (("bestdeals", "magazine"), ("top-offers", "blog"), ("megashop", "news"), ("linkfarm", "plain"),
                         ("freehost.users", "table"), ("devnotes", "plain"), ("webdirectory", "table"))
)  # fmt: skip
BLOCKED_HOSTS = ("cheapgold.example.net", "luckyspin.example.net", "pillstore.example.net", "hotdeals-4u.example.com",
                 "fakenews-today.example.org", "tracker-cdn.example.com")  # fmt: skip
"""Hosts of blocked_domains.txt; their subdomains are blocked with them."""
BLOCKED_SITES = tuple(
    Site(f"{prefix}{host}", layout)
    for host, prefix, layout in zip(BLOCKED_HOSTS, ("", "www.", "", "shop.", "", "a.b."), _WEB_LAYOUTS)
)


def foreign_site(rng: Random, language: str) -> Site:
    """A site in another language."""
    return Site(f"{pick(rng, ('www', 'blog', 'info'))}.{language}-{pick(rng, ('media', 'online'))}.example.org",
                pick(rng, _WEB_LAYOUTS), language)  # fmt: skip


def render_page(rng: Random, content: Content) -> str:
    """The HTML page of `content` in its site's layout."""
    return LAYOUTS[content.site.layout](rng, content)
