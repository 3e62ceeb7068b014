"""A Slurm cluster of one node for the tests, from the daemons that Debian packages (slurmctld, slurmd, munge)."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

CONFIGURATION = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmctldPort={port}
SlurmdPort={other_port}
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
MpiDefault=none
SchedulerParameters=sched_interval=1,bf_interval=1,batch_sched_delay=0,sched_min_interval=0
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 RealMemory=8000 State=UNKNOWN
PartitionName=main Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


@pytest.fixture(scope="session")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The partition of a running one-node cluster; skips, saying why, where it cannot be started."""
    missing = [name for name in ("munged", "slurmctld", "slurmd", "sbatch", "srun") if shutil.which(name) is None]
    if missing:
        pytest.skip(f"Slurm is not installed: no {', '.join(missing)} (apt-get install slurm-wlm)")
    if os.getuid() != 0:
        pytest.skip("Slurm's node daemon needs root")
    # sockets have short paths; the session's folder may be long
    folder = Path(subprocess.check_output(["mktemp", "-d", "/tmp/slurm.XXXXXX"], text=True).strip())
    before = os.environ.get("SLURM_CONF")
    try:
        _start(folder)
        yield "main"
    finally:
        for name in ("slurmd.pid", "slurmctld.pid", "munge/pid"):
            _stop(folder / name)
        os.environ.pop("SLURM_CONF") if before is None else os.environ.update({"SLURM_CONF": before})
        shutil.rmtree(folder, ignore_errors=True)


def _start(folder: Path) -> None:
    for name in ("munge", "state", "spool"):
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
    port = _free_port()
    settings = folder / "slurm.conf"
    settings.write_text(CONFIGURATION.format(host=host, folder=folder, port=port, other_port=_free_port()))
    os.environ["SLURM_CONF"] = str(settings)
    _run("slurmctld", "-c", "-f", str(settings))
    _run("slurmd", "-f", str(settings), "-N", host)
    for _ in range(60):
        done = subprocess.run(["sinfo", "--noheader", "--format=%T"], capture_output=True, text=True)
        if done.stdout.strip() == "idle":
            return
        time.sleep(0.5)
    pytest.skip(
        f"the Slurm node did not come up: {done.stdout} {done.stderr} {(folder / 'slurmd.log').read_text()[-400:]}"
    )


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
