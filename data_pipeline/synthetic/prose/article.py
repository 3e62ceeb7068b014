"""What an article is, and the small tools with which every genre builds its paragraphs."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from data_pipeline.synthetic.grammar import pick, sentence
from data_pipeline.synthetic.pools import NAMES, VALUES
from data_pipeline.synthetic.world import Fact

_TOKEN = re.compile(r"\w+|[^\w\s]")


@dataclass(frozen=True)
class Article:
    """The main text of a page, before any site puts a template around it."""

    genre: str
    """``entry``, ``survey``, ``travel``, ``portrait``, ``questions``, ``arithmetic``, ``wordplay``, ``story``,
    ``howto``."""
    title: str
    paragraphs: tuple[str, ...]

    @property
    def text(self) -> str:
        """The gold text: one paragraph a line."""
        return "\n".join(self.paragraphs)


# First words that keep their capital behind a connective.
_PROPER = tuple(
    [name for kind in ("country", "city", "person") for name in NAMES[kind]]
    + [name.split()[0] for name in NAMES["person"]]
    + [value for values in VALUES.values() for value in values if value[0].isupper()]
    + ["I "]
)

CONNECTIVES = (
    "What is more, ", "In addition, ", "Besides, ", "As many people know, ", "It is also true that ", "Of course, ",
    "One more thing: ", "It is said that ", "Everybody agrees that ", "Not all visitors know that ", "To be exact, ",
    "Interestingly, ", "Even today, ", "In fact, ", "By the way, ", "And ", "Also, ", "It should be said that ",
)  # fmt: skip


def connect(rng: Random, text: str, probability: float = 0.22) -> str:
    """`text`, now and then behind a connective."""
    if rng.random() >= probability:
        return text
    if not text.startswith(_PROPER):
        text = text[0].lower() + text[1:]
    return pick(rng, CONNECTIVES) + text


def possessive(noun: str) -> str:
    """``Melk`` -> ``Melk's``."""
    return f"{noun}'s"


def state(rng: Random, fact: Fact, *, known: bool = False) -> str:
    """One of the crawl's sentences for `fact`; when its subject is `known`, it may be called by its short name."""
    subject = fact.subject
    noun = subject.short if known and rng.random() < 0.3 else subject.noun
    slots = {"n": noun, "ns": possessive(noun), "s": subject.name, "o": fact.value}
    return sentence(rng, pick(rng, fact.relation.statements), slots)


def paragraphs(rng: Random, sentences: Sequence[str], low: int = 3, high: int = 5) -> list[str]:
    """Sentences cut into paragraphs of `low` to `high` sentences; a short rest joins the last one."""
    out: list[str] = []
    i = 0
    while i < len(sentences):
        n = rng.randint(low, high)
        if len(sentences) - i - n < low:
            n = len(sentences) - i if len(sentences) - i <= high + 1 else (len(sentences) - i) // 2
        out.append(" ".join(sentences[i : i + n]))
        i += n
    return out


def mostly_letters(text: str, share: float) -> bool:
    """Whether at least `share` of the words and signs of `text` begin with a letter.

    Gopher (Rae et al., 2021, table A1) asks for 80%, and its implementations count punctuation marks as words.
    """
    tokens = _TOKEN.findall(text)
    return sum(token[0].isalpha() for token in tokens) >= share * len(tokens)
