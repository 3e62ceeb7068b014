"""``llmill chat CHECKPOINT``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def chat(
    checkpoint: Annotated[Path, typer.Argument(metavar="CHECKPOINT", help="Checkpoint or Hugging Face directory.")],
    prompt: Annotated[str | None, typer.Option("--prompt", "-p", help="Answer this one message and exit.")] = None,
    system: Annotated[str | None, typer.Option("--system", help="System message.")] = None,
    temperature: Annotated[float, typer.Option(min=0.0, help="0 takes the likeliest token.")] = 0.7,
    top_p: Annotated[float, typer.Option(min=0.01, max=1.0, help="Nucleus sampling.")] = 0.95,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Longest answer.")] = 256,
    seed: Annotated[int, typer.Option(help="Seed of the sampling.")] = 0,
    device: Annotated[str | None, typer.Option(help="Such as cpu or cuda; the best there is by default.")] = None,
) -> None:
    """Talk to a model in the terminal; answers appear as they are made. /help lists the commands inside."""
    from llmill.chat import ChatOptions, start

    options = ChatOptions(system, temperature, top_p, max_new_tokens, seed)
    start(checkpoint, options, prompt=prompt, device=device)
