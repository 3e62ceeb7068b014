"""The client against a server that misbehaves in each of the ways real ones do."""

from __future__ import annotations

import json
import socket
from typing import Any

import pytest

from millbase.errors import ConfigError, StageError
from millbase.judge.chat import CachedChat
from millbase.judge.config import ServerConfig
from millbase.judge.server import ServerChat

from .conftest import FakeServer, says


def chat(url: str, **changes: Any) -> ServerChat:
    settings = {"wait_seconds": 0.0, "attempts": 3, "concurrency": 4, "timeout_seconds": 60.0, **changes}
    return ServerChat(ServerConfig(url=url, model="judge", **settings))


def ask(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def test_replies_come_in_the_order_of_the_questions(server: FakeServer) -> None:
    server.script = lambda number, body: says("re " + body["messages"][0]["content"])
    replies = chat(server.url + "/").reply([ask(str(n)) for n in range(10)])
    assert [reply.text for reply in replies] == [f"re {n}" for n in range(10)]
    sent = server.requests[0]
    assert sent["path"] == "/v1/chat/completions"
    assert (sent["model"], sent["temperature"], sent["max_tokens"]) == ("judge", 0.0, 512)


def test_a_busy_server_is_asked_again(server: FakeServer) -> None:
    server.script = lambda number, body: (429, {"retry-after": "0"}, b"slow down") if number < 2 else says("fine")
    assert chat(server.url).reply([ask("x")])[0].text == "fine"
    assert len(server.requests) == 3


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ((503, {}, b"loading"), "status 503: loading"),
        ((200, {}, b"<html>gateway</html>"), "not a chat completion"),
        ((200, {}, json.dumps({"choices": []}).encode()), "not a chat completion"),
        ((200, {}, json.dumps({"choices": [{"text": "old"}]}).encode()), "not a chat completion"),
    ],
)
def test_one_that_stays_so_stops_the_stage(
    server: FakeServer, answer: tuple[int, dict[str, str], bytes], message: str
) -> None:
    server.script = lambda number, body: answer
    with pytest.raises(StageError, match=f"no usable answer after 3 attempts .*{message}"):
        chat(server.url).reply([ask("x")])
    assert len(server.requests) == 3


def test_a_server_that_is_down() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(StageError, match=r"ConnectError.*check the server"):
        chat(f"http://127.0.0.1:{port}/v1").reply([ask("x")])


def test_a_server_that_never_answers(server: FakeServer) -> None:
    def dead(number: int, body: dict[str, Any]) -> tuple[int, dict[str, str], bytes]:
        server.stop_waiting.wait()
        return says("too late")

    server.script = dead
    with pytest.raises(StageError, match=r"after 2 attempts .*ReadTimeout"):
        chat(server.url, timeout_seconds=0.2, attempts=2).reply([ask("x")])


def test_a_refused_request_costs_only_itself(server: FakeServer) -> None:
    def picky(number: int, body: dict[str, Any]) -> tuple[int, dict[str, str], bytes]:
        long = body["messages"][0]["content"] == "long"
        return (400, {}, b"maximum context length is 8") if long else says("fine")

    server.script = picky
    replies = chat(server.url).reply([ask("short"), ask("long"), ask("short too")])
    assert [reply.text for reply in replies] == ["fine", None, "fine"]
    assert replies[1].error == "refused with status 400: maximum context length is 8"


def test_an_empty_reply_is_none(server: FakeServer) -> None:
    server.script = lambda number, body: says("  ")
    assert chat(server.url).reply([ask("x")])[0].error == "empty reply (finish_reason 'stop')"


@pytest.mark.parametrize("status", [401, 404])
def test_a_wrong_key_or_address_is_told_at_once(server: FakeServer, status: int) -> None:
    server.script = lambda number, body: (status, {}, b"no")
    with pytest.raises(ConfigError, match=f"status {status}: no; check url, model and api_key_variable"):
        chat(server.url).reply([ask("x")])
    assert len(server.requests) == 1
    with pytest.raises(ConfigError, match="no address"):
        chat("ftp://nowhere").reply([ask("x")])


def test_the_key_comes_from_the_environment(server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("JUDGE_KEY", raising=False)
    with pytest.raises(ConfigError, match="'JUDGE_KEY', which is not set"):
        chat(server.url, api_key_variable="JUDGE_KEY")
    monkeypatch.setenv("JUDGE_KEY", "s3cret")
    made = chat(server.url, api_key_variable="JUDGE_KEY")
    made.reply([ask("x")])
    assert server.keys == ["Bearer s3cret"]
    assert "s3cret" not in made.identity


def test_requests_are_spaced(monkeypatch: pytest.MonkeyPatch, server: FakeServer) -> None:
    waited: list[float] = []
    monkeypatch.setattr("millbase.judge.server.time.sleep", waited.append)
    monkeypatch.setattr("millbase.judge.server.time.monotonic", lambda: 100.0)
    chat(server.url, requests_per_minute=30, concurrency=1).reply([ask(str(n)) for n in range(4)])
    assert waited == [0.0, 2.0, 4.0, 6.0]


def test_the_cache_asks_only_what_is_new(server: FakeServer, tmp_path: Any) -> None:
    refuse = {"now": True}

    def script(number: int, body: dict[str, Any]) -> tuple[int, dict[str, str], bytes]:
        text = body["messages"][0]["content"]
        return (422, {}, b"no") if text == "b" and refuse["now"] else says(f"re {text}")

    server.script = script
    first = CachedChat(chat(server.url), tmp_path)
    assert [reply.text for reply in first.reply([ask("a"), ask("b"), ask("a")])] == ["re a", None, "re a"]
    assert len(server.requests) == 2
    first.close()
    # what failed is asked again, what was answered is not, by another process as well
    refuse["now"] = False
    second = CachedChat(chat(server.url), tmp_path)
    assert [reply.text for reply in second.reply([ask("a"), ask("b"), ask("c")])] == ["re a", "re b", "re c"]
    assert (len(server.requests), second.hits, second.asked) == (4, 1, 2)
    # another temperature, or another model, is another judge
    third = CachedChat(chat(server.url, temperature=0.5), tmp_path)
    third.reply([ask("a")])
    assert third.asked == 1


def test_what_was_answered_before_the_server_died_is_kept(server: FakeServer, tmp_path: Any) -> None:
    server.script = lambda number, body: says("fine") if number < 64 else (500, {}, b"dead")
    questions = [ask(str(n)) for n in range(70)]
    cached = CachedChat(chat(server.url, attempts=1), tmp_path)
    with pytest.raises(StageError, match="the same command goes on from there"):
        cached.reply(questions)
    cached.close()
    server.script = lambda number, body: says("fine")
    again = CachedChat(chat(server.url), tmp_path)
    again.reply(questions)
    assert (again.hits, again.asked) == (64, 6)
