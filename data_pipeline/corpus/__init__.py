"""From WARC files to the `corpus` artifact.

from data_pipeline.corpus import CorpusConfig, SourceConfig, build_corpus, explain, read_corpus

build_corpus(CorpusConfig(sources=[SourceConfig(inputs="crawl/*.warc.gz")]), "runs/corpus")
for row in explain("runs/corpus", "https://example.org/page"):
    print(row["status"], row["step"], row["reason"], row["value"], row["threshold"])
"""

from data_pipeline.corpus.build import build_corpus
from data_pipeline.corpus.config import CorpusConfig, SourceConfig
from data_pipeline.corpus.lookup import document_location, explain, read_corpus, read_funnel

__all__ = ["CorpusConfig", "SourceConfig", "build_corpus", "document_location", "explain", "read_corpus", "read_funnel"]
