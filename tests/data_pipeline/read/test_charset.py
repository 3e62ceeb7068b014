"""Decoding against gold texts in legacy encodings, and the rules of precedence."""

import gzip
import html
import json
import re
import tarfile
from pathlib import Path

import pytest

from data_pipeline.read.charset import decode_html, python_codec

POLISH = "Zażółć gęślą jaźń, a w Szczebrzeszynie chrząszcz brzmi w trzcinie. " * 5


def page(charset: str) -> bytes:
    return f"<html><head><meta charset={charset}></head><body>".encode() + POLISH.encode(charset)


def test_declared_charsets_are_used() -> None:
    assert POLISH in decode_html(page("iso-8859-2"))[0]
    assert POLISH in decode_html(POLISH.encode("cp1250"), declared="windows-1250")[0]


def test_valid_utf8_wins_over_a_wrong_declaration() -> None:
    assert decode_html(POLISH.encode(), declared="iso-8859-1") == (POLISH, "utf-8")


def test_utf8_with_stray_bytes_stays_utf8() -> None:
    text, encoding = decode_html(POLISH.encode() + b" \xe9\xff " + POLISH.encode())
    assert encoding == "utf-8" and text.count(POLISH) == 2 and "\ufffd" in text


def test_a_declaration_that_does_not_fit_is_not_believed() -> None:
    text, _ = decode_html(POLISH.encode("iso-8859-2") * 4, declared="utf-8")
    assert "Zażółć gęślą jaźń" in text


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-8-sig"])
def test_wide_encodings_and_marks(encoding: str) -> None:
    text = "<html><body>" + "Ein Fluß, viele Bücher. " * 10
    assert decode_html(text.encode(encoding))[0] == text


def test_nothing_breaks_it() -> None:
    for data in (b"", b"\x00", b"\xff\xfe", bytes(range(256)) * 20, b"\x1b$B" + b"\x00" * 50):
        assert isinstance(decode_html(data, "no-such-charset")[0], str)


def test_labels_are_the_standards() -> None:
    assert python_codec("latin1") == "cp1252" and python_codec("GB2312") == "gb18030"
    assert python_codec("Shift_JIS") == "cp932" and python_codec("nonsense") is None


def test_gold_pages_in_legacy_encodings(real_data: Path) -> None:
    """157 files in 37 encodings; at most two of them may be decoded wrongly when nothing is declared."""
    with gzip.open(real_data / "nasty" / "chardet_gold.jsonl.gz", "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    with tarfile.open(real_data / "nasty" / "encodings.tar.gz") as archive:
        members = {name.split("encodings/", 1)[-1]: name for name in archive.getnames()}
        wrong = [row["file"] for row in rows if not decodes(archive.extractfile(members[row["file"]]).read(), row)]
    assert len(rows) == 157 and len(wrong) <= 2, wrong


def decodes(data: bytes, row: dict[str, str]) -> bool:
    ours, gold = (text.lstrip("\ufeff").replace("\r", "").strip() for text in (decode_html(data)[0], row["text"]))
    return ours[: len(gold)] == gold[: len(ours)]


def test_characters_of_japanese_vendors() -> None:
    """Circled numbers and the like stand in rows of EUC-JP that Python's codec lacks; browsers know them."""
    page = b"<meta charset=euc-jp>" + "日本語".encode("euc_jp") * 20 + b"\xad\xa1\xad\xb5\xfc\xf1 \xff\xa1"
    text, encoding = decode_html(page)
    assert encoding == "euc_jp" and text.endswith("日本語①Ⅰⅰ \ufffd\ufffd")


def test_browsers_tables_of_east_asian_encodings(real_data: Path) -> None:
    """Every character of the web platform's tests for declared Japanese and Chinese pages, but for a known few."""
    allowed = {"eucjp_chars": 9, "sjis_chars": 3, "iso2022jp_chars": 453, "big5_chars_extra": 104}
    seen = {}
    with tarfile.open(real_data / "nasty" / "wpt_encoding.tar.gz") as archive:
        for member in archive.getmembers():
            stem = Path(member.name).stem
            if stem in allowed and member.name.endswith(".html"):
                text, _ = decode_html(archive.extractfile(member).read())
                spans = re.findall(r'data-cp="([0-9A-F]+)"[^>]*>(.*?)</span>', text, re.DOTALL | re.IGNORECASE)
                seen[stem] = sum(html.unescape(shown) != chr(int(code, 16)) for code, shown in spans)
                assert len(spans) > 2000
    assert seen.keys() == allowed.keys() and all(seen[stem] <= allowed[stem] for stem in seen), seen
