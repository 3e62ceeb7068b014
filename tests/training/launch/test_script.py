"""The batch script, its options, and how ranks are shared out; nothing is submitted."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from pydantic import ValidationError

from millbase.errors import ConfigError, StageError
from millbase.launch import Nodes, torchrun_command
from training.launch import slurm
from training.launch.config import LauncherConfig
from training.launch.slurm import batch_script, submit
from training.launch.start import join, nodes_of, ranks_per_node


def launcher(**fields: object) -> LauncherConfig:
    return LauncherConfig.model_validate({"kind": "slurm", **fields})


FULL = {
    "nodes": 4,
    "partition": "gpu",
    "account": "nlp",
    "qos": "high",
    "time": "2-00:00:00",
    "memory": "900G",
    "sbatch": {"constraint": "h100", "exclusive": ""},
    "environment": "module load cuda\nexport NCCL_DEBUG=WARN\n",
    "container": "apptainer exec --nv 'my image.sif'",
    "python": "/opt/venv/bin/python",
}


def test_golden_lines(tmp_path: Path) -> None:
    script = batch_script(launcher(**FULL), Path("/runs/my run"), tmp_path, ranks_per_node=8, threads=2)
    head = script.split("\n\n")[0].splitlines()
    assert head == [
        "#!/bin/bash",
        "#SBATCH --job-name=llmill-my run",
        "#SBATCH --partition=gpu",
        "#SBATCH --account=nlp",
        "#SBATCH --qos=high",
        "#SBATCH --nodes=4",
        "#SBATCH --ntasks-per-node=1",
        "#SBATCH --gpus-per-node=8",
        "#SBATCH --cpus-per-task=16",
        "#SBATCH --mem=900G",
        "#SBATCH --time=2-00:00:00",
        "#SBATCH --signal=B:USR1@300",
        "#SBATCH --requeue",
        "#SBATCH --open-mode=append",
        f"#SBATCH --output={tmp_path}/job-%j.log",
        "#SBATCH --constraint=h100",
        "#SBATCH --exclusive",
    ]
    assert "\nmodule load cuda\nexport NCCL_DEBUG=WARN\nexport PATH=/opt/venv/bin:$PATH\n" in script
    command = f"apptainer exec --nv 'my image.sif' /opt/venv/bin/python -m training.launch.job {tmp_path}/config.yaml"
    assert f"\n{command} '/runs/my run' &\n" in script
    assert 'scontrol requeue "$SLURM_JOB_ID"' in script and "-lt 100 ]" in script


def test_defaults_and_what_is_left_out(tmp_path: Path) -> None:
    script = batch_script(launcher(gpus_per_node=0, requeue=False), Path("/runs/a"), tmp_path, 2, 1)
    assert "gpus-per-node" not in script and "partition" not in script.split("set -u")[0]
    assert "#SBATCH --no-requeue" in script and "-lt 0 ]" in script
    assert "#SBATCH --cpus-per-task=2" in script and sys.executable in script


@pytest.mark.parametrize("fields", [FULL, {}, {"environment": "# only a comment"}])
def test_bash_accepts_it(fields: dict[str, object], tmp_path: Path) -> None:
    script = batch_script(launcher(**fields), tmp_path / "it's", tmp_path, 2, 1)
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)


@pytest.mark.parametrize(
    ("asked", "code", "restarts", "requeued"),
    [
        ("USR1", 75, 0, True),
        ("USR1", 75, 100, False),
        ("USR1", 2, 0, False),
        ("TERM", 75, 0, False),
        (None, 0, 0, False),
        (None, 75, 0, False),
    ],
)
def test_script_requeues_when_the_limit_comes_and_only_then(
    asked: str | None, code: int, restarts: int, requeued: bool, tmp_path: Path
) -> None:
    """Run the script itself with a stand-in for the run, which saves on the signal and ends with `code`."""
    run = tmp_path / "run.sh"
    waits = "touch started; for i in $(seq 600); do sleep 0.1; done" if asked else "true"
    run.write_text(f"trap 'echo saving; sleep 0.3; exit {code}' USR1 TERM\n{waits}\nexit {code}\n")
    (tmp_path / "scontrol").write_text(f"#!/bin/bash\necho requeue > {tmp_path}/requeued\nkill $PPID\n")
    (tmp_path / "scontrol").chmod(0o755)
    script = batch_script(launcher(container=f"bash {run}"), tmp_path / "out", tmp_path, 1, 1)
    env = {**os.environ, "SLURM_JOB_ID": "7", "SLURM_JOB_NODELIST": "n", "SLURM_RESTART_COUNT": str(restarts)}
    script = script.replace("export PATH=", f"export PATH={tmp_path}:", 1).replace("sleep 60", "sleep 1")
    process = subprocess.Popen(["bash", "-c", script], env=env, cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    if asked:
        while not (tmp_path / "started").exists():
            time.sleep(0.05)
        process.send_signal(getattr(signal, f"SIG{asked}"))
    output, _ = process.communicate(timeout=60)
    assert (tmp_path / "requeued").exists() == requeued, output
    if not requeued:
        assert process.returncode == code


def test_configurations_refused() -> None:
    for fields, message in (
        ({"time": "tomorrow"}, "expected a time limit"),
        ({"sbatch": {"partition": "x"}}, "set with launcher.partition"),
        ({"sbatch": {"--constraint": "x"}}, "without dashes"),
        ({"node_rank": 1}, "for kind local"),
        ({"kind": "local", "nodes": 2}, "needs rendezvous"),
        ({"kind": "local", "nodes": 2, "rendezvous": "a:1", "node_rank": 2}, "must be below nodes 2"),
    ):
        with pytest.raises(ValidationError, match=message):
            launcher(**fields)


def test_ranks_are_shared_out_evenly() -> None:
    assert ranks_per_node(launcher(nodes=2), 8) == 4
    with pytest.raises(ConfigError, match=r"3 ranks .* cannot be shared evenly by launcher\.nodes 2"):
        ranks_per_node(launcher(nodes=2), 3)
    with pytest.raises(ConfigError, match="1 ranks"):
        ranks_per_node(launcher(nodes=2), 1)


def test_torchrun_command_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "--standalone" in torchrun_command("m", 2, ["a"], Path("/logs"))
    assert nodes_of(LauncherConfig()) is None
    by_hand = LauncherConfig(nodes=2, rendezvous="head:29500", node_rank=1)
    line = torchrun_command("m", 2, ["a b"], Path("/logs"), nodes_of(by_hand))
    assert "--master-addr head --master-port 29500 --node-rank 1" in " ".join(line) and line[-1] == "a b"
    assert "/logs/node1" in line and "--standalone" not in line
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "6")
    line = torchrun_command("m", 8, ["a b"], Path("/lo gs"), Nodes(4, "head", 1234, rank=None))
    assert line[:6] == [
        "srun",
        "--nodes=4",
        "--ntasks=4",
        "--ntasks-per-node=1",
        "--kill-on-bad-exit=1",
        "--export=ALL",
    ]
    assert "--cpus-per-task=6" in line
    assert '--node-rank "$SLURM_NODEID" --log-dir \'/lo gs\'/node"$SLURM_NODEID"' in line[-1]
    subprocess.run(["bash", "-n", "-c", line[-1]], check=True)
    assert Nodes.of_slurm_job(3).port > 0


def test_machine_that_waits_in_vain(tmp_path: Path) -> None:
    by_hand = LauncherConfig(nodes=2, rendezvous="head:29500", node_rank=1)
    with pytest.raises(StageError, match=r"machine 0 wrote no .*run\.json"):
        join(by_hand, 2, "m", tmp_path / "run.json", {}, patience=0.5)


def test_submission_without_slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(StageError, match=r"'sbatch' is not here.*launcher\.kind=local"):
        submit(LauncherConfig(), launcher(), tmp_path / "out", 1, 1)
    assert (tmp_path / ".out.slurm" / "job.sh").is_file() and not (tmp_path / ".out.slurm" / "job.json").exists()
    monkeypatch.setenv(slurm.INSIDE, "1")
    assert slurm.inside_job()
