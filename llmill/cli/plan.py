"""``llmill plan``: memory, work, communication, time and cost of a training run before it starts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from millbase.errors import ConfigError

_Words = Annotated[
    list[str] | None,
    typer.Argument(metavar="[CONFIG.yaml] [KEY=VALUE]...", help="YAML file, then fields that override it."),
]


def plan(
    words: _Words = None,
    gpus: Annotated[
        int | None, typer.Option("--gpus", min=1, help="Devices; data parallelism takes what the layout leaves.")
    ] = None,
    gpu: Annotated[
        str,
        typer.Option(
            "--gpu",
            metavar="NAME[:KEY=VALUE,...]",
            help="a100-40, a100-80, h100, h200, b200, mi300x, l40s, rtx4090 ...; or figures of your own: tflops, "
            "memory (GiB), bandwidth, link, network (GB/s), node, matmul.",
        ),
    ] = "h100",
    search: Annotated[bool, typer.Option("--search", help="List the best layouts that fit, and why.")] = False,
    top: Annotated[int, typer.Option("--top", min=1, help="Layouts to list.")] = 10,
    tokens: Annotated[
        float | None,
        typer.Option("--tokens", min=1, help="Tokens of the training.", show_default="those of the steps"),
    ] = None,
    vocab: Annotated[
        int | None, typer.Option("--vocab", min=2, help="Size of the vocabulary.", show_default="that of data.tokens")
    ] = None,
    price: Annotated[float | None, typer.Option("--price", min=0, help="Price of an hour of one device.")] = None,
    stage: Annotated[
        str | None,
        typer.Option(
            "--stage", metavar="KIND", help="pretrain, sft, reward, dpo, ppo, reject ...", show_default="told"
        ),
    ] = None,
    shape: Annotated[
        Path | None,
        typer.Option("--shape", help="Post-training: a pretraining configuration with the model's size."),
    ] = None,
    frozen: Annotated[
        str, typer.Option("--frozen", metavar="float32|bfloat16", help="Post-training: type of frozen models.")
    ] = "float32",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
) -> None:
    """Plan a training run: parameters, FLOPs, memory of each GPU, communication, step time, MFU, days, GPU-hours.

    Takes configurations of pretraining and of post-training; no data, model or GPU is needed.

    llmill plan configs/pretrain/demo.yaml --gpus 64 --gpu h100 --vocab 32000 dtype=bfloat16 --search
    """
    from llmill.views.show import print_json
    from llmill.views.training_plan import print_search, print_stage, print_training
    from training.plan import read
    from training.plan.hardware import find_gpu

    device = find_gpu(gpu)
    files = [word for word in words or [] if "=" not in word]
    if len(files) > 1:
        raise ConfigError(f"expected one configuration file, found {len(files)}: {' '.join(files)}")
    file = files[0] if files else None
    fields = read.read_fields(file, [word for word in words or [] if "=" in word])
    kind = read.stage_kind(fields, file, stage)
    if kind != "pretrain":
        if search or tokens is not None:
            raise ConfigError(f"--search and --tokens are for pretraining, not {kind}; leave them out")
        found = _stage(kind, fields, shape, vocab, frozen, device, gpus or 1)
        print_json(found) if as_json else print_stage(found)
        return
    found = _training(fields, str(file or "plan"), device, gpus, tokens, vocab, price, search, top)
    if as_json:
        print_json(found)
        return
    print_training(found)
    if search:
        print_search(found["search"])


def _training(
    fields: dict[str, Any],
    where: str,
    device: Any,
    gpus: int | None,
    tokens: float | None,
    vocab: int | None,
    price: float | None,
    search: bool,
    top: int,
) -> dict[str, Any]:
    from training.plan import read
    from training.plan.estimate import plan_run
    from training.plan.fits import layout_of, run_of
    from training.plan.search import search as search_layouts
    from training.plan.search import summary

    size = read.vocabulary(fields, vocab)
    config = read.read_pretrain(fields, where, gpus)
    run, layout = run_of(config, size, tokens), layout_of(config)
    found = plan_run(run, layout, device, price)
    if search:
        found["search"] = summary(run, search_layouts(run, layout.ranks, device), device, top)
    return found


def _stage(
    kind: str,
    fields: dict[str, Any],
    shape: Path | None,
    vocab: int | None,
    frozen: str,
    device: Any,
    gpus: int,
) -> dict[str, Any]:
    from training.plan import read
    from training.plan.posttrain import plan_stage, stage_of

    sizes = {"float32": 4.0, "bfloat16": 2.0}
    if frozen not in sizes:
        raise ConfigError(f"--frozen {frozen!r}: expected float32 or bfloat16")
    model, size = read.model_of(fields, shape, vocab)
    return plan_stage(stage_of(kind, with_defaults(kind, fields), model, size, sizes[frozen]), device, gpus)


def with_defaults(kind: str, fields: dict[str, Any]) -> dict[str, Any]:
    """The fields of a stage with the defaults of its configuration class, where it has one here."""
    from llmill.registry import KINDS
    from millbase.config import load_config

    if kind not in KINDS:
        return fields
    return load_config(KINDS[kind].config_class(), fields, where=kind).to_dict()
