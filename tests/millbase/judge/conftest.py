"""A local OpenAI-compatible server that does what its script says: answers, refuses, is busy, talks nonsense."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

Script = Callable[[int, dict[str, Any]], tuple[int, dict[str, str], bytes]]
"""(number of the request from 0, its body) -> (status, headers, body)."""


def says(text: str) -> tuple[int, dict[str, str], bytes]:
    """A chat completion."""
    body = {"choices": [{"message": {"role": "assistant", "content": text}, "finish_reason": "stop"}]}
    return 200, {}, json.dumps(body).encode()


class FakeServer:
    """The server's address, its script, and the bodies of all requests in the order they came."""

    def __init__(self) -> None:
        self.script: Script = lambda number, body: says("Verdict: A")
        self.requests: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.stop_waiting = threading.Event()
        """Set at the end: a script that plays dead waits for it."""
        lock = threading.Lock()
        fake = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                with lock:
                    number = len(fake.requests)
                    fake.requests.append({"path": self.path, **body})
                    fake.keys.append(self.headers.get("authorization"))
                status, headers, content = fake.script(number, body)
                try:
                    self.send_response(status)
                    for name, value in {**headers, "content-length": str(len(content))}.items():
                        self.send_header(name, value)
                    self.end_headers()
                    self.wfile.write(content)
                except OSError:
                    pass  # the client gave up waiting

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/v1"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        self.stop_waiting.set()
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def server() -> Iterator[FakeServer]:
    fake = FakeServer()
    yield fake
    fake.close()
