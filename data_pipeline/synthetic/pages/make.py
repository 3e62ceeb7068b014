"""From a page's plan to the page: text, site, markup, charset, bytes."""

import base64
import re
import zlib
from collections.abc import Callable
from random import Random

from data_pipeline.synthetic.grammar import pick
from data_pipeline.synthetic.pages import junk, sites
from data_pipeline.synthetic.pages.broken import break_html
from data_pipeline.synthetic.pages.charsets import ENCODED_ENGLISH, FOREIGN, USUAL, Charset, typographic
from data_pipeline.synthetic.pages.copies import edited_copy, jaccard, same_topic
from data_pipeline.synthetic.pages.foreign import GRAMMARS, foreign_article
from data_pipeline.synthetic.pages.page import Page
from data_pipeline.synthetic.pages.plan import CrawlPlan, PagePlan
from data_pipeline.synthetic.prose.article import Article
from millbase.seeds import derive_seed

SIMILARITY_LEVELS = ((0.95, 0.985), (0.91, 0.945), (0.86, 0.9))
"""Ranges of similarity of the edited copies, tried in turn."""

_SLUG = re.compile(r"[^a-z0-9]+")


class PageMaker:
    """Makes the pages of one crawl; every page depends on the seed, the plan and its own index alone."""

    def __init__(self, seed: int, plan: CrawlPlan) -> None:
        self._seed = seed
        self._plan = plan
        self._originals = {page.original for page in plan.pages}

    def make(self, page: PagePlan) -> Page:
        """The page that `page` plans."""
        rng = Random(derive_seed(self._seed, "page", page.index))
        maker: Callable[[Random, PagePlan], Page] = getattr(self, f"_{page.kind}", self._junk)
        return maker(rng, page)

    # -- good pages ----------------------------------------------------------------------------------------------

    def _article(self, rng: Random, page: PagePlan) -> Page:
        assert page.article is not None, page
        group = f"g{page.index}" if page.index in self._originals else None
        return self._html(rng, page, page.article, self._site(page), dedup_group=group)

    def _encoded_article(self, rng: Random, page: PagePlan) -> Page:
        assert page.article is not None, page
        charset = pick(rng, ENCODED_ENGLISH)
        lines = tuple(typographic(rng, line, charset) for line in page.article.paragraphs[:-1])
        article = Article(page.article.genre, page.article.title, (*lines, page.article.paragraphs[-1]))
        return self._html(rng, page, article, self._site(page), charset=charset)

    def _broken_html(self, rng: Random, page: PagePlan) -> Page:
        assert page.article is not None, page
        return self._html(rng, page, page.article, self._site(page), damage=break_html)

    def _same_topic(self, rng: Random, page: PagePlan) -> Page:
        assert page.article is not None and page.other is not None, page
        article = same_topic(rng, page.other, page.article)
        return self._html(rng, page, article, self._site(page), similarity=jaccard(article.text, page.other.text))

    # -- copies --------------------------------------------------------------------------------------------------

    def _near_duplicate(self, rng: Random, page: PagePlan) -> Page:
        assert page.article is not None, page
        low, high = SIMILARITY_LEVELS[page.index % len(SIMILARITY_LEVELS)]
        for attempt in range(5):
            try:
                # a short article has no copy in a narrow range: widen it downwards, never below 0.86
                article, similarity = edited_copy(rng, page.article, max(0.86, low - 0.02 * attempt), high)
                break
            except ValueError:
                continue
        else:
            article, similarity = page.article, 1.0
        return self._copy(rng, page, article, self._site(page, avoid_original=True), similarity)

    def _mirror(self, rng: Random, page: PagePlan) -> Page:
        assert page.article is not None, page
        return self._copy(rng, page, page.article, pick(rng, sites.MIRROR_SITES), 1.0)

    def _copy(self, rng: Random, page: PagePlan, article: Article, site: sites.Site, similarity: float) -> Page:
        assert page.original is not None, page
        original = self._plan.pages[page.original]
        assert original.article is not None, original
        return self._html(
            rng, page, article, site, similarity=similarity, dedup_group=f"g{page.original}",
            near_duplicate_of=_url(self._site(original), original.article, original.index),
        )  # fmt: skip

    # -- pages of the wrong sort -----------------------------------------------------------------------------------

    def _foreign(self, rng: Random, page: PagePlan) -> Page:
        language = pick(rng, list(GRAMMARS))
        charset = pick(rng, USUAL if rng.random() < 0.5 else FOREIGN[language])
        article = foreign_article(rng, language)
        return self._html(rng, page, article, sites.foreign_site(rng, language), charset=charset, language=language)

    def _blocked(self, rng: Random, page: PagePlan) -> Page:
        article = junk.spam(rng) if rng.random() < 0.5 or page.article is None else page.article
        return self._html(rng, page, article, pick(rng, sites.BLOCKED_SITES))

    def _junk(self, rng: Random, page: PagePlan) -> Page:
        article = self._junk_text(rng, page)
        return self._html(rng, page, article, self._site(page) if page.article else pick(rng, sites.JUNK_SITES))

    def _junk_text(self, rng: Random, page: PagePlan) -> Article:
        plan = self._plan
        if page.kind == "word_salad":
            return junk.salad(rng, plan.followers, plan.vocabulary)
        if page.article is not None:
            of_article = {
                "short": junk.short_page,
                "repeated_lines": junk.repeated_lines,
                "lorem_ipsum": junk.lorem_ipsum,
            }
            return of_article[page.kind](rng, page.article)
        alone: dict[str, Callable[[Random], Article]] = {
            "spam": junk.spam, "keyword_stuffing": junk.keyword_stuffing, "code": junk.code_page,
            "boilerplate": junk.boilerplate, "login": junk.login_page, "error_page": junk.error_page,
        }  # fmt: skip
        return alone[page.kind](rng)

    def _link_list(self, rng: Random, page: PagePlan) -> Page:
        article = junk.link_list(rng, self._plan.titles)
        return self._html(rng, page, article, pick(rng, sites.JUNK_SITES), damage=_paragraphs_to_links)

    def _app_shell(self, rng: Random, page: PagePlan) -> Page:
        site = pick(rng, sites.JUNK_SITES)
        html = (
            '<!DOCTYPE html><html><head><meta charset="utf-8"><title>App</title>'
            f'<script src="/app.{rng.randint(1, 999)}.js">'
            '</script></head><body><div id="root"></div><noscript></noscript></body></html>'
        )
        return self._raw(page, site, html.encode(), "text/html; charset=utf-8", name="app")

    def _garbage(self, rng: Random, page: PagePlan) -> Page:
        return self._raw(
            page, pick(rng, sites.JUNK_SITES), rng.randbytes(rng.randint(400, 6000)), "text/html", name="x"
        )

    # -- responses without a page ------------------------------------------------------------------------------------

    def _empty(self, rng: Random, page: PagePlan) -> Page:
        return self._raw(page, self._site(page), b"", "text/html", name="empty")

    def _redirect(self, rng: Random, page: PagePlan) -> Page:
        site = self._site(page)
        target = f"https://{site.host}/new/{page.index}.html"
        status = pick(rng, ("301 Moved Permanently", "302 Found"))
        body = f'<html><body><h1>Moved</h1><p>The document has moved <a href="{target}">here</a>.</p></body></html>'
        return self._raw(
            page, site, body.encode(), "text/html", status=status, extra=(("Location", target),), name="old"
        )

    def _not_found(self, rng: Random, page: PagePlan) -> Page:
        body = (
            b"<html><head><title>404 Not Found</title></head><body><h1>Not Found</h1><p>No such page.</p></body></html>"
        )
        return self._raw(page, self._site(page), body, "text/html", status="404 Not Found", name="gone")

    def _pdf(self, rng: Random, page: PagePlan) -> Page:
        stream = zlib.compress(rng.randbytes(rng.randint(300, 2000)))
        body = b"%PDF-1.4\n1 0 obj\n<< /Length " + str(len(stream)).encode() + b" /Filter /FlateDecode >>\nstream\n"
        body += stream + b"\nendstream\nendobj\ntrailer\n<< /Root 1 0 R >>\n%%EOF\n"
        # one server in three serves it as HTML: the bytes tell
        content_type = "text/html" if rng.random() < 0.33 else "application/pdf"
        return self._raw(page, pick(rng, sites.WEB_SITES), body, content_type, name="doc", suffix="pdf")

    def _image(self, rng: Random, page: PagePlan) -> Page:
        return self._raw(page, pick(rng, sites.WEB_SITES), _PNG, "image/png", name="img", suffix="png")

    # -- helpers -----------------------------------------------------------------------------------------------------

    def _site(self, page: PagePlan, *, avoid_original: bool = False) -> sites.Site:
        """The site of a page: a function of its index, so that a copy can name the URL of its original."""
        all_sites = sites.ENCYCLOPEDIA_SITES if page.source == "encyclopedia" else sites.WEB_SITES
        i = page.index % len(all_sites)
        if avoid_original and page.original is not None and i == page.original % len(all_sites):
            i = (i + 1) % len(all_sites)
        return all_sites[i]

    def _html(
        self, rng: Random, page: PagePlan, article: Article, site: sites.Site, *, charset: Charset | None = None,
        damage: Callable[[Random, str], str] | None = None, language: str = "en", similarity: float | None = None,
        dedup_group: str | None = None, near_duplicate_of: str | None = None,
    ) -> Page:  # fmt: skip
        charset = charset or pick(rng, USUAL)
        html = sites.render_page(rng, sites.Content(site, article, charset.meta, self._plan.titles))
        if damage:
            html = damage(rng, html)
        return Page(
            url=_url(site, article, page.index), kind=page.kind, source=page.source,
            body=charset.encode(html), headers=(*_SERVER, ("Content-Type", charset.content_type)), language=language,
            charset=charset.codec,
            declared=charset.declared, genre=article.genre, text=article.text, near_duplicate_of=near_duplicate_of,
            dedup_group=dedup_group, similarity=similarity,
        )  # fmt: skip

    def _raw(
        self, page: PagePlan, site: sites.Site, body: bytes, content_type: str, *, name: str, suffix: str = "html",
        status: str = "200 OK", extra: tuple[tuple[str, str], ...] = (),
    ) -> Page:  # fmt: skip
        return Page(
            url=f"https://{site.host}/{name}/{page.index}.{suffix}", kind=page.kind, source=page.source, body=body,
            status=status, headers=(*_SERVER, ("Content-Type", content_type), *extra), language=None,
        )  # fmt: skip


_SERVER = (("Server", "nginx"), ("Date", "Mon, 06 Jan 2025 08:00:00 GMT"))
_PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


def _url(site: sites.Site, article: Article, index: int) -> str:
    """A readable and unique address."""
    slug = _SLUG.sub("-", article.title.lower()).strip("-")[:48].strip("-") or "page"
    return f"https://{site.host}/{slug}-{index}"


def _paragraphs_to_links(rng: Random, html: str) -> str:
    """Every paragraph of a page becomes an entry of a list of links."""
    return re.sub(
        r"(?is)<p>(.*?)</p>",
        lambda m: f'<ul><li><a href="/dir/{rng.randint(1, 9999)}">{m.group(1)}</a></li></ul>',
        html,
    )
