"""What `llmill plan` is asked about: a configuration, its model's shape and vocabulary, before any data exists."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from millbase.config import apply_override, load_config, parse_override, read_yaml
from millbase.errors import ConfigError
from training.plan.layout import Layout
from training.plan.posttrain import TRAINED
from training.pretrain.config import PretrainConfig
from training.pretrain.models.config import ModelConfig

UNKNOWN_TOKENS = "(not given)"


def read_fields(path: str | Path | None, overrides: Sequence[str]) -> dict[str, Any]:
    """The YAML file with its overrides, not yet validated."""
    values = read_yaml(path) if path is not None else {}
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: expected a mapping of fields, found {type(values).__name__}")
    for override in overrides:
        apply_override(values, *parse_override(override))
    return values


def stage_kind(fields: dict[str, Any], path: str | Path | None, given: str | None) -> str:
    """`pretrain`, or the kind of post-training a configuration is for: what was given, else told from its fields (a
    post-training `model` is a path) and its file's name."""
    if given is not None:
        if given != "pretrain" and given not in TRAINED:
            raise ConfigError(f"--stage {given!r}: expected pretrain, {', '.join(TRAINED)}")
        return given
    if not isinstance(fields.get("model"), str):
        return "pretrain"
    named = _named(Path(path or "").stem)
    if len(named) == 1:
        return named[0]
    if isinstance(fields.get("reward"), dict):
        return "grpo" if "method" in fields else "online-dpo" if "prompts_per_update" in fields else "ppo"
    raise ConfigError(f"{path}: which stage is it for? give --stage {', '.join(TRAINED)}")


def _named(stem: str) -> list[str]:
    """Kinds of stage in a file's name; `online_dpo` is not also `dpo`."""
    left, found = f"_{stem.lower().replace('-', '_')}_", []
    for kind in sorted(TRAINED, key=len, reverse=True):
        word = f"_{kind.replace('-', '_')}_"
        if word in left:
            found.append(kind)
            left = left.replace(word, "__")
    return found


def read_pretrain(fields: dict[str, Any], where: str, gpus: int | None) -> PretrainConfig:
    """The pretraining configuration; its tokens need not exist. With `gpus`, `parallel.data` takes what the rest of the
    layout leaves, unless it was given and fits."""
    data = fields.setdefault("data", {})
    if isinstance(data, dict):
        data.setdefault("tokens", UNKNOWN_TOKENS)
    if gpus is not None:
        parallel = fields.setdefault("parallel", {})
        sizes = {name: int(parallel.get(name) or 1) for name in ("tensor", "pipeline", "context")}
        inner = sizes["tensor"] * sizes["pipeline"] * sizes["context"]
        if gpus % inner:
            text = " * ".join(f"{name} {size}" for name, size in sizes.items())
            raise ConfigError(f"--gpus {gpus} is not divisible by {text} = {inner}; change one of them")
        parallel["data"] = gpus // inner
    return load_config(PretrainConfig, fields, where=where)


def vocabulary(fields: dict[str, Any], given: int | None) -> int:
    """Tokens of the tokenizer: what was given, else what the tokens artifact says."""
    if given is not None:
        return given
    tokens = str(fields.get("data", {}).get("tokens", UNKNOWN_TOKENS))
    manifest = Path(tokens) / "manifest.json"
    try:
        return int(json.loads(manifest.read_text(encoding="utf-8"))["stats"]["vocab_size"])
    except (OSError, ValueError, KeyError, TypeError):
        raise ConfigError(
            f"how large is the vocabulary? data.tokens {tokens!r} is not there to ask; give --vocab, such as "
            "--vocab 128256"
        ) from None


def model_of(fields: dict[str, Any], shape: str | Path | None, vocab: int | None) -> tuple[ModelConfig, int]:
    """Shape and vocabulary of a post-training stage's model: from `shape` (a pretraining configuration), else from the
    checkpoint the stage starts from."""
    if shape is not None:
        described = read_fields(shape, [])
        model = load_config(ModelConfig, described.get("model", described), where=str(shape))
        return model, vocabulary(described, vocab)
    path = Path(str(fields.get("model", "")))
    folder = path / "hf" if (path / "hf" / "config.json").is_file() else path
    if not (folder / "config.json").is_file():
        raise ConfigError(
            f"model {str(path)!r} is not there to ask for its size; give --shape, a pretraining configuration with a "
            "model of that size, and --vocab"
        )
    from training.pretrain.models.hf.settings import model_config

    model, theirs = model_config(folder)
    return model, vocab or int(theirs.vocab_size)


def default_gpus(config: PretrainConfig) -> int:
    """Ranks of the configuration as it stands."""
    return Layout.of(config.parallel, config.micro_batch_size).ranks
