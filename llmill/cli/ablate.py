"""``llmill ablate`` and ``llmill contamination``: which corpus is better, and what of an evaluation it holds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, cast

import typer
from typer.core import TyperCommand

from llmill.cli.components import _File, _Out, _Show, _Words, add_command, build_component, print_fields, read_config
from millbase.config import dump_yaml
from millbase.errors import ConfigError


class _WithFields(TyperCommand):
    """Help that ends with the configuration's fields."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        super().format_help(ctx, formatter)
        from llmill.ablation import AblateConfig

        print_fields(AblateConfig)


def ablate(
    words: _Words = None,
    out: _Out = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check everything and print the stages.")] = False,
    print_config: _Show = False,
) -> None:
    """Say which of two corpora makes the better model: equal models, equal tokens, several seeds, one verdict.

    After an interruption the same command continues. Exit status as llmill run's.
    """
    from llmill.ablation import AblateConfig
    from llmill.ablation import ablate as run

    config = cast("AblateConfig", read_config(AblateConfig, words or []))
    if print_config:
        typer.echo(dump_yaml(config), nl=False)
        return
    if out is None:
        raise ConfigError("--out is missing: give the directory to write, such as --out runs/ablation")
    file = next((word for word in words or [] if "=" not in word), None)
    raise typer.Exit(run(config, out, Path(file).parent if file else Path.cwd(), dry_run=dry_run))


def contamination(words: _Words = None, file: _File = None, out: _Out = None, print_config: _Show = False) -> None:
    """Look for an evaluation's items in a corpus; prints contaminated share and clean score of each metric."""
    build_component("contamination", words, file, out, print_config)
    if out is not None and not print_config:
        from llmill.contamination.show import print_contamination

        print_contamination(out)


def add_ablate(app: typer.Typer, run_panel: str, look_panel: str) -> None:
    """Add the commands to the app."""
    app.command("ablate", cls=_WithFields, rich_help_panel=run_panel, no_args_is_help=True)(ablate)
    add_command(app, "contamination", "contamination", contamination, look_panel)
