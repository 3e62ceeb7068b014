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
from millbase.log import get_logger
from training.load import tokenizer_digest
from training.pretrain.checkpoint import STATE, RunState, complete_checkpoints, latest_checkpoint, step_of
from training.pretrain.config import PretrainConfig
from training.pretrain.data_config import PastStage
from training.pretrain.rewinding import REWINDS, all_skips, usable
from training.pretrain.sources import TrainingOrder

logger = get_logger(__name__)

CHECKPOINTS = "checkpoints"
RUN_FILE = "run.json"


def find_start(config: PretrainConfig, tokens: TokensManifest) -> tuple[Path | None, PretrainConfig]:
    """The checkpoint that `checkpoint.resume_from` names, or None; and the configuration with `data.history` filled in.

    Raises:
        ArtifactError: there is no such checkpoint, or it is damaged.
        StageError: it belongs to another model, other tokens, or another mixture up to there, or has all its steps.
    """
    if config.checkpoint.resume_from is None:
        return None, config
    source = _checkpoint_in(Path(config.checkpoint.resume_from))
    state = RunState.read(source)
    if not state.stage:
        raise ArtifactError(f"{source}: of an older version, which did not note its place in the data; train anew")
    ours = {"tokenizer": tokenizer_digest(Path(config.data.tokens) / "tokenizer"), **config.identity()}
    theirs = {"tokenizer": state.tokenizer_digest, **state.identity}
    if not config.data.sources:
        ours["tokens"], theirs["tokens"] = tokens.digest, state.dataset_digest
    if state.stage["sequence_length"] != config.data.sequence_length:
        for side in (ours, theirs):
            side["model"] = {k: v for k, v in side["model"].items() if k not in _MODEL_BY_LENGTH}
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
    config = _with_history(config, state)
    if TrainingOrder(config).past(state.sequences) != state.order:
        raise StageError(
            f"checkpoint.resume_from {config.checkpoint.resume_from!r} trained on another mixture before sequence "
            f"{state.sequences}; keep data.sources and data.schedule as they were up to there, and change weights by a "
            f"phase with from_sequence: {state.sequences} or later"
        )
    return source, config


_MODEL_BY_LENGTH = ("rope_theta", "rope_scaling")
"""Fields of the model that a stage of another sequence length may change."""


def _with_history(config: PretrainConfig, state: RunState) -> PretrainConfig:
    """The configuration whose `data.history` tells of the stages before this one."""
    past = [PastStage(**stage) for stage in state.history]
    if state.stage != config.stage():
        steps = state.step - sum(stage.steps for stage in past)
        sequences = state.sequences - sum(stage.sequences for stage in past)
        if steps:
            past.append(PastStage(steps=steps, sequences=sequences, sequence_length=state.stage["sequence_length"]))
    if config.data.history not in ([], past):
        raise StageError(
            "data.history does not fit the checkpoint of checkpoint.resume_from; leave it empty, it is filled in"
        )
    return config.model_copy(update={"data": config.data.model_copy(update={"history": past})})


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


def set_aside(config: PretrainConfig, tokens: TokensManifest, out: Path, digests: list[str]) -> None:
    """Save an unfinished run's checkpoints from being cleared away when only its layout or what lies ahead changed.

    `digests`: of all tokens artifacts that are read.

    Raises:
        StageError: the unfinished run has other tokens, another model or other hyper-parameters, or trained in all its
            checkpoints on what is now to be mixed otherwise or skipped.
    """
    work = work_directory(out)
    checkpoints = work / "scratch" / CHECKPOINTS
    try:
        previous = json.loads((work / "scratch" / RUN_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return
    found = complete_checkpoints(checkpoints, verify=False)
    if not found:
        return
    theirs = {"tokens": previous["dataset_digest"], **previous["trajectory"]}
    ours = {"tokens": tokens.digest, **config.trajectory()}
    # Where the tokens lie does not matter, their digest does.
    theirs["data"], ours["data"] = ({k: v for k, v in x["data"].items() if k != "tokens"} for x in (theirs, ours))
    differences = list(_differences(theirs, ours))
    way_out = f"give another output and checkpoint.resume_from={str(work)!r}, to drop it delete {str(work)!r}"
    if differences:
        raise StageError(
            f"{str(out)!r} has an unfinished run with {'; '.join(differences)}; to continue it set these as they were, "
            f"to build on it {way_out}"
        )
    skips, order = all_skips(config, work / "scratch"), TrainingOrder(config)
    steps = [step_of(directory) for directory in found]
    fitting = [step_of(directory) for directory in found if usable(directory, skips, order)]
    if not fitting:
        raise StageError(
            f"{str(out)!r} has an unfinished run whose first checkpoint, of step {steps[0]}, comes after what changed "
            f"in data.sources, data.schedule or skip_steps; set them as they were before that step, or {way_out}"
        )
    if fitting[-1] < steps[-1]:
        logger.warning(
            "data.sources, data.schedule or skip_steps changed before step %d: going back to step %d",
            steps[-1], fitting[-1],
        )  # fmt: skip
    if (previous["config"], previous.get("digests")) != (config.to_dict(), digests):
        aside = _aside(out)
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir()
        for name in ("metrics.jsonl", f"scratch/{REWINDS}"):
            if (work / name).is_file():
                shutil.copyfile(work / name, aside / Path(name).name)
        checkpoints.rename(aside / CHECKPOINTS)


def bring_back(artifact: OpenArtifact, out: Path) -> None:
    """Put what `set_aside` saved into the new work directory."""
    aside = _aside(out)
    if not (aside / CHECKPOINTS).is_dir():
        return
    if (aside / "metrics.jsonl").is_file():
        shutil.copyfile(aside / "metrics.jsonl", artifact.path / "metrics.jsonl")
    if (aside / REWINDS).is_file():
        shutil.copyfile(aside / REWINDS, artifact.scratch / REWINDS)
    shutil.rmtree(artifact.scratch / CHECKPOINTS, ignore_errors=True)
    (aside / CHECKPOINTS).rename(artifact.scratch / CHECKPOINTS)
    shutil.rmtree(aside)


def _aside(out: Path) -> Path:
    return out.parent / f".{out.name}.checkpoints"
