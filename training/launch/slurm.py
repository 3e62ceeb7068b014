"""A run as a Slurm batch job: the script, its submission, and waiting for it.

The job runs `training.launch.job` on its first node, which starts torchrun on all of them with srun. Before the time
limit Slurm sends the script SIGUSR1; the run saves and ends with status 75, and the script puts the job back into the
queue, where the same command goes on from what was saved.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import time
from pathlib import Path

from millbase.atomic import atomic_write, write_json
from millbase.config import Config, dump_yaml
from millbase.errors import EXIT_INTERRUPTED, StageError, Submitted
from millbase.log import get_logger
from training.launch.config import LauncherConfig

logger = get_logger(__name__)

INSIDE = "LLMILL_SLURM_JOB"
"""Set by our script: the configuration is then run instead of being submitted again."""
_SILENT_POLLS = 30
_OVER = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY", "BOOT_FAIL", "DEADLINE")


def inside_job() -> bool:
    """This process belongs to a job that `submit` started."""
    return bool(os.environ.get(INSIDE))


def folder_of(launcher: LauncherConfig, out: Path) -> Path:
    """Where script, configuration and logs lie."""
    return Path(launcher.logs) if launcher.logs else out.parent / f".{out.name}.slurm"


def submit(config: Config, launcher: LauncherConfig, out: Path, ranks_per_node: int, threads: int) -> Path:
    """Submit `config` as a job, unless one for `out` is in the queue, and wait for it.

    Returns `out`. Raises Submitted with `launcher.wait: false`; StageError when there is no sbatch, it refuses, or the
    job ends without the artifact.
    """
    folder = folder_of(launcher, out.resolve())
    folder.mkdir(parents=True, exist_ok=True)
    job = _recorded(folder)
    if job is not None and _state(job, launcher.poll_seconds) is not None:
        logger.info("%s: job %s of an earlier start is in the queue", out, job)
    else:
        script = folder / "job.sh"
        for file, text in (
            (folder / "config.yaml", dump_yaml(config)),
            (script, batch_script(launcher, out.resolve(), folder, ranks_per_node, threads)),
        ):
            with atomic_write(file) as stream:
                stream.write(text)
        job = _sbatch(script, launcher)
        write_json(folder / "job.json", {"job": job, "out": str(out.resolve())})
        logger.info("%s: submitted as job %s; script and logs: %s", out, job, folder)
    if not launcher.wait:
        raise Submitted(f"{out}: job {job}; `squeue --jobs={job}` shows it, script and logs: {folder}")
    _wait(job, out, folder, launcher)
    return out


def batch_script(launcher: LauncherConfig, out: Path, folder: Path, ranks_per_node: int, threads: int) -> str:
    """The text of the batch script."""
    options = sbatch_options(launcher, out, folder, ranks_per_node, threads)
    lines = [f"#SBATCH --{name}" + (f"={value}" if value != "" else "") for name, value in options.items()]
    root = Path(__file__).resolve().parent.parent.parent
    python = launcher.python or sys.executable
    words = [
        *shlex.split(launcher.container),
        python,
        "-m",
        "training.launch.job",
        str(folder / "config.yaml"),
        str(out),
    ]
    return SCRIPT.format(
        options="\n".join(lines),
        environment=launcher.environment.rstrip() or "# launcher.environment is empty",
        folder=shlex.quote(str(Path(python).parent)),
        package=shlex.quote(str(root)),
        inside=INSIDE,
        command=shlex.join(words),
        interrupted=EXIT_INTERRUPTED,
        restarts=launcher.max_restarts if launcher.requeue else 0,
    )


def sbatch_options(
    launcher: LauncherConfig, out: Path, folder: Path, ranks_per_node: int, threads: int
) -> dict[str, str]:
    """Long names and values of the script's options, in their order."""
    gpus = ranks_per_node if launcher.gpus_per_node is None else launcher.gpus_per_node
    options = {
        "job-name": f"llmill-{out.name}",
        "partition": launcher.partition,
        "account": launcher.account,
        "qos": launcher.qos,
        "nodes": str(launcher.nodes),
        "ntasks-per-node": "1",
        "gpus-per-node": str(gpus) if gpus else None,
        "cpus-per-task": str(launcher.cpus_per_node or ranks_per_node * threads),
        "mem": launcher.memory,
        "time": launcher.time,
        "signal": f"B:USR1@{launcher.signal_seconds}",
        "requeue" if launcher.requeue else "no-requeue": "",
        # appended to, for a requeued job keeps its number
        "open-mode": "append",
        "output": str(folder / "job-%j.log"),
    }
    return {name: value for name, value in options.items() if value is not None} | launcher.sbatch


SCRIPT = """#!/bin/bash
{options}

set -u
{environment}
export PATH={folder}:$PATH
export PYTHONPATH={package}${{PYTHONPATH:+:$PYTHONPATH}}
export {inside}=1 HF_HUB_OFFLINE=1

echo "job $SLURM_JOB_ID, start ${{SLURM_RESTART_COUNT:-0}}, nodes $SLURM_JOB_NODELIST, $(date --iso-8601=seconds)"
asked=""
{command} &
run=$!
# before the time limit: save, end, and go on in a later start. Being ended by Slurm: save and end; Slurm requeues then.
trap 'asked=USR1; kill -USR1 "$run"' USR1
trap 'asked=TERM; kill -TERM "$run"' TERM
status=0
wait "$run" || status=$?
# a trapped signal ends `wait` before the run ends
while kill -0 "$run" 2>/dev/null; do
    status=0
    wait "$run" || status=$?
done
# status 138: the signal came before the run could take it
if [ "$asked" = USR1 ] && {{ [ "$status" -eq {interrupted} ] || [ "$status" -eq 138 ]; }}; then
    if [ "${{SLURM_RESTART_COUNT:-0}}" -lt {restarts} ]; then
        echo "saved; back into the queue, $(date --iso-8601=seconds)"
        scontrol requeue "$SLURM_JOB_ID"
        sleep 60 # Slurm ends this script
    else
        echo "saved; not requeued: {restarts} restarts are allowed (launcher.requeue, launcher.max_restarts)"
    fi
fi
exit "$status"
"""


def _sbatch(script: Path, launcher: LauncherConfig) -> str:
    # what belongs to a job this command may run in must not reach the new one
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM_", "SBATCH_"))}
    if "SLURM_CONF" in os.environ:
        clean["SLURM_CONF"] = os.environ["SLURM_CONF"]
    try:
        done = subprocess.run(["sbatch", "--parsable", str(script)], capture_output=True, text=True, env=clean)
    except FileNotFoundError:
        raise StageError(
            "the command 'sbatch' is not here; start this on a machine that submits Slurm jobs, or set "
            "launcher.kind=local"
        ) from None
    if done.returncode:
        raise StageError(
            f"sbatch refused the job: {' '.join(done.stderr.split())}; check launcher.partition={launcher.partition}, "
            f"launcher.time, launcher.gpus_per_node and launcher.sbatch (script: {script})"
        )
    return done.stdout.strip().partition(";")[0]


def _wait(job: str, out: Path, folder: Path, launcher: LauncherConfig) -> None:
    """Until the job is gone from the queue; StageError, with its last words, when it left no artifact."""
    before = ""
    while (state := _state(job, launcher.poll_seconds)) is not None:
        if state != before:
            logger.info("job %s: %s", job, state.lower())
            before = state
        time.sleep(launcher.poll_seconds)
    if (out / "manifest.json").is_file():
        (folder / "job.json").unlink(missing_ok=True)
        return
    raise StageError(
        f"job {job} ended without {out}: {_last_line(folder / f'job-{job}.log')}; start the same command again to go "
        f"on from what was saved (log: {folder / f'job-{job}.log'})"
    )


def _state(job: str, patience: float) -> str | None:
    """The job's state while it is in the queue, else None. StageError when Slurm does not answer for long."""
    for _ in range(_SILENT_POLLS):
        try:
            done = subprocess.run(
                ["squeue", "--noheader", "--format=%T", f"--jobs={job}", "--states=all"], capture_output=True, text=True
            )
        except FileNotFoundError:
            return None
        if done.returncode == 0:
            state = done.stdout.strip()
            return None if not state or state.startswith(_OVER) else state
        if "Invalid job id" in done.stderr:
            return None
        time.sleep(patience)
    raise StageError(
        f"squeue does not answer ({done.stderr.strip()}); job {job} goes on: start the same command again to wait"
    )


def _recorded(folder: Path) -> str | None:
    try:
        return str(json.loads((folder / "job.json").read_text(encoding="utf-8"))["job"])
    except (OSError, ValueError, KeyError):
        return None


def _last_line(log: Path) -> str:
    """What the run said last: its error, or its last line."""
    try:
        lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    except OSError:
        return "it left no log"
    errors = [line for line in lines if line.startswith("error: ")]
    return (errors or lines or ["its log is empty"])[-1].removeprefix("error: ")
