"""The whole story of a page, and samples: what is told must be what the build did and the crawl holds."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from data_pipeline.base import Drop
from data_pipeline.corpus import read_corpus
from data_pipeline.inspect import Crawl, sample_pages, tell_story
from data_pipeline.inspect.story import PageStory
from data_pipeline.inspect.tables import read_batches
from millbase.errors import ConfigError, InputError


def story(corpus: Path, url: str, **options: object) -> PageStory:
    with Crawl(corpus) as crawl:
        found = tell_story(crawl, url, **options)  # type: ignore[arg-type]
    assert len(found) == 1
    return found[0]


def test_a_kept_page_tells_every_rule_and_its_final_text(corpus: Path) -> None:
    document = next(d for d in read_corpus(corpus) if d["url"] == "http://good.example/page/3")
    told = story(corpus, document["url"], text=True)
    assert told.status == "kept" and told.notes == [] and told.duplicates is None
    assert all(step.outcome == "passed" and step.drop is None for step in told.steps)
    assert all(measure.passed for step in told.steps for measure in step.measures)
    steps = {step.step: step for step in told.steps}
    assert list(steps)[:4] == ["read", "url", "extract", "language"]
    words = next(m for m in steps["gopher_quality"].measures if m.rule == "too_few_words")
    assert words.threshold == 50 and 0.9 < words.value / len(document["text"].split()) < 1.1
    assert steps["language"].sets["language"] == "en"
    assert told.steps[-1].text == document["text"] and told.steps[-1].characters == len(document["text"])
    record = Path(told.warc_file or "").read_bytes()[document["warc_offset"] :][: document["warc_length"]]
    assert record.startswith(b"\x1f\x8b")
    assert story(corpus, document["id"]).url == document["url"]
    assert told.to_dict()["steps"][0]["step"] == "read"


@pytest.mark.parametrize(
    ("url", "step", "reason", "value"),
    [
        ("http://bad.example/x", "url", "domain", None),
        ("http://good.example/short", "extract", "too_short", None),
        ("http://good.example/few", "gopher_quality", "too_few_words", 20.0),
        ("http://good.example/old", "read", "redirect", 301.0),
    ],
)
def test_dropped_pages_are_judged_again(corpus: Path, url: str, step: str, reason: str, value: float | None) -> None:
    told = story(corpus, url)
    assert told.status == "dropped" and told.notes == []
    (dropped,) = [part for part in told.steps if part.outcome == "dropped"]
    assert dropped.step == step and isinstance(dropped.drop, Drop) and dropped.drop.reason == reason
    if value is not None:
        assert dropped.drop.value == value == told.row["value"]
    later = told.steps[[part.step for part in told.steps].index(step) + 1 :]
    assert all(part.outcome == "not reached" for part in later)


def test_what_later_steps_would_have_said_is_told(corpus: Path) -> None:
    told = story(corpus, "http://bad.example/x")
    steps = {step.step: step for step in told.steps}
    assert steps["url"].outcome == "dropped" and steps["extract"].characters > 400
    repetition = steps["gopher_repetition"]
    assert repetition.outcome == "not reached" and repetition.drop is not None
    assert any(not measure.passed for measure in repetition.measures) and any(m.passed for m in repetition.measures)


def test_a_cluster_is_told_from_each_of_its_members(corpus: Path) -> None:
    pages = [f"http://{name}" for name in ("near.example/original", "near.example/changed", "mirror.example/original")]
    told = {page: story(corpus, page) for page in pages}
    assert sorted(one.status for one in told.values()) == ["dropped", "dropped", "kept"]
    kept = next(one.id for one in told.values() if one.status == "kept")
    texts = {}
    with Crawl(corpus) as crawl:
        for page, one in told.items():
            texts[page] = crawl.text(one.row)
    for page, one in told.items():
        assert one.duplicates is not None and one.duplicates.size == 3 and one.duplicates.kept == kept
        others = {member.url: member for member in one.duplicates.members}
        assert set(others) == set(pages) - {page}
        for url, member in others.items():
            exact = jaccard(texts[page], texts[url])
            assert member.jaccard == pytest.approx(exact) and member.estimate == pytest.approx(exact, abs=0.15)
            assert member.characters == len(texts[url])
    last = {one.steps[-1].step for one in told.values() if one.status == "dropped"}
    assert last == {"exact_dedup", "minhash_dedup"}


def jaccard(one: str, two: str) -> float:
    """Written out by hand: 5-word shingles of lower-cased words without punctuation."""
    sets = []
    for text in (one, two):
        words = "".join(c if c.isalnum() else " " for c in text.lower()).split()
        sets.append({tuple(words[i : i + 5]) for i in range(len(words) - 4)})
    return len(sets[0] & sets[1]) / len(sets[0] | sets[1])


def test_a_crawl_that_moved_or_is_gone(corpus: Path, crawl: Path) -> None:
    moved = crawl / "elsewhere"
    (crawl / "crawl").rename(moved)
    told = story(corpus, "http://good.example/page/1")
    assert told.steps == [] and "no longer there" in told.notes[0] and "--crawl" in told.notes[0]
    with Crawl(corpus, str(moved)) as opened:
        (found,) = tell_story(opened, "http://good.example/page/1")
    assert found.steps and found.notes == []
    shutil.rmtree(moved)


def test_a_changed_list_is_noted(corpus: Path, crawl: Path) -> None:
    (crawl / "blocked.txt").write_text("good.example\n")
    told = story(corpus, "http://good.example/page/1")
    assert "passed by all of these steps, today url drops it for domain" in told.notes[0]


def test_records_inside_one_gzip_member_are_read_through(new_warc, tmp_path: Path, make_corpus, crawl: Path) -> None:
    import gzip

    data = new_warc().prose(6, start=300, host="one.example").to_bytes(gzip=False)
    (crawl / "crawl/three.warc.gz").write_bytes(gzip.compress(data))
    corpus = make_corpus("with-three")
    told = story(corpus, "http://one.example/page/304")
    assert told.status == "kept" and told.notes == [] and told.steps[-1].outcome == "passed"


def test_unknown_pages_are_an_error(corpus: Path) -> None:
    with Crawl(corpus) as crawl, pytest.raises(InputError, match=r"nowhere\.example.*among the 18 pages"):
        tell_story(crawl, "http://nowhere.example/")


def test_samples_are_of_the_step_and_come_again(corpus: Path) -> None:
    with Crawl(corpus) as crawl:
        (page,) = sample_pages(crawl, "gopher_quality", count=5)
        assert page.reason == "too_few_words" and page.value == 20 and page.threshold == 50
        assert (
            page.text == "A page in full\n\nThis page has some words, and that is all there is with it, to be honest."
        )
        copies = sample_pages(crawl, "exact_dedup", "copy", count=5)
        assert len(copies) == 1 and (copies[0].text or "").count(".") >= 40
        kept = sample_pages(crawl, count=4, seed=1)
        assert kept == sample_pages(crawl, count=4, seed=1) and len(kept) == 4
        assert {page.id for page in kept} <= {page.id for page in sample_pages(crawl, count=6, seed=1)}
        assert {page.id for page in kept} != {page.id for page in sample_pages(crawl, count=4, seed=2)}
        with pytest.raises(InputError, match=r"'extract' dropped nothing for the reason 'x'.*reasons: too_short"):
            sample_pages(crawl, "extract", "x")
        with pytest.raises(ConfigError, match="unknown step 'gopher'"):
            sample_pages(crawl, "gopher")


def test_tables_are_read_a_batch_at_a_time(corpus: Path) -> None:
    batches = list(read_batches(corpus / "dropped", ["step", "no such column"]))
    assert batches and all(batch.schema.names == ["step"] for batch in batches)
