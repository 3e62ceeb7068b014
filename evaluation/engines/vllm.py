"""A checkpoint through vLLM, where it is installed: for large models on GPUs.

vLLM reads a Hugging Face folder itself. Log-likelihoods are its prompt log-probabilities; it batches as it likes, so
their last bits depend on the neighbours.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from evaluation.config import VllmConfig
from evaluation.engines.base import Pair
from evaluation.generate import GREEDY, Completion, Sampling, Stops, room_for_prompt, tokenizer_stops
from evaluation.loglikelihood import clipped, start_token
from millbase.artifacts import describe_input
from millbase.errors import ConfigError, StageError


class VllmEngine:
    """vLLM's engine as ours."""

    def __init__(self, path: str | Path, config: VllmConfig, *, dtype: str, seed: int) -> None:
        """Load the model. ConfigError when vLLM is not installed."""
        try:
            self._vllm: Any = importlib.import_module("vllm")
        except ImportError as error:
            raise ConfigError(
                f"vllm: cannot be imported ({error}); pip install vllm on a machine with GPUs, or leave the block out: "
                "the model then runs in this process"
            ) from None
        folder = Path(path) / "hf" if (Path(path) / "hf").is_dir() else Path(path)
        self.where = str(folder)
        self._model = self._vllm.LLM(
            model=self.where,
            dtype=dtype,
            seed=seed,
            tensor_parallel_size=config.tensor,
            gpu_memory_utilization=config.memory_share,
            trust_remote_code=False,
        )
        self.tokenizer = self._model.get_tokenizer()
        self.max_length = int(self._model.llm_engine.model_config.max_model_len)
        self.start_id = start_token(self.tokenizer, self.where)
        self.identity = {
            "digest": str(describe_input(path)["digest"]),
            "engine": "vllm",
            "dtype": dtype,
            "context": self.max_length,
        }

    def score(self, pairs: Sequence[Pair], *, batch_size: int, description: str) -> list[tuple[float, bool]]:
        """As `loglikelihood.score_continuations`. vLLM batches by itself, and generates one token after the row, so a
        row that fills the context loses one token of it."""
        rows = [row[-(self.max_length - 1) :] for row in clipped(pairs, self.max_length)]
        settings = self._vllm.SamplingParams(temperature=0.0, max_tokens=1, prompt_logprobs=1, detokenize=False)
        results = []
        for row, (_, after), output in zip(rows, pairs, self._run(rows, settings), strict=True):
            count = min(len(after), len(row) - 1)
            entries = [output.prompt_logprobs[place][row[place]] for place in range(len(row) - count, len(row))]
            total = sum(float(entry.logprob) for entry in entries)
            if total != total:
                raise StageError(f"{self.where!r}: the model gave NaN; its training diverged, use an earlier one")
            results.append((total, all(entry.rank == 1 for entry in entries)))
        return results

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        *,
        max_new_tokens: int,
        sampling: Sampling = GREEDY,
        seeds: Sequence[int] | None = None,
        stop_strings: Sequence[str] = (),
        batch_size: int = 64,
    ) -> list[Completion]:
        """As `generate.generate`; sampled answers have one random stream per prompt, but not ours."""
        room = room_for_prompt(self.max_length, max_new_tokens, self.where)
        stops = Stops.make(self.tokenizer, tokenizer_stops(self.tokenizer), stop_strings)
        rows = [list(prompt)[-room:] for prompt in prompts]
        settings = [
            self._vllm.SamplingParams(
                temperature=sampling.temperature,
                top_p=sampling.top_p,
                top_k=sampling.top_k or -1,
                max_tokens=max_new_tokens,
                seed=seeds[i] % 2**31 if seeds and sampling.temperature > 0 else None,
                stop=list(stops.strings) or None,
                stop_token_ids=sorted(stops.ids),
            )
            for i in range(len(rows))
        ]
        completions = []
        for row, output in zip(rows, self._run(rows, settings), strict=True):
            ids = list(output.outputs[0].token_ids)
            completions.append(Completion(row, ids, stops.text(ids), output.outputs[0].finish_reason == "stop"))
        return completions

    def _run(self, rows: Sequence[Sequence[int]], settings: Any) -> list[Any]:
        prompts = [{"prompt_token_ids": list(row)} for row in rows]
        return list(self._model.generate(prompts, settings, use_tqdm=False))
