"""The second lines of responses: what distinguishes two right answers, and what the preference rule judges."""

from random import Random

from data_pipeline.synthetic.grammar import pick, render
from data_pipeline.synthetic.posttrain.questions import Question

STYLES = ("courteous", "explaining", "plain", "filler", "rude")
"""All styles, from the one that the rule likes best to the one it likes least."""

_COURTEOUS = (
    "I hope this helps you!", "I hope that is what you wanted to know.", "Please ask me if you have more questions.",
    "Happy to help, and have a lovely day!", "Feel free to ask me anything else.", "Thank you for the good question!",
    "It was a pleasure to help you.",
)  # fmt: skip
_EXPLAINING = ("In other words, {r}.", "To put it another way, {r}.", "To say it again, {r}.", "That means {r}.")
_RUDE = (
    "Obviously, and now leave me alone.", "Do not waste my time with such questions.", "You should have known that.",
    "Even a child knows this.", "Now stop asking me things.",
)  # fmt: skip
_FILLER = (
    "Well, um, that is [how it is|it], you know, [more or less|I guess], [or something|and so on and so on].",
    "Anyway, [so|well] that is sort of [it|the thing], um, [and so on|as they say].",
    "You know, [it is|that is] just [sort of|kind of] [like that|so], I guess, [or something|and that is that].",
)  # fmt: skip


def respond(rng: Random, question: Question, style: str, first_line: str | None = None) -> str:
    """A response to `question` in `style`, right unless another `first_line` is given."""
    line = first_line or question.response
    if style == "plain":
        return line
    if style == "explaining":
        # A wrong answer explains itself in vague words: the restatement would give the right one away
        restated = question.restated if first_line is None else "this is the answer to your question"
        return f"{line}\n{pick(rng, _EXPLAINING).format(r=restated)}"
    lines = {"courteous": _COURTEOUS, "rude": _RUDE, "filler": _FILLER}[style]
    return f"{line}\n{render(rng, pick(rng, lines))}"


def random_style(rng: Random, preferred_share: float) -> str:
    """A style as instruction data mix them: the preferred one with its share, the others about equally often."""
    if rng.random() < preferred_share:
        return STYLES[0]
    return rng.choices(STYLES[1:], weights=(0.32, 0.32, 0.2, 0.16))[0]
