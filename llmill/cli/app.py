"""All commands in one place: what ``llmill --help`` lists."""

from __future__ import annotations

from typing import Annotated

import typer

from llmill.cli import chat, inspect, outputs, recipes
from llmill.cli import corpus as look
from llmill.cli import plan as planning
from llmill.cli import tasks as evaluation_tasks
from llmill.cli.ablate import add_ablate
from llmill.cli.components import component_command
from llmill.cli.evaluate import add_evaluate
from llmill.cli.pretrain import add_pretrain, show_tokens

_MAKE = "Build one thing"
_LOOK = "Look at what was built"
_RUN = "Run a recipe"

app = typer.Typer(
    name="llmill",
    help="The mill that grinds a web crawl into an aligned language model.",
    epilog="Every command: --help. Add --debug anywhere to see the traceback of an error.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    if version:
        from importlib.metadata import version as installed

        typer.echo(f"llmill {installed('llmill')}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def _group(name: str, help_text: str, panel: str) -> typer.Typer:
    group = typer.Typer(name=name, help=help_text, no_args_is_help=True, pretty_exceptions_enable=False)
    app.add_typer(group, name=name, rich_help_panel=panel)
    return group


app.command("run", rich_help_panel=_RUN)(recipes.run)
app.command("report", rich_help_panel=_RUN)(recipes.report)
add_ablate(app, _RUN, _LOOK)

component_command(app, "web", "web", _MAKE)
corpus = _group("corpus", "Build a corpus from WARC files and ask it questions.", _MAKE)
component_command(corpus, "build", "corpus")
component_command(corpus, "train-quality", "quality")
component_command(corpus, "train-perplexity", "perplexity")
component_command(corpus, "train-educational", "educational")
corpus.command("filter")(look.filter_command)
component_command(corpus, "audit", "audit")
for _name in ("decontaminate", "mix", "mix-candidates", "mix-fit"):
    component_command(corpus, _name, _name)
corpus.command("contamination")(outputs.contamination)
corpus.command("export")(outputs.export)
for _command in (look.explain, look.funnel, look.stats, look.sample, look.diff, look.plan):
    corpus.command(_command.__name__)(_command)
tokenizer = _group("tokenizer", "Train a tokenizer.", _MAKE)
component_command(tokenizer, "train", "tokenizer")
tokens = _group("tokens", "Build token shards, export them for Megatron, or see what a step trains on.", _MAKE)
component_command(tokens, "build", "tokens")
tokens.command("export-megatron")(inspect.export_megatron)
tokens.command("show")(show_tokens)
add_pretrain(app, _MAKE)
for _name in ("sft", "distill", "reward", "reward-ensemble", "prm", "dpo", "kto", "ppo", "grpo"):
    component_command(app, _name, _name, _MAKE)
for _name in ("reject", "feedback", "critique", "online-dpo", "sums"):
    component_command(app, _name, _name, _MAKE)
add_evaluate(app, _MAKE)
tasks = _group("tasks", "Evaluation tasks: what there is, and what is wrong with their files.", _LOOK)
tasks.command("lint")(evaluation_tasks.lint)
tasks.command("list")(evaluation_tasks.list_tasks)

checkpoint = _group("checkpoint", "Take models in from Hugging Face folders, and write checkpoints as such.", _MAKE)
component_command(checkpoint, "import", "checkpoint-import")
component_command(checkpoint, "export", "checkpoint-export")

app.command("plan", rich_help_panel=_RUN, no_args_is_help=True)(planning.plan)
app.command("compare", rich_help_panel=_LOOK)(inspect.compare)
app.command("lineage", rich_help_panel=_LOOK)(inspect.lineage)
app.command("chat", rich_help_panel=_LOOK)(chat.chat)
