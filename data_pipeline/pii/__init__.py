"""Personal and secret data in texts: addresses, numbers and keys, replaced by placeholders and counted."""

from data_pipeline.pii.config import PiiConfig
from data_pipeline.pii.find import KINDS, Span, find_pii
from data_pipeline.pii.step import PiiReplacer, replace_pii

__all__ = ["KINDS", "PiiConfig", "PiiReplacer", "Span", "find_pii", "replace_pii"]
