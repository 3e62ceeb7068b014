"""Reading from a local S3 server (moto), through s3fs."""

from __future__ import annotations

import random
import socket
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from data_pipeline.corpus import CorpusConfig, SourceConfig, build_corpus, document_location, read_corpus
from data_pipeline.fetch import CrawlConfig, FetchConfig, dump_files, input_size, open_input
from data_pipeline.read import ReadConfig
from data_pipeline.read.place import read_place
from millbase.errors import InputError
from millbase.files import glob_files

pytest.importorskip("s3fs", reason="the extra 's3' is not installed")
moto_server = pytest.importorskip("moto.server", reason="the extra 'dev' is not installed")

DATA = random.Random(6).randbytes(300_000)


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    server = moto_server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def bucket(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A bucket with one file, and credentials as a user would set them."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    fsspec.get_filesystem_class("s3").clear_instance_cache()
    filesystem = fsspec.filesystem("s3")
    if not filesystem.exists("crawl"):
        filesystem.mkdir("crawl")
    filesystem.pipe_file("crawl/part/file", DATA)
    yield "s3://crawl"
    fsspec.get_filesystem_class("s3").clear_instance_cache()


def test_reads_ranges(bucket: str, fetch: FetchConfig) -> None:
    assert input_size(f"{bucket}/part/file", fetch) == len(DATA)
    with open_input(f"{bucket}/part/file", fetch) as file:
        assert file.seek(0, 2) == len(DATA)
        file.seek(100_000)
        assert file.read() == DATA[100_000:]
        file.seek(3)
        assert file.read(5) == DATA[3:8]


def test_globs(bucket: str) -> None:
    assert glob_files(f"{bucket}/*/fi*") == [f"{bucket}/part/file"]
    with pytest.raises(InputError, match="nothing matches 's3://crawl/none/"):
        glob_files(f"{bucket}/none/*")


def test_a_dump_in_a_bucket(bucket: str, fetch: FetchConfig) -> None:
    import gzip

    listing = gzip.compress(b"part/file\n")
    fsspec.filesystem("s3").pipe_file("crawl/crawl-data/CC-MAIN-2024-51/wet.paths.gz", listing)
    assert dump_files(CrawlConfig(dump="CC-MAIN-2024-51", files="wet", base=bucket), fetch) == [f"{bucket}/part/file"]


def test_an_object_replaced_meanwhile_is_an_error(bucket: str, fetch: FetchConfig) -> None:
    with open_input(f"{bucket}/part/file", fetch) as file:
        file.read(10)
        fsspec.filesystem("s3").pipe_file("crawl/part/file", DATA[::-1])
        file.seek(200_000)
        with pytest.raises(InputError, match="changed while it was read"):
            file.read(10)


def test_what_is_not_there(bucket: str, fetch: FetchConfig) -> None:
    for url in (f"{bucket}/none", "s3://no-such-bucket/file"):
        with pytest.raises(InputError, match=f"{url}.* does not exist") as caught:
            open_input(url, fetch)
        assert "\n" not in str(caught.value)


def test_missing_credentials(bucket: str, fetch: FetchConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
    fsspec.get_filesystem_class("s3").clear_instance_cache()
    for call in (lambda: open_input(f"{bucket}/part/file", fetch), lambda: glob_files(f"{bucket}/*/*")):
        with pytest.raises(InputError, match=r"s3://crawl.* needs credentials .*AWS_ACCESS_KEY_ID.*anon"):
            call()


def test_nobody_there(bucket: str, fetch: FetchConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{taken.getsockname()[1]}")
        fsspec.get_filesystem_class("s3").clear_instance_cache()
        with pytest.raises(InputError, match=r"s3://crawl/part/file.* cannot be fetched.*check the address"):
            input_size(f"{bucket}/part/file", fetch)
        with pytest.raises(InputError, match=r"s3://crawl/\*.* cannot be reached.*endpoint"):
            glob_files(f"{bucket}/*")


def test_a_build_from_a_bucket(bucket: str, new_warc, fetch: FetchConfig, tmp_path: Path) -> None:
    filesystem = fsspec.filesystem("s3")
    for n in range(2):
        filesystem.pipe_file(f"crawl/warc/{n}.warc.gz", new_warc().prose(4, start=10 * n).to_bytes(seed=n))
    settings = CorpusConfig(
        sources=[SourceConfig(inputs=f"{bucket}/warc/*.warc.gz")], read=ReadConfig(fetch=fetch), workers=1
    )
    rows = list(read_corpus(build_corpus(settings, tmp_path / "corpus")))
    assert [row["warc_file"] for row in rows] == ["0.warc.gz"] * 4 + ["1.warc.gz"] * 4
    place = document_location(tmp_path / "corpus", rows[5]["id"])
    headers, _ = read_place(place["warc_file"], place["offset"], 100, ReadConfig(fetch=fetch))
    assert place["warc_file"] == f"{bucket}/warc/1.warc.gz" and headers["WARC-Target-URI"] == rows[5]["url"]


def test_public_buckets_by_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The setting that the error message proposes."""
    known: dict[str, object] = {}
    monkeypatch.setenv("FSSPEC_S3", '{"anon": true}')
    fsspec.config.set_conf_env(known)
    assert known == {"s3": {"anon": True}}
