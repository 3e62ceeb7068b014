"""A model on disk, whatever the form: a distributed checkpoint with its state, an artifact, a Hugging Face folder.

source = find_model("runs/demo/pretrain")
source.model, source.vocab_size             # what it is
fill(chunk, source.weights())               # its weights, for any layout
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from millbase.artifacts import MANIFEST, open_artifact
from millbase.config import explain_validation
from millbase.errors import ArtifactError, InputError
from millbase.hashing import file_digest, value_digest
from training.pretrain.checkpoint import COMPLETE, METADATA, STATE, RunState, latest_checkpoint
from training.pretrain.models.config import ModelConfig

if TYPE_CHECKING:
    from training.pretrain.weights import Whole

# Fields that change neither shapes nor what the weights compute: how they were trained, or how they are stored.
_FREE = ("init_std", "vocab_multiple", "mtp", "rope_theta", "rope_scaling")
_FREE_MOE = ("balance", "balance_weight", "expert_bias_rate", "z_loss")


@dataclass(frozen=True)
class ModelSource:
    """Where a model's weights are, and what they are the weights of."""

    folder: Path
    """The distributed checkpoint's folder, or the Hugging Face folder."""
    distributed: bool
    """A distributed checkpoint of Megatron's; else safetensors files."""
    model: ModelConfig
    vocab_size: int
    """Without padding."""
    sequence_length: int
    """The context length it was trained for, in tokens."""
    dtype: str
    """`float32`, `bfloat16` or `float16`."""
    tokenizer: Path | None
    """Folder of its tokenizer, where one is known."""
    artifact_digest: str | None
    """Of the artifact that it is part of."""

    @property
    def digest(self) -> str:
        """The artifact's; without one, of the list of a checkpoint's files, or of a folder's files (which are read)."""
        if self.artifact_digest is not None:
            return self.artifact_digest
        if self.distributed:
            return file_digest(self.folder / (COMPLETE if (self.folder / COMPLETE).is_file() else METADATA))
        return value_digest({file.name: file_digest(file) for file in self.folder.iterdir() if file.is_file()})

    def weights(self) -> Whole:
        """Its whole tensors, each read when it is asked for."""
        from training.pretrain.weights import hf_weights, saved_weights

        return saved_weights(self.folder) if self.distributed else hf_weights(self.folder, self.model)


def find_model(path: str | Path, verify: bool = True) -> ModelSource:
    """The model at `path`: a checkpoint artifact (its distributed form where it has one), one of its two folders, a
    checkpoint of an unfinished run or that run's work directory, or any Hugging Face folder. `verify`: read an
    artifact's files and compare their digests (once is enough where many ranks open it).

    Raises:
        ArtifactError: an artifact of another kind, a changed one, or a damaged checkpoint.
        InputError: nothing of these, or a model that we do not have.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; give a checkpoint or a Hugging Face model folder")
    digest = None
    for artifact in (folder, folder.parent):
        if (artifact / MANIFEST).is_file() and (artifact == folder or folder.name in ("hf", "megatron")):
            digest = open_artifact(artifact, kind="checkpoint", verify=verify).digest
    beside = folder / "hf" if (folder / "hf").is_dir() else folder.parent / "hf"
    if (folder / "megatron" / STATE).is_file():
        return _distributed(folder / "megatron", beside, digest)
    if (folder / STATE).is_file():
        return _distributed(folder, beside, digest)
    if (folder / "scratch" / "checkpoints").is_dir():
        newest = latest_checkpoint(folder / "scratch" / "checkpoints")
        if newest is None:
            raise ArtifactError(f"{folder}: holds no finished checkpoint yet; wait for the first, or give another")
        return _distributed(newest, beside, digest)
    return _hugging_face(folder / "hf" if (folder / "hf" / "config.json").is_file() else folder, digest)


def _distributed(folder: Path, beside: Path, digest: str | None) -> ModelSource:
    state = RunState.read(folder)
    if not (folder / METADATA).is_file():
        raise ArtifactError(f"{folder}: its index {METADATA} is missing; use another checkpoint")
    try:
        model = ModelConfig(**state.identity["model"])
    except ValidationError as error:
        raise ArtifactError(f"{folder / STATE}: {explain_validation(ModelConfig, error)}") from None
    except KeyError:
        raise ArtifactError(f"{folder / STATE}: does not say what model it is of") from None
    return ModelSource(
        folder=folder,
        distributed=True,
        model=model,
        vocab_size=state.vocab_size,
        sequence_length=int(state.stage.get("sequence_length", model.max_positions)),
        dtype=str(state.identity.get("dtype", "float32")),
        tokenizer=beside if (beside / "tokenizer.json").is_file() else None,
        artifact_digest=digest,
    )


def _hugging_face(folder: Path, digest: str | None) -> ModelSource:
    from training.pretrain.models.hf.files import HFWeights
    from training.pretrain.models.hf.settings import model_config

    model, theirs = model_config(folder)
    files = HFWeights(folder)
    embedding = _EMBEDDINGS.get(model.family, "model.embed_tokens.weight")
    if model.family == "deepseek_v3" and f"model.layers.{model.layers}.enorm.weight" in files:
        model = model.model_copy(update={"mtp": _prediction_layers(theirs)})
    return ModelSource(
        folder=folder,
        distributed=False,
        model=model,
        vocab_size=files.shape(embedding)[0],
        sequence_length=int(theirs.max_position_embeddings),
        dtype=str(files.dtype(embedding)).removeprefix("torch."),
        tokenizer=folder if (folder / "tokenizer.json").is_file() else None,
        artifact_digest=digest,
    )


_EMBEDDINGS = {"gpt2": "transformer.wte.weight", "bert": "bert.embeddings.word_embeddings.weight"}


def _prediction_layers(theirs: Any) -> Any:
    from training.pretrain.models.config import MTPConfig

    return MTPConfig(depth=theirs.num_nextn_predict_layers)


def check_same_model(source: ModelSource, model: ModelConfig, vocab_size: int) -> None:
    """InputError, naming every difference, when the weights of `source` are not those of `model`.

    Rotary frequencies, multi-token prediction and the way experts are balanced may differ: continuing with other ones
    is what one starts from given weights for. A smaller vocabulary is padded with rows of zeros.
    """
    differences = [
        f"model.{name} {theirs!r} (configured: {ours!r})"
        for name, (theirs, ours) in _differing(_bare(source.model), _bare(model))
    ]
    if source.vocab_size > vocab_size:
        differences.append(f"a vocabulary of {source.vocab_size} (the tokens have {vocab_size})")
    if differences:
        raise InputError(
            f"{source.folder}: its weights cannot be used, they have {'; '.join(differences)}; set the model as it was "
            "or give other weights"
        )


def _bare(model: ModelConfig) -> dict[str, Any]:
    """The fields that must agree, flat."""
    values = model.to_dict()
    values["kv_heads"], values["head_dim"] = model.query_groups, model.kv_channels
    if model.mla:
        values = {name: value for name, value in values.items() if name not in ("kv_heads", "head_dim")}
    if model.moe and model.uniform:
        values.pop("ffn_hidden_size")  # no dense layer
    if model.positions == "rope":
        values.pop("max_positions")
    if model.masked_lm:
        values["masked_lm"] = {"token_types": model.masked_lm.token_types}
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if name in _FREE:
            continue
        if isinstance(value, dict):
            flat |= {f"{name}.{key}": item for key, item in value.items() if key not in _FREE_MOE}
        else:
            flat[name] = value
    return flat


def _differing(theirs: dict[str, Any], ours: dict[str, Any]) -> list[tuple[str, tuple[Any, Any]]]:
    pairs = {name: (theirs.get(name), ours.get(name)) for name in sorted(theirs.keys() | ours.keys())}
    return [(name, pair) for name, pair in pairs.items() if pair[0] != pair[1]]
