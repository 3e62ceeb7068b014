"""A byte-level BPE tokenizer with a chat template, in Hugging Face's format."""

from data_pipeline.tokenizer.chat import END_OF_TEXT, END_OF_TURN, PADDING, START_OF_TURN
from data_pipeline.tokenizer.config import TokenizerConfig
from data_pipeline.tokenizer.train import train_tokenizer

__all__ = ["END_OF_TEXT", "END_OF_TURN", "PADDING", "START_OF_TURN", "TokenizerConfig", "train_tokenizer"]
