"""A dump by name: its listing, and samples that do not depend on its order."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from data_pipeline.fetch import CrawlConfig, FetchConfig, dump_files
from millbase.errors import InputError

NAMES = [f"crawl-data/CC-MAIN-2024-51/segments/{n // 50}/warc/CC-MAIN-{n:05d}.warc.gz" for n in range(500)]
LISTING = "crawl-data/CC-MAIN-2024-51/warc.paths.gz"


def listing(names: list[str]) -> bytes:
    return gzip.compress("".join(f"{name}\n" for name in names).encode(), mtime=0)


def files(server, fetch: FetchConfig, **settings: object) -> list[str]:
    config = CrawlConfig.model_validate({"dump": "CC-MAIN-2024-51", "base": server.address} | settings)
    return dump_files(config, fetch)


def test_all_files_and_samples(server, fetch: FetchConfig) -> None:
    server.files[LISTING] = listing(NAMES)
    assert files(server, fetch) == [server.url(name) for name in NAMES]
    hundred, fifth = files(server, fetch, count=100), files(server, fetch, share=0.2)
    assert hundred == fifth and len(set(hundred)) == 100
    assert set(files(server, fetch, count=30)) < set(hundred)
    assert files(server, fetch, count=30, seed=1) != files(server, fetch, count=30)
    segments = {name.split("/segments/")[1].split("/")[0] for name in hundred}
    assert len(segments) == 10, "the sample is spread over the segments"
    server.files[LISTING] = listing(NAMES[::-1] + NAMES[:3])
    assert files(server, fetch, count=100) == hundred


def test_wet_files_and_refusals(server, fetch: FetchConfig) -> None:
    path = "crawl-data/CC-MAIN-2024-51/wet.paths.gz"
    server.files[path] = listing(["a.warc.wet.gz"])
    server.behaviours[path] = ["503", "cut:10"]
    assert files(server, fetch, files="wet") == [server.url("a.warc.wet.gz")]


def test_a_folder_laid_out_alike(tmp_path: Path, fetch: FetchConfig) -> None:
    (tmp_path / LISTING).parent.mkdir(parents=True)
    (tmp_path / LISTING).write_bytes(listing(["x/a.warc.gz"]))
    assert dump_files(CrawlConfig(dump="CC-MAIN-2024-51", base=str(tmp_path)), fetch) == [f"{tmp_path}/x/a.warc.gz"]


@pytest.mark.parametrize(
    ("data", "settings", "words"),
    [
        (None, {}, ["no dump 'CC-MAIN-2024-51'", "warc.paths.gz", "does not exist"]),
        (listing([]), {}, ["lists no file"]),
        (listing(NAMES[:3]), {"count": 4}, ["lists 3 files, fewer than count=4"]),
        (listing(NAMES)[:-50], {}, ["cannot be read"]),
        (b"<html>", {}, ["cannot be read"]),
    ],
)
def test_what_can_be_wrong(server, fetch: FetchConfig, data: bytes | None, settings, words: list[str]) -> None:
    if data is not None:
        server.files[LISTING] = data
    with pytest.raises(InputError) as caught:
        files(server, fetch, **settings)
    assert all(word in str(caught.value) for word in words) and "\n" not in str(caught.value), caught.value


def test_share_and_count_exclude_each_other() -> None:
    with pytest.raises(ValueError, match="share or count"):
        CrawlConfig(dump="CC-MAIN-2024-51", share=0.1, count=3)
