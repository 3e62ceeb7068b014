"""A working directory with fake stages and a small recipe, and runs of it."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))  # the helpers beside this file: fake_run, run_files
REPOSITORY = HERE.parent.parent

RECIPE = """
name: tiny
inputs:
  files: [a.txt]
  words: 1
stages:
  one: {run: "fake_stages:build_text", config: {text: one, sources: ["${input.files}"]}}
  two: {run: "fake_stages:build_text", config: {text: two, sources: ["${one}"], upper: true}}
  side: {run: "fake_stages:build_text", config: {text: "side ${input.words}"}}
  three: {run: "fake_stages:build_text", config: {text: three, sources: ["${one}", "${two}"]}}
"""


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current directory, with ``fake_stages.py``, ``a.txt``, ``recipe.yaml``; workers can import llmill."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.delitem(sys.modules, "fake_stages", raising=False)
    monkeypatch.setenv("PYTHONPATH", f"{REPOSITORY}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    shutil.copy(HERE / "fake_stages.py", tmp_path)
    (tmp_path / "a.txt").write_text("a")
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    from llmill.recipe import code

    code.code_version.cache_clear()
    code.imports.cache_clear()
    code._module_file.cache_clear()
    return tmp_path


@pytest.fixture
def run_tiny(workplace: Path) -> Callable[..., int]:
    """Run ``recipe.yaml`` in this process (its stages in theirs); keywords are RunOptions."""
    from llmill.recipe.graph import load_graph
    from llmill.recipe.runner import RunOptions, run_recipe

    def run(*overrides: str, **options: Any) -> int:
        return run_recipe(load_graph("recipe.yaml", overrides), RunOptions(**options))

    return run
