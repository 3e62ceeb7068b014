"""Columns of the corpus, of the dropped table, and of the intermediate files."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

_CORPUS = [
    pa.field("id", pa.string(), nullable=False),
    pa.field("text", pa.string(), nullable=False),
    pa.field("title", pa.string()),
    pa.field("author", pa.string()),
    pa.field("published", pa.string()),
    pa.field("url", pa.string(), nullable=False),
    pa.field("dump", pa.string()),
    pa.field("date", pa.string()),
    pa.field("language", pa.string()),
    pa.field("language_score", pa.float32()),
    pa.field("second_language", pa.string()),
    pa.field("second_language_share", pa.float32()),
    pa.field(
        "quality",
        pa.struct(
            [
                pa.field("score", pa.float32()),
                pa.field("bucket", pa.int8()),
                pa.field("perplexity", pa.float32()),
                pa.field("perplexity_bucket", pa.string()),
                pa.field("educational", pa.float32()),
            ]
        ),
    ),
    pa.field("source", pa.string(), nullable=False),
    pa.field("warc_file", pa.string(), nullable=False),
    pa.field("warc_offset", pa.int64(), nullable=False),
    pa.field("warc_length", pa.int64(), nullable=False),
    pa.field("decontaminated_characters", pa.int32()),
    pa.field("copies", pa.int32()),
    pa.field("removed_characters", pa.int64()),
    pa.field(
        "removed_spans",
        pa.list_(pa.struct([("step", pa.string()), ("start", pa.int64()), ("end", pa.int64())])),
    ),
    pa.field(
        "safety",
        pa.struct([("bad_words", pa.int32()), ("bad_word_share", pa.float32()), ("toxicity", pa.float32())]),
    ),
    pa.field("pii", pa.struct([(kind, pa.int32()) for kind in ("email", "ip", "phone", "key", "card", "iban")])),
]

_DROPPED = [
    pa.field("id", pa.string(), nullable=False),
    pa.field("url", pa.string(), nullable=False),
    pa.field("step", pa.string(), nullable=False),
    pa.field("reason", pa.string(), nullable=False),
    pa.field("value", pa.float64()),
    pa.field("threshold", pa.float64()),
    pa.field("detail", pa.string()),
    pa.field("source", pa.string(), nullable=False),
    pa.field("warc_file", pa.string(), nullable=False),
    pa.field("warc_offset", pa.int64(), nullable=False),
    pa.field("warc_length", pa.int64(), nullable=False),
]

_POSITION = pa.field("position", pa.int64(), nullable=False)
"""Index of the record in its WARC file, among those counted as read."""

_CONTAMINATION = pa.field("contamination", pa.list_(pa.int32()))
"""Runs of words of evaluation sets found in the text: rows of the decontamination index."""

DROPPED_SCHEMA = pa.schema(_DROPPED)
TASK_DROPPED_SCHEMA = pa.schema([*_DROPPED, _POSITION])


def corpus_schema() -> pa.Schema:
    """Columns of the finished corpus.

    `warc_offset` and `warc_length` are bytes in the file as stored (in the uncompressed stream for a file compressed as
    one piece); `date` is the capture time as the WARC record gives it; `decontaminated_characters` were removed because
    they stand in an evaluation set; `copies` says how often training is to read the document, once where it is null;
    `removed_characters` went because other documents hold them, and `removed_spans` says where they stood in the text
    as the step found it (spans of different steps may overlap). `quality.bucket` counts the twentieths of raw pages
    that score less (0 to 19); `quality.educational` runs from 0 to 5; `pii` counts what placeholders stand for.
    """
    return pa.schema(_CORPUS)


def kept_schema(fingerprints: Sequence[pa.Field]) -> pa.Schema:
    """Columns of a task's kept documents: the corpus's, plus what the global part compares."""
    return pa.schema([*_CORPUS, _POSITION, _CONTAMINATION, *fingerprints])
