"""An HTTP server that misbehaves as it is told, and settings that do not wait long."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from data_pipeline.fetch import FetchConfig


@dataclass
class Server:
    """Serves `files`. Each request to a path first takes one behaviour off `behaviours[path]`, if any is left."""

    address: str
    files: dict[str, bytes] = field(default_factory=dict)
    behaviours: dict[str, list[str]] = field(default_factory=dict)
    """`503`, `429:2` (Retry-After: 2), `cut:100` (closes after so many body bytes), `short:100` (the same, and says so
    beforehand), `whole` (ignores the range), `etag`, `elsewhere` (another range than asked for), `stall`,
    `hold:0.1` (answers after so many seconds)."""
    always: dict[str, str] = field(default_factory=dict)
    """A behaviour of every request to a path."""
    requests: list[tuple[str, str | None]] = field(default_factory=list)
    """Path and Range header of each request."""
    at_once: int = 0
    most_at_once: int = 0
    times: list[float] = field(default_factory=list)

    def url(self, path: str) -> str:
        return f"{self.address}/{path}"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    state: Server
    counted = False
    lock = threading.Lock()

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        state, path = self.state, self.path.lstrip("/")
        with self.lock:
            state.requests.append((path, self.headers.get("Range")))
            state.times.append(time.monotonic())
            state.at_once += 1
            state.most_at_once = max(state.most_at_once, state.at_once)
            queue = state.behaviours.get(path, [])
            behaviour = queue.pop(0) if queue else state.always.get(path, "")
        self.counted = True
        try:
            self.answer(path, *behaviour.partition(":")[::2])
        finally:
            self.leave()

    def leave(self) -> None:
        """No longer at once: counted before the last bytes leave, for the client may go on before we do."""
        with self.lock:
            self.state.at_once -= self.counted
            self.counted = False

    def answer(self, path: str, behaviour: str, argument: str) -> None:
        if behaviour == "hold":
            time.sleep(float(argument))
        if behaviour.isdigit():
            headers = {"Retry-After": argument} if argument else {}
            return self.send(int(behaviour), headers, b"no")
        if path not in self.state.files:
            return self.send(404, {}, b"nothing here")
        data = self.state.files[path]
        headers = {"ETag": '"other"' if behaviour == "etag" else '"first"'}
        wanted = self.headers.get("Range")
        status = 200
        if wanted and behaviour != "whole":
            start, _, stop = wanted.removeprefix("bytes=").partition("-")
            first, last = int(start), min(int(stop), len(data) - 1)
            if first >= len(data):
                return self.send(416, {"Content-Range": f"bytes */{len(data)}"}, b"")
            if behaviour == "elsewhere":
                first += 1
            headers["Content-Range"] = f"bytes {first}-{last}/{len(data)}"
            data, status = data[first : last + 1], 206
        if behaviour == "short":
            data = data[: int(argument)]
        if behaviour == "stall":
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            time.sleep(float(argument))
            self.close_connection = True
            return None
        return self.send(status, headers, data, cut=int(argument) if behaviour == "cut" else None)

    def send(self, status: int, headers: dict[str, str], data: bytes, cut: int | None = None) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.leave()
        self.wfile.write(data[:cut])
        if cut is not None:
            self.wfile.flush()
            self.close_connection = True


@pytest.fixture
def server() -> Iterator[Server]:
    """A server on this machine with no files yet."""
    handler = type("OneHandler", (Handler,), {})
    http = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    http.daemon_threads = True
    http.handle_error = lambda *_: None  # clients hang up as they are meant to
    handler.state = Server(f"http://127.0.0.1:{http.server_port}")
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield handler.state
    http.shutdown()
    http.server_close()


@pytest.fixture
def fetch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FetchConfig:
    """Small blocks, short waits, and limits of this test alone."""
    (tmp_path / "shared").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "shared"))
    monkeypatch.setenv("TMPDIR", str(tmp_path / "shared"))  # for child processes
    return FetchConfig(
        requests_per_second=None, retries=4, first_wait_seconds=0.01, timeout_seconds=5, block_bytes=1 << 16
    )
