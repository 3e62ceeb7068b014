"""A small synthetic web: a crawl whose every page is known, and post-training data about the same closed world.

The embedded default of the project. A deterministic generator writes real WARC files in which good articles stand
among everything a crawl has: other languages and charsets, copies, spam, salad, broken markup, errors. Articles come
from grammars over a closed world of about 400 facts, so that a model of a few million parameters learns something in
minutes, and every page's truth is known, so that every step of the pipeline can be scored.

    from data_pipeline.synthetic import SyntheticWebConfig, build_synthetic_web
    build_synthetic_web(SyntheticWebConfig(), "runs/web")
"""

from data_pipeline.synthetic.build import build_synthetic_web
from data_pipeline.synthetic.config import SyntheticWebConfig

__all__ = ["SyntheticWebConfig", "build_synthetic_web"]
