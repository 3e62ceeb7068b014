"""Input files wherever they lie: opened, measured, and listed by the name of a crawl's dump.

Remote files are read in ranges, with retries, and at a polite rate that all processes of a machine share.
"""

from data_pipeline.fetch.config import CrawlConfig, FetchConfig
from data_pipeline.fetch.dump import dump_files
from data_pipeline.fetch.open import input_size, open_input

__all__ = ["CrawlConfig", "FetchConfig", "dump_files", "input_size", "open_input"]
