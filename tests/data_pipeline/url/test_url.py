"""Filtering by address."""

import gzip
import re
from collections import Counter
from pathlib import Path

import pytest
from datatrove.data import Document

from data_pipeline.url.config import UrlConfig
from data_pipeline.url.lists import (
    DomainSet,
    fineweb_words,
    hash_lines,
    plain_address,
    ut1_addresses,
    ut1_hashes,
    write_domains,
)
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


def test_hosts_of_other_scripts_are_compared_as_idna(reason, tmp_path: Path) -> None:
    (tmp_path / "idna.txt").write_text("Bücher.example\nxn--e1afmkfd.example\n", encoding="utf-8")
    lists = {"domain_lists": [str(tmp_path / "idna.txt")]}
    for url in ("http://bücher.example/", "http://xn--bcher-kva.example/x", "http://www.B%C3%BCcher.example/"):
        assert reason(url, **lists) == ("domain", "xn--bcher-kva.example")
    assert reason("http://пример.example/", **lists) == ("domain", "xn--e1afmkfd.example")
    assert reason("http://\u2028.example/", **lists) is None


def test_single_addresses(reason, tmp_path: Path) -> None:
    (tmp_path / "addresses.txt").write_text("# why\nhttps://www.Some.example/bad/page/\nother.example/x?a=b\n")
    lists = {"address_lists": [str(tmp_path / "addresses.txt")]}
    assert reason("http://some.example/bad/page", **lists) == ("address", "some.example/bad/page")
    assert reason("http://some.example/Bad/page/#part", **lists) == ("address", "some.example/bad/page")
    assert reason("http://some.example/bad/page/deeper", **lists) is None
    assert reason("http://other.example/x?a=b", **lists) == ("address", "other.example/x?a=b")
    assert reason("http://other.example/x", **lists) is None
    assert plain_address("https://www.a.example/b/#c") == "a.example/b"


def test_allowed_domains_pass_all_lists(reason, tmp_path: Path) -> None:
    (tmp_path / "allowed.txt").write_text("health.bad.example\n")
    words = [str(tmp_path / "words.txt.gz")]
    lists = {"allow_lists": [str(tmp_path / "allowed.txt")], "banned_words": words}
    assert reason("http://www.health.bad.example/casino", **lists) is None
    assert reason("http://bad.example/", **lists) == ("domain", "bad.example")
    assert reason("http://fine.example/casino", **lists) == ("banned_word", "casino")


def test_words_behind_percent_encoding_and_of_other_scripts(reason, tmp_path: Path) -> None:
    (tmp_path / "more.txt").write_text("казино\ntwo words\n", encoding="utf-8")
    words = [str(tmp_path / "more.txt"), str(tmp_path / "words.txt.gz")]
    assert reason("http://a.example/%D0%9A%D0%B0%D0%B7%D0%B8%D0%BD%D0%BE", banned_words=words) == (
        "banned_word",
        "казино",
    )
    assert reason("http://a.example/big%2Dcasino", banned_words=words) == ("banned_word", "casino")
    assert reason("http://a.example/two-words", banned_subwords=words) == ("banned_subword", "twowords")
    assert reason("http://a.example/big_casino", banned_words=words) == ("banned_word", "casino")


def test_every_rule_is_measured(tmp_path: Path) -> None:
    (tmp_path / "domains.txt").write_text("bad.example\n")
    (tmp_path / "words.txt").write_text("casino\npoker\n")
    files = {"banned_subwords": [str(tmp_path / "words.txt")], "soft_banned_words": [str(tmp_path / "words.txt")]}
    config = UrlConfig(domain_lists=[str(tmp_path / "domains.txt")], **files)
    prepare_lists(config, tmp_path)
    document = Document(text="", id="x", metadata={"url": "http://www.bad.example/casino/poker"})
    measures = {m.rule: (m.value, m.threshold, m.passed) for m in UrlFilter(config, tmp_path).measure(document)}
    assert measures == {
        "domain": ("bad.example", None, False),
        "banned_subword": ("casino", None, False),
        "soft_banned_words": (2.0, 1.0, False),
    }


def test_shipped_lists() -> None:
    banned, subwords, soft = fineweb_words()
    assert min(len(banned), len(subwords), len(soft)) > 50
    addresses = next(ut1_addresses())
    assert len(addresses) > 10_000


def test_words_decide_as_fineweb_does(tmp_path: Path) -> None:
    """Against datatrove's URLFilter written out by hand (its automaton needs a package of its own), on lower-case
    addresses: datatrove minds the case."""
    lists = [{re.sub("[^a-z0-9]+", "", word) for word in words} for words in fineweb_words()]
    banned, subwords, soft = (sorted(words - {""}) for words in lists)
    ours = UrlFilter(UrlConfig(use_fineweb_words=True), tmp_path)
    reasons = Counter()
    for number in range(600):
        picks = [banned[number % len(banned)], soft[number % len(soft)], soft[number * 7 % len(soft)]]
        picks.append(subwords[number % len(subwords)])
        parts = [word for place, word in enumerate(picks) if number >> place & 1]
        url = f"http://site{number}.example/{'/'.join(parts)}/page.html"
        words, joined = set(re.split("[^a-zA-Z0-9]+", url)), re.sub("[^a-zA-Z0-9]+", "", url)
        expected = bool(words & set(banned)) or len(words & set(soft)) >= 2 or any(w in joined for w in subwords)
        drop = ours.judge(Document(text="", id="x", metadata={"url": url}))
        assert (drop is not None) == expected, (url, drop)
        reasons[drop.reason if drop else None] += 1
    assert len(reasons) == 4, reasons
