"""The public loader of checkpoints: every other part of the project opens models through this module only.

    from training.load import load_model, load_reward_model
    model = load_model("runs/demo/pretrain")          # an artifact, its hf/ folder, or any Hugging Face model folder
    logits_BTV = model.logits(model.tokenizer("The capital of", return_tensors="pt").input_ids)

An artifact's files are checked against its manifest first. Only safetensors weights are read and no code of a
checkpoint is run (`trust_remote_code` stays off): a stranger's checkpoint can give bad answers but not run code.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from millbase.artifacts import open_artifact
from millbase.errors import InputError

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

MANIFEST = "manifest.json"
MODEL_KINDS = ("checkpoint",)
REWARD_KINDS = ("reward-model",)
PROCESS_KIND = "process-reward-model"
ENSEMBLE_KIND = "reward-ensemble"
SCORING_KINDS = (*REWARD_KINDS, PROCESS_KIND, ENSEMBLE_KIND)
"""Artifacts that `load_reward_model` opens."""
DTYPES = ("float32", "bfloat16", "float16")

Message = dict[str, Any]


@dataclass(frozen=True)
class LoadedModel:
    """A causal language model with its tokenizer, in evaluation mode."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    path: Path
    """The Hugging Face folder the weights were read from."""
    digest: str
    """The artifact's digest; for a folder without a manifest, a digest of its files."""
    max_length: int
    """Longest sequence, in tokens, that the model was configured for."""

    def logits(self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None = None) -> torch.Tensor:
        """Next-token logits, without gradient: `[B, T]` ids (and a 0/1 mask; padding on either side) to `[B, T, V]`."""
        import torch

        device = self.model.device
        input_ids = input_ids.to(device)
        position_ids = None
        if attention_mask is not None:
            attention_mask = attention_mask.to(device)
            # Count positions from the first real token, so that padding on the left leaves the logits as they are.
            position_ids = (attention_mask.cumsum(-1) - 1).clamp(min=0)
        with torch.inference_mode():
            output = self.model(
                input_ids=input_ids, attention_mask=attention_mask, position_ids=position_ids, use_cache=False
            )
        return output.logits


@dataclass(frozen=True)
class LoadedRewardModel:
    """A reward model (one number for a conversation) with its tokenizer, in evaluation mode."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    path: Path
    digest: str
    max_length: int
    kind: ClassVar[str] = "reward-model"
    """Kind of the artifact; two other kinds have classes of their own."""

    def score(self, list_of_messages: list[list[Message]], batch_size: int = 32) -> list[float]:
        """One reward for each conversation (`[{"role", "content"}, ...]`), in the same order.

        Conversations longer than the model's context keep their last `max_length` tokens: the response that is judged
        stands at the end.
        """
        import torch

        rows: list[list[int]] = []
        for messages in list_of_messages:
            text = str(self.tokenizer.apply_chat_template(messages, tokenize=False))
            rows.append(self.tokenizer(text, add_special_tokens=False)["input_ids"][-self.max_length :])
        pad = self.tokenizer.pad_token_id
        scores: list[float] = []
        for start in range(0, len(rows), batch_size):
            batch = rows[start : start + batch_size]
            width = max(len(row) for row in batch)
            # Padding goes to the right: the classification head reads the last token that is not padding.
            input_ids = torch.tensor([row + [pad] * (width - len(row)) for row in batch])
            attention_mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in batch])
            with torch.inference_mode():
                output = self.model(
                    input_ids=input_ids.to(self.model.device), attention_mask=attention_mask.to(self.model.device)
                )
            scores.extend(output.logits[:, 0].float().tolist())
        return scores


def load_model(path: str | Path, dtype: str = "float32", device: str | torch.device | None = None) -> LoadedModel:
    """Load a causal language model.

    Args:
        path: a `checkpoint` artifact, its `hf/` folder, or any Hugging Face model folder.
        dtype: `float32`, `bfloat16` or `float16`.
        device: where to put the weights; default the GPU if there is one, else the CPU.

    Raises:
        ArtifactError: the artifact is missing, of another kind, or its files changed since they were written.
        InputError: not a model folder, or the tokenizer does not belong to the model.
    """
    from transformers import AutoModelForCausalLM

    model, tokenizer, folder, digest, max_length = open_model(AutoModelForCausalLM, path, MODEL_KINDS, dtype, device)
    return LoadedModel(model=model, tokenizer=tokenizer, path=folder, digest=digest, max_length=max_length)


def load_reward_model(
    path: str | Path, dtype: str = "float32", device: str | torch.device | None = None
) -> LoadedRewardModel:
    """Load a reward model: a `reward-model` artifact, its `hf/` folder, or a one-label sequence classifier's folder.

    A `process-reward-model` and a `reward-ensemble` load too, as subclasses that score conversations in the same way.
    Raises as `load_model`, and InputError when the model has more than one label or its tokenizer no padding token.
    """
    from transformers import AutoModelForSequenceClassification

    kind = recorded_kind(Path(path))
    if kind == ENSEMBLE_KIND:
        from training.reward_ensemble import load_ensemble

        return load_ensemble(Path(path), dtype, device)
    if kind == PROCESS_KIND:
        from training.process_reward import load_process_reward_model

        return load_process_reward_model(path, dtype, device)
    model, tokenizer, folder, digest, max_length = open_model(
        AutoModelForSequenceClassification, path, REWARD_KINDS, dtype, device
    )
    if model.config.num_labels != 1:
        raise InputError(
            f"{folder}: a reward model gives one number, this classifier has {model.config.num_labels} labels; "
            "give the folder of a model trained with num_labels=1"
        )
    if tokenizer.pad_token_id is None or model.config.pad_token_id is None:
        raise InputError(
            f"{folder}: the tokenizer or config.json has no padding token, so the end of a conversation cannot be "
            "found; set pad_token in both"
        )
    return LoadedRewardModel(model=model, tokenizer=tokenizer, path=folder, digest=digest, max_length=max_length)


def recorded_kind(path: Path) -> str | None:
    """Kind of the artifact that `path` is, or whose `hf/` it is; None without a manifest."""
    for artifact in (path, *((path.parent,) if path.name == "hf" else ())):
        if (artifact / MANIFEST).is_file():
            return str(json.loads((artifact / MANIFEST).read_text(encoding="utf-8")).get("kind"))
    return None


def tokenizer_digest(folder: str | Path) -> str:
    """Digest of what a tokenizer in `folder` does to text: vocabulary, merges, normalisation, special tokens.

    Padding and truncation settings and the JSON's layout are left out, because `save_pretrained` rewrites them.

    Raises:
        InputError: `folder` has no tokenizer.json.
    """
    file = Path(folder) / "tokenizer.json"
    if not file.is_file():
        raise InputError(
            f"{folder}: no tokenizer.json; save the tokenizer beside the model (tokenizer.save_pretrained)"
        )
    content = json.loads(file.read_text(encoding="utf-8"))
    content.pop("padding", None)
    content.pop("truncation", None)
    canonical = json.dumps(content, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def open_model(
    auto_class: Any, path: str | Path, kinds: tuple[str, ...], dtype: str, device: str | torch.device | None
) -> tuple[Any, Any, Path, str, int]:
    """(model, tokenizer, Hugging Face folder, digest, longest sequence) of an artifact of `kinds`, or a folder."""
    import torch
    from transformers import AutoTokenizer

    if dtype not in DTYPES:
        raise InputError(f"dtype {dtype!r}: expected one of {', '.join(DTYPES)}")
    folder, digest, recorded_tokenizer = _locate(Path(path), kinds)
    if not (folder / "config.json").is_file():
        raise InputError(f"{folder}: not a Hugging Face model folder (no config.json); give a checkpoint or its hf/")
    if not (folder / "model.safetensors").is_file() and not (folder / "model.safetensors.index.json").is_file():
        raise InputError(f"{folder}: no model.safetensors; pickled weights are not read, convert them to safetensors")
    actual_tokenizer = tokenizer_digest(folder)
    if recorded_tokenizer is not None and recorded_tokenizer != actual_tokenizer:
        raise InputError(
            f"{folder}: the tokenizer (digest {actual_tokenizer[:12]}) is not the one this checkpoint was trained with "
            f"({recorded_tokenizer[:12]}); put the original tokenizer files back"
        )
    tokenizer = AutoTokenizer.from_pretrained(folder)
    if device is None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
    model = auto_class.from_pretrained(folder, dtype=getattr(torch, dtype), use_safetensors=True).to(device).eval()
    rows = model.get_input_embeddings().weight.shape[0]
    if len(tokenizer) > rows:
        raise InputError(
            f"{folder}: the tokenizer has {len(tokenizer)} tokens but the model's embedding only {rows} rows; "
            "they do not belong together, put the model's own tokenizer files beside it"
        )
    return model, tokenizer, folder, digest, _max_length(model)


def _locate(path: Path, kinds: tuple[str, ...]) -> tuple[Path, str, str | None]:
    """(Hugging Face folder, digest, the tokenizer digest its manifest records or None)."""
    if not path.is_dir():
        raise InputError(
            f"{path}: no such checkpoint folder; give a checkpoint artifact or a Hugging Face model folder"
        )
    for artifact, folder in ((path, path / "hf"), (path.parent, path)):
        is_part = artifact == path or path.name == "hf"
        if is_part and (artifact / MANIFEST).is_file():
            manifest = open_artifact(artifact, kind=kinds)
            return folder, manifest.digest, manifest.stats.get("tokenizer_digest")
    folder = path / "hf" if (path / "hf" / "config.json").is_file() else path
    return folder, _folder_digest(folder), None


def _folder_digest(folder: Path) -> str:
    """SHA-256 over the names and contents of the files directly in `folder`."""
    digest = hashlib.sha256()
    for file in sorted(p for p in folder.iterdir() if p.is_file()):
        with file.open("rb") as stream:
            digest.update(f"{file.name}\0{hashlib.file_digest(stream, 'sha256').hexdigest()}\n".encode())
    return digest.hexdigest()


def _max_length(model: Any) -> int:
    return int(model.config.max_position_embeddings)
