"""The vLLM engine against what vLLM promises: a stand-in that answers from a transformers model, and the real one.

The stand-in keeps to vLLM's documented interface (`LLM`, `SamplingParams`, `RequestOutput`): wrong keywords raise, and
log-probabilities come as vLLM gives them, by position and token, the first position without any.
"""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch

from evaluation.config import VllmConfig
from evaluation.engines.base import Engine
from evaluation.engines.vllm import VllmEngine
from evaluation.generate import Sampling, generate
from evaluation.loglikelihood import score_continuations
from millbase.errors import ConfigError, StageError
from training.load import LoadedModel, load_model


@dataclass
class SamplingParams:
    """The fields of vLLM's that are used."""

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    max_tokens: int | None = 16
    seed: int | None = None
    stop: list[str] | None = None
    stop_token_ids: list[int] | None = None
    prompt_logprobs: int | None = None
    detokenize: bool = True

    def __post_init__(self) -> None:
        assert self.top_k >= -1 and 0 < self.top_p <= 1 and self.temperature >= 0
        assert self.max_tokens is None or self.max_tokens >= 1


@dataclass
class LLM:
    """Answers greedily from a transformers model."""

    model: str
    dtype: str
    seed: int
    tensor_parallel_size: int
    gpu_memory_utilization: float
    trust_remote_code: bool
    calls: list[Any] = field(default_factory=list)
    poison: bool = False

    def __post_init__(self) -> None:
        self.loaded = load_model(self.model, device="cpu")
        self.llm_engine = SimpleNamespace(model_config=SimpleNamespace(max_model_len=self.loaded.max_length))

    def get_tokenizer(self) -> Any:
        return self.loaded.tokenizer

    def generate(self, prompts: list[Any], sampling_params: Any, *, use_tqdm: bool = True) -> list[Any]:
        self.calls.append(sampling_params)
        many = sampling_params if isinstance(sampling_params, list) else [sampling_params] * len(prompts)
        return [self._one(prompt["prompt_token_ids"], params) for prompt, params in zip(prompts, many, strict=True)]

    def _one(self, ids: list[int], params: SamplingParams) -> Any:
        longest = self.loaded.max_length
        if len(ids) + 1 > longest:  # vLLM refuses a prompt that leaves no room for a token
            raise ValueError(
                f"The decoder prompt (length {len(ids)}) is longer than the maximum model length {longest}"
            )
        logprobs = None
        if params.prompt_logprobs is not None:
            table = self.loaded.logits(torch.tensor([ids]))[0].log_softmax(-1)
            logprobs = [None]
            for place in range(1, len(ids)):
                row = table[place - 1]
                rank = int((row > row[ids[place]]).sum()) + 1
                value = float("nan") if self.poison else float(row[ids[place]])
                logprobs.append({ids[place]: SimpleNamespace(logprob=value, rank=rank)})
        written = list(ids)
        reason = "length"
        for _ in range(params.max_tokens or 1):
            written.append(int(self.loaded.logits(torch.tensor([written]))[0, -1].argmax()))
            if written[-1] in (params.stop_token_ids or []):
                reason = "stop"
                break
        completion = SimpleNamespace(token_ids=tuple(written[len(ids) :]), finish_reason=reason)
        return SimpleNamespace(prompt_logprobs=logprobs, outputs=[completion])


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch, checkpoints: tuple[Path, Path]) -> VllmEngine:
    module = ModuleType("vllm")
    module.LLM, module.SamplingParams = LLM, SamplingParams  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "vllm", module)
    return VllmEngine(checkpoints[0], VllmConfig(tensor=2), dtype="float32", seed=3)


def test_the_contract(engine: VllmEngine, checkpoints: tuple[Path, Path], loaded: LoadedModel) -> None:
    assert isinstance(engine, Engine)
    model: LLM = engine._model
    assert (model.model, model.tensor_parallel_size) == (str(checkpoints[0] / "hf"), 2) and not model.trust_remote_code
    assert engine.max_length == loaded.max_length and engine.identity["engine"] == "vllm"


def test_log_likelihoods_are_transformers(engine: VllmEngine, loaded: LoadedModel) -> None:
    pairs = [([3 + i % 7, 20, 30 + i], [40 + i, *([50] * (i % 5))]) for i in range(8)]
    pairs += [(list(range(60)), [5, 6]), ([9], list(range(10, 60)))]
    found = engine.score(pairs, batch_size=4, description="x")
    for (a, a_greedy), (b, b_greedy) in zip(found, score_continuations(loaded, pairs), strict=True):
        assert a == pytest.approx(b, abs=1e-4) and a_greedy == b_greedy


def test_a_row_that_fills_the_context_gives_up_its_first_token(engine: VllmEngine, loaded: LoadedModel) -> None:
    long = [5 + i % 90 for i in range(200)]
    ((found, _),) = engine.score([(long, [7, 8])], batch_size=1, description="x")
    ((expected, _),) = score_continuations(loaded, [(long[-(loaded.max_length - 3) :], [7, 8])])
    assert found == pytest.approx(expected, abs=1e-4)


def test_answers_are_transformers(engine: VllmEngine, loaded: LoadedModel) -> None:
    prompts = [[3, 20, 30 + i] for i in range(3)]
    found = engine.generate(prompts, max_new_tokens=6)
    expected = generate(loaded, prompts, max_new_tokens=6)
    assert [(c.ids, c.text, c.stopped) for c in found] == [(c.ids, c.text, c.stopped) for c in expected]


def test_settings_are_handed_over(engine: VllmEngine) -> None:
    engine.generate([[5, 6]], max_new_tokens=4, sampling=Sampling(0.7, 0.9, 20), seeds=[2**40 + 1], stop_strings=["\n"])
    (params,) = engine._model.calls[-1]
    assert (params.temperature, params.top_p, params.top_k, params.seed) == (0.7, 0.9, 20, (2**40 + 1) % 2**31)
    assert params.stop == ["\n"] and params.max_tokens == 4
    assert set(params.stop_token_ids) == {
        engine.tokenizer.convert_tokens_to_ids(t) for t in ("<|im_end|>", "<|endoftext|>")
    }
    engine.generate([[5, 6]], max_new_tokens=4)
    (greedy,) = engine._model.calls[-1]
    assert (greedy.temperature, greedy.top_k, greedy.seed, greedy.stop) == (0.0, -1, None, None)


def test_no_room_and_nan_are_named(engine: VllmEngine) -> None:
    with pytest.raises(ConfigError, match=r"max_new_tokens 96: must be below the context of .*, 96 tokens"):
        engine.generate([[5]], max_new_tokens=96)
    engine._model.poison = True
    with pytest.raises(StageError, match="the model gave NaN"):
        engine.score([([5], [6])], batch_size=1, description="x")


def test_without_vllm_the_way_out_is_named(monkeypatch: pytest.MonkeyPatch, checkpoints: tuple[Path, Path]) -> None:
    monkeypatch.setitem(sys.modules, "vllm", None)  # what Python does for a module that cannot be imported
    with pytest.raises(ConfigError, match=r"vllm: cannot be imported .*pip install vllm"):
        VllmEngine(checkpoints[0], VllmConfig(), dtype="float32", seed=0)


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("vllm") is None, reason="vllm is not installed")
@pytest.mark.skipif(not torch.cuda.is_available(), reason="vllm needs a GPU here")
def test_the_real_one(checkpoints: tuple[Path, Path], loaded: LoadedModel) -> None:
    engine = VllmEngine(checkpoints[0], VllmConfig(memory_share=0.3), dtype="float32", seed=0)
    pairs = [([3, 20, 30 + i], [40 + i, 41]) for i in range(6)]
    found = engine.score(pairs, batch_size=4, description="x")
    for (a, _), (b, _) in zip(found, score_continuations(loaded, pairs), strict=True):
        assert a == pytest.approx(b, abs=1e-2)
    prompts = [[3, 20, 30]]
    expected = generate(loaded, prompts, max_new_tokens=6)[0].ids
    assert engine.generate(prompts, max_new_tokens=6)[0].ids == expected
