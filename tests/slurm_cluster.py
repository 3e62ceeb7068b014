"""A Slurm cluster on this machine for the tests, from the daemons that Debian packages (slurmctld, slurmd, munge).

with slurm_cluster(nodes=2) as partition: ...     # skips the test, saying why, where it cannot be started
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

CONFIGURATION = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmctldPort={port}
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket,cred_expire=5
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
MpiDefault=none
KillWait=5
SchedulerParameters=sched_interval=1,bf_interval=1,batch_sched_delay=0,sched_min_interval=0
{nodes}
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


@contextmanager
def slurm_cluster(nodes: int = 1) -> Iterator[str]:
    """The partition of a running cluster of `nodes` nodes with two cores each, all of them this machine."""
    missing = [name for name in ("munged", "slurmctld", "slurmd", "sbatch", "srun") if shutil.which(name) is None]
    if missing:
        pytest.skip(f"Slurm is not installed: no {', '.join(missing)} (apt-get install slurm-wlm)")
    if os.getuid() != 0:
        pytest.skip("Slurm's node daemon needs root")
    # sockets have short paths; the session's folder may be long
    folder = Path(subprocess.check_output(["mktemp", "-d", "/tmp/slurm.XXXXXX"], text=True).strip())
    before = os.environ.get("SLURM_CONF")
    try:
        _start(folder, nodes)
        yield "main"
    finally:
        for pid in (*folder.glob("slurmd-*.pid"), folder / "slurmctld.pid", folder / "munge/pid"):
            _stop(pid)
        os.environ.pop("SLURM_CONF", None) if before is None else os.environ.update({"SLURM_CONF": before})
        shutil.rmtree(folder, ignore_errors=True)


def _start(folder: Path, count: int) -> None:
    for name in ("munge", "state"):
        (folder / name).mkdir()
    folder.chmod(0o755)
    key = folder / "munge" / "key"
    key.write_bytes(os.urandom(1024))
    key.chmod(0o400)
    (folder / "munge").chmod(0o700)
    files = {"key-file": "key", "socket": "socket", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
    _run("munged", "--force", *(f"--{option}={folder}/munge/{name}" for option, name in files.items()))
    (folder / "munge").chmod(0o711)
    host = socket.gethostname().partition(".")[0]
    names = [f"node{number}" for number in range(count)]
    each = "CPUs=2 RealMemory=8000 State=UNKNOWN"
    lines = [f"NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={_free_port()} {each}" for name in names]
    settings = folder / "slurm.conf"
    text = CONFIGURATION.format(host=host, folder=folder, port=_free_port(), nodes="\n".join(lines))
    settings.write_text(text)
    os.environ["SLURM_CONF"] = str(settings)
    _run("slurmctld", "-c", "-f", str(settings))
    for name in names:
        (folder / f"spool-{name}").mkdir()
        _run("slurmd", "-f", str(settings), "-N", name)
    for _ in range(60):
        done = subprocess.run(["sinfo", "--noheader", "--Node", "--format=%T"], capture_output=True, text=True)
        if done.stdout.split() == ["idle"] * count:
            return
        time.sleep(0.5)
    log = (folder / "slurmd-node0.log").read_text()[-400:]
    pytest.skip(f"the Slurm nodes did not come up: {done.stdout} {done.stderr} {log}")


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    if done.returncode:
        pytest.skip(f"{command[0]} does not start here: {(done.stderr or done.stdout).strip()[-300:]}")


def _stop(pid_file: Path) -> None:
    try:
        os.kill(int(pid_file.read_text()), signal.SIGKILL)
    except (OSError, ValueError):
        return


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])
