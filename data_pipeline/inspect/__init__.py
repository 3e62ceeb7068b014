"""Questions to a finished corpus, answered from its tables and, page by page, from the crawl it was made of.

from data_pipeline.inspect import Crawl, compare_corpora, corpus_stats, sample_pages, tell_story

with Crawl("runs/corpus") as crawl:
    story = tell_story(crawl, "https://example.org/page")[0]
"""

from data_pipeline.inspect.crawl import Crawl
from data_pipeline.inspect.diff import compare_corpora
from data_pipeline.inspect.plan import PlanConfig, plan_dump
from data_pipeline.inspect.sample import sample_pages
from data_pipeline.inspect.stats import corpus_stats
from data_pipeline.inspect.story import tell_story

__all__ = ["Crawl", "PlanConfig", "compare_corpora", "corpus_stats", "plan_dump", "sample_pages", "tell_story"]
