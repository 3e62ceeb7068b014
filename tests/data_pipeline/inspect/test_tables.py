"""Statistics, differences and plans, against figures counted by hand from the same tables."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pyarrow as pa
import pytest

from data_pipeline.corpus import read_corpus, read_funnel
from data_pipeline.dedup.config import DedupConfig
from data_pipeline.heuristics import GopherQualityConfig
from data_pipeline.inspect import PlanConfig, compare_corpora, corpus_stats, plan, plan_dump
from data_pipeline.inspect.diff import config_differences
from data_pipeline.inspect.plan import build_sample, ratio
from data_pipeline.inspect.sketch import Distinct, Distribution, TopKeys
from data_pipeline.inspect.stats import hosts_of
from millbase.artifacts import open_artifact
from millbase.errors import ArtifactError


def dropped_rows(corpus: Path) -> list[dict]:
    files = sorted((corpus / "dropped").glob("*.arrow"))
    return [row for file in files for row in pa.ipc.open_file(str(file)).read_all().to_pylist()]


def test_statistics_are_those_of_the_tables(corpus: Path) -> None:
    kept, dropped = list(read_corpus(corpus)), dropped_rows(corpus)
    stats = corpus_stats(corpus)
    assert stats["documents"] == len(kept) and stats["read"] == len(kept) + len(dropped)
    assert stats["funnel"] == read_funnel(corpus)
    assert stats["language"] == [
        {
            "language": "en",
            "documents": len(kept),
            "characters": sum(len(d["text"]) for d in kept),
            "bytes": sum(len(d["text"].encode()) for d in kept),
        }
    ]
    hosts = Counter(urlsplit(row["url"]).hostname for row in [*kept, *dropped])
    assert {row["host"]: row["read"] for row in stats["hosts"]["top"]} == dict(hosts)
    assert stats["hosts"]["distinct"] == len(hosts) and stats["hosts"]["at_most_missing"] == 0
    lengths = sorted(len(d["text"]) for d in kept)
    found = stats["lengths"]["characters"]
    assert found["count"] == len(kept) and found["least"] == lengths[0] and found["most"] == lengths[-1]
    assert found["p50"] == pytest.approx(float(np.quantile(lengths, 0.5, method="lower")), rel=0.02)
    assert sum(entry["count"] for entry in found["histogram"]) == len(kept)
    assert stats["scores"]["language_score"]["mean"] == pytest.approx(np.mean([d["language_score"] for d in kept]))
    assert sum(row["pages"] for row in stats["dropped"]) == len(dropped)
    few = next(row for row in stats["dropped"] if row["reason"] == "too_few_words")
    assert few["threshold"] == 50 and few["values"]["p50"] == pytest.approx(20)
    json.dumps(stats)


def test_hosts_of_odd_addresses() -> None:
    urls = ["http://U:p@Host.example:80/x", "https://a.example?q", "no address", "file:///x", "http://b.example#f"]
    assert hosts_of(pa.array(urls)).to_pylist() == ["host.example", "a.example", "", "", "b.example"]


@pytest.mark.parametrize("kind", ["normal", "lognormal", "uniform", "constant"])
def test_distributions_are_within_a_hundredth(kind: str) -> None:
    random = np.random.default_rng(0)
    values = {
        "normal": random.normal(0, 5, 20_000),
        "lognormal": random.lognormal(5, 2, 20_000),
        "uniform": random.random(20_000),
        "constant": np.full(100, 7.0),
    }[kind]
    sketch = Distribution()
    for part in np.array_split(np.concatenate([values, [np.nan, np.inf]]), 7):
        sketch.add(part)
    assert sketch.count == len(values)
    for share in (0.01, 0.25, 0.5, 0.75, 0.99):
        exact = float(np.quantile(values, share, method="lower"))
        assert sketch.quantile(share) == pytest.approx(exact, rel=0.021, abs=1e-3)
    assert sum(entry["count"] for entry in sketch.histogram()) == len(values)
    assert Distribution().to_dict() == {"count": 0}


def test_quantiles_of_whole_numbers_are_whole() -> None:
    sketch = Distribution()
    sketch.add(np.array([1.0, 2.0, 3.0, 3.0, 4.0]))
    assert [sketch.quantile(share) for share in (0.0, 0.3, 0.5, 1.0)] == [1.0, 2.0, 3.0, 4.0]
    sketch.add(np.array([3.5, 3.6]))
    assert sketch.quantile(0.7) == pytest.approx(3.5, rel=0.02) and sketch.quantile(0.7) != round(sketch.quantile(0.7))


def test_frequent_keys_survive_bounded_memory() -> None:
    random = np.random.default_rng(1)
    keys = [f"rare{n}" for n in range(20_000)] + ["often"] * 3000 + ["also"] * 2500
    random.shuffle(keys)
    top = TopKeys(capacity=500, width=1)
    for key in keys:
        top.add(key, (1,))
        assert len(top) <= 1000
    (first, (n_first,)), (second, (n_second,)) = top.most(2)
    assert (first, second) == ("often", "also") and top.forgotten
    assert 3000 - top.error <= n_first <= 3000 and 2500 - top.error <= n_second <= 2500


def test_distinct_keys_are_counted_or_estimated() -> None:
    few, many = Distinct(), Distinct()
    for n in range(300):
        few.add(f"k{n % 100}")
    for n in range(200_000):
        many.add(f"k{n % 100_000}")
    assert few.estimate() == 100 and many.estimate() == pytest.approx(100_000, rel=0.06)


def test_a_corpus_does_not_differ_from_itself(corpus: Path) -> None:
    diff = compare_corpora(corpus, corpus)
    assert diff["changes"] == [] and diff["config"] == [] and diff["same"] == diff["pages"]["both"] == 18
    assert diff["pages"]["only_a"] == diff["pages"]["only_b"] == 0


@pytest.mark.parametrize("rows_a_part", [4_000_000, 4])
def test_differences_are_counted_with_examples(corpus: Path, make_corpus, rows_a_part: int) -> None:
    other = make_corpus(
        "other", gopher_quality=GopherQualityConfig(min_words=400), dedup=DedupConfig(exact=True, near=False)
    )
    diff = compare_corpora(corpus, other, examples=2, rows_a_part=rows_a_part)
    one, two = outcomes(corpus), outcomes(other)
    expected = Counter((one[i], two[i]) for i in one if one[i] != two[i])
    assert {(c["a"], c["b"]): c["pages"] for c in diff["changes"]} == dict(expected) and len(expected) >= 2
    assert diff["same"] == sum(one[i] == two[i] for i in one)
    assert all(len(change["examples"]) == min(2, change["pages"]) for change in diff["changes"])
    drop = next(change for change in diff["changes"] if change["b"] == "gopher_quality: too_few_words")
    assert drop["examples"][0]["b"]["threshold"] == 400
    changed = {row["name"]: (row["a"], row["b"]) for row in diff["config"]}
    assert changed == {"gopher_quality.min_words": (50, 400), "dedup.near": (True, False)}
    steps = {row["step"]: row for row in diff["funnel"]}
    assert steps["minhash_dedup"]["b"]["dropped"] is None and steps["read"]["a"] == steps["read"]["b"]


def outcomes(corpus: Path) -> dict[str, str]:
    found = {d["id"]: "kept" for d in read_corpus(corpus)}
    return found | {row["id"]: f"{row['step']}: {row['reason']}" for row in dropped_rows(corpus)}


def test_pages_and_texts_that_only_one_has(corpus: Path, make_corpus, crawl: Path, new_warc) -> None:
    new_warc().prose(3, start=700, host="new.example").write(crawl / "crawl/new.warc.gz", seed=9)
    other = make_corpus("other", c4={"enabled": True, "require_terminal_punctuation": True})
    diff = compare_corpora(corpus, other)
    assert diff["pages"]["only_b"] == 3 and diff["pages"]["only_a"] == 0
    assert next(c for c in diff["changes"] if c["a"] == "absent")["pages"] == 3
    texts = {d["id"]: d["text"] for d in read_corpus(corpus)}
    changed = sum(texts.get(d["id"], d["text"]) != d["text"] for d in read_corpus(other))
    found = [c["pages"] for c in diff["changes"] if c["a"] == c["b"] == "kept"]
    assert found == ([changed] if changed else [])


def test_configurations_differ_by_dotted_names() -> None:
    a = {"x": {"y": 1, "z": [1, 2]}, "s": [{"n": "a"}, {"n": "b"}]}
    b = {"x": {"y": 2, "z": [1, 2]}, "s": [{"n": "a"}], "new": None}
    assert config_differences(a, b) == [{"name": "s.1.n", "a": "b", "b": None}, {"name": "x.y", "a": 1, "b": 2}]


def test_a_plan_is_the_sample_scaled_up(corpus: Path) -> None:
    config = PlanConfig(dump="D", files=1000, pages=1e7, file_bytes=2e8, cores=10, price=0.5)
    plan = plan_dump(config, corpus)
    files = json.loads((corpus / "timings.json").read_text())["files"]
    assert [file["name"] for file in files] == ["one.warc.gz", "two.warc"]
    cpu = sum(file["cpu_seconds"] for file in files)
    rows = {row["step"]: row for row in plan["steps"]}
    assert rows["all"]["core_hours"] == pytest.approx(cpu / 18 * 1e7 / 3600)
    assert rows["all"]["core_hours_ci95"][0] <= rows["all"]["core_hours"] <= rows["all"]["core_hours_ci95"][1]
    parts = sum(row["core_hours"] for name, row in rows.items() if name != "all")
    assert parts == pytest.approx(rows["all"]["core_hours"], rel=0.05)
    assert plan["total"]["cost"] == pytest.approx(plan["total"]["core_hours"] * 0.5)
    shards = sum(file.stat().st_size for file in (corpus / "data").iterdir())
    assert plan["disk"]["corpus"] == pytest.approx(shards / 18 * 1e7)
    assert plan["memory"]["worker"] > 50 << 20
    assert any("only 2 files" in line for line in plan["assumptions"])


def test_a_plan_builds_its_sample(crawl: Path) -> None:
    (crawl / "steps.yaml").write_text("language: {languages: [en], min_score: 0.4}\nsources: [{inputs: nowhere}]\n")
    sample = build_sample([str(crawl / "crawl/*")], crawl / "steps.yaml", crawl / "sample")
    assert open_artifact(sample).config["language"]["min_score"] == 0.4
    assert plan_dump(PlanConfig(), sample)["sample"]["read"] == 18


def test_intervals_of_ratios_cover() -> None:
    """95% intervals hold the true ratio in about 95 of 100 samples of files."""
    random = np.random.default_rng(0)
    hits = 0
    for _ in range(400):
        pages = random.integers(50, 150, 12)
        seconds = pages * 0.01 * random.normal(1, 0.2, 12)
        mean, interval = ratio(seconds, pages.astype(float))
        assert interval is not None and interval[0] <= mean <= interval[1]
        hits += interval[0] <= 0.01 <= interval[1]
    assert 0.90 <= hits / 400 <= 0.98
    assert ratio(np.array([1.0]), np.array([10.0])) == (0.1, None)


def test_old_corpora_hold_no_timings_by_file(corpus: Path) -> None:
    timings = json.loads((corpus / "timings.json").read_text())
    (corpus / "timings.json").write_text(json.dumps({k: v for k, v in timings.items() if k != "files"}))
    with pytest.raises(ArtifactError, match="no timings by file"):
        plan_dump(PlanConfig(), corpus)


def test_a_plan_counts_the_documents_that_decontamination_holds_in_memory(corpus: Path) -> None:
    manifest, usage = open_artifact(corpus), {"cpu_seconds": 1.0, "rss_before_bytes": 0}
    manifest.config.pop("decontaminate", None)
    assert plan._overall(usage, manifest, PlanConfig())["bytes_a_document"] == 0
    manifest.config["decontaminate"] = {"sets": [{"name": "gsm8k", "path": "test.jsonl"}]}
    assert plan._overall(usage, manifest, PlanConfig())["bytes_a_document"] > 0
