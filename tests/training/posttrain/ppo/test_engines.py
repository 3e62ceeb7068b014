"""Samplers: `generate()` draws what it says, vLLM's interface, and the correction for one that is not the policy."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable
from typing import Any

import pytest
import torch

from millbase.errors import ConfigError
from training.posttrain.ppo import PpoConfig
from training.posttrain.ppo.loss import importance_weights
from training.posttrain.ppo.trainer import PpoTrainer

MakeTrainer = Callable[..., PpoTrainer]


def recompute(trainer: PpoTrainer, prompt: list[int], tokens: list[int], temperature: float) -> torch.Tensor:
    with torch.no_grad():
        logits = trainer.networks.policy.model(input_ids=torch.tensor([prompt + tokens])).logits[0]
    logps = (logits[len(prompt) - 1 : -1] / temperature).log_softmax(-1)
    return logps.gather(1, torch.tensor(tokens)[:, None])[:, 0]


@pytest.mark.parametrize("leak", [{}, {"repetition_penalty": 1.8, "top_k": 2, "top_p": 0.3, "min_p": 0.5}])
def test_generate_gives_the_log_probabilities_of_what_it_drew(make_trainer: MakeTrainer, leak: dict[str, Any]) -> None:
    trainer = make_trainer("sampler.engine=transformers", "temperature=0.8", "sampling_batch_size=7")
    for name, value in leak.items():
        setattr(trainer.networks.policy.model.generation_config, name, value)
    rollout = trainer.maker.make(0, 0.1)
    assert {completion.finished for completion in rollout.completions} == {True, False}
    for prompt, completion in zip(rollout.prompts, rollout.completions, strict=True):
        expected = recompute(trainer, prompt.tokens, completion.tokens, 0.8)
        torch.testing.assert_close(torch.tensor(completion.logps), expected, rtol=1e-4, atol=2e-5)
        ends = [token in trainer.networks.policy.end_ids for token in completion.tokens]
        assert not any(ends[:-1]) and ends[-1] == completion.finished
    again = trainer.maker.make(0, 0.1)
    assert again.completions == rollout.completions, "a function of the rollout's number"
    assert trainer.maker.make(1, 0.1).completions != rollout.completions
    assert trainer.networks.policy.model.generation_config.top_k == leak.get("top_k", 50) or not leak
    assert trainer.updater.update(rollout, 0).policy_steps == 1


def test_correction_undoes_a_mismatched_sampler(make_trainer: MakeTrainer) -> None:
    """A sampler at another temperature: weighted, means are those of the policy within sampling error; plain, not."""
    trainer = make_trainer(
        *("rollout_size=512", "micro_batch_size=512", "max_new_tokens=1", "temperature=0.3", "sampler.ratio_cap=100"),
    )
    sampler: Any = trainer.maker.sampler
    sampler.config = sampler.config.model_copy(update={"temperature": 0.6})
    rollout = trainer.maker.make(0, 0.0)
    # what is measured: how often the likeliest token is drawn
    exact, likeliest = [], []
    for prompt in rollout.prompts:
        with torch.no_grad():
            logits = trainer.networks.policy.model(input_ids=torch.tensor([prompt.tokens])).logits[0, -1]
        exact.append(float((logits / 0.3).softmax(-1).max()))
        likeliest.append(int(logits.argmax()))
    hits = [c.tokens[0] == token for c, token in zip(rollout.completions, likeliest, strict=True)]
    drawn = torch.tensor(hits).float()
    weights = importance_weights(rollout.logp[:, 0], rollout.sampler_logp[:, 0], cap=100)
    errors = {}
    for name, values in (("corrected", weights * drawn), ("plain", drawn)):
        difference = values - torch.tensor(exact)
        errors[name] = abs(float(difference.mean() / (difference.std() / 512**0.5)))
    assert errors["corrected"] < 4 < errors["plain"], errors

    step = trainer.updater.update(rollout, 0).steps[0]
    expected = -(weights * rollout.advantages[:, 0]).sum()
    assert step.policy_loss == pytest.approx(float(expected), rel=1e-3, abs=1e-3), "the loss is weighted by them"


def fake_vllm(record: dict[str, Any]) -> types.ModuleType:
    """vLLM's interface as we use it: a fixed completion for every prompt."""
    module: Any = types.ModuleType("vllm")

    class SamplingParams:
        def __init__(self, **settings: Any) -> None:
            self.settings = settings

    class LLM:
        def __init__(self, **settings: Any) -> None:
            record["llm"] = settings
            model = types.SimpleNamespace(load_weights=lambda weights: record.update(weights=dict(weights)))
            runner = types.SimpleNamespace(model_runner=types.SimpleNamespace(model=model))
            executor = types.SimpleNamespace(driver_worker=runner)
            self.llm_engine = types.SimpleNamespace(model_executor=executor)

        def reset_prefix_cache(self) -> None:
            record["reset"] = record.get("reset", 0) + 1

        def generate(self, prompts: list[Any], parameters: list[SamplingParams], use_tqdm: bool) -> list[Any]:
            record["parameters"] = [one.settings for one in parameters]
            record["prompts"] = prompts
            end = parameters[0].settings["stop_token_ids"][0]
            outputs = []
            for n in range(len(prompts)):
                tokens = [7, 9, end] if n % 2 else [7, 9]
                chosen = [{token: types.SimpleNamespace(logprob=-1.5)} for token in tokens]
                outputs.append(types.SimpleNamespace(token_ids=tokens, logprobs=chosen))
            return [types.SimpleNamespace(outputs=[output]) for output in outputs]

    module.LLM, module.SamplingParams = LLM, SamplingParams
    return module


def test_vllm_gets_the_weights_and_exact_sampling_settings(
    make_trainer: MakeTrainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    record: dict[str, Any] = {}
    monkeypatch.setitem(sys.modules, "vllm", fake_vllm(record))
    trainer = make_trainer('sampler={"engine": "vllm", "ratio_cap": 2}', "temperature=0.7")
    rollout = trainer.maker.make(0, 0.1)
    assert record["llm"]["logprobs_mode"] == "processed_logprobs" and record["reset"] == 1
    name, weight = next(iter(trainer.networks.policy.model.named_parameters()))
    assert record["weights"][name] is weight
    first = record["parameters"][0]
    assert (first["temperature"], first["top_p"], first["repetition_penalty"], first["min_p"]) == (0.7, 1.0, 1.0, 0.0)
    assert len({one["seed"] for one in record["parameters"]}) == 16
    finished = sorted((c.tokens, c.finished) for c in rollout.completions)
    assert finished[0] == ([7, 9], False) and finished[-1][1] and finished[-1][0][:2] == [7, 9]
    assert rollout.completions[0].logps[0] == -1.5
    assert trainer.updater.update(rollout, 0).policy_steps == 1


def test_vllm_that_is_not_there_or_cannot_be_used(
    make_trainer: MakeTrainer, make_config: Callable[..., PpoConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(ConfigError, match="vLLM is not installed"):
        make_trainer('sampler={"engine": "vllm", "ratio_cap": 2}')
    with pytest.raises(ConfigError, match=r"set sampler\.ratio_cap"):
        make_config("sampler.engine=vllm")
    with pytest.raises(ConfigError, match="does not take adapters"):
        make_trainer('sampler={"engine": "vllm", "ratio_cap": 2}', 'lora={"rank": 2}')
