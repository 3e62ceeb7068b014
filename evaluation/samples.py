"""Greedy responses of the model and of the previous stage's, side by side, for people to read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from evaluation.config import SamplesConfig
from evaluation.generate import GREEDY
from evaluation.records import read_prompts
from evaluation.responses import Responses
from evaluation.scores import BlockResult

if TYPE_CHECKING:
    from training.load import LoadedModel


def run_samples(
    model: LoadedModel,
    previous: LoadedModel | None,
    block: SamplesConfig,
    responses: Responses,
    *,
    maximum_bad_share: float,
) -> BlockResult:
    """Respond to the first prompts of the file."""
    prompts = read_prompts(block.prompts, limit=block.count, maximum_bad_share=maximum_bad_share).rows
    texts: list[list[str | None]] = []
    for loaded in (model, previous):
        if loaded is None:
            texts.append([None] * len(prompts))
            continue
        completions = responses(
            loaded, prompts, sampling=GREEDY, max_new_tokens=block.max_new_tokens, description="samples"
        )
        texts.append([completion.text for completion in completions])
    return BlockResult(
        samples=[
            {"prompt": prompt.text, "response": ours, "reference_response": theirs, "answer": prompt.answer}
            for prompt, ours, theirs in zip(prompts, *texts, strict=True)
        ]
    )
