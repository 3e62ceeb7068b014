"""Python environments that a benchmark makes for the programs it compares with, and what it says of this machine."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]
ENVIRONMENTS = Path(os.environ.get("LLMILL_BENCHMARK_ENVS", REPOSITORY / "benchmarks" / ".envs"))
"""Where environments are kept between runs; the environment variable moves them."""
_MARK = ".complete"


def make_environment(name: str, requirements: Path, folder: Path = ENVIRONMENTS) -> Path:
    """The Python of an environment with `requirements`, made when it is not there; other versions get another one."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    key = hashlib.sha256(requirements.read_bytes() + version.encode()).hexdigest()[:8]
    home = folder / f"{name}-{key}"
    python = home / "bin" / "python"
    if not (home / _MARK).is_file():
        print(f"making the environment {home} (once; a minute or two)", file=sys.stderr)
        shutil.rmtree(home, ignore_errors=True)
        home.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run([sys.executable, "-m", "venv", str(home)], check=True)
        pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", str(requirements)]
        subprocess.run(pip, check=True, stdout=sys.stderr)
        (home / _MARK).touch()
    return python


def environment_versions(python: Path, packages: list[str]) -> dict[str, str]:
    """Installed versions of `packages` in the environment of `python`."""
    code = "import sys, json, importlib.metadata as m; print(json.dumps({p: m.version(p) for p in sys.argv[1:]}))"
    out = subprocess.run([str(python), "-c", code, *packages], check=True, capture_output=True, text=True).stdout
    versions: dict[str, str] = json.loads(out)
    return versions


def own_versions(packages: list[str]) -> dict[str, str]:
    """Installed versions of `packages` here."""
    return {package: metadata.version(package) for package in packages}


def machine() -> dict[str, Any]:
    """Processor and cores."""
    names = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return {
        "processor": names[0].partition(":")[2].strip() if names else "unknown",
        "cores": len(os.sched_getaffinity(0)),
        "python": sys.version.split()[0],
    }


def commit() -> str:
    """The commit of the working tree, with a mark when it has changes."""
    try:
        run = ["git", "-C", str(REPOSITORY), "describe", "--always", "--dirty", "--abbrev=10"]
        return subprocess.run(run, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
