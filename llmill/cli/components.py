"""A command per component: ``llmill sft [CONFIG.yaml] [key.sub=value ...] --out DIR``.

``--help`` lists every configuration field with type, default and documentation, read from the component's
configuration class (imported only then, or when the command runs).
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.padding import Padding
from rich.text import Text
from typer.core import TyperCommand

from llmill.registry import KINDS
from millbase.config import Config, describe, dump_yaml, load_config
from millbase.errors import ConfigError

_Words = Annotated[
    list[str] | None,
    typer.Argument(metavar="[CONFIG.yaml] [KEY=VALUE]...", help="YAML file, then fields that override it."),
]
_Out = Annotated[Path | None, typer.Option("--out", "-o", help="Directory of the artifact.", show_default=False)]
_File = Annotated[Path | None, typer.Option("--config", "-c", help="The YAML file.", show_default=False)]
_Show = Annotated[bool, typer.Option("--print-config", help="Print the resolved configuration and exit.")]


def component_command(group: typer.Typer, name: str, kind_name: str, panel: str | None = None) -> None:
    """Add the command of one stage kind to ``group``."""

    def command(words: _Words = None, file: _File = None, out: _Out = None, print_config: _Show = False) -> None:
        build_component(kind_name, words, file, out, print_config)

    add_command(group, name, kind_name, command, panel)


def add_command(group: typer.Typer, name: str, kind_name: str, command: Any, panel: str | None = None) -> None:
    """Add ``command`` to ``group``; its help ends with the configuration fields of the stage kind."""
    kind = KINDS[kind_name]

    class _Command(TyperCommand):
        def format_help(self, ctx: Any, formatter: Any) -> None:
            super().format_help(ctx, formatter)
            print_fields(kind.config_class())

    group.command(name, help=kind.summary, cls=_Command, rich_help_panel=panel, no_args_is_help=True)(command)


def build_component(
    kind_name: str, words: list[str] | None, file: Path | None, out: Path | None, print_config: bool = False
) -> None:
    """Build the artifact that the words of a command line describe, or print its configuration."""
    kind = KINDS[kind_name]
    config = read_config(kind.config_class(), [*([str(file)] if file else []), *(words or [])])
    if print_config:
        typer.echo(dump_yaml(config), nl=False)
        return
    if out is None:
        raise ConfigError("--out is missing: give the directory to write, such as --out runs/mine")
    kind.build_function()(config, out)
    typer.echo(str(out))


def read_config(cls: type[Config], words: list[str]) -> Config:
    """The configuration that the words of a command line describe: at most one file, then overrides."""
    files = [word for word in words if "=" not in word]
    if len(files) > 1:
        raise ConfigError(
            f"expected one configuration file, found {len(files)}: {' '.join(files)}; fields are KEY=VALUE"
        )
    return load_config(cls, files[0] if files else None, [word for word in words if "=" in word])


def print_fields(cls: type[Config]) -> None:
    """Every field of a configuration class on stdout: name, type and default on a line, its meaning below."""
    console = Console(highlight=False, file=sys.stdout)
    console.print(Text(f"Configuration ({cls.__name__}); in YAML, or as KEY=VALUE:\n", style="bold"))
    for field in describe(cls):
        line = Text(f"  {field.name}", style="bold cyan")
        line.append(f"  {field.type}", style="not bold yellow")
        if field.default == "required":
            line.append("  required", style="bold red")
        elif field.default:
            line.append(f"  = {field.default}", style="not bold green")
        console.print(line, soft_wrap=True)
        console.print(Padding(Text(field.doc), (0, 0, 0, 6)))
