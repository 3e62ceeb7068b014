"""Configuration of the synthetic web."""

from pydantic import Field

from millbase.config import Config


class PageWeights(Config):
    """How many pages of each kind, as relative weights; the defaults make half of all pages good English articles."""

    article: float = Field(default=0.385, ge=0)
    """Good English articles in well-formed UTF-8 pages: must be kept. Originals of copies are among them."""
    encoded_article: float = Field(default=0.04, ge=0)
    """Good English articles in other charsets, declared in the header, the page, a byte order mark or nowhere: keep."""
    broken_html: float = Field(default=0.035, ge=0)
    """Good English articles in broken HTML: keep."""
    same_topic: float = Field(default=0.025, ge=0)
    """Articles that share sentences with another one, well below the duplicate threshold: keep."""
    near_duplicate: float = Field(default=0.05, ge=0)
    """Edited copies of an article, 5-word shingle Jaccard from 0.86 to 0.98."""
    mirror: float = Field(default=0.03, ge=0)
    """The same text on another host in another template."""
    foreign: float = Field(default=0.09, ge=0)
    """Pages in ten other languages and nine charsets."""
    blocked: float = Field(default=0.03, ge=0)
    """Pages on blocked hosts, good text or bad."""
    redirect: float = Field(default=0.015, ge=0)
    """Status 301 and 302."""
    not_found: float = Field(default=0.015, ge=0)
    """Status 404."""
    pdf: float = Field(default=0.012, ge=0)
    """PDF documents."""
    image: float = Field(default=0.012, ge=0)
    """PNG images."""
    empty: float = Field(default=0.01, ge=0)
    """Status 200 with no body."""
    garbage: float = Field(default=0.01, ge=0)
    """Random bytes served as HTML."""
    app_shell: float = Field(default=0.01, ge=0)
    """Pages that scripts would fill: markup without text."""
    short: float = Field(default=0.02, ge=0)
    """One or two sentences."""
    link_list: float = Field(default=0.02, ge=0)
    """Directories of links."""
    boilerplate: float = Field(default=0.02, ge=0)
    """Pages of notices and menus only."""
    login: float = Field(default=0.012, ge=0)
    """Login walls."""
    error_page: float = Field(default=0.012, ge=0)
    """Errors served with status 200."""
    code: float = Field(default=0.02, ge=0)
    """Program code with curly brackets."""
    lorem_ipsum: float = Field(default=0.012, ge=0)
    """Pages half filled with lorem ipsum."""
    repeated_lines: float = Field(default=0.02, ge=0)
    """The same lines over and over."""
    keyword_stuffing: float = Field(default=0.02, ge=0)
    """The same search terms over and over."""
    word_salad: float = Field(default=0.045, ge=0)
    """Random words with the right share of stop words: passes heuristics, for the quality classifier to catch."""
    spam: float = Field(default=0.03, ge=0)
    """Advertising in clean sentences: for the quality classifier to catch."""


class PosttrainSizes(Config):
    """Rows of the post-training and evaluation files."""

    instructions_train: int = Field(default=6000, gt=0)
    """Rows of instructions/train.jsonl."""
    instructions_heldout: int = Field(default=500, gt=0)
    """Rows of instructions/heldout.jsonl and items of the task world_instructions."""
    preferences_train: int = Field(default=3000, gt=0)
    """Rows of preferences/train.jsonl."""
    preferences_heldout: int = Field(default=500, gt=0)
    """Rows of preferences/heldout.jsonl."""
    prompts_train: int = Field(default=3000, gt=0)
    """Rows of prompts/train.jsonl."""
    prompts_heldout: int = Field(default=400, gt=0)
    """Rows of prompts/heldout.jsonl."""
    facts_multiple_choice: int = Field(default=400, gt=0)
    """Items of the task world_facts_mc, at most; there are about 400 facts."""
    quality_positive: int = Field(default=1500, gt=0)
    """Clean texts in quality/positive.jsonl."""
    quality_negative: int = Field(default=500, gt=0)
    """Rejected texts (spam and word salad) in quality/negative.jsonl, for whoever trains on labelled texts."""


class SyntheticWebConfig(Config):
    """A small synthetic web: a crawl whose every page is known, and post-training data about the same closed world."""

    seed: int = 0
    """Seed of the world, of every page and of every row. Equal configurations give byte-identical files."""
    pages: int = Field(default=5000, ge=60)
    """Response records in the crawl."""
    weights: PageWeights = PageWeights()
    """Relative weight of each kind of page."""
    encyclopedia_share: float = Field(default=0.3, ge=0, le=1)
    """Share of the articles (and of what goes wrong on such hosts) published in the source `encyclopedia`."""
    encyclopedia_files: int = Field(default=3, gt=0)
    """WARC files of the source `encyclopedia`."""
    web_files: int = Field(default=6, gt=0)
    """WARC files of the source `web`."""
    posttrain: PosttrainSizes = PosttrainSizes()
    """Sizes of the post-training and evaluation files."""
    facts_held_out: float = Field(default=0.12, ge=0, lt=1)
    """Share of the facts that no training prompt asks for: known from the crawl only."""
    preferred_style_share: float = Field(default=0.3, ge=0, le=1)
    """Share of instruction responses that end in the style the preference rule likes best."""
    preference_correctness_share: float = Field(default=0.3, ge=0, le=1)
    """Share of preference pairs that differ in the correctness of the answer; the others differ in style alone."""
