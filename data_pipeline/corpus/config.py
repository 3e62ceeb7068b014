"""Configuration of a corpus build."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from data_pipeline.decontaminate.config import DecontaminateConfig
from data_pipeline.dedup.config import DedupConfig
from data_pipeline.educational.config import EducationalConfig
from data_pipeline.executors.config import ExecutorConfig
from data_pipeline.extract.config import ExtractConfig
from data_pipeline.fetch.config import CrawlConfig
from data_pipeline.heuristics import (
    C4Config,
    Compat,
    FineWebConfig,
    GopherQualityConfig,
    GopherRepetitionConfig,
    RefinedWebConfig,
    spread_compat,
)
from data_pipeline.language.config import LanguageConfig
from data_pipeline.mixture.config import MixtureConfig
from data_pipeline.perplexity.config import PerplexityConfig
from data_pipeline.pii.config import PiiConfig
from data_pipeline.read.config import ColumnsConfig, Format, ReadConfig
from data_pipeline.safety.config import BadWordsConfig, ToxicityConfig
from data_pipeline.score import QualityFilterConfig
from data_pipeline.url.config import UrlConfig
from millbase.config import Config


class SourceConfig(Config):
    """One named set of input files: `inputs`, or the files of a crawl's dump by its name."""

    name: str = Field(default="web", min_length=1)
    """Goes into the `source` column; weights and later token shards refer to it."""
    inputs: str | list[str] | None = None
    """Path or glob of input files, or a list of them; local, `https://`, `s3://` or any URL fsspec knows."""
    crawl: CrawlConfig | None = None
    """Files of a dump of CommonCrawl, all or a sample, instead of `inputs`."""
    format: Format = "auto"
    """`auto` goes by the first bytes and the name of each file. WET files are `warc`. Documents of Parquet, Arrow,
    JSONL, text and WET files are taken as they are, without extraction."""
    columns: ColumnsConfig = ColumnsConfig()
    """Names of columns and keys in Parquet, Arrow and JSONL files."""
    text_documents: Literal["file", "line"] = "file"
    """What is one document in a plain text file."""
    dump: str = ""
    """Goes into the `dump` column, such as CC-MAIN-2024-10; the name of `crawl` where it is empty."""
    weight: float | None = Field(default=None, gt=0)
    """Share of the corpus relative to the other sources' weights, as `mixture.weights`; null keeps everything."""

    @model_validator(mode="after")
    def _files_are_named_once(self) -> Self:
        if (self.inputs is None) == (self.crawl is None):
            raise ValueError(f"source {self.name!r} needs inputs or crawl, one of them")
        return self


class CorpusConfig(Config):
    """Builds a corpus from WARC files: extraction, language, heuristics, quality, duplicates, mixture."""

    sources: list[SourceConfig] = Field(min_length=1)
    """What to read."""
    read: ReadConfig = ReadConfig()
    """WARC reading."""
    url: UrlConfig = UrlConfig()
    """Filter by address."""
    extract: ExtractConfig = ExtractConfig()
    """Main text of the page."""
    language: LanguageConfig = LanguageConfig()
    """Language identification."""
    gopher_repetition: GopherRepetitionConfig = GopherRepetitionConfig()
    """Gopher's repetition rules."""
    gopher_quality: GopherQualityConfig = GopherQualityConfig()
    """Gopher's quality rules."""
    c4: C4Config = C4Config()
    """C4's rules."""
    fineweb: FineWebConfig = FineWebConfig()
    """FineWeb's rules."""
    refinedweb: RefinedWebConfig = RefinedWebConfig()
    """RefinedWeb's cleaning of lines."""
    compat: Compat | None = None
    """`datatrove`: limits, words and sentences of datatrove's FineWeb recipe in every heuristic that does not set its
    own `compat`; much slower."""
    quality: QualityFilterConfig = QualityFilterConfig()
    """Quality classifier."""
    perplexity: PerplexityConfig = PerplexityConfig()
    """Perplexity under n-gram models."""
    educational: EducationalConfig = EducationalConfig()
    """Educational value by a transformer."""
    bad_words: BadWordsConfig = BadWordsConfig()
    """Lists of bad words."""
    toxicity: ToxicityConfig = ToxicityConfig()
    """Toxicity classifier."""
    pii: PiiConfig = PiiConfig()
    """Removal of personal data."""
    dedup: DedupConfig = DedupConfig()
    """Removal of duplicates over all sources."""
    decontaminate: DecontaminateConfig = DecontaminateConfig()
    """Removal of evaluation items."""
    mixture: MixtureConfig = MixtureConfig()
    """Shares of the sources."""
    shard_bytes: int = Field(default=256 << 20, gt=0)
    """Text bytes in one output shard."""
    max_error_share: float = Field(default=0.01, ge=0.0, le=1.0)
    """The build stops when a larger share of pages fails inside a step (an exception, not a rule)."""
    truth: str | None = None
    """A truth file (`truth.jsonl.gz`) that says which step should drop each page; gives `precision_recall.json`."""
    workers: int = Field(default=0, ge=0)
    """How many files are read at a time; 0: one for each available core, on a cluster as many as there is room for. The
    result does not depend on it."""
    executor: ExecutorConfig = ExecutorConfig()
    """Where the files are read: processes of this machine, Slurm or Ray. The result does not depend on it."""
    seed: int = Field(default=0, ge=0)
    """Chooses the documents of sources that are sampled down."""

    @model_validator(mode="before")
    @classmethod
    def _spread_compat(cls, values: Any) -> Any:
        return spread_compat(values)

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        names = [source.name for source in self.sources]
        if len(set(names)) < len(names):
            raise ValueError(f"source names must differ, found {', '.join(names)}")
        if any(source.weight for source in self.sources) and (self.mixture.weights or self.mixture.temperature):
            raise ValueError("sources have weights, and so has the mixture; give them in one place")
        return self

    @property
    def full_mixture(self) -> MixtureConfig:
        """The mixture with the weights that stand with the sources."""
        weights = {source.name: source.weight for source in self.sources if source.weight is not None}
        return self.mixture.model_copy(update={"weights": weights}) if weights else self.mixture
