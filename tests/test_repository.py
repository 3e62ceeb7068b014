"""Rules the whole repository keeps: who imports whom, file sizes, no hub access at import."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGES = ("millbase", "data_pipeline", "training", "evaluation", "llmill")


def test_import_directions(repository):
    """The contracts of [tool.importlinter] in pyproject.toml."""
    lint = Path(sys.executable).parent / "lint-imports"
    if not lint.exists():
        pytest.skip("import-linter is not installed: pip install -e '.[dev]'")
    done = subprocess.run([lint], cwd=repository, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_no_source_file_is_over_500_lines(repository):
    long = {
        str(file.relative_to(repository)): lines
        for package in PACKAGES
        for file in (repository / package).rglob("*.py")
        if (lines := len(file.read_text(encoding="utf-8").splitlines())) > 500
    }
    assert not long


def test_every_module_says_what_it_is_for(repository):
    silent = [
        str(file.relative_to(repository))
        for package in PACKAGES
        for file in (repository / package).rglob("*.py")
        if not ast.get_docstring(ast.parse(file.read_text(encoding="utf-8")))
    ]
    assert not silent


@pytest.mark.parametrize("package", PACKAGES)
def test_importing_a_package_opens_no_connection(package, repository):
    script = (
        "import socket\n"
        "def refuse(*a, **k): raise AssertionError(f'network at import: {a}')\n"
        "socket.socket.connect = refuse\nsocket.getaddrinfo = refuse\n"
        f"import {package}\n"
    )
    env = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
    subprocess.run([sys.executable, "-c", script], cwd=repository, env=env, check=True)
