"""Filtering by address."""

import gzip
from pathlib import Path

import pytest
from datatrove.data import Document

from data_pipeline.url.config import UrlConfig
from data_pipeline.url.lists import DomainSet, hash_lines, ut1_hashes, write_domains
from data_pipeline.url.step import UrlFilter, host_of, prepare_lists
from millbase.errors import InputError


@pytest.fixture
def reason(tmp_path: Path):
    """`reason(url, **config)`: why the filter drops a URL, with its detail; None when it passes."""
    (tmp_path / "domains.txt").write_text("# a comment\nBad.example\n0.0.0.0 hosts.example\n\n*.wild.example # why\n")
    with gzip.open(tmp_path / "words.txt.gz", "wt") as file:
        file.write("casino\nPOKER\nslots\n")

    def judge(url: str, **changes: object) -> tuple[str, str | None] | None:
        config = UrlConfig.model_validate({"domain_lists": [str(tmp_path / "domains.txt")]} | changes)
        lists = tmp_path / f"lists-{abs(hash(config.model_dump_json()))}"
        lists.mkdir(exist_ok=True)
        prepare_lists(config, lists)
        drop = UrlFilter(config, lists).judge(Document(text="", id="x", metadata={"url": url}))
        return (drop.reason, drop.detail) if drop else None

    return judge


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("http://bad.example/", "bad.example"),
        ("https://WWW.Bad.Example:8080/a?b", "bad.example"),
        ("http://deep.sub.hosts.example./", "hosts.example"),
        ("http://x.wild.example/", "wild.example"),
        ("http://notbad.example/", None),
        ("http://bad.example.org/bad.example", None),
        ("http://good.example/?u=bad.example", None),
        ("not a url", None),
    ],
)
def test_domains_block_themselves_and_their_subdomains(reason, url: str, found: str | None) -> None:
    assert reason(url) == (("domain", found) if found else None)


def test_words(reason, tmp_path: Path) -> None:
    words = [str(tmp_path / "words.txt.gz")]
    assert reason("http://a.example/Casino-royal", banned_words=words) == ("banned_word", "casino")
    assert reason("http://a.example/casinos", banned_words=words) is None
    assert reason("http://a.example/my-ca.si.no", banned_subwords=words) == ("banned_subword", "casino")
    assert reason("http://a.example/poker", soft_banned_words=words) is None
    assert reason("http://a.example/slots/poker", soft_banned_words=words) == ("soft_banned_words", "poker slots")


def test_bad_lists_are_named(tmp_path: Path) -> None:
    (tmp_path / "none.txt").write_text("# nothing\n")
    for name, words in (("none.txt", "holds no domain"), ("missing.txt", "does not exist")):
        with pytest.raises(InputError, match=f"{name}.*{words}"):
            prepare_lists(UrlConfig(domain_lists=[str(tmp_path / name)]), tmp_path)


def test_ut1_lists_of_datatrove() -> None:
    first = next(ut1_hashes())
    assert len(first) > 100_000 and len(set(first.tolist())) == len(first)


def test_lines_are_hashed_as_hosts_are_looked_up(tmp_path: Path) -> None:
    count = write_domains(
        tmp_path / "d.npy", ["one.example"], [hash_lines(b"One.Example\ntwo.example\r\n\xff.example\n")]
    )
    domains = DomainSet.load(tmp_path / "d.npy")
    assert count == 3
    assert [domains.find(host) for host in ("one.example", "a.two.example", "\ufffd.example", "three.example")] == [
        "one.example",
        "two.example",
        "\ufffd.example",
        None,
    ]


@pytest.mark.parametrize(
    ("url", "host"), [("http://[::1", ""), ("HTTPS://u:p@Host.Example:1/", "host.example"), ("", "")]
)
def test_hosts(url: str, host: str) -> None:
    assert host_of(url) == host
