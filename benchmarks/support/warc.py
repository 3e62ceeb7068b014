"""WARC files for benchmarks: samples of real ones, and a page that every filter keeps."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path

from fastwarc.warc import ArchiveIterator, WarcRecordType

_PARAGRAPHS = (
    "The lighthouse on the northern cape was built when the harbour still took in more than two hundred ships a year. "
    "Its keeper lived with his family in the low house behind the tower, and kept a garden between the walls.",
    "Every evening he carried oil up the ninety steps to the lamp. In winter the wind was so strong that he tied the "
    "can to his belt, because a spilled can meant that he had to go down again and begin anew.",
    "The children of the cape went to school in the village, which was an hour's walk away along the cliffs. When "
    "there was fog, their mother rang the bell of the tower so that they could find the path home.",
    "Electric light came to the tower long after it had come to the town. The last keeper stayed on for a few years to "
    "look after the machine, and then moved to his daughter's house, from where he could see the light at night.",
)


def sample_pages(files: list[Path], folder: Path, parts: int | None = None, pages: int | None = None) -> int:
    """Put the WARC `files` into `folder`, as links, or with `pages` about so many of their response records, evenly
    spread, into `parts` files; the number of response records."""
    folder.mkdir(parents=True)
    if pages is None or parts is None:
        for file in files:
            (folder / file.name).symlink_to(file.resolve())
        return sum(1 for file in files for _ in response_members(file))
    members = [(file, start, end) for file in files for start, end in response_members(file)]
    chosen = [members[number * len(members) // pages] for number in range(min(pages, len(members)))]
    outputs = [open(folder / f"part-{part}.warc.gz", "wb") for part in range(parts)]
    for number, (file, start, end) in enumerate(chosen):
        with open(file, "rb") as source:
            source.seek(start)
            outputs[number % parts].write(source.read(end - start))
    for output in outputs:
        output.close()
    return len(chosen)


def response_members(file: Path) -> Iterator[tuple[int, int]]:
    """First byte and end of every gzip member that holds a response record."""
    with open(file, "rb") as stream:
        records = [(r.stream_pos, r.record_type) for r in ArchiveIterator(stream, parse_http=False)]
    ends = [start for start, _ in records[1:]] + [file.stat().st_size]
    for (start, kind), end in zip(records, ends, strict=True):
        if kind == WarcRecordType.response:
            yield start, end


def write_start_pages(folder: Path, parts: int) -> None:
    """`parts` WARC files of one page each, which passes every filter."""
    folder.mkdir(parents=True)
    body = "".join(f"<p>{paragraph}</p>\n" for paragraph in _PARAGRAPHS)
    html = (
        f"<!DOCTYPE html><html><head><title>The lighthouse</title></head><body><article>{body}</article></body></html>"
    )
    http = f"HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\n\r\n{html}".encode()
    for part in range(parts):
        head = (
            "WARC/1.0\r\nWARC-Type: response\r\n"
            f"WARC-Record-ID: <urn:uuid:00000000-0000-0000-0000-{part:012d}>\r\n"
            f"WARC-Target-URI: https://lighthouse.example/{part}\r\nWARC-Date: 2025-01-01T00:00:00Z\r\n"
            f"Content-Type: application/http; msgtype=response\r\nContent-Length: {len(http)}\r\n\r\n"
        )
        (folder / f"start-{part}.warc.gz").write_bytes(gzip.compress(head.encode() + http + b"\r\n\r\n", mtime=0))
