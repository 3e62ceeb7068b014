"""Which pages the crawl has: how many of each kind, in which source, and what each English article says.

Everything that links pages with one another is decided here, before any page is rendered: copies and their originals,
the vocabulary of word salad, the titles in boxes of links.
"""

import re
from dataclasses import dataclass
from itertools import pairwise
from random import Random

from data_pipeline.synthetic.config import PageWeights, SyntheticWebConfig
from data_pipeline.synthetic.grammar import shuffled
from data_pipeline.synthetic.prose import Article, write_article
from data_pipeline.synthetic.world import World
from millbase.seeds import derive_seed

ENGLISH = (
    "article",
    "encoded_article",
    "broken_html",
    "same_topic",
    "blocked",
    "short",
    "repeated_lines",
    "lorem_ipsum",
)
"""Kinds whose pages start from an English article of their own."""
COPIES = ("near_duplicate", "mirror")
_ENCYCLOPEDIC = ("article", "encoded_article", "broken_html", "same_topic", "near_duplicate", "redirect", "not_found",
                 "short", "empty")  # fmt: skip
_COPIES_PER_ORIGINAL = 1.6
_WORD = re.compile(r"[a-z]{3,}")


@dataclass(frozen=True)
class PagePlan:
    """One page before it is rendered."""

    index: int
    """Position among all pages; names the page's own random stream."""
    kind: str
    source: str
    article: Article | None = None
    """English article it starts from."""
    original: int | None = None
    """Index of the page that this one copies."""
    other: Article | None = None
    """Second article of a `same_topic` page: the one it quotes."""


@dataclass(frozen=True)
class CrawlPlan:
    """All pages, and what they share."""

    pages: tuple[PagePlan, ...]
    titles: tuple[str, ...]
    """Titles for boxes and lists of links."""
    vocabulary: tuple[str, ...]
    """Words of good English text."""
    followers: dict[str, list[str]]
    """Word -> words seen after it."""


def count_kinds(weights: PageWeights, pages: int) -> dict[str, int]:
    """How many pages of each kind: largest remainders, so that the counts add up to `pages`."""
    shares = {kind: float(weight) for kind, weight in weights.to_dict().items()}
    total = sum(shares.values())
    exact = {kind: pages * share / total for kind, share in shares.items()}
    counts = {kind: int(value) for kind, value in exact.items()}
    by_remainder = sorted(shares, key=lambda kind: counts[kind] - exact[kind])
    for kind in by_remainder[: pages - sum(counts.values())]:
        counts[kind] += 1
    return counts


def plan_crawl(config: SyntheticWebConfig, world: World) -> CrawlPlan:
    """Decide every page of the crawl."""
    rng = Random(derive_seed(config.seed, "plan"))
    kinds = [kind for kind, n in count_kinds(config.weights, config.pages).items() for _ in range(n)]
    rng.shuffle(kinds)
    drafts: list[PagePlan] = []
    for index, kind in enumerate(kinds):
        encyclopedic = kind in _ENCYCLOPEDIC and rng.random() < config.encyclopedia_share
        source = "encyclopedia" if encyclopedic else "web"
        article = None
        if kind in ENGLISH:
            article = write_article(Random(derive_seed(config.seed, "article", index)), world, source)
        drafts.append(PagePlan(index, kind, source, article))
    samples = [write_article(Random(derive_seed(config.seed, "sample", i)), world, "web") for i in range(80)]
    vocabulary, followers = _word_statistics(samples)
    titles = tuple(dict.fromkeys(sample.title for sample in samples))
    return CrawlPlan(tuple(_link_copies(rng, drafts)), titles, vocabulary, followers)


def _link_copies(rng: Random, drafts: list[PagePlan]) -> list[PagePlan]:
    """Give every copy its original and every `same_topic` page the article it quotes; an original has 1 to 3 copies."""
    articles = [draft for draft in drafts if draft.kind == "article" and draft.article]
    long_enough = [draft for draft in articles if len(draft.article.text.split()) >= 130]  # type: ignore[union-attr]
    copies = [draft for draft in drafts if draft.kind in COPIES]
    originals = shuffled(rng, long_enough)[: max(1, round(len(copies) / _COPIES_PER_ORIGINAL))]
    if copies and not originals:
        raise ValueError("no article is long enough to be copied; raise `pages` or the weight of `article`")
    chosen = {original.index for original in originals}
    quotable = [draft for draft in articles if draft.index not in chosen] or articles
    linked: list[PagePlan] = []
    n = 0
    for draft in drafts:
        if draft.kind in COPIES:
            original = originals[n % len(originals)]
            n += 1
            source = original.source if draft.kind == "near_duplicate" else "web"
            draft = PagePlan(draft.index, draft.kind, source, original.article, original.index)
        elif draft.kind == "same_topic" and quotable:
            quoted = quotable[int(rng.random() * len(quotable))]
            draft = PagePlan(draft.index, draft.kind, draft.source, draft.article, None, quoted.article)
        linked.append(draft)
    return linked


def _word_statistics(samples: list[Article]) -> tuple[tuple[str, ...], dict[str, list[str]]]:
    followers: dict[str, list[str]] = {}
    for sample in samples:
        words = _WORD.findall(sample.text.lower())
        for word, following in pairwise(words):
            followers.setdefault(word, []).append(following)
    return tuple(sorted(followers)), followers
