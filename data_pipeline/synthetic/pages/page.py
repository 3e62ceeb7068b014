"""What a page of the crawl is, with all that the truth file says of it."""

from dataclasses import dataclass
from typing import Any

EXPECTED_STEP: dict[str, str | None] = {
    "article": None, "encoded_article": None, "broken_html": None, "same_topic": None,
    "near_duplicate": "dedup", "mirror": "dedup",
    "foreign": "language", "blocked": "url",
    "redirect": "read", "not_found": "read", "pdf": "read", "image": "read", "empty": "read",
    "garbage": "language", "app_shell": "extract",
    "short": "heuristics", "link_list": "heuristics", "boilerplate": "heuristics", "login": "heuristics",
    "error_page": "heuristics", "code": "heuristics", "lorem_ipsum": "heuristics", "repeated_lines": "heuristics",
    "keyword_stuffing": "heuristics",
    "word_salad": "quality", "spam": "quality",
}  # fmt: skip
"""Kind of page -> the pipeline step that should drop it, None when it must be kept."""


@dataclass(frozen=True, kw_only=True)
class Page:
    """One response of the crawl."""

    url: str
    kind: str
    source: str
    body: bytes
    status: str = "200 OK"
    headers: tuple[tuple[str, str], ...] = ()
    """HTTP headers, content type included."""
    language: str | None = "en"
    charset: str | None = None
    """Python codec of the body, None when it is no text."""
    declared: str | None = None
    """Where the charset is declared: ``header``, ``meta``, ``bom`` or ``none``."""
    genre: str | None = None
    text: str | None = None
    """Gold main text."""
    near_duplicate_of: str | None = None
    dedup_group: str | None = None
    similarity: float | None = None
    """Exact 5-word shingle Jaccard index with the original."""

    def truth(self, warc_file: str) -> dict[str, Any]:
        """The page's line in the truth file."""
        return {
            "url": self.url,
            "warc_file": warc_file,
            "kind": self.kind,
            "expected_step": EXPECTED_STEP[self.kind],
            "language": self.language,
            "source": self.source,
            "charset": self.charset,
            "declared": self.declared,
            "genre": self.genre,
            "dedup_group": self.dedup_group,
            "near_duplicate_of": self.near_duplicate_of,
            "similarity": None if self.similarity is None else round(self.similarity, 4),
            "text": self.text,
        }
