"""Which checkpoint a run starts from, and whether it may: nothing continues on other data or another model unnoticed.

An interrupted run continues by itself when everything that decides its losses is as it was; its layout over ranks,
logging and saving may have changed. `checkpoint.resume_from` continues another run, and may change the number of steps,
the schedule and the optimizer as well.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from millbase.artifacts import MANIFEST, OpenArtifact, open_artifact, work_directory
from millbase.artifacts import Manifest as TokensManifest
from millbase.errors import ArtifactError, StageError
from training.load import tokenizer_digest
from training.pretrain.checkpoint import STATE, RunState, complete_checkpoints, latest_checkpoint
from training.pretrain.config import PretrainConfig

CHECKPOINTS = "checkpoints"
RUN_FILE = "run.json"


def find_start(config: PretrainConfig, tokens: TokensManifest) -> Path | None:
    """The checkpoint that `checkpoint.resume_from` names, or None without one.

    Raises:
        ArtifactError: there is no such checkpoint, or it is damaged.
        StageError: it belongs to another model, other tokens or another batch size, or has all its steps already.
    """
    if config.checkpoint.resume_from is None:
        return None
    source = _checkpoint_in(Path(config.checkpoint.resume_from))
    state = RunState.read(source)
    ours = {
        "tokens": tokens.digest,
        "tokenizer": tokenizer_digest(Path(config.data.tokens) / "tokenizer"),
        **config.identity(),
    }
    theirs = {"tokens": state.dataset_digest, "tokenizer": state.tokenizer_digest, **state.identity}
    differences = list(_differences(theirs, ours))
    if differences:
        raise StageError(
            f"checkpoint.resume_from {config.checkpoint.resume_from!r} cannot be continued, it was made with "
            f"{'; '.join(differences)}; set these as they were, or unset resume_from to train from the start"
        )
    if state.step >= config.steps:
        raise StageError(
            f"checkpoint.resume_from {config.checkpoint.resume_from!r} has {state.step} steps already and steps is "
            f"{config.steps}; raise steps to continue it"
        )
    return source


def _checkpoint_in(path: Path) -> Path:
    """The checkpoint folder of a finished artifact, of a work directory, or the folder itself."""
    if (path / MANIFEST).is_file():
        open_artifact(path, kind="checkpoint")
        if not (path / "megatron" / STATE).is_file():
            raise ArtifactError(
                f"{path}: a checkpoint without megatron/ training state; give one written by pretraining"
            )
        return path / "megatron"
    if (path / STATE).is_file():
        return path
    newest = latest_checkpoint(path / "scratch" / CHECKPOINTS)
    if newest is None:
        raise ArtifactError(f"{path}: holds no finished checkpoint; give a pretraining artifact or unset resume_from")
    return newest


def _differences(theirs: dict[str, Any], ours: dict[str, Any], prefix: str = "") -> Iterator[str]:
    """`"model.layers 4 (now 6)"` for each value that differs."""
    for key in sorted(theirs.keys() | ours.keys()):
        old, new = theirs.get(key), ours.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            yield from _differences(old, new, f"{prefix}{key}.")
        elif old != new:
            yield f"{prefix}{key} {old!r} (now {new!r})"


def set_aside(config: PretrainConfig, tokens: TokensManifest, out: Path) -> None:
    """Save an unfinished run's checkpoints from being cleared away when only its layout or logging changed.

    Raises:
        StageError: the unfinished run has other tokens, another model or other hyper-parameters.
    """
    work = work_directory(out)
    checkpoints = work / "scratch" / CHECKPOINTS
    try:
        previous = json.loads((work / "scratch" / RUN_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return
    if not complete_checkpoints(checkpoints, verify=False):
        return
    theirs = {"tokens": previous["dataset_digest"], **previous["trajectory"]}
    ours = {"tokens": tokens.digest, **config.trajectory()}
    # Where the tokens lie does not matter, their digest does.
    theirs["data"], ours["data"] = ({k: v for k, v in x["data"].items() if k != "tokens"} for x in (theirs, ours))
    differences = list(_differences(theirs, ours))
    if differences:
        raise StageError(
            f"{str(out)!r} has an unfinished run with {'; '.join(differences)}; to continue it set these as they were, "
            f"to build on it give another output and checkpoint.resume_from={str(work)!r}, "
            f"to drop it delete {str(work)!r}"
        )
    if previous["config"] != config.to_dict():
        aside = _aside(out)
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir()
        if (work / "metrics.jsonl").is_file():
            shutil.copyfile(work / "metrics.jsonl", aside / "metrics.jsonl")
        checkpoints.rename(aside / CHECKPOINTS)


def bring_back(artifact: OpenArtifact, out: Path) -> None:
    """Put what `set_aside` saved into the new work directory."""
    aside = _aside(out)
    if not (aside / CHECKPOINTS).is_dir():
        return
    if (aside / "metrics.jsonl").is_file():
        shutil.copyfile(aside / "metrics.jsonl", artifact.path / "metrics.jsonl")
    shutil.rmtree(artifact.scratch / CHECKPOINTS, ignore_errors=True)
    (aside / CHECKPOINTS).rename(artifact.scratch / CHECKPOINTS)
    shutil.rmtree(aside)


def _aside(out: Path) -> Path:
    return out.parent / f".{out.name}.checkpoints"
