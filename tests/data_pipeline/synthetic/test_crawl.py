"""The WARC files and their truth, read with two independent libraries."""

import html
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from fastwarc.warc import ArchiveIterator as FastIterator
from fastwarc.warc import WarcRecordType
from warcio.archiveiterator import ArchiveIterator

from data_pipeline.synthetic import SyntheticWebConfig
from data_pipeline.synthetic.pages.copies import jaccard
from data_pipeline.synthetic.pages.page import EXPECTED_STEP
from data_pipeline.synthetic.pages.plan import count_kinds

Rows = list[dict[str, Any]]

STEPS = {None, "url", "read", "extract", "language", "heuristics", "quality", "dedup"}


@pytest.fixture(scope="module")
def responses(small_web: Path) -> dict[str, dict[str, Any]]:
    """URL -> status, headers, body, file of every response record, by warcio."""
    found: dict[str, dict[str, Any]] = {}
    for path in sorted(small_web.glob("crawl/*/*.warc.gz")):
        with path.open("rb") as stream:
            for record in ArchiveIterator(stream, check_digests="raise"):
                if record.rec_type == "response":
                    url = record.rec_headers.get_header("WARC-Target-URI")
                    assert url not in found, f"{url} was crawled twice"
                    found[url] = {
                        "status": record.http_headers.get_statuscode(),
                        "type": record.http_headers.get_header("Content-Type"),
                        "location": record.http_headers.get_header("Location"),
                        "id": record.rec_headers.get_header("WARC-Record-ID"),
                        "body": record.content_stream().read(),
                        "file": str(path.relative_to(small_web)),
                    }
    return found


def test_truth_covers_every_response(responses: dict[str, Any], truth: Rows, small_config: SyntheticWebConfig) -> None:
    assert len(truth) == small_config.pages
    assert {row["url"]: row["warc_file"] for row in truth} == {url: r["file"] for url, r in responses.items()}
    assert Counter(row["kind"] for row in truth) == {
        k: n for k, n in count_kinds(small_config.weights, small_config.pages).items() if n
    }
    assert {row["expected_step"] for row in truth} == STEPS
    assert {row["source"] for row in truth} == {"encyclopedia", "web"}
    assert all(row["warc_file"].startswith(f"crawl/{row['source']}/") for row in truth)


def test_record_ids_are_unique(responses: dict[str, Any]) -> None:
    ids = {response["id"] for response in responses.values()}
    assert len(ids) == len(responses)
    assert all(
        re.fullmatch(r"<urn:uuid:[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}>", i) for i in ids
    )


def test_fastwarc_reads_the_same_bodies(small_web: Path, responses: dict[str, Any]) -> None:
    seen = 0
    for path in sorted(small_web.glob("crawl/*/*.warc.gz")):
        for record in FastIterator(path.open("rb"), record_types=WarcRecordType.response):
            assert record.reader.read() == responses[record.headers["WARC-Target-URI"]]["body"]
            seen += 1
        for record in FastIterator(path.open("rb"), parse_http=False):
            assert record.record_type == WarcRecordType.warcinfo or record.verify_block_digest()
    assert seen == len(responses)


def test_half_of_the_pages_are_good_english(truth: Rows) -> None:
    good = [row for row in truth if row["expected_step"] is None]
    assert 0.45 <= len(good) / len(truth) <= 0.52
    assert all(row["language"] == "en" and row["text"] for row in good)


def test_pages_that_are_none(responses: dict[str, Any], truth: Rows) -> None:
    for row in truth:
        response = responses[row["url"]]
        match row["kind"]:
            case "redirect":
                assert response["status"] in ("301", "302") and response["location"].startswith("https://")
            case "not_found":
                assert response["status"] == "404"
            case "pdf":
                assert response["body"].startswith(b"%PDF-")
            case "image":
                assert response["body"].startswith(b"\x89PNG")
            case "empty":
                assert response["body"] == b""
            case _:
                assert response["status"] == "200" and response["body"] and response["type"].startswith("text/html")


def test_blocked_hosts_are_listed(small_web: Path, truth: Rows) -> None:
    blocked = (small_web / "blocked_domains.txt").read_text().split()
    for row in truth:
        host = row["url"].split("/")[2]
        listed = any(host == domain or host.endswith(f".{domain}") for domain in blocked)
        assert listed == (row["kind"] == "blocked"), row["url"]


def test_bodies_decode_to_the_gold_text(responses: dict[str, Any], truth: Rows) -> None:
    checked = Counter[tuple[str, str]]()
    for row in truth:
        # program code and lists of links hold their lines in other elements
        if row["charset"] is None or row["kind"] == "link_list":
            continue
        body = responses[row["url"]]["body"]
        if row["declared"] == "bom":
            assert body[:2] in (b"\xff\xfe", b"\xef\xbb")
        label = row["charset"].replace("cp932", "shift_jis").encode()
        assert (label in body[:600]) == (row["declared"] == "meta")
        page = body.decode("utf-8-sig" if row["charset"] == "utf-8" else row["charset"])
        plain = _words(html.unescape(re.sub(r"(?s)<script.*?</script>|<style.*?</style>|<[^>]*>", " ", page)))
        missing = [line for line in row["text"].split("\n") if _words(line) not in plain]
        broken = row["kind"] == "broken_html"
        assert len(missing) <= (1 if broken else 0), (row["url"], missing[:1])
        checked[row["charset"], row["declared"]] += 1
    assert len(checked) >= 10, checked


def _words(text: str) -> str:
    return " ".join(re.findall(r"\w+", text))


def test_copies_name_their_original_and_their_similarity(truth: Rows) -> None:
    by_url = {row["url"]: row for row in truth}
    copies = [row for row in truth if row["expected_step"] == "dedup"]
    assert len(copies) >= 15
    for row in copies:
        original = by_url[row["near_duplicate_of"]]
        assert original["kind"] == "article" and original["dedup_group"] == row["dedup_group"]
        assert row["similarity"] == pytest.approx(jaccard(row["text"], original["text"]), abs=1e-4)
        assert row["similarity"] == 1 if row["kind"] == "mirror" else 0.85 < row["similarity"] < 1
        assert row["url"].split("/")[2] != original["url"].split("/")[2]
    grouped = {row["dedup_group"] for row in truth if row["kind"] == "article"} - {None}
    assert grouped == {row["dedup_group"] for row in copies}


def test_every_kind_has_an_expected_step(small_config: SyntheticWebConfig) -> None:
    assert set(EXPECTED_STEP) == set(small_config.weights.to_dict())
