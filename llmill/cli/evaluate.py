"""``llmill evaluate``: score a checkpoint; print its scores again (``show``), hold two side by side (``compare``)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from llmill.cli.components import _File, _Out, _Show, _Words, add_command, build_component
from millbase.errors import ConfigError


def add_evaluate(app: typer.Typer, panel: str) -> None:
    """Add the command to the app."""
    add_command(app, "evaluate", "evaluate", evaluate, panel)


def evaluate(
    words: _Words = None,
    file: _File = None,
    out: _Out = None,
    print_config: _Show = False,
    correction: Annotated[
        str, typer.Option(metavar="holm|benjamini-hochberg|none", help="With compare: adjustment of p for many scores.")
    ] = "holm",
) -> None:
    """Score a checkpoint and print the table.

    Of finished evaluations, llmill evaluate show SCORES prints one, llmill evaluate compare SCORES_A SCORES_B two.
    """
    if words and words[0] == "show" and not Path("show").is_file():
        if len(words) != 2:
            raise ConfigError(f"show takes one scores artifact, found {len(words) - 1}: show SCORES")
        from llmill.views.scores import print_scores

        print_scores(words[1])
        return
    if words and words[0] == "compare" and not Path("compare").is_file():
        if len(words) != 3:
            raise ConfigError(f"compare takes two scores artifacts, found {len(words) - 1}: compare SCORES_A SCORES_B")
        from llmill.comparison import print_comparison

        print_comparison(words[1], words[2], correction)
        return
    build_component("evaluate", words, file, out, print_config)
    if not print_config:
        from llmill.views.scores import print_scores

        print_scores(str(out), stderr=True)  # standard output has the path alone, for scripts
