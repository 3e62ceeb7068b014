"""The process of the tested program: runs it, then answers the test's requests about what it defined."""

from __future__ import annotations

import os
import sys
from types import ModuleType
from typing import Any

from millbase.verify.confined.peer import GoneError, Peer, call, raised


class Callback:
    """A function of the test that was handed to the program."""

    _millbase_remote = True

    def __init__(self, peer: Peer, number: int) -> None:
        self._peer, self._number = peer, number

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._peer.request("call", self._number, args, kwargs)


def run(source: str, name: str) -> ModuleType:
    """Execute a program as the module `name`."""
    module = ModuleType(name)
    sys.modules[name] = module
    sys.argv = ["program.py"]
    exec(compile(source, "program.py", "exec", dont_inherit=True), module.__dict__)
    return module


def serve(source: str, read_fd: int, write_fd: int) -> None:
    """Run the program and answer until the test ends."""
    peer = Peer(read_fd, write_fd, proxy=Callback)
    try:
        module = run(source, "program")
    except BaseException as error:
        peer.send(raised(error))
        return
    peer.serve = lambda message: _answer(peer, module, message)
    peer.send({"value": True})
    while True:
        try:
            peer.send(peer.serve(peer.receive()))
        except GoneError:
            return


def _answer(peer: Peer, module: ModuleType, message: dict[str, Any]) -> dict[str, Any]:
    try:
        op, target = message["op"], message["target"]
        if op == "global":
            if target not in module.__dict__:
                return {"raised": ["NameError", f"the program defines no {target!r}"]}
            return {"value": peer.encode(module.__dict__[target])}
        subject = peer.objects[target]
        if op == "call":
            return call(peer, message, subject)
        args = peer.decode(message["args"])
        return {"value": peer.encode(_OPERATIONS[op](subject, *args))}
    except BaseException as error:
        return raised(error)
    finally:
        sys.stdout.flush()


_OPERATIONS: dict[str, Any] = {
    "attribute": getattr,
    "set": setattr,
    "iterate": iter,
    "next": next,
    "length": len,
    "item": lambda subject, key: subject[key],
    "text": str,
}


def run_alone(source: str) -> int:
    """Run a program as a script; returns its exit status."""
    try:
        run(source, "__main__")
        status = 0
    except SystemExit as error:
        status = _exit_status(error.code)
    except BaseException:
        import traceback

        traceback.print_exc()
        status = 1
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            status = status or 120  # as Python itself does
    return status


def _exit_status(code: Any) -> int:
    if code is None:
        return 0
    if isinstance(code, int):
        return code & 0xFF
    os.write(2, f"{code}\n".encode(errors="replace"))
    return 1
