"""Removal of single boilerplate lines that extraction leaves in the text.

Conservative on purpose: a line goes only when it is short and as a whole reads like page furniture, or when it belongs
to a run of link-like lines at the very start or end of the page. Sentences of the text are never touched.
"""

from __future__ import annotations

import re
import unicodedata

_FURNITURE = re.compile(
    r"""
    (?:we|this\ (?:web)?site|our\ (?:web)?site)\ (?:and\ our\ partners\ )?uses?\ cookies\b.*
    | by\ (?:continuing|using|browsing)\b.{0,80}\b(?:cookies|terms\ of\ (?:use|service)|privacy\ policy)\b.*
    | (?:accept|reject|manage|allow)\ (?:all\ )?(?:cookies|cookie\ (?:settings|preferences)).*
    | (?:cookie|privacy)\ (?:policy|notice|settings|preferences|statement)
    | (?:terms\ (?:of\ (?:use|service)|and\ conditions)|legal\ notice|imprint|sitemap|disclaimer)
    | (?:share|tweet|pin|like|follow|email|e-mail|print)(?:\ (?:this|it|us|on|to|via|article|page|post|story))*:?
      (?:\ (?:facebook|twitter|x|linkedin|whatsapp|pinterest|reddit|instagram|telegram|a\ friend|email|print)[,:|]?)*
    | (?:facebook|twitter|linkedin|whatsapp|pinterest|reddit|instagram|youtube|rss)
    | (?:copyright|©|\(c\)|copyright\ ©|©\ copyright)\ .{0,120}
    | .{0,80}\ball\ rights\ reserved\.?
    | (?:sign|log)\ (?:in|up|out)(?:\ or\ .{0,40}|\ to\ (?:comment|continue|reply|post|vote|read|your)\b.{0,40})?
    | register | subscribe(?:\ (?:now|today))?
    | (?:subscribe|sign\ up)\ (?:to|for)\ (?:our|the)\ (?:\w+\ )?(?:newsletter|mailing\ list|updates)\b.{0,40}
    | skip\ to\ (?:main\ |the\ )?(?:content|navigation|search) | back\ to\ (?:the\ )?top
    | jump\ to\ (?:navigation|search)
    | (?:read|show|load|see|view|learn)\ (?:more|all|less)(?:\ \w+)? | advertise?ment | sponsored(?:\ content)?
    | (?:previous|next|older|newer)\ (?:post|article|page|story|entry)s?
    | (?:home|menu|search|close|loading|toggle\ navigation)
    | powered\ by\ .{0,40} | leave\ a\ (?:reply|comment) | (?:\d+\ )?comments?(?:\ \(\d+\))? | posted\ in\ .{0,40}
    """,
    re.IGNORECASE | re.VERBOSE,
)
_MAX_FURNITURE = 240
_TAIL = " .…!»›>|:"
_LINK_CHARACTERS = 28
_LINK_WORDS = 4
_MIN_RUN = 4
_BLANKS = re.compile(r"\n{3,}")


def clean_text(text: str, lines: bool = True, layout: bool = False) -> str:
    """`text` in Unicode NFC without control characters and repeated blanks and, with `lines`, without furniture.

    `layout` says that the blanks of the text are meant, as the indentation of code is: they stay, and so do lists at
    the ends, which are then no leftovers of navigation.
    """
    text = unicodedata.normalize("NFC", text.replace("\r\n", "\n").replace("\r", "\n"))
    if not text.isascii() or not text.replace("\n", "").isprintable():
        text = _CONTROLS.sub("", text)
    if layout:
        kept = [line.rstrip() for line in text.split("\n")]
        if lines:
            kept = [line for line in kept if not is_furniture(line.strip())]
        return _BLANKS.sub("\n\n", "\n".join(kept)).strip("\n")
    kept = [" ".join(line.split()) for line in text.split("\n")]
    if lines:
        kept = [line for line in kept if not is_furniture(line)]
        start, end = link_run(kept), link_run(kept[::-1])
        kept = kept[start : len(kept) - end] if start + end < len(kept) else kept
    return _BLANKS.sub("\n\n", "\n".join(kept)).strip()


def is_furniture(line: str) -> bool:
    """True for a line that as a whole is a cookie notice, a share link, a copyright note or the like."""
    return bool(line) and len(line) <= _MAX_FURNITURE and _FURNITURE.fullmatch(line.strip(_TAIL)) is not None


def link_run(lines: list[str]) -> int:
    """Number of leading lines that are a run of at least four link-like lines (few words, no sentence mark)."""
    run = count = 0
    for line in lines:
        if line and not _is_link(line):
            break
        run += 1
        count += bool(line)
    return run if count >= _MIN_RUN else 0


def _is_link(line: str) -> bool:
    if line.startswith("- "):
        return False
    return len(line) <= _LINK_CHARACTERS and line[-1] not in ".!?:;,\"'”。！？" and len(line.split()) <= _LINK_WORDS


# C0 and C1 controls but tab and newline, zero-width and direction marks, the byte-order mark, lone surrogates.
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u200b\u2060\ufeff\u202a-\u202e\u2066-\u2069\ud800-\udfff]+")
