"""Starts one sandbox, reads what it writes within bounds, ends it in time, and says what happened."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import shutil
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from millbase.errors import StageError
from millbase.verify.sandbox.config import Check, Mechanism, Outcome, SandboxConfig, Status
from millbase.verify.sandbox.job import ENVIRONMENT, THREADS, command, write_job

_REPORT_BYTES = 1 << 16
_WATCH_SECONDS = 0.02
"""How often the folder of a sandbox without a file system of its own is measured."""
_ENTRY_BYTES = 512


class RefusedError(StageError):
    """The kernel, or the container's settings, refused what the mechanism needs."""


@dataclass
class _Streams:
    """What was read so far."""

    stdout: bytearray = field(default_factory=bytearray)
    stderr: bytearray = field(default_factory=bytearray)
    report: bytearray = field(default_factory=bytearray)


def run_in(mechanism: Mechanism, config: SandboxConfig, program: str, check: Check | None, stdin: str = "") -> Outcome:
    """Run a program, or a check of it, confined by a mechanism. RefusedError when it cannot be set up here."""
    place = Path(tempfile.mkdtemp(prefix="llmill-sandbox-"))
    try:
        write_job(place, config, mechanism, check, program, stdin)
        return _run(place, config, mechanism, check is not None)
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _run(place: Path, config: SandboxConfig, mechanism: Mechanism, is_check: bool) -> Outcome:
    started = time.monotonic()
    streams = _Streams()
    process, report_fd = _start(place, config, mechanism)
    watched = place / "box" if mechanism in ("landlock", "none") else None
    try:
        limit = _read_until_end(process, report_fd, streams, config, started + config.wall_seconds, watched)
    finally:
        _kill(process)
        os.close(report_fd)
    seconds = time.monotonic() - started
    report = _parse(streams.report)
    limit = limit or report.get("limit")
    if limit is None and ("refused" in report or not report):
        why = report.get("refused") or streams.stderr.decode(errors="replace").strip()[-300:]
        raise RefusedError(f"sandbox mechanism {mechanism!r} cannot be set up here: {why or 'it ended at once'}")
    status, code = (limit, None) if limit else _status(report, is_check, config)
    return Outcome(
        status=status,
        exit_code=code,
        stdout=streams.stdout[: config.output_bytes].decode(errors="replace"),
        stderr=streams.stderr[: config.output_bytes].decode(errors="replace"),
        seconds=round(seconds, 4),
        reason=str(report.get("reason", "")) if not limit else f"stopped at the limit of {limit}",
        mechanism=mechanism,
    )


def _start(place: Path, config: SandboxConfig, mechanism: Mechanism) -> tuple[subprocess.Popen[bytes], int]:
    """The sandbox's process, and the file descriptor to read its report from."""
    files = [os.open(place / name, os.O_RDONLY) for name in ("job", "test", "stdin")]
    report_fd, report_write = os.pipe()
    try:
        process = subprocess.Popen(
            command(config, mechanism, shutil.which("bwrap"), (files[0], files[1], report_write)),
            stdin=files[2],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=(files[0], files[1], report_write),
            env={**ENVIRONMENT, **THREADS},
            cwd="/",
            start_new_session=True,  # one group, which can be killed as a whole; nobody inside may leave it
        )
    except OSError as error:
        os.close(report_fd)
        raise RefusedError(f"sandbox mechanism {mechanism!r} cannot be started: {error}") from None
    finally:
        for fd in (*files, report_write):
            os.close(fd)
    return process, report_fd


def _read_until_end(
    process: subprocess.Popen[bytes],
    report_fd: int,
    streams: _Streams,
    config: SandboxConfig,
    deadline: float,
    watched: Path | None,
) -> Status | None:
    """Read until the report is complete and both outputs end, or a limit is met, which is returned."""
    assert process.stdout is not None and process.stderr is not None
    bounds = {id(streams.report): _REPORT_BYTES}
    with selectors.DefaultSelector() as selector:
        for fd, target in (
            (process.stdout.fileno(), streams.stdout),
            (process.stderr.fileno(), streams.stderr),
            (report_fd, streams.report),
        ):
            selector.register(fd, selectors.EVENT_READ, target)
        while selector.get_map():
            left = deadline - time.monotonic()
            if left <= 0:
                return "timeout"
            for key, _ in selector.select(min(left, _WATCH_SECONDS) if watched else left):
                data = os.read(key.fd, 1 << 16)
                if not data:
                    selector.unregister(key.fd)
                    if key.fd == report_fd:
                        _kill_group(process)  # all was said; whoever still holds the outputs has no business left
                    continue
                key.data.extend(data)
                if len(key.data) > bounds.get(id(key.data), config.output_bytes):
                    return "output"
            if watched and _size(watched) > config.disk_bytes:
                return "disk"
    return None


def _size(folder: Path) -> int:
    """Bytes below a folder, an entry at least counting as a few hundred."""
    total = 0
    for root, folders, files in os.walk(folder):
        total += _ENTRY_BYTES * len(folders)
        for name in files:
            try:
                total += max(_ENTRY_BYTES, os.lstat(os.path.join(root, name)).st_size)
            except OSError:
                continue
    return total


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End every process of the sandbox: the group, and through its first process all in its namespaces."""
    _kill_group(process)
    process.kill()
    process.wait()
    for stream in (process.stdout, process.stderr):
        if stream is not None:
            stream.close()


def _parse(report: bytearray) -> dict[str, Any]:
    try:
        value = json.loads(bytes(report))
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _status(report: dict[str, Any], is_check: bool, config: SandboxConfig) -> tuple[Status, int | None]:
    """Status and exit code from the report of the sandbox's process."""
    if "status" not in report:
        return ("passed" if report.get("verdict") == "passed" else "failed"), None
    code = os.waitstatus_to_exitcode(report["status"])
    if code < 0:
        # the kernel looks at the clock now and then only; nothing else inside could have sent this signal
        spent = report["cpu"] >= 0.8 * config.cpu_seconds and -code in (signal.SIGKILL, signal.SIGXCPU)
        return ("cpu" if spent else "crashed"), code
    if is_check:
        return "failed", code
    return ("ok" if code == 0 else "error"), code
