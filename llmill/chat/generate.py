"""Answers of a loaded model, piece by piece as they are made."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmill.chat.conversation import ChatOptions, Message
from millbase.errors import InputError
from millbase.seeds import derive_seed

if TYPE_CHECKING:
    from training.load import LoadedModel


class ChatModel:
    """A model with a chat template."""

    def __init__(self, path: str | Path, device: str | None = None) -> None:
        """Load the checkpoint. InputError when it has no chat template (a base model)."""
        from transformers.utils import logging as transformers_logging

        from training.load import load_model

        transformers_logging.disable_progress_bar()  # loading takes a moment; the terminal is for the conversation
        self.loaded: LoadedModel = load_model(path, device=device)
        if not self.loaded.tokenizer.chat_template:
            raise InputError(
                f"{str(path)!r} is not a chat model: it has no chat template; give an SFT, DPO or PPO checkpoint"
            )
        self._asked = 0

    @property
    def context(self) -> int:
        """Longest sequence the model takes, prompt and answer, in tokens."""
        return self.loaded.max_length

    def encode(self, messages: list[Message]) -> list[int]:
        """Token ids of the conversation, ready for the next answer."""
        try:
            encoded = self.loaded.tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=True)
        except Exception as error:  # templates raise jinja2 errors of their own, such as "no system role"
            raise InputError(f"the model's chat template refuses this conversation: {error}") from None
        return list(encoded["input_ids"])

    def reply(self, ids: list[int], options: ChatOptions, emit: Callable[[str], None]) -> str:
        """Generate an answer to ``ids``; ``emit`` gets its text in pieces. Ctrl-C ends it early, keeping what was said.

        The same seed, conversation and options give the same answer.
        """
        import torch
        from transformers import GenerationConfig, TextStreamer

        pieces: list[str] = []

        class _Streamer(TextStreamer):
            def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
                pieces.append(text)
                emit(text)

        tokenizer, model = self.loaded.tokenizer, self.loaded.model
        sampling: dict[str, Any] = {"do_sample": False}
        if options.temperature > 0:
            sampling = {"do_sample": True, "temperature": options.temperature, "top_p": options.top_p, "top_k": 0}
        config = GenerationConfig(
            max_new_tokens=min(options.max_new_tokens, self.context - len(ids)),
            eos_token_id=self._stops(),
            pad_token_id=tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id,
            **sampling,
        )
        torch.manual_seed(derive_seed(options.seed, "chat", self._asked))
        self._asked += 1
        prompt = torch.tensor([ids], device=model.device)
        streamer = _Streamer(tokenizer, skip_prompt=True, skip_special_tokens=True)
        try:
            model.generate(prompt, attention_mask=torch.ones_like(prompt), generation_config=config, streamer=streamer)
        except KeyboardInterrupt:
            streamer.end()
        return "".join(pieces).strip()

    def _stops(self) -> list[int]:
        """Tokens that end an answer: those of the checkpoint's generation settings and the tokenizer's own."""
        configured = getattr(self.loaded.model.generation_config, "eos_token_id", None)
        stops = configured if isinstance(configured, list) else [configured]
        own = self.loaded.tokenizer.eos_token_id
        return sorted({stop for stop in [*stops, own] if stop is not None})
