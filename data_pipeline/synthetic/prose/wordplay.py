# ruff: noqa: E501  (a template stands on one line)
"""Pages about playing with words: repeating, counting, sorting them, first and last, small and capital letters."""

from collections.abc import Sequence
from random import Random

from data_pipeline.synthetic.grammar import Deck, join_words, pick, sentence, shuffled
from data_pipeline.synthetic.numbers import number_word
from data_pipeline.synthetic.prose.arithmetic import FIRST_NAMES
from data_pipeline.synthetic.prose.article import Article, paragraphs

WORDS = (
    "apple", "bear", "boat", "book", "bread", "bridge", "chair", "cloud", "door", "drum", "egg", "field", "fire", "fish",
    "garden", "glass", "hill", "horse", "house", "island", "key", "lamp", "leaf", "letter", "moon", "mouse", "nest",
    "ocean", "orange", "pencil", "queen", "rain", "ring", "river", "salt", "ship", "snow", "star", "stone", "table",
    "tree", "tower", "umbrella", "village", "wall", "window", "winter", "wolf",
)  # fmt: skip
"""The words of all word tasks."""

_REPEAT = (
    "{name} had to say the word {w} {n} times, and said: {rep}.",
    "[On the paper|In the book] stood the word {w}, {n} times: {rep}.",
    "The parrot [repeated|said] {w} {n} times, like this: {rep}.",
)
_ENDS = (
    "[Out of|From] the words {list} the first is {first} and the last is {last}.",
    "{name} read {list}, so the first word was {first}, and {last} came last.",
    "In the row {list}, {first} [stands|is] first, while {last} is the last one.",
)
_COUNT = (
    "{name} said {list}, and that makes {n} words.",
    "The row {list} has {n} words.",
    "Whoever counts {list} finds {n} words.",
)
_SORT = (
    "In the order of the alphabet, the words {list} become {sorted}.",
    "{name} sorted {list} by the alphabet and got {sorted}.",
    "Sorted as in a dictionary, {list} turns into {sorted}.",
)
_CAPITALS = (
    "Written in capital letters, {w} [looks like|is] {W}.",
    "{name} painted {W} on the wall, which is {w} in big letters.",
    "The word {w} [on the sign|on the door] was written {W}, all in capitals.",
)
_PROSE = (
    "[Word games|Such games] are [old|cheap and fun], and you [need|want] [nothing|no more] [but|than] [paper|a pencil] and [time|a friend].",
    "[The rules|All rules] are [simple|easy to learn], [and|but] [the winner|whoever wins] must [stay awake|listen well] [until the end|all the time].",
    "[On long trips|When it rains] {name} and {other} [play|invent] [such games|games with words] and [forget|do not notice] the time.",
    "[The grandmother of|An uncle of] {name} [knows|taught them] [many|hundreds] of them, and [each|every] [one|game] [has a story|is better than the last].",
    "[It was|The day was] [cold|dark] outside, [so|and] the [children|friends] sat [in the kitchen|by the stove] with [tea|warm milk].",
    "[Some|A few] [tasks|rounds] [were|seemed] [hard|too easy], [yet|but] {name} [did not give up|wanted more] and [tried|asked] again.",
    "[Teachers|Parents] like these games because [they train|playing trains] the [memory|mind] and [nobody|no child] [gets bored|has to sit still].",
    "[Then|After that] it was the turn of {other}, who [thought|laughed] for a while and [answered|spoke] [slowly|in a low voice].",
    "[In the end|At last] [both|all] of them [had|counted] [the same|enough] points, and [everyone|they all] [got|ate] [a cake|sweets].",
)  # fmt: skip


def tell_task(rng: Random, name: str) -> str:
    """One sentence in which a word task is done rightly."""
    words = shuffled(rng, WORDS)[: rng.randint(3, 4)]
    word, n = words[0], rng.randint(2, 4)
    slots = {
        "name": name, "w": word, "W": word.upper(), "rep": " ".join([word] * n), "list": join_words(words),
        "first": words[0], "last": words[-1], "sorted": ", ".join(sorted(words[:3])),
    }  # fmt: skip
    kind: Sequence[str] = pick(rng, (_REPEAT, _ENDS, _COUNT, _SORT, _CAPITALS))
    slots["n"] = number_word(len(words) if kind is _COUNT else n)
    if kind is _SORT:
        slots["list"] = join_words(words[:3])
    return sentence(rng, pick(rng, kind), slots)


def wordplay_page(rng: Random) -> Article:
    """An afternoon of word games."""
    name, other = shuffled(rng, FIRST_NAMES)[:2]
    slots = {"name": name, "other": other}
    deck = Deck(rng, _PROSE)
    body = [tell_task(rng, pick(rng, (name, other))) for _ in range(rng.randint(9, 13))]
    for _ in range(rng.randint(4, 7)):
        body.insert(rng.randint(0, len(body)), sentence(rng, deck.draw(), slots))
    opening = sentence(
        rng,
        "[One afternoon|On a rainy day|After school] {name} and {other} [sat down|met] to play with words[, as they often did|].",
        slots,
    )
    title = sentence(rng, "[Games with words|Word games for two|{name} and {other} play|The word game]", slots)
    return Article("wordplay", title, tuple(paragraphs(rng, [opening, *body], 3, 5)))
