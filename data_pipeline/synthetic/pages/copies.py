# ruff: noqa: E501  (a template stands on one line)
"""Copies of an article: edited ones near a wanted similarity, and new articles that share some of its sentences.

Similarity is the exact Jaccard index of the sets of 5-word shingles, words lower-cased (Broder, 1997): the measure
that MinHash estimates.
"""

import re
from random import Random

from data_pipeline.synthetic.grammar import pick, sentence
from data_pipeline.synthetic.prose.article import Article

_WORD = re.compile(r"\w+")
SHINGLE = 5

_ADDED = (
    "[This text|An earlier version of this text] [first appeared|was printed] in [our autumn issue|a local paper|a collection of essays].",
    "[Thanks go|We are grateful] to [all readers|our friends in the library] who [sent corrections|helped with this page].",
    "[The pictures|The drawings] that came with it [are lost|can be seen in our archive|were made by a student].",
    "[Last changed|This page was checked] in [March|April|July|October] by [the editors|one of our volunteers].",
    "[Our own note|A remark from us]: [opinions|views] in this text are [those of the author|not always ours].",
)  # fmt: skip
_SYNONYMS = {
    "many": "numerous", "big": "large", "small": "little", "often": "frequently", "people": "folks", "famous": "renowned",
    "quiet": "calm", "begin": "start", "house": "home", "street": "road", "quickly": "fast", "also": "too",
    "old": "ancient", "children": "kids", "every": "each", "never": "not once", "lives": "dwells", "great": "grand",
    "said": "remarked", "went": "walked", "good": "fine", "hard": "difficult", "about": "around", "because": "since",
}  # fmt: skip


def shingles(text: str, n: int = SHINGLE) -> set[tuple[str, ...]]:
    """The set of `n`-word shingles of `text`."""
    words = _WORD.findall(text.lower())
    return {tuple(words[i : i + n]) for i in range(len(words) - n + 1)}


def jaccard(a: str, b: str) -> float:
    """Exact Jaccard index of two texts' shingles; 1 when neither has any."""
    x, y = shingles(a), shingles(b)
    return len(x & y) / len(x | y) if x or y else 1.0


def edited_copy(rng: Random, article: Article, low: float, high: float) -> tuple[Article, float]:
    """A copy of `article` whose similarity to it lies within [low, high], and that similarity.

    Edits are the ones of real re-publishers: a note added, a word replaced, a sentence left out. They are made one by
    one; an edit that would go below `low` is not made. Raises ValueError when no such copy was found.
    """
    current, similarity = article, 1.0
    for _ in range(200):
        candidate = _edit(rng, current)
        value = jaccard(article.text, candidate.text)
        if value < low or candidate.text == current.text:
            continue
        current, similarity = candidate, value
        if similarity <= high:
            return current, similarity
    raise ValueError(f"no copy with similarity in [{low}, {high}] of an article of {len(article.text.split())} words")


def _edit(rng: Random, article: Article) -> Article:
    lines = list(article.paragraphs)
    i = int(rng.random() * len(lines))
    action = rng.random()
    if action < 0.3:
        note = sentence(rng, pick(rng, _ADDED))
        if note not in lines:
            lines.insert(pick(rng, (0, len(lines))), note)
    elif action < 0.75:
        words = lines[i].split(" ")
        known = [j for j, word in enumerate(words) if word in _SYNONYMS]
        if known:
            j = pick(rng, known)
            words[j] = _SYNONYMS[words[j]]
            lines[i] = " ".join(words)
    else:
        parts = re.split(r"(?<=[.!?]) ", lines[i])
        if len(parts) > 2:
            del parts[int(rng.random() * len(parts))]
            lines[i] = " ".join(parts)
    return Article(article.genre, article.title, tuple(lines))


def same_topic(rng: Random, article: Article, other: Article, share: float = 0.6) -> Article:
    """A page that quotes about `share` of the sentences of `article` between sentences of `other`: not a duplicate."""
    lines = []
    for mine, theirs in zip(article.paragraphs, other.paragraphs):
        quoted = [part for part in re.split(r"(?<=[.!?]) ", mine) if rng.random() < share]
        own = [part for part in re.split(r"(?<=[.!?]) ", theirs) if rng.random() > share / 3]
        lines.append(" ".join(own[:1] + quoted + own[1:]))
    lines += other.paragraphs[len(lines) :]
    return Article(other.genre, other.title, tuple(line for line in lines if line))
