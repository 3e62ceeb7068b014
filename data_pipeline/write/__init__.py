"""Arrow files: what a task leaves for the global part, and the finished corpus."""

from data_pipeline.write.schema import DROPPED_SCHEMA, corpus_schema, kept_schema
from data_pipeline.write.shards import ShardWriter
from data_pipeline.write.task import TaskWriter

__all__ = ["DROPPED_SCHEMA", "ShardWriter", "TaskWriter", "corpus_schema", "kept_schema"]
