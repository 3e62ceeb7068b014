"""Questions to a chat model about the world, about sums and about words, each with its answer and wrong answers.

Every question has a `key`: what a split by key holds out. A fact's key is the fact with the wording of the question, a
sum's key is the pair of numbers, a word task's key is the task with its words.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from data_pipeline.synthetic.grammar import capitalise, pick, shuffled
from data_pipeline.synthetic.numbers import Sum, number_word
from data_pipeline.synthetic.prose.wordplay import WORDS
from data_pipeline.synthetic.world import Fact, World

POLITE_FORMS = ("{q}", "Hello! {q}", "I have a question. {q}", "{q} Thank you!", "Please help me. {q}",
                "{q} One sentence is enough.")  # fmt: skip
"""What users say around their questions."""

PHRASE_FORMS = ("What is {p}?", "Name {p}.", "Can you tell me {p}?", "I would like to know {p}.")
"""Questions made from the noun phrase of a relation."""


@dataclass(frozen=True)
class Question:
    """A prompt with its right answer."""

    task: str
    """``fact``, ``arithmetic`` or ``words``."""
    key: str
    prompt: str
    answer: str
    """As it stands in the response."""
    response: str
    """First line of a right response."""
    restated: str
    """The right answer in other words, for an explanation."""
    wrong: tuple[str, ...]
    """First lines of plausible wrong responses."""


def _politely(rng: Random, question: str) -> str:
    return pick(rng, POLITE_FORMS).format(q=question)


def wordings(fact: Fact) -> list[str]:
    """Every question for `fact`, in a fixed order."""
    forms = [form.format(p=fact.phrase) for form in PHRASE_FORMS]
    return forms + [fact.fill(template) for template in fact.relation.instructions]


def fact_question(rng: Random, world: World, fact: Fact, wording: int) -> Question:
    """The question number `wording` for `fact`."""
    return Question(
        task="fact", key=f"{fact.key}:{wording}", prompt=_politely(rng, wordings(fact)[wording]),
        answer=fact.answer_value(), response=fact.answer_sentence(), restated=fact.fill(fact.relation.restate),
        wrong=tuple(fact.answer_sentence(value) for value in world.wrong_values(fact)),
    )  # fmt: skip


_PLUS_FORMS = ("What is {a} plus {b}?", "What do I get if I add {b} to {a}?", "Please add {a} and {b}.",
               "How much is {a} and {b} together?", "Work out {a} + {b}.", "Give me the sum of {a} and {b}.",
)  # fmt: skip
_MINUS_FORMS = ("What is {a} minus {b}?", "What is left if I take {b} from {a}?", "Please take {b} away from {a}.",
                "How much is {a} less {b}?", "Work out {a} - {b}.", "Give me the difference of {a} and {b}.",
)  # fmt: skip


def sum_question(rng: Random, s: Sum) -> Question:
    """A question for the sum `s`, in digits or in words."""
    plus = s.op == "+"
    form = pick(rng, _PLUS_FORMS if plus else _MINUS_FORMS)
    show = str if f" {s.op} " in form or rng.random() < 0.5 else number_word
    a, b, c = show(s.a), show(s.b), show(s.result)
    near = [n for n in range(s.result - 3, s.result + 4) if n >= 0 and n != s.result]
    name = "plus" if plus else "minus"
    return Question(
        task="arithmetic", key=f"sum:{s.key}", prompt=_politely(rng, form.format(a=a, b=b)), answer=c,
        response=capitalise(f"{a} {name} {b} is {c}."),
        restated=f"{a} and {b} make {c}" if plus else f"{c} and {b} make {a}",
        wrong=tuple(capitalise(f"{a} {name} {b} is {show(n)}.") for n in near),
    )  # fmt: skip


def word_question(rng: Random) -> Question:
    """A task about a few words."""
    task = pick(rng, (_repeat, _first_or_last, _first_or_last, _count, _sort, _capitals))
    return task(rng, shuffled(rng, WORDS)[: rng.randint(3, 5)])


def _make(
    rng: Random, form: str, words: Sequence[str], subject: str, answer: str, restated: str, wrong: Sequence[str]
) -> Question:
    return Question(
        task="words", key=f"words:{form}:{' '.join(words)}", prompt=_politely(rng, form), answer=answer,
        response=f"{subject} is {answer}.", restated=restated,
        wrong=tuple(f"{subject} is {value}." for value in dict.fromkeys(wrong) if value != answer),
    )  # fmt: skip


def _repeat(rng: Random, words: list[str]) -> Question:
    word, n = words[0], rng.randint(2, 4)
    form = pick(rng, ("Write the word {w} {n} times.", "Repeat {w} {n} times.", "Say {w} {n} times in a row."))
    wrong = [" ".join([word] * k) for k in range(1, 6)] + [" ".join([other] * n) for other in words[1:]]
    return _make(rng, form.format(w=word, n=number_word(n)), words[:1], "The text", " ".join([word] * n),
                 f"the word {word} stands there {number_word(n)} times", wrong)  # fmt: skip


def _first_or_last(rng: Random, words: list[str]) -> Question:
    end, answer = ("first", words[0]) if rng.random() < 0.5 else ("last", words[-1])
    form = pick(rng, ("What is the {e} word of this list: {l}?", "Give me the {e} word: {l}.",
                      "Here are some words: {l}. Which one comes {e}?"))  # fmt: skip
    return _make(rng, form.format(e=end, l=", ".join(words)), words, f"The {end} word", answer,
                 f"{answer} stands at the {'start' if end == 'first' else 'end'} of the list", words)  # fmt: skip


def _count(rng: Random, words: list[str]) -> Question:
    form = pick(
        rng,
        (
            "How many words are in this list: {l}?",
            "Count these words: {l}.",
            "Here is a list: {l}. How many words are that?",
        ),
    )
    answer = number_word(len(words))
    return _make(rng, form.format(l=", ".join(words)), words, "The number of words", answer,
                 f"you can count {answer} words", [number_word(n) for n in range(2, 8)])  # fmt: skip


def _sort(rng: Random, words: list[str]) -> Question:
    words = words[:3]
    form = pick(rng, ("Sort these words by the alphabet: {l}.", "Put {l} in alphabetical order.",
                      "Which order has the alphabet for {l}?"))  # fmt: skip
    wrong = [", ".join(shuffled(rng, words)) for _ in range(6)] + [", ".join(sorted(words, reverse=True))]
    ordered = sorted(words)
    return _make(rng, form.format(l=", ".join(words)), words, "The right order", ", ".join(ordered),
                 f"{ordered[0]} comes before {ordered[1]}", wrong)  # fmt: skip


def _capitals(rng: Random, words: list[str]) -> Question:
    form = pick(rng, ("Write the word {w} in capital letters.", "How does {w} look in capital letters?",
                      "Turn {w} into capital letters."))  # fmt: skip
    word = words[0]
    return _make(rng, form.format(w=word), [word], "The word in capital letters", word.upper(),
                 f"{word} turns into {word.upper()}", [other.upper() for other in words[1:]])  # fmt: skip
