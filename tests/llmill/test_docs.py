"""The guides stay true: files they name exist, commands they show are known, options too."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from llmill.registry import KINDS

REPOSITORY = Path(__file__).resolve().parent.parent.parent
GUIDES = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md"))]
FOLDERS = ("millbase", "data_pipeline", "training", "evaluation", "llmill", "tests", "configs", "docs", "benchmarks")
# folders inside artifacts and runs, which the guides name as well
MADE = ("runs/", "crawl/", "blimp/", "train/", "heldout/", "hf/", "critic/", "megatron/", "tensorboard/")
NAMES = re.compile(r"`([\w./-]+(?:\.py|\.yaml|\.md|\.jinja|/))`")


@pytest.mark.parametrize("guide", GUIDES, ids=lambda path: path.name)
def test_named_files_exist(guide: Path) -> None:
    """A name may be short (``order.py``) when some folder of the sources has that file."""
    sources = [path.relative_to(REPOSITORY).as_posix() for path in _tracked()]
    known = {f"/{path}" for path in sources} | {f"/{parent}/" for path in sources for parent in _parents(path)}
    names = {name for name in NAMES.findall(guide.read_text()) if not name.startswith(MADE)}
    missing = sorted(name for name in names if not any(path.endswith(f"/{name.lstrip('/')}") for path in known))
    assert not missing


def _tracked() -> Iterator[Path]:
    for folder in FOLDERS:
        files = (path for path in (REPOSITORY / folder).rglob("*") if path.is_file())
        yield from (path for path in files if "__pycache__" not in path.parts)


def _parents(path: str) -> Iterator[str]:
    parts = path.split("/")[:-1]
    yield from ("/".join(parts[: end + 1]) for end in range(len(parts)))


def test_commands_of_the_readme_exist() -> None:
    import typer.main

    from llmill.cli.app import app

    root = typer.main.get_command(app)
    text = (REPOSITORY / "README.md").read_text()
    shown = set(re.findall(r"llmill ((?:corpus|tokenizer|tokens) [a-z-]+|[a-z]+(?:-[a-z]+)*)", text))
    for words in (command.split() for command in sorted(shown)):
        command = root
        for word in words:
            command = command.commands[word]  # type: ignore[attr-defined]
    assert {"run", "report", "chat", "lineage", "corpus explain", "tokens export-megatron"} <= shown


def test_recipes_guide_lists_every_stage_kind() -> None:
    text = (REPOSITORY / "docs" / "recipes.md").read_text()
    assert all(f"`{kind}`" in text for kind in KINDS)
