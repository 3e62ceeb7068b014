"""Commands about evaluation tasks: what there is, and what is wrong with their files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from millbase.errors import ConfigError, InputError

_SHIPPED = Path("configs/evaluation/tasks")


def lint(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Folder of task files.")] = _SHIPPED,
) -> None:
    """Find misspelt keys, missing splits, unknown metrics and paths that lead out of the folder in task files."""
    from evaluation.task_lint import lint_folder

    _check(folder)
    problems = lint_folder(folder)
    for problem in problems:
        typer.echo(str(problem))
    if problems:
        raise ConfigError(f"{len(problems)} problems in the task files of {str(folder)!r}; see above")
    typer.echo(f"no problems in {str(folder)!r}")


def list_tasks(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Folder of task files.")] = _SHIPPED,
    published: Annotated[
        str | None,
        typer.Option("--published", metavar="WORD", help="Also names in lm-eval's own tasks with this word."),
    ] = None,
) -> None:
    """List tasks: name, version, kind, worked examples, and the first line of what their file says."""
    from evaluation.task_index import shipped_names
    from evaluation.task_lint import describe_folder

    _check(folder)
    for task in describe_folder(folder):
        typer.echo(f"{task.name:<24} {task.version:<6} {task.kind:<22} {task.shots} shots  {task.about}")
    if published is not None:
        for name in sorted(name for name in shipped_names() if published in name):
            typer.echo(name)


def _check(folder: Path) -> None:
    if not folder.is_dir():
        raise InputError(f"{str(folder)!r} is not a folder; give the folder of the task files")
