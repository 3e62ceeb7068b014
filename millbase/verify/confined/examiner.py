"""The process of the test: runs the test's code; what the program defined is reached over the wire.

The verdict is "passed" only when the test ran to its end in this process, where no line of the program ever runs.
"""

from __future__ import annotations

import builtins
import random
from typing import Any

from millbase.verify.confined.peer import GoneError, Peer, call, raised
from millbase.verify.confined.wire import WireError


class Remote:
    """Something that the program made and that is no plain data: a function, an object, an iterator.

    Two of them, or one and a value, are never equal here: their `__eq__` is the program's own word.
    """

    _millbase_remote = True

    def __init__(self, peer: Peer, number: int) -> None:
        object.__setattr__(self, "_peer", peer)
        object.__setattr__(self, "_number", number)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._peer.request("call", self._number, args, kwargs)

    def __getattr__(self, name: str) -> Any:
        return self._peer.request("attribute", self._number, (name,))

    def __setattr__(self, name: str, value: Any) -> None:
        self._peer.request("set", self._number, (name, value))

    def __iter__(self) -> Any:
        iterator = self._peer.request("iterate", self._number)
        while True:
            try:
                value = self._peer.request("next", iterator._number)
            except StopIteration:
                return
            yield value

    def __next__(self) -> Any:
        return self._peer.request("next", self._number)

    def __len__(self) -> int:
        return int(self._peer.request("length", self._number))

    def __bool__(self) -> bool:
        return True

    def __getitem__(self, key: Any) -> Any:
        return self._peer.request("item", self._number, (key,))

    def __str__(self) -> str:
        return str(self._peer.request("text", self._number))


class Names(dict[str, Any]):
    """The test's global names: its own, then those of the trusted prelude, Python's, the program's."""

    def __init__(self, peer: Peer, prelude: dict[str, Any]) -> None:
        super().__init__(__name__="test", __builtins__=builtins)
        self._peer, self._prelude = peer, prelude

    def __missing__(self, name: str) -> Any:
        if name in self._prelude:
            return self._prelude[name]
        if hasattr(builtins, name):
            return getattr(builtins, name)
        value = self[name] = self._peer.request("global", name)
        return value


def examine(job: dict[str, Any], read_fd: int, write_fd: int) -> dict[str, Any]:
    """Run a test against the program at the other end; returns the verdict and its reason."""
    peer = Peer(read_fd, write_fd, proxy=Remote)
    peer.serve = lambda message: _serve(peer, message)
    try:
        ready = peer.receive()
        if not isinstance(ready, dict) or "raised" in ready:
            name, text = (ready["raised"] if isinstance(ready, dict) else ("", "nonsense"))[:2]
            return _failed(f"the program does not run: {name}: {text}")
        _run_test(peer, job)
    except GoneError:
        return {**_failed("the program ended before the test did"), "gone": True}
    except WireError as error:
        return _failed(f"the program answered what is no value: {error}")
    except BaseException as error:
        return _failed(_describe(error))
    if peer.requests == 0:
        return _failed("the test never looked at the program: nothing was tested")
    return {"verdict": "passed", "reason": ""}


def _run_test(peer: Peer, job: dict[str, Any]) -> None:
    prelude: dict[str, Any] = {"__name__": "prelude"}
    exec(compile(job["prelude"], "prelude.py", "exec", dont_inherit=True), prelude)
    names = Names(peer, prelude)
    for name in job["names"]:
        names[name] = peer.request("global", name)
    random.seed(0)  # a test that draws its cases draws the same ones each time
    exec(compile(job["test"], "test.py", "exec", dont_inherit=True), names)


def _serve(peer: Peer, message: dict[str, Any]) -> dict[str, Any]:
    """The program may call what it was handed, and nothing else."""
    try:
        function = peer.objects[message["target"]]
        if message["op"] != "call" or not callable(function):
            return {"raised": ["TypeError", "only functions that were handed over can be called"]}
        return call(peer, message, function)
    except Exception as error:
        return raised(error)


def _failed(reason: str) -> dict[str, Any]:
    return {"verdict": "failed", "reason": str(reason)[:2000]}


def _describe(error: BaseException) -> str:
    """Where in the test it failed, and how."""
    line = 0
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == "test.py":
            line = trace.tb_lineno
        trace = trace.tb_next
    return f"{type(error).__name__}{f' in line {line} of the test' if line else ''}: {error}"
