"""The server engine against a local server that holds a real small model, and misbehaves on request."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import torch
from lm_eval.api.instance import Instance

from evaluation import EvaluationConfig
from evaluation.adapter import CheckpointLM
from evaluation.cache import AnswerCache
from evaluation.config import ServerConfig, TasksConfig
from evaluation.engines.server import ServerLM, continuation_score
from evaluation.generate import generate
from evaluation.task_files import prepare_tasks
from evaluation.tasks import run_tasks
from millbase.errors import ConfigError, StageError
from training.load import LoadedModel


class Served:
    """What the server does: answers of a model, after the faults that are in line."""

    def __init__(self, loaded: LoadedModel) -> None:
        self.loaded = loaded
        self.faults: list[Any] = []
        """Taken one by one: a status, `garbage`, `slow`, `hang up`, `no logprobs`."""
        self.requests: list[dict[str, Any]] = []
        self.most_at_once = self._now = 0
        self.pause = 0.0
        self.lock = threading.Lock()

    def __enter__(self) -> None:
        with self.lock:
            self._now += 1
            self.most_at_once = max(self.most_at_once, self._now)

    def __exit__(self, *_: object) -> None:
        with self.lock:
            self._now -= 1

    def completion(self, request: dict[str, Any]) -> dict[str, Any]:
        if request.get("echo"):
            return {"choices": [{"text": request["prompt"], "logprobs": self.log_probs(request["prompt"])}]}
        ids = self.loaded.tokenizer(request["prompt"], add_special_tokens=False)["input_ids"]
        return {"choices": [{"text": self.write(ids, request)}]}

    def chat(self, request: dict[str, Any]) -> dict[str, Any]:
        text = self.loaded.tokenizer.apply_chat_template(
            request["messages"], tokenize=False, add_generation_prompt=True
        )
        ids = self.loaded.tokenizer(text, add_special_tokens=False)["input_ids"]
        return {"choices": [{"message": {"role": "assistant", "content": self.write(ids, request)}}]}

    def write(self, ids: list[int], request: dict[str, Any]) -> str:
        with self.lock:
            (done,) = generate(
                self.loaded, [ids], max_new_tokens=request["max_tokens"], stop_strings=request.get("stop", ())
            )
        return done.text

    def log_probs(self, text: str) -> dict[str, Any]:
        """As vLLM answers: the first token has none, and one more token was generated after the prompt."""
        encoded = self.loaded.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        ids = encoded["input_ids"]
        with self.lock:
            rows = self.loaded.logits(torch.tensor([ids]))[0].log_softmax(-1)
        own = [None, *(float(rows[i, token]) for i, token in enumerate(ids[1:]))]
        best = [None, *({str(int(row.argmax())): float(row.max())} for row in rows[:-1])]
        return {
            "tokens": [*map(str, ids), "next"],
            "token_logprobs": [*own, -0.1],
            "top_logprobs": [*best, {"next": -0.1}],
            "text_offset": [*(start for start, _ in encoded["offset_mapping"]), len(text)],
        }


@pytest.fixture(scope="module")
def served(loaded: LoadedModel) -> Iterator[tuple[Served, str]]:
    state = Served(loaded)

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None: ...

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with state.lock:
                state.requests.append({"path": self.path, "key": self.headers.get("Authorization"), **body})
                fault = state.faults.pop(0) if state.faults else None
            with state:  # counted until just before the answer, after which the client may ask again
                time.sleep(state.pause)
            self.reply(body, fault)

        def reply(self, body: dict[str, Any], fault: Any) -> None:
            if fault == "hang up":
                self.connection.close()
                return
            if fault == "slow":
                time.sleep(3)
            answer = (state.chat if self.path.endswith("/chat/completions") else state.completion)(body)
            if fault == "no logprobs":
                answer["choices"][0].pop("logprobs", None)
            text = "<html>bad gateway" if fault == "garbage" else json.dumps(answer)
            if fault == "half an answer":
                text = json.dumps({"choices": []})
            self.send_response(fault if isinstance(fault, int) else 200)
            self.end_headers()
            try:
                self.wfile.write(text.encode())
            except OSError:  # the client has given up
                return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield state, f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()
    server.server_close()


@pytest.fixture
def state(served: tuple[Served, str]) -> Served:
    served[0].faults, served[0].requests, served[0].most_at_once, served[0].pause = [], [], 0, 0.0
    return served[0]


def client(served: tuple[Served, str], **changes: Any) -> ServerLM:
    settings = {"url": served[1], "wait_seconds": 0.01, "longest_wait_seconds": 0.05, "context": 96, **changes}
    return ServerLM(ServerConfig.model_validate(settings), "small")


def pairs(count: int = 4) -> list[Instance]:
    texts = [
        ("The capital of Zorland is", " Melk"),
        ("It lies", " by the river"),
        ("The capital of é", " à ü."),
        ("A", "B"),
    ]
    return [Instance("loglikelihood", {}, text, i) for i, text in enumerate(texts[:count])]


def test_log_likelihoods_are_those_of_the_model(served: Any, state: Served, loaded: LoadedModel) -> None:
    found = client(served).loglikelihood(pairs())
    expected = CheckpointLM(loaded).loglikelihood(pairs())
    for (a, a_greedy), (b, b_greedy) in zip(found, expected, strict=True):
        assert a == pytest.approx(b, abs=1e-4)
        assert a_greedy == b_greedy


@pytest.mark.parametrize("fault", [429, 500, 503, "garbage", "half an answer", "hang up", "slow"])
def test_what_passes_is_waited_for(fault: Any, served: Any, state: Served, loaded: LoadedModel) -> None:
    state.faults = [fault, fault]
    found = client(served, timeout_seconds=1.0 if fault == "slow" else 60.0).loglikelihood(pairs(1))
    assert found[0][0] == pytest.approx(CheckpointLM(loaded).loglikelihood(pairs(1))[0][0], abs=1e-4)
    assert len(state.requests) == 3


def test_what_does_not_pass_is_named(served: Any, state: Served) -> None:
    state.faults = [503] * 10
    with pytest.raises(StageError, match=r"no usable answer after 3 attempts \(last: status 503"):
        client(served, attempts=3).loglikelihood(pairs(1))
    assert len(state.requests) == 3
    state.faults = [404]
    with pytest.raises(ConfigError, match=r"refuses the request with status 404.*model's name"):
        client(served).loglikelihood(pairs(1))
    state.faults = ["no logprobs"]
    with pytest.raises(ConfigError, match="no log-probabilities of the prompt"):
        client(served).loglikelihood(pairs(1))
    with pytest.raises(StageError, match="ConnectError"):
        client(("", "http://127.0.0.1:9/v1"), attempts=2).loglikelihood(pairs(1))
    with pytest.raises(ConfigError, match="'NO_SUCH_KEY', which is not set"):
        client(served, api_key_variable="NO_SUCH_KEY")


def test_requests_run_at_once_and_not_more(served: Any, state: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    state.pause = 0.1
    monkeypatch.setenv("A_KEY", "secret")
    requests = [Instance("loglikelihood", {}, (f"The capital of {i}", " is"), i) for i in range(12)]
    lm = client(served, concurrency=3, api_key_variable="A_KEY")
    found = lm.loglikelihood(requests)
    assert 1 < state.most_at_once <= 3
    assert {request["key"] for request in state.requests} == {"Bearer secret"}
    alone = [client(served).loglikelihood([request])[0] for request in requests[:3]]
    assert [a for a, _ in found[:3]] == pytest.approx([a for a, _ in alone])  # in order, however they came back


@pytest.mark.parametrize("chat", [False, True])
def test_tasks_run_on_a_server(
    chat: bool, served: Any, state: Served, loaded: LoadedModel, web: Any, tmp_path: Any
) -> None:
    runs = [{"task": "answers", "limit": 4, "apply_chat_template": chat}, {"task": "facts_mc", "limit": 3}]
    config = TasksConfig.model_validate({"task_path": str(web / "tasks"), "run": runs})
    tasks = prepare_tasks(config, cache=tmp_path, seed=0, maximum_bad_share=0)
    cache = AnswerCache(tmp_path / "cache")
    lm = client(served)
    lm.cache = cache
    found = run_tasks(lm, tasks, seed=0, batch_size=4)
    expected = run_tasks(loaded, tasks, seed=0, batch_size=4)
    ours, theirs = (result.items["items/answers.jsonl"] for result in (found, expected))
    assert [item["response"] for item in ours] == [item["response"] for item in theirs]
    assert [score.value for score in found.scores] == [score.value for score in expected.scores]
    assert {request["path"] for request in state.requests} == {"/v1/completions"} | (
        {"/v1/chat/completions"} if chat else set()
    )
    before = len(state.requests)
    assert run_tasks(lm, tasks, seed=0, batch_size=4) == found
    assert len(state.requests) == before  # remembered


def test_log_probabilities_by_hand() -> None:
    found = {
        "tokens": ["A", " b", " c", "next"],
        "text_offset": [0, 1, 3, 5],
        "token_logprobs": [None, -1.0, -2.0, -9.0],
        "top_logprobs": [None, {" b": -1.0}, {" d": -0.5}, {}],
    }
    assert continuation_score(found, 1, 5, "x") == (-3.0, False)
    assert continuation_score(found, 1, 3, "x") == (-1.0, True)
    assert continuation_score(found, 0, 5, "x") == (-3.0, False)  # the first token has nothing before it
    with pytest.raises(ConfigError, match="cut the prompt"):
        continuation_score(found, 40, 50, "x")
    with pytest.raises(ValueError, match="token 1"):
        continuation_score({**found, "token_logprobs": [None, None, -2.0, None]}, 1, 5, "x")


def test_a_server_answers_tasks_alone() -> None:
    tasks = {"run": [{"task": "x"}]}
    EvaluationConfig.model_validate({"model": "m", "server": {"url": "http://x/v1"}, "tasks": tasks})
    with pytest.raises(ValueError, match="kl cannot be asked of a server"):
        EvaluationConfig.model_validate(
            {"model": "m", "server": {"url": "x"}, "tasks": tasks, "reference": "r", "kl": {"prompts": "p"}}
        )
    with pytest.raises(ValueError, match="megatron and server: give at most one"):
        EvaluationConfig.model_validate({"model": "m", "server": {"url": "x"}, "megatron": {}, "tasks": tasks})
