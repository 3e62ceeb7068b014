"""An `educational-model` artifact: a sequence classifier with one output, and its tokenizer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from data_pipeline.educational.step import KIND
from millbase.artifacts import open_artifact
from millbase.errors import ArtifactError

MODEL_FOLDER = "model"
LOWEST, HIGHEST = 0.0, 5.0


class EducationalModel:
    """Scores texts; on a GPU where there is one."""

    def __init__(self, model: Any, tokenizer: Any, max_tokens: int) -> None:
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.model, self.tokenizer, self.max_tokens = model.to(self.device).eval(), tokenizer, max_tokens

    @classmethod
    def load(cls, path: str | Path) -> EducationalModel:
        """Load the artifact at `path`; ArtifactError when it is missing, damaged, or something else."""
        manifest = open_artifact(path, kind=KIND)
        folder = manifest.path / MODEL_FOLDER
        try:
            model = AutoModelForSequenceClassification.from_pretrained(folder, local_files_only=True)
            tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        except (OSError, ValueError) as error:
            reason = str(error).splitlines()[0]
            raise ArtifactError(f"{str(path)!r} holds no usable model ({reason}); train it again") from None
        return cls(model, tokenizer, int(manifest.config["max_tokens"]))

    @torch.inference_mode()
    def score(self, texts: Sequence[str]) -> list[float]:
        """Educational value of each text, in [0, 5]."""
        if not texts:
            return []
        # fast tokenizers refuse lone surrogates, which broken pages hold
        clean = [text.encode("utf-8", "replace").decode() for text in texts]
        batch = self.tokenizer(clean, truncation=True, max_length=self.max_tokens, padding=True, return_tensors="pt")
        scores = self.model(**batch.to(self.device)).logits[:, 0].float().clamp(LOWEST, HIGHEST)
        return [float(score) for score in scores.cpu()]
