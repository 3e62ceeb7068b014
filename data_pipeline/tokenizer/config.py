"""Configuration of tokenizer training."""

from typing import Self

from pydantic import Field, model_validator

from data_pipeline.texts import TextSource
from data_pipeline.tokenizer.chat import SPECIAL_TOKENS
from millbase.config import Config

MIN_VOCABULARY = 256 + len(SPECIAL_TOKENS)


class TokenizerConfig(Config):
    """A byte-level BPE tokenizer: every byte is a token, so any text can be encoded and comes back unchanged."""

    corpus: str | None = None
    """Corpus artifact to learn from."""
    texts: list[TextSource] = []
    """Further texts to learn from, such as chat data (`field: messages`); with them alone no corpus is needed."""
    vocab_size: int = Field(default=2048, ge=MIN_VOCABULARY)
    """Entries of the vocabulary: the special tokens, 256 bytes, and merges. Fewer when the texts do not offer them."""
    max_bytes: int = Field(default=200_000_000, gt=0)
    """Learn from about so many bytes of the corpus, documents chosen by a hash of their ids."""
    min_frequency: int = Field(default=2, ge=1)
    """Pairs seen less often are not merged."""
    max_token_length: int = Field(default=32, ge=2)
    """Longest token in bytes; keeps rulers like `=====` from filling the vocabulary."""
    extra_special_tokens: list[str] = []
    """Special tokens besides those of the chat template."""
    chat_template: str | None = None
    """File with a Jinja chat template; it must mark the assistant's words by `{% generation %}`. ChatML by default."""
    seed: int = Field(default=0, ge=0)
    """Chooses the documents."""

    @model_validator(mode="after")
    def _something_to_learn_from(self) -> Self:
        if self.corpus is None and not self.texts:
            raise ValueError("nothing to learn from: give 'corpus' or 'texts'")
        return self
