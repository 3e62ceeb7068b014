"""Two processes that call each other: the test calls the program's functions, the program calls what it was handed.

Each side keeps its objects and hands out numbers. A request is `{"op", "target", "args", "kwargs"}`, a reply
`{"value", "changed"?}` or `{"raised": [name, text]}`; while one side waits for a reply it answers requests.
"""

from __future__ import annotations

import builtins
import os
import struct
from collections.abc import Callable
from typing import Any

from millbase.verify.confined.wire import WireError, decode, dump, encode, load

MAXIMUM_MESSAGE = 64 << 20
_MUTABLE = (list, dict, set, bytearray)


class GoneError(Exception):
    """The other process ended."""


class ProgramError(Exception):
    """The other side raised something that is no built-in exception."""


class Peer:
    """One end of the pair of pipes."""

    def __init__(self, read_fd: int, write_fd: int, *, proxy: Callable[[Peer, int], Any]) -> None:
        self._read_fd, self._write_fd = read_fd, write_fd
        self._proxy = proxy
        self._numbers: dict[int, int] = {}
        self.objects: list[Any] = []
        """What the other side may name by its number."""
        self.requests = 0
        self.serve: Callable[[dict[str, Any]], dict[str, Any]] = lambda message: {"raised": ["TypeError", "refused"]}

    def request(
        self, op: str, target: Any = None, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Ask the other side; returns its value or raises what it raised. Arguments it changed in place change here."""
        self.requests += 1
        message = {"op": op, "target": target, "args": self.encode(list(args)), "kwargs": self.encode(kwargs or {})}
        self.send(message)
        while True:
            reply = self.receive()
            if not isinstance(reply, dict):
                raise WireError("not a message")
            if "op" in reply:
                self.send(self.serve(reply))
                continue
            if "raised" in reply:
                raise _exception(reply["raised"])
            for position, value in reply.get("changed") or []:
                _replace(args[position], self.decode(value))
            return self.decode(reply.get("value"))

    def encode(self, value: Any) -> Any:
        """As JSON data; objects that are no plain data by number."""
        return encode(value, self._refer)

    def decode(self, data: Any) -> Any:
        """A value from JSON data."""
        return decode(data, self._resolve)

    def _refer(self, value: Any) -> list[Any]:
        number = getattr(type(value), "_millbase_remote", False) and value._number
        if number is not False:
            return ["theirs", number]
        if id(value) not in self._numbers:
            self._numbers[id(value)] = len(self.objects)
            self.objects.append(value)
        return ["own", self._numbers[id(value)]]

    def _resolve(self, whose: str, number: int) -> Any:
        if whose == "own":  # the sender's
            return self._proxy(self, number)
        if not 0 <= number < len(self.objects):
            raise WireError(f"no object {number}")
        return self.objects[number]

    def send(self, message: Any) -> None:
        """Write one message."""
        data = dump(message)
        data = struct.pack("I", len(data)) + data
        try:
            while data:
                data = data[os.write(self._write_fd, data) :]
        except BrokenPipeError:
            raise GoneError("the program ended") from None

    def receive(self) -> Any:
        """Read one message. GoneError at the end of the stream."""
        (size,) = struct.unpack("I", self._exactly(4))
        if size > MAXIMUM_MESSAGE:
            raise WireError(f"a value of {size:,} bytes; at most {MAXIMUM_MESSAGE:,} can be compared")
        return load(self._exactly(size))

    def _exactly(self, size: int) -> bytes:
        parts = []
        while size:
            part = os.read(self._read_fd, min(size, 1 << 20))
            if not part:
                raise GoneError("the program ended")
            parts.append(part)
            size -= len(part)
        return b"".join(parts)


def call(peer: Peer, message: dict[str, Any], function: Any) -> dict[str, Any]:
    """Answer a call: the value, and the arguments that changed in place."""
    args, kwargs = peer.decode(message["args"]), peer.decode(message["kwargs"])
    before = [encoded if isinstance(value, _MUTABLE) else None for encoded, value in zip(message["args"][1:], args)]
    value = peer.encode(function(*args, **kwargs))
    changed = []
    for position, (old, now) in enumerate(zip(before, args)):
        if old is not None and (new := peer.encode(now)) != old:
            changed.append([position, new])
    return {"value": value, "changed": changed}


def raised(error: BaseException) -> dict[str, Any]:
    """An exception as a reply."""
    try:
        text = str(error)
    except Exception:
        text = ""
    return {"raised": [type(error).__name__, text[:2000]]}


def _exception(parts: Any) -> Exception:
    """The exception to raise here: a built-in one of that name, never one that would end the process."""
    if not (isinstance(parts, list) and len(parts) == 2):
        raise WireError("not an exception")
    name, text = str(parts[0]), str(parts[1])
    kind = getattr(builtins, name, None)
    if isinstance(kind, type) and issubclass(kind, Exception) and kind is not AssertionError:
        try:
            return kind(text)
        except Exception:  # some take more arguments
            pass
    return ProgramError(f"{name}: {text}")


def _replace(mine: Any, new: Any) -> None:
    if type(mine) is not type(new):
        raise WireError("an argument changed its type")
    if isinstance(mine, (list, bytearray)):
        mine[:] = new
    elif isinstance(mine, (dict, set)):
        mine.clear()
        mine.update(new)
