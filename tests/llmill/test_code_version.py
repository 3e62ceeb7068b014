"""Code versions: an edit changes the version of what reaches it, and of nothing else."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from llmill.recipe import code


@pytest.fixture
def version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], str]:
    """The version of the module ``pack.stage`` as it lies on disk now."""
    files = {
        "pack/__init__.py": "",
        "pack/stage.py": "from pack.helper import f\nfrom . import near\n\ndef g():\n    return run('pack.worker')\n",
        "pack/helper.py": "import json\n\ndef f():\n    from pack.deep import low\n",
        "pack/near.py": "",
        "pack/worker.py": "",
        "pack/unrelated.py": "",
        "pack/deep/__init__.py": "",
        "pack/deep/low.py": "",
        "pack/deep/words.txt": "a b",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    importlib.invalidate_caches()
    monkeypatch.delitem(sys.modules, "pack", raising=False)

    def fresh() -> str:
        for function in (code.code_version, code.imports, code._module_file):
            function.cache_clear()
        return code.code_version("pack.stage")

    return fresh


REACHED = ["stage.py", "helper.py", "near.py", "worker.py", "deep/low.py", "deep/words.txt", "__init__.py"]


@pytest.mark.parametrize("file", [f"pack/{name}" for name in REACHED])
def test_edit_of_what_is_reached_changes_the_version(version: Callable[[], str], file: str) -> None:
    before = version()
    Path(file).write_text(Path(file).read_text() + "\n# edited\n")
    assert version() != before


def test_edit_elsewhere_does_not(version: Callable[[], str]) -> None:
    before = version()
    Path("pack/unrelated.py").write_text("x = 1\n")
    assert version() == before


def test_stages_of_our_own_reach_the_shared_base_but_not_each_other() -> None:
    found = code.reachable("training.posttrain.sft", frozenset(code.OUR_PACKAGES))
    assert "millbase.artifacts" in found and "training.posttrain.config" in found
    assert not any(name.startswith(("llmill", "data_pipeline", "training.pretrain")) for name in found)
