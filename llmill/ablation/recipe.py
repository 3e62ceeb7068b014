"""From an ablation to a recipe of ordinary stages, its run, and its verdict."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from llmill.ablation.config import AblateConfig, CorpusSource, StageSource
from llmill.ablation.show import print_verdict
from llmill.recipe.graph import load_graph
from llmill.recipe.runner import RunOptions, run_recipe
from millbase.atomic import atomic_write

VERDICT = "verdict"


def ablate(config: AblateConfig, out: Path, where: Path, *, dry_run: bool = False) -> int:
    """Train, score and judge; returns the runner's exit status. Files named in `config` are relative to `where`."""
    out.mkdir(parents=True, exist_ok=True)
    path = out / "recipe.yaml"
    with atomic_write(path) as file:
        file.write("# Written by llmill ablate; llmill run carries it out too.\n")
        file.write(yaml.safe_dump(as_recipe(config, where.resolve()), sort_keys=False, allow_unicode=True))
    status = run_recipe(load_graph(path, [], out), RunOptions(dry_run=dry_run))
    if status == 0 and not dry_run:
        print_verdict(out / VERDICT)
    return status


def as_recipe(config: AblateConfig, where: Path) -> dict[str, Any]:
    """The recipe, as the values of its YAML file."""
    stages: dict[str, dict[str, Any]] = {}
    corpora = {name: _corpus(name, source, where, stages) for name, source in (config.arms | config.held_out).items()}
    tokenizer = config.tokenizer
    if tokenizer is None:
        tokenizer = "${tokenizer}"
        texts = [{"path": corpora[arm]} for arm in config.arms]
        stages["tokenizer"] = {"run": "tokenizer", "config": {"texts": texts, "vocab_size": config.vocab_size}}
    for name, corpus in corpora.items():
        fields: dict[str, Any] = {"corpus": corpus, "tokenizer": tokenizer}
        if name in config.held_out:
            fields["heldout_share"] = 0.0
        stages[f"tokens_{name}"] = {"run": "tokens", "config": fields}
    arms = [
        {"name": arm, "scores": [_seed(config, arm, seed, where, stages) for seed in config.seeds]}
        for arm in config.arms
    ]
    stages[VERDICT] = {"run": "ablation", "config": {"arms": arms}}
    return {"name": "ablation", "description": config.description, "jobs": config.jobs, "stages": stages}


def _corpus(name: str, source: CorpusSource, where: Path, stages: dict[str, dict[str, Any]]) -> str:
    """Add the stage of a corpus; returns how other stages name its artifact."""
    if source.corpus is not None:
        return source.corpus
    stages[f"corpus_{name}"] = _stage(source.run, source, where)
    return f"${{corpus_{name}}}"


def _seed(config: AblateConfig, arm: str, seed: int, where: Path, stages: dict[str, dict[str, Any]]) -> dict[str, str]:
    """Add the model of one arm and seed and its evaluations; returns the scores by label."""
    model = f"model_{arm}_{seed}"
    stages[model] = _stage("pretrain", config.pretrain, where, {"data.tokens": f"${{tokens_{arm}}}", "seed": seed})
    scores: dict[str, str] = {}
    for held_out in config.held_out:
        name = f"scores_{arm}_{seed}_{held_out}"
        block = {"tokens": f"${{tokens_{held_out}}}", "split": "train", "max_documents": config.held_out_documents}
        fields = {"model": f"${{{model}}}", "stage": f"{arm} {seed}"}
        stages[name] = {"run": "evaluate", "config": {**fields, "bits_per_byte": block}}
        scores[held_out] = f"${{{name}}}"
    if config.evaluate.file is not None or config.evaluate.config or config.evaluate.set:
        name = f"scores_{arm}_{seed}_tasks"
        stages[name] = _stage("evaluate", config.evaluate, where, {"model": f"${{{model}}}", "stage": f"{arm} {seed}"})
        scores["tasks"] = f"${{{name}}}"
    return scores


def _stage(run: str, source: StageSource, where: Path, fields: dict[str, Any] | None = None) -> dict[str, Any]:
    stage: dict[str, Any] = {"run": run, "config": source.config, "set": {**source.set, **(fields or {})}}
    if source.file is not None:
        stage["file"] = str(where / source.file)
    return stage
