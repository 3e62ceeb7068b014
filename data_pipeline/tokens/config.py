"""Configuration of tokenisation."""

from typing import Literal

from pydantic import Field

from data_pipeline.tokenizer.chat import END_OF_TEXT
from millbase.config import Config


class TokensConfig(Config):
    """Tokenises a corpus, shuffles its documents, and sets a held-out part aside."""

    corpus: str
    """Corpus artifact."""
    tokenizer: str
    """Tokenizer artifact, or any directory with a Hugging Face `tokenizer.json`."""
    end_of_document: str = END_OF_TEXT
    """Token put after every document; other special tokens never come out of a document's text."""
    heldout_share: float = Field(default=0.01, ge=0, lt=1)
    """Share of documents held out, by a hash of the document's id: a document keeps its side when the corpus grows."""
    heldout_documents: int | None = Field(default=None, gt=0)
    """Hold out exactly so many documents instead, those of the lowest hashes."""
    dtype: Literal["auto", "uint16", "uint32"] = "auto"
    """Integer type of token ids; `auto` takes the smallest that fits the vocabulary."""
    shard_tokens: int = Field(default=200_000_000, gt=0)
    """Tokens in a shard; the last document goes over."""
    batch_tokens: int = Field(default=1 << 20, gt=0)
    """Tokens in a record batch; the last document goes over."""
    workers: int = Field(default=0, ge=0)
    """Tokeniser threads; 0 takes one for each available core. The result does not depend on it."""
    run_bytes: int = Field(default=256 << 20, gt=0)
    """Bytes of text tokenised between two checkpoints; bounds memory to a few times this."""
    seed: int = Field(default=0, ge=0)
    """Chooses the order of documents and the held-out ones."""
