"""Token shards: a corpus as token ids in shuffled order, in memory-mapped Arrow files."""

from data_pipeline.tokens.build import build_tokens
from data_pipeline.tokens.config import TokensConfig
from data_pipeline.tokens.lineage import corpus_document, document_at
from data_pipeline.tokens.megatron import export_megatron

__all__ = ["TokensConfig", "build_tokens", "corpus_document", "document_at", "export_megatron"]
