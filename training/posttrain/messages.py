"""Chat messages out of the shapes data sets use: text, message lists, content parts, ShareGPT turns, transcripts."""

from __future__ import annotations

import re
from typing import Any

from training.posttrain.rows import RowError

Message = dict[str, str]
"""`{"role": "system" | "user" | "assistant" | "tool", "content": text}`."""

ROLES = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "tool": "tool",
    "observation": "tool",
}
_TURN = re.compile(r"\n\n(Human|Assistant):")


def to_messages(value: Any, role: str) -> list[Message]:
    """A list of messages from text (one message of `role`), one message, or a list of messages.

    Raises RowError when there is no text, a role is unknown, or a message holds more than text.
    """
    if isinstance(value, str):
        return [_message(role, value)]
    if isinstance(value, dict):
        return [_from_mapping(value)]
    if isinstance(value, list) and value:
        return [_from_mapping(item) for item in value]
    raise RowError("no messages", f"expected text or a list of messages for the {role}, found {_kind(value)}")


def _from_mapping(item: Any) -> Message:
    if not isinstance(item, dict):
        raise RowError("not a message", f"expected {{role, content}}, found {_kind(item)}")
    given = item.get("role", item.get("from"))
    if given not in ROLES:
        raise RowError("unknown role", f"{given!r}; expected one of {', '.join(sorted(set(ROLES.values())))}")
    return _message(ROLES[given], item.get("content", item.get("value")))


def _message(role: str, content: Any) -> Message:
    if isinstance(content, list):
        content = "".join(_text_part(part) for part in content)
    if not isinstance(content, str):
        raise RowError("content is not text", f"the {role} message holds {_kind(content)}")
    if not content.strip():
        raise RowError("empty message", f"the {role} message has no text")
    return {"role": role, "content": content}


def _text_part(part: Any) -> str:
    """The text of one content part; other kinds (images, tool calls) are not text models' business."""
    if isinstance(part, dict) and part.get("type") == "text":
        text = part.get("text", part.get("value"))
        if isinstance(text, str):
            return text
    raise RowError("content is not text", f"content part {_kind(part)} of type {_type(part)!r}")


def transcript(text: str) -> list[Message]:
    r"""Messages of an Anthropic HH transcript: turns that begin with `\n\nHuman:` or `\n\nAssistant:`."""
    pieces = _TURN.split(text)
    if len(pieces) < 3 or pieces[0].strip():
        raise RowError("no prompt", "prompt is absent, and chosen has no turns (\\n\\nHuman: ...)")
    roles = {"Human": "user", "Assistant": "assistant"}
    return [_message(roles[who], words.strip()) for who, words in zip(pieces[1::2], pieces[2::2], strict=True)]


def _kind(value: Any) -> str:
    if value is None:
        return "nothing"
    return "an empty list" if value == [] else type(value).__name__


def _type(part: Any) -> Any:
    return part.get("type") if isinstance(part, dict) else None
