"""What a judge, a critic and an editor are asked. The texts are part of the cache's keys: an edit asks anew."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from millbase.errors import ConfigError
from millbase.files import open_file
from millbase.judge.chat import Conversation

PAIR = """You compare two answers to the same prompt.

{criterion}

[Prompt]
{prompt}

[Answer A]
{a}

[Answer B]
{b}

Give your reason in one or two sentences. Then write, alone on the last line: """
PAIR_ENDS = {True: "Verdict: A, Verdict: B, or Verdict: tie", False: "Verdict: A or Verdict: B"}

LIST = """You rank {count} answers to the same prompt from best to worst.

{criterion}

[Prompt]
{prompt}
{answers}
Give your reason in one or two sentences. Then write, alone on the last line, the numbers of all {count} answers from \
best to worst, like this: Ranking: {example}"""

CRITIQUE = """Here is a prompt and an answer to it.

[Prompt]
{prompt}

[Answer]
{answer}

Principle: {principle}

Say briefly and concretely in which ways the answer fails this principle. If it does not, write only: No fault."""

REVISE = """Here is a prompt, an answer to it, and a critique of that answer.

[Prompt]
{prompt}

[Answer]
{answer}

[Critique]
{critique}

Principle: {principle}

Write a new answer to the prompt that follows the principle and keeps what was good. Write only the new answer."""

REMIND_PAIR = {
    True: "Write one line and nothing else: Verdict: A, Verdict: B, or Verdict: tie",
    False: "Write one line and nothing else: Verdict: A or Verdict: B",
}
REMIND_LIST = "Write one line and nothing else, all {count} numbers from best to worst, like this: Ranking: {example}"

_FIELDS = ("{prompt}", "{a}", "{b}")


def pair_question(prompt: str, a: str, b: str, criterion: str, allow_tie: bool, template: str | None) -> Conversation:
    """The question which of two answers is better; `template` is the text of a question of the user's own."""
    text = PAIR + PAIR_ENDS[allow_tie] if template is None else template
    return _ask(fill(text, {"prompt": prompt, "a": a, "b": b, "criterion": criterion}))


def list_question(prompt: str, answers: Sequence[str], criterion: str) -> Conversation:
    """The question for an order of all answers, numbered from 1 as they are given."""
    shown = "".join(f"\n[Answer {number}]\n{answer}\n" for number, answer in enumerate(answers, 1))
    values = {"prompt": prompt, "answers": shown, "criterion": criterion, **_list_values(len(answers))}
    return _ask(fill(LIST, values))


def pair_reminder(allow_tie: bool) -> str:
    """What follows a reply without a verdict."""
    return REMIND_PAIR[allow_tie]


def list_reminder(count: int) -> str:
    """What follows a reply without a ranking."""
    return fill(REMIND_LIST, _list_values(count))


def critique_question(prompt: str, answer: str, principle: str) -> Conversation:
    """The question in which ways an answer fails a principle (Bai et al. 2022, section 3.1)."""
    return _ask(fill(CRITIQUE, {"prompt": prompt, "answer": answer, "principle": principle}))


def revision_question(prompt: str, answer: str, critique: str, principle: str) -> Conversation:
    """The request for a better answer (Bai et al. 2022, section 3.1)."""
    values = {"prompt": prompt, "answer": answer, "critique": critique, "principle": principle}
    return _ask(fill(REVISE, values))


def prompt_text(messages: Sequence[dict[str, str]]) -> str:
    """A prompt's messages as the judge reads them: a single user message as it stands, several with their roles."""
    if len(messages) == 1:
        return messages[0]["content"]
    return "\n\n".join(f"{message['role']}: {message['content']}" for message in messages)


def read_template(path: str) -> str:
    """The text of a question for pairs. ConfigError when it leaves out the prompt or an answer."""
    with open_file(path) as file:
        text = str(file.read())
    missing = [field for field in _FIELDS if field not in text]
    if missing:
        raise ConfigError(f"template {path!r} lacks {', '.join(missing)}; it must show the prompt and both answers")
    return text


def fill(template: str, values: Mapping[str, str]) -> str:
    """`template` with every `{name}` of `values` replaced in one pass: braces inside the values mean nothing."""
    return re.sub(r"\{(\w+)\}", lambda found: values.get(found[1], found[0]), template)


def _list_values(count: int) -> dict[str, str]:
    return {"count": str(count), "example": " > ".join(str(number) for number in range(count, 0, -1))}


def _ask(text: str) -> Conversation:
    return [{"role": "user", "content": text}]
