"""``llmill run`` and ``llmill report``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from llmill.registry import KINDS

_Overrides = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[STAGE.KEY=VALUE | inputs.NAME=VALUE]...",
        help="Override a stage's configuration or a recipe's input; a list may be given as a,b.",
    ),
]


def run(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE.yaml", help="The recipe.", show_default=False)],
    overrides: _Overrides = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Run directory.", show_default="runs/<name of the recipe>")
    ] = None,
    start: Annotated[
        str | None, typer.Option("--from", metavar="STAGE", help="Rerun this stage and all that needs it.")
    ] = None,
    until: Annotated[
        str | None, typer.Option("--until", metavar="STAGE", help="Run only this stage and what it needs.")
    ] = None,
    jobs: Annotated[
        int | None,
        typer.Option(
            "--jobs",
            "-j",
            metavar="N",
            min=1,
            help="Stages that may run at once, when they do not need one another.",
            show_default="the recipe's jobs",
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the graph, what would run and why.")] = False,
    ignore_code: Annotated[
        bool, typer.Option("--ignore-code", help="Keep finished stages though their code changed since.")
    ] = False,
) -> None:
    """Run a recipe: finished stages with unchanged inputs, configuration and code are skipped.

    After an interruption, even kill -9, the same command continues. Exit status: 0 all well, 1 a stage failed,
    2 a mistake in recipe or options, 3 all stages finished and a gate did not pass.
    """
    from llmill.recipe.graph import load_graph
    from llmill.recipe.runner import RunOptions, run_recipe

    graph = load_graph(recipe, overrides or [], out)
    options = RunOptions(start=start, until=until, dry_run=dry_run, ignore_code=ignore_code, jobs=jobs)
    raise typer.Exit(run_recipe(graph, options))


run.__doc__ = f"{run.__doc__}\n\nStage kinds: {', '.join(KINDS)}."


def report(
    run_directory: Annotated[Path, typer.Argument(metavar="RUN_DIR", help="Directory of a run.", show_default=False)],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Directory of the report.", show_default="RUN_DIR/report")
    ] = None,
) -> None:
    """Write the HTML report of a run, finished or not."""
    from llmill.report import build_report, config_for_run

    target = out or run_directory / "report"
    build_report(config_for_run(run_directory), target)
    typer.echo(str(target / "index.html"))
