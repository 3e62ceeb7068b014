"""Builds the whole synthetic web: the crawl with its truth, and the post-training and evaluation data.

from data_pipeline.synthetic import SyntheticWebConfig, build_synthetic_web
build_synthetic_web(SyntheticWebConfig(pages=300), "runs/web")
"""

import gzip
import io
import json
from collections import Counter
from itertools import pairwise
from pathlib import Path
from random import Random

from data_pipeline.synthetic.config import SyntheticWebConfig
from data_pipeline.synthetic.pages import junk
from data_pipeline.synthetic.pages.make import PageMaker
from data_pipeline.synthetic.pages.plan import CrawlPlan, PagePlan, plan_crawl
from data_pipeline.synthetic.pages.sites import BLOCKED_HOSTS
from data_pipeline.synthetic.posttrain import write_posttrain
from data_pipeline.synthetic.prose import write_article
from data_pipeline.synthetic.warc import write_warc
from data_pipeline.synthetic.world import World, make_world
from millbase.artifacts import create_artifact
from millbase.progress import progress
from millbase.seeds import derive_seed


def build_synthetic_web(config: SyntheticWebConfig, out: str | Path) -> Path:
    """Write the artifact ``synthetic-web`` to `out` and return its path.

    Takes some seconds at the default size. Nothing is kept of an interrupted run: it starts again.
    """
    with create_artifact(out, kind="synthetic-web", config=config, inputs={}, seed=config.seed) as artifact:
        world = make_world(config.seed)
        plan = plan_crawl(config, world)
        kinds = _write_crawl(config, plan, artifact.path)
        (artifact.path / "blocked_domains.txt").write_text("".join(f"{host}\n" for host in BLOCKED_HOSTS))
        _write_quality(config, world, plan, artifact.path / "quality")
        rows = write_posttrain(config, world, artifact.path)
        artifact.stats.update(pages=config.pages, kinds=kinds, facts=len(world.facts), rows=rows)
    return Path(out)


def _write_crawl(config: SyntheticWebConfig, plan: CrawlPlan, root: Path) -> dict[str, int]:
    """WARC files and the truth; returns the number of pages of each kind."""
    maker = PageMaker(config.seed, plan)
    kinds: Counter[str] = Counter()
    truth: list[str] = []
    with progress("writing the synthetic web", total=config.pages, unit="pages") as bar:
        for source, files in (("encyclopedia", config.encyclopedia_files), ("web", config.web_files)):
            pages = [page for page in plan.pages if page.source == source]
            folder = root / "crawl" / source
            folder.mkdir(parents=True, exist_ok=True)
            for i, part in enumerate(_split(pages, files)):
                name = f"{source}-{i:05d}.warc.gz"
                for page in write_warc(folder / name, map(maker.make, part), config.seed):
                    truth.append(json.dumps(page.truth(f"crawl/{source}/{name}"), ensure_ascii=False))
                    kinds[page.kind] += 1
                    bar.advance(1)
    _write_gzip(root / "truth.jsonl.gz", "".join(f"{line}\n" for line in truth))
    return dict(sorted(kinds.items()))


def _split(pages: list[PagePlan], parts: int) -> list[list[PagePlan]]:
    """`parts` runs of nearly equal length, in order."""
    bounds = [len(pages) * i // parts for i in range(parts + 1)]
    return [pages[a:b] for a, b in pairwise(bounds)]


def _write_gzip(path: Path, text: str) -> None:
    # mtime=0 and no file name: gzip's header would otherwise change from run to run
    buffer = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", fileobj=buffer, mtime=0, compresslevel=6) as stream:
        stream.write(text.encode())
    path.write_bytes(buffer.getvalue())


def _write_quality(config: SyntheticWebConfig, world: World, plan: CrawlPlan, folder: Path) -> None:
    """Texts that editors accepted (clean prose) and rejected (spam, salad): like the crawl's, but not in the crawl."""
    folder.mkdir(parents=True, exist_ok=True)
    accepted, rejected = [], []
    for i in range(config.posttrain.quality_positive):
        rng = Random(derive_seed(config.seed, "quality", i))
        source = "encyclopedia" if rng.random() < config.encyclopedia_share else "web"
        accepted.append(write_article(rng, world, source))
    for i in range(config.posttrain.quality_negative):
        rng = Random(derive_seed(config.seed, "quality", "negative", i))
        rejected.append(junk.spam(rng) if rng.random() < 0.4 else junk.salad(rng, plan.followers, plan.vocabulary))
    for name, articles in (("positive", accepted), ("negative", rejected)):
        # with the headline, as extraction gives it: else a classifier learns that headlines are bad
        rows = [{"text": f"{article.title}\n{article.text}"} for article in articles]
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (folder / f"{name}.jsonl").write_text(lines, encoding="utf-8")
