"""Reading from a server that refuses, breaks off, ignores ranges and changes its files."""

from __future__ import annotations

import random
import socket
import time

import pytest

from data_pipeline.fetch import FetchConfig, input_size, open_input
from data_pipeline.fetch.retry import parse_retry_after
from millbase.errors import InputError

DATA = random.Random(5).randbytes(300_000)


def read(server, fetch: FetchConfig) -> bytes:
    with open_input(server.url("file"), fetch) as file:
        return file.read()


def fails(server, fetch: FetchConfig, *words: str) -> str:
    with pytest.raises(InputError) as caught:
        read(server, fetch)
    message = str(caught.value)
    assert "\n" not in message and server.url("file") in message and all(word in message for word in words), message
    return message


def test_blocks_cover_the_file_and_each_is_fetched_once(server, fetch: FetchConfig) -> None:
    server.files["file"] = DATA
    assert read(server, fetch) == DATA
    assert [r for _, r in server.requests] == [f"bytes={n}-{n + 65535}" for n in range(0, 262144, 65536)] + [
        "bytes=262144-299999"
    ]


def test_seeking_reads_only_what_is_needed(server, fetch: FetchConfig) -> None:
    server.files["file"] = DATA
    with open_input(server.url("file"), fetch) as file:
        assert file.seek(0, 2) == len(DATA)
        file.seek(200_000)
        assert file.read(50) == DATA[200_000:200_050]
        file.seek(100)
        assert file.read(50) == DATA[100:150]
    assert len(server.requests) == 2


@pytest.mark.parametrize("status", ["403", "429", "503", "500", "429:0"])
def test_refusals_are_waited_out(server, fetch: FetchConfig, status: str) -> None:
    server.files["file"] = DATA
    server.behaviours["file"] = [status, status, "", status]
    assert read(server, fetch) == DATA
    assert len(server.requests) == 5 + 3


def test_retry_after_is_honoured(server, fetch: FetchConfig) -> None:
    server.files["file"] = DATA[:100]
    server.behaviours["file"] = ["503:1"]
    assert read(server, fetch) == DATA[:100]
    assert server.times[1] - server.times[0] >= 1.0


def test_a_longer_wait_than_allowed_ends_it_at_once(server, fetch: FetchConfig) -> None:
    server.always["file"] = "429:3000"
    fails(server, fetch, "HTTP 429", "1 attempt", "after 3000 s", "max_wait_seconds")
    assert len(server.requests) == 1


def test_lasting_refusal_names_status_attempts_and_fix(server, fetch: FetchConfig) -> None:
    server.always["file"] = "403"
    fails(server, fetch, "HTTP 403", "5 attempts", "read.fetch.requests_per_second")
    assert len(server.requests) == 5


def test_dropped_connections_go_on_at_the_byte_reached(server, fetch: FetchConfig) -> None:
    server.files["file"] = DATA[:60_000]
    server.behaviours["file"] = ["cut:20000", "cut:30000", "short:9000"]
    assert read(server, fetch) == DATA[:60_000]
    assert [r for _, r in server.requests] == [f"bytes={n}-65535" for n in (0, 20000, 50000, 59000)]


def test_progress_starts_the_count_of_attempts_again(server, fetch: FetchConfig) -> None:
    server.files["file"] = DATA[:60_000]
    server.always["file"] = "cut:5000"  # 12 broken transfers, more than the 4 retries
    assert read(server, fetch) == DATA[:60_000]
    assert len(server.requests) == 12


def test_transfers_that_bring_nothing_are_given_up(server, fetch: FetchConfig) -> None:
    server.files["file"] = DATA
    server.always["file"] = "cut:0"
    fails(server, fetch, "the transfer failed", "5 attempts", "read.fetch.retries")


def test_silence_is_a_failed_attempt(server, fetch: FetchConfig) -> None:
    server.files["file"] = DATA[:1000]
    server.behaviours["file"] = ["stall:100"]
    started = time.monotonic()
    assert read(server, fetch.model_copy(update={"timeout_seconds": 0.3})) == DATA[:1000]
    assert time.monotonic() - started < 60


@pytest.mark.parametrize("first", ["", "cut:1000"])
def test_a_server_without_ranges_has_its_file_copied(server, fetch: FetchConfig, first: str) -> None:
    server.files["file"] = DATA
    server.always["file"] = "whole"
    server.behaviours["file"] = ["whole", first] if first else []
    with open_input(server.url("file"), fetch) as file:
        assert file.seek(0, 2) == len(DATA)
        file.seek(1000)
        assert file.read() == DATA[1000:]
    assert len(server.requests) == (3 if first else 2)


def test_a_range_ignored_once_is_asked_for_again(server, fetch: FetchConfig) -> None:
    server.files["file"] = DATA
    server.behaviours["file"] = ["", "whole", "elsewhere"]
    assert read(server, fetch) == DATA


def test_a_file_that_changes_meanwhile_is_an_error(server, fetch: FetchConfig) -> None:
    server.files["file"] = DATA
    server.behaviours["file"] = ["", "", "etag"]
    fails(server, fetch, "changed while it was read", '"other"', "start the same command again")


def test_wrong_addresses(server, fetch: FetchConfig) -> None:
    fails(server, fetch, "does not exist (HTTP 404")
    server.always["file"] = "401"
    fails(server, fetch, "needs a login (HTTP 401")
    server.always["file"] = "400"
    fails(server, fetch, "HTTP 400", "check the address")
    assert len(server.requests) == 3


def test_empty_file_and_sizes(server, fetch: FetchConfig) -> None:
    server.files["file"] = b""
    assert read(server, fetch) == b"" and input_size(server.url("file"), fetch) == 0
    server.files["file"] = DATA
    assert input_size(server.url("file"), fetch) == len(DATA)
    server.always["file"] = "whole"
    assert input_size(server.url("file"), fetch) == len(DATA)


def test_nobody_there(fetch: FetchConfig) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/file"
        with pytest.raises(InputError, match=r"cannot be fetched: no connection.*3 attempts.*check the address"):
            input_size(url, fetch)
        with pytest.raises(InputError, match="5 attempts"):
            open_input(url, fetch)
    with pytest.raises(InputError, match=r"no-such-host\.invalid.*no connection"):
        input_size("https://no-such-host.invalid/file", fetch)


def test_retry_after_in_both_forms() -> None:
    assert parse_retry_after("7") == 7.0
    assert parse_retry_after("Wed, 21 Oct 2015 07:28:00 GMT") == 0.0
    assert parse_retry_after("soon") is None and parse_retry_after(None) is None
