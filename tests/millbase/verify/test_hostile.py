"""Programs that mean harm: each is contained, scores nothing, and the next one is judged as ever."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from millbase.errors import ConfigError
from millbase.verify.sandbox import Check, Outcome, SandboxConfig, check_solution, run_many, run_program
from tests.millbase.verify.forgeries import FORGERIES

TEST = "assert solve(3) == 9\nassert solve(4) == 16\n"
GOOD = "def solve(x):\n    return x * x\n"


def harm(config: SandboxConfig, program: str, **changes: object) -> Outcome:
    """Outcome of a check of the program, and proof that a right one still passes afterwards."""
    outcome = check_solution(program, TEST, config.model_copy(update=changes))
    assert check_solution(GOOD, TEST, config).passed, "the next program must be judged as ever"
    return outcome


@pytest.mark.parametrize("name", FORGERIES)
def test_a_verdict_cannot_be_forged(sandbox: SandboxConfig, name: str) -> None:
    outcome = check_solution(FORGERIES[name], TEST, sandbox)
    assert outcome.status == "failed"
    assert outcome.reason


def test_the_forgeries_left_the_sandbox_working(sandbox: SandboxConfig) -> None:
    outcomes = run_many([Check(GOOD, TEST), Check("import os\nos._exit(0)", TEST), Check(GOOD, TEST)], sandbox, 2)
    assert [outcome.passed for outcome in outcomes] == [True, False, True]


def test_a_fork_bomb(sandbox: SandboxConfig) -> None:
    bomb = "import os\ndef solve(x):\n    while True:\n        os.fork()"
    assert harm(sandbox, bomb, wall_seconds=5.0).status in ("failed", "timeout")


def test_a_fork_bomb_where_processes_are_allowed(sandbox: SandboxConfig) -> None:
    if sandbox.mechanism == "landlock":
        pytest.skip("landlock allows one process only")
    config = sandbox.model_copy(update={"processes": 8, "wall_seconds": 4.0})
    counting = """
import os, time
for _ in range(200):
    try:
        if os.fork() == 0: time.sleep(60)
    except OSError: print("no")
"""
    try:
        outcome = run_program(counting, config)
    except ConfigError as error:  # bubblewrap run by root: the trial found out, so nothing ran
        assert sandbox.mechanism == "bubblewrap" and "start more processes than allowed" in str(error)
        return
    assert outcome.stdout.count("no") >= 200 - 8


def test_a_thread_bomb(sandbox: SandboxConfig) -> None:
    bomb = "import threading\ndef solve(x):\n    while True: threading.Thread(target=solve, args=(x,)).start()"
    assert harm(sandbox, bomb, wall_seconds=5.0).status in ("failed", "timeout")


def test_filling_memory(sandbox: SandboxConfig) -> None:
    assert (
        harm(sandbox, "def solve(x):\n    data = []\n    while True: data.append(bytearray(1 << 24))").status
        == "failed"
    )


def test_filling_the_disk(sandbox: SandboxConfig) -> None:
    program = """
import itertools
def solve(x):
    for i in itertools.count():
        with open(f'f{i}', 'wb') as f: f.write(b'x' * 100_000)
"""
    assert harm(sandbox, program).status in ("failed", "disk")


def test_filling_the_disk_with_one_file_and_with_names(sandbox: SandboxConfig) -> None:
    one = "def solve(x):\n    with open('f', 'wb') as f:\n        while True: f.write(b'x' * 100_000)"
    names = "import itertools, os\ndef solve(x):\n    for i in itertools.count(): os.mkdir(f'd{i}')"
    assert harm(sandbox, one).status in ("failed", "disk", "crashed")
    assert harm(sandbox, names).status in ("failed", "disk")


def test_endless_output(sandbox: SandboxConfig) -> None:
    program = "import sys\ndef solve(x):\n    while True: sys.stdout.write('x' * 10_000)"
    outcome = harm(sandbox, program)
    assert outcome.status == "output"
    assert len(outcome.stdout) <= sandbox.output_bytes


def test_an_endless_loop_and_a_long_sleep(sandbox: SandboxConfig) -> None:
    assert harm(sandbox, "def solve(x):\n    while True: pass", cpu_seconds=1).status == "cpu"
    assert harm(sandbox, "import time\ndef solve(x): time.sleep(10_000)", wall_seconds=1.0).status == "timeout"
    assert (
        harm(sandbox, "import signal, os\ndef solve(x): os.kill(os.getpid(), signal.SIGSTOP)", wall_seconds=1.0).status
        == "timeout"
    )


def test_a_crash_ends_only_the_program(sandbox: SandboxConfig) -> None:
    assert harm(sandbox, "import ctypes\ndef solve(x): ctypes.string_at(0)").status == "crashed"


def test_a_huge_value_is_refused(sandbox: SandboxConfig) -> None:
    assert harm(sandbox, "def solve(x): return 'x' * (80 << 20)").status in ("failed", "crashed")
    nested = "def solve(x):\n    deep = []\n    for _ in range(100_000): deep = [deep]\n    return deep"
    assert harm(sandbox, nested).status in ("failed", "crashed")


def escaped(config: SandboxConfig, body: str) -> str:
    """What a program printed that tries `body` and prints what it got; nothing but exceptions is expected."""
    lines = "\n".join(f"    {line}" for line in body.strip().splitlines())
    program = f"try:\n{lines}\nexcept (OSError, ImportError) as error: print('refused', type(error).__name__, end='')\n"
    outcome = run_program(program, config)
    assert outcome.status in ("ok", "error", "crashed"), outcome
    return outcome.stdout


def test_files_outside_cannot_be_read_or_written(sandbox: SandboxConfig, tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("do not read")
    os.chmod(tmp_path, 0o777)
    assert escaped(sandbox, f"print(open({str(secret)!r}).read())").startswith("refused")
    assert escaped(sandbox, "print(open('/etc/passwd').read())").startswith("refused")
    assert escaped(sandbox, f"print(open('/proc/{os.getpid()}/environ').read())").startswith("refused")
    assert escaped(sandbox, f"import os; print(os.listdir({str(tmp_path)!r}))").startswith("refused")
    for target in (tmp_path / "new.txt", secret, Path(os.__file__)):
        assert escaped(sandbox, f"open({str(target)!r}, 'a').write('x'); print('wrote')").startswith("refused")
    assert escaped(sandbox, f"import os; os.truncate({str(secret)!r}, 0); print('cut')").startswith("refused")
    assert escaped(sandbox, f"import os; os.symlink({str(secret)!r}, 'link'); print(open('link').read())").startswith(
        "refused"
    )
    assert escaped(sandbox, f"import os; os.link({str(secret)!r}, 'link'); print(open('link').read())").startswith(
        "refused"
    )
    assert escaped(sandbox, f"import os; os.chmod({str(tmp_path)!r}, 0); print('changed')").startswith("refused")
    assert secret.read_text() == "do not read"
    assert not (tmp_path / "new.txt").exists()


def test_the_network_cannot_be_reached(sandbox: SandboxConfig) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert escaped(
            sandbox, f"import socket; socket.create_connection(('127.0.0.1', {port}), 2); print('in')"
        ).startswith("refused")
    for kind in ("AF_INET, socket.SOCK_DGRAM", "AF_UNIX, socket.SOCK_STREAM", "AF_NETLINK, socket.SOCK_RAW"):
        assert escaped(sandbox, f"import socket; socket.socket(socket.{kind}); print('made')").startswith("refused")


def test_other_processes_cannot_be_touched(sandbox: SandboxConfig) -> None:
    parent = os.getpid()
    for victim in (parent, 1, -1, 0):
        assert escaped(sandbox, f"import os; os.kill({victim}, 9); print('sent')").startswith("refused"), victim
    assert escaped(sandbox, "import os; os.kill(os.getppid(), 15); print('sent')").startswith("refused")
    assert escaped(sandbox, f"import os; os.killpg({parent}, 15); print('sent')").startswith("refused")
    limits = f"import resource; resource.prlimit({parent}, resource.RLIMIT_CPU, (1, 1)); print('set')"
    assert escaped(sandbox, limits).startswith("refused")
    owner = "import fcntl, os; r, w = os.pipe(); fcntl.fcntl(r, fcntl.F_SETOWN, os.getppid()); print('owner')"
    assert escaped(sandbox, owner).startswith("refused")


def test_the_kernel_is_out_of_reach(sandbox: SandboxConfig) -> None:
    """Namespaces, mounts, other programs' memory, keys, io_uring: system calls off the list."""
    for name, number in {"ptrace": 101, "unshare": 272, "mount": 165, "io_uring_setup": 425, "bpf": 321, "keyctl": 250,
                         "memfd_create": 319, "setsid": 112, "process_vm_readv": 310, "pidfd_open": 434, "socket": 41,
                         "x32 write": 0x40000001}.items():  # fmt: skip
        call = f"import ctypes; l = ctypes.CDLL(None, use_errno=True); print(l.syscall({number}, 0, 0, 0, 0), end='')"
        if os.uname().machine == "x86_64":
            assert escaped(sandbox, call) == "-1", name


def test_limits_cannot_be_raised_and_programs_not_started(sandbox: SandboxConfig) -> None:
    raising = "import resource; resource.setrlimit(resource.RLIMIT_AS, (-1, -1)); print('raised')"
    assert run_program(raising, sandbox).status == "error"
    assert escaped(sandbox, "import os; os.execv('/bin/sh', ['sh']); print('ran')").startswith("refused")


def test_nothing_of_the_host_is_in_the_environment(sandbox: SandboxConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMILL_SECRET", "token-1234")
    assert "token-1234" not in run_program("import os; print(dict(os.environ))", sandbox).stdout


def test_no_process_and_no_folder_outlives_its_sandbox(
    sandbox: SandboxConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    mark = f"mark-{os.getpid()}-{sandbox.mechanism}"
    run_program(f"import time; x = {mark!r}; time.sleep(1000)", sandbox.model_copy(update={"wall_seconds": 1.0}))
    assert not list(tmp_path.glob("llmill-sandbox-*"))
    children = Path(f"/proc/self/task/{os.getpid()}/children")
    left = [
        pid for pid in (children.read_text().split() if children.exists() else []) if "confined.main" in _command(pid)
    ]
    assert not left


def _command(pid: str) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""
