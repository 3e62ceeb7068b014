"""Chat templates by name; each marks what the assistant writes, end-of-turn token included, with `{% generation %}`.

| name | what | end of turn |
|---|---|---|
| `chatml` | OpenAI's ChatML (`<|im_start|>user`), and the template of llmill's own tokenizers | `<|im_end|>` |
| `llama3` | Llama 3 (`<|start_header_id|>user<|end_header_id|>`), without tools | `<|eot_id|>` |
| `qwen` | ChatML with Qwen2.5's default system message and tool responses | `<|im_end|>` |
| `alpaca` | Stanford Alpaca (`### Instruction:`, `### Response:`), turn after turn | the tokenizer's EOS |
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from millbase.errors import InputError

NAMES = ("chatml", "llama3", "qwen", "alpaca")
ENDS = {"chatml": "<|im_end|>", "llama3": "<|eot_id|>", "qwen": "<|im_end|>"}
"""The token that ends a turn; of `alpaca` it is whatever the tokenizer's EOS is."""
_TOKEN = re.compile(r"<\|[a-z_]+\|>")


def template_text(name: str) -> str:
    """The Jinja text of a template of ours, or of a file. InputError when there is neither."""
    path = Path(__file__).parent / f"{name}.jinja" if name in NAMES else Path(name)
    if not path.is_file():
        raise InputError(f"chat_template {name!r} is neither one of {', '.join(NAMES)} nor a file; give one of them")
    return path.read_text(encoding="utf-8")


def use_template(tokenizer: Any, name: str) -> None:
    """Give a tokenizer the template `name` (or of a file), and the template's end of turn as its EOS.

    Raises InputError when the vocabulary lacks a special token that a template of ours writes: it would be read as
    several tokens of plain text that the base model never learned to stop at.
    """
    text = template_text(name)
    if name in NAMES:
        vocabulary = tokenizer.get_vocab()
        missing = sorted({token for token in _TOKEN.findall(text) if token not in vocabulary})
        if name == "llama3" and tokenizer.bos_token is None:
            missing.append("a beginning-of-text token (bos_token)")
        if name == "alpaca" and tokenizer.eos_token is None:
            missing.append("an end-of-text token (eos_token)")
        if missing:
            raise InputError(
                f"chat_template {name!r} needs {', '.join(missing)}, which the tokenizer {tokenizer.name_or_path!r} "
                "lacks; take a template whose tokens it has, or train the tokenizer with them (extra_special_tokens)"
            )
    tokenizer.chat_template = text
    if name in ENDS:
        tokenizer.eos_token = ENDS[name]
