"""The chat loop: reads lines from a person or a pipe, prints answers as they come.

Lines that start with ``/`` are commands: /reset, /system TEXT, /temperature NUMBER, /help, /quit. On a pipe there are
no prompts and no banner, so that ``echo question | llmill chat CHECKPOINT`` prints the answer alone.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.text import Text

from llmill.chat.conversation import ChatOptions, Conversation
from llmill.chat.generate import ChatModel
from millbase.errors import ConfigError, UserError

_HELP = """\
/reset               forget the conversation
/system TEXT         set the system message (nothing: remove it) and start over
/temperature NUMBER  0 takes the likeliest token; higher is more varied
/quit                leave (also Ctrl-D); Ctrl-C stops an answer"""
_MIN_ANSWER_TOKENS = 16


def start(checkpoint: str | Path, options: ChatOptions, prompt: str | None = None, device: str | None = None) -> None:
    """Load the model and talk: answer ``prompt`` and return, or read standard input to its end."""
    model = ChatModel(checkpoint, device)
    chat = Chat(model, options)
    if prompt is not None:
        chat.turn(prompt)
        return
    if sys.stdin.isatty():
        chat.note(f"{checkpoint}, context {model.context} tokens. /help lists commands.")
    for line in _lines():
        try:
            if chat.command(line):
                break
        except UserError as error:  # a message too long, a bad number: say so and go on
            if not sys.stdin.isatty():
                raise
            chat.note(f"error: {error}")


def _lines() -> Iterator[str]:
    """Lines of standard input, with line editing and history on a terminal."""
    if not sys.stdin.isatty():
        yield from (line.strip() for line in sys.stdin if line.strip())
        return
    with contextlib.suppress(ImportError):
        import readline  # noqa: F401  (importing it gives input() editing and history)
    while True:
        try:
            line = input("\n> ").strip()
        except EOFError:
            print()
            return
        except KeyboardInterrupt:
            print()
            continue
        if line:
            yield line


class Chat:
    """One conversation with one model."""

    def __init__(self, model: ChatModel, options: ChatOptions) -> None:
        self.model, self.options = model, options
        self.conversation = Conversation(options.system)
        self._console = Console(stderr=True, highlight=False)

    def note(self, text: str) -> None:
        """Something that is not the model speaking; on stderr."""
        self._console.print(Text(text, style="dim"), soft_wrap=True)

    def command(self, line: str) -> bool:
        """Carry out a command or answer a message. True: leave."""
        if not line.startswith("/"):
            self.turn(line)
            return False
        name, _, value = line[1:].partition(" ")
        value = value.strip()
        if name in ("quit", "exit", "q"):
            return True
        if name == "reset":
            self.conversation.reset()
            self.note("the conversation is forgotten")
        elif name == "system":
            self.conversation = Conversation(value or None)
            self.note(f"system message: {value}" if value else "no system message")
        elif name == "temperature":
            self.options.temperature = _temperature(value)
            self.note(f"temperature {self.options.temperature:g}")
        elif name == "help":
            self.note(_HELP)
        else:
            raise ConfigError(f"unknown command /{name}; there are /reset, /system, /temperature, /help, /quit")
        return False

    def turn(self, text: str) -> None:
        """Answer one message. InputError when it does not fit the context."""
        self.conversation.ask(text)
        answer_room = max(_MIN_ANSWER_TOKENS, min(self.options.max_new_tokens, self.model.context // 4))
        room = self.model.context - answer_room
        try:
            messages, dropped = self.conversation.visible(lambda shown: len(self.model.encode(shown)), room)
        except UserError:
            self.conversation.take_back()
            raise
        if dropped:
            self.note(f"(the oldest {dropped} turns no longer fit the context)")
        answer = self.model.reply(self.model.encode(messages), self.options, _emit)
        print(flush=True)
        self.conversation.answer(answer)


def _emit(text: str) -> None:
    print(text, end="", flush=True)


def _temperature(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 10:
        raise ConfigError(f"temperature {text!r}: expected a number from 0 to 10")
    return value
