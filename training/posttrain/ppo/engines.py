"""What can write the completions of a rollout: our own loop, transformers' `generate()`, or vLLM.

All three give tokens with the sampler's own log-probabilities; where those are not exactly the policy's in training,
`sampler.ratio_cap` corrects the loss by truncated importance weights.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import torch

from millbase.errors import ConfigError
from millbase.seeds import derive_seed
from training.posttrain.ppo.config import PpoConfig
from training.posttrain.ppo.models import Policy
from training.posttrain.ppo.sampling import Completion, sample

_HIGHEST_SEED = 2**31


class Sampler(Protocol):
    """Writes one completion per prompt."""

    def draw(self, number: int, prompts: list[list[int]], rows: list[int], total: int) -> list[Completion]:
        """Completions of `prompts` (token ids), which are rows `rows` of the `total` of rollout `number`."""
        ...


def make_sampler(config: PpoConfig, policy: Policy, pad_id: int) -> Sampler:
    """The sampler that the configuration names. ConfigError when it cannot be used here."""
    if config.sampler.engine == "own":
        return OwnSampler(config, policy)
    if config.sampler.engine == "transformers":
        return TransformersSampler(config, policy, pad_id)
    return VllmSampler(config, policy)


class OwnSampler:
    """The loop of `sampling.py`: a completion depends on its prompt, the weights, the seed and its row alone."""

    def __init__(self, config: PpoConfig, policy: Policy) -> None:
        self.config, self.policy = config, policy

    def draw(self, number: int, prompts: list[list[int]], rows: list[int], total: int) -> list[Completion]:
        """One number of noise per row and position, the same whatever the number of processes."""
        config = self.config
        noise = torch.Generator().manual_seed(derive_seed(config.seed, "sampling", number))
        uniforms = torch.rand(total, config.max_new_tokens, dtype=torch.float64, generator=noise)
        return sample(self.policy, prompts, uniforms[rows], config.temperature, config.sampling_batch_size)


class TransformersSampler:
    """`generate()` with a generation configuration of its own, so that the checkpoint's cannot leak in.

    Completions depend on the seed, the batch and the process: other numbers of processes give other samples.
    """

    def __init__(self, config: PpoConfig, policy: Policy, pad_id: int) -> None:
        self.config, self.policy, self.pad_id = config, policy, pad_id

    @torch.no_grad()
    def draw(self, number: int, prompts: list[list[int]], rows: list[int], total: int) -> list[Completion]:
        """Prompts of like length together, `sampling_batch_size` at a time."""
        size = self.config.sampling_batch_size
        order = sorted(range(len(prompts)), key=lambda i: (len(prompts[i]), i))
        done: dict[int, Completion] = {}
        devices = [self.policy.device] if self.policy.device.type == "cuda" else []
        with torch.random.fork_rng(devices):
            torch.manual_seed(derive_seed(self.config.seed, "sampling", number, min(rows, default=0)) % _HIGHEST_SEED)
            for start in range(0, len(order), size):
                part = order[start : start + size]
                done.update(zip(part, self._generate([prompts[i] for i in part])))
        return [done[i] for i in range(len(prompts))]

    def _generate(self, prompts: list[list[int]]) -> list[Completion]:
        from transformers import GenerationConfig, LogitsProcessorList

        policy, width = self.policy, max(map(len, prompts))
        policy.activate()
        ids = torch.tensor([[0] * (width - len(p)) + p for p in prompts], device=policy.device)
        mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts], device=policy.device)
        recorder = _Recorder(self.config.temperature)
        own = policy.model.generation_config
        # generate() fills what a given configuration leaves open from the model's own: repetition_penalty and the like
        policy.model.generation_config = GenerationConfig(
            do_sample=True, temperature=1.0, top_k=0, top_p=1.0, max_new_tokens=self.config.max_new_tokens,
            eos_token_id=sorted(policy.end_ids), pad_token_id=self.pad_id,
        )  # fmt: skip
        try:
            output = policy.model.generate(
                input_ids=ids, attention_mask=mask, logits_processor=LogitsProcessorList([recorder])
            )
        finally:
            policy.model.generation_config = own
        logps = recorder.finish(output).tolist()
        return [self._cut(row[width:].tolist(), logp) for row, logp in zip(output, logps)]

    def _cut(self, tokens: list[int], logps: list[float]) -> Completion:
        end = next((n + 1 for n, token in enumerate(tokens) if token in self.policy.end_ids), None)
        length = end or len(tokens)
        return Completion(tokens[:length], logps[:length], end is not None)


class _Recorder:
    """A logits processor that divides by the temperature and keeps the log-probability of what was then drawn; one
    [batch, vocabulary] tensor at a time."""

    def __init__(self, temperature: float) -> None:
        self.temperature = temperature
        self.last: torch.Tensor | None = None
        self.logps: list[torch.Tensor] = []

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        self._take(input_ids)
        scores = scores.float() / self.temperature
        self.last = scores.log_softmax(-1)
        return scores

    def finish(self, output: torch.Tensor) -> torch.Tensor:
        """Log-probabilities [B, C] of all completion tokens."""
        self._take(output)
        return torch.stack(self.logps, 1)

    def _take(self, input_ids: torch.Tensor) -> None:
        if self.last is not None:
            self.logps.append(self.last.gather(1, input_ids[:, -1:])[:, 0])


class VllmSampler:
    """vLLM in this process; before every rollout it is handed the policy's weights.

    Tested against a stand-in with vLLM's interface only: there was no GPU to run the real one on.
    """

    def __init__(self, config: PpoConfig, policy: Policy) -> None:
        if config.lora is not None:
            raise ConfigError(
                "sampler.engine = 'vllm' does not take adapters; set sampler.engine=own or leave lora out"
            )
        try:
            from vllm import LLM, SamplingParams  # type: ignore[import-not-found]
        except ImportError:
            raise ConfigError(
                "sampler.engine = 'vllm' and vLLM is not installed; pip install vllm, or set sampler.engine=own"
            ) from None
        self.config, self.policy, self.parameters = config, policy, SamplingParams
        self.llm: Any = LLM(
            model=str(_weights_folder(config.model)),
            dtype="bfloat16" if config.precision == "bfloat16" else "float32",
            gpu_memory_utilization=config.sampler.vllm_memory_share,
            max_model_len=config.max_prompt_length + config.max_new_tokens,
            # after the temperature, as training computes them
            logprobs_mode="processed_logprobs",
            distributed_executor_backend="external_launcher" if config.processes > 1 else None,
            seed=config.seed,
        )

    @torch.no_grad()
    def draw(self, number: int, prompts: list[list[int]], rows: list[int], total: int) -> list[Completion]:
        """Every row has a seed of its own."""
        runner = self.llm.llm_engine.model_executor.driver_worker.model_runner
        runner.model.load_weights(list(self.policy.model.named_parameters()))
        self.llm.reset_prefix_cache()
        config = self.config
        parameters = [
            self.parameters(
                temperature=config.temperature, top_p=1.0, top_k=-1, min_p=0.0, repetition_penalty=1.0,
                max_tokens=config.max_new_tokens, stop_token_ids=sorted(self.policy.end_ids), logprobs=0,
                seed=derive_seed(config.seed, "sampling", number, row) % _HIGHEST_SEED, detokenize=False,
            )
            for row in rows
        ]  # fmt: skip
        outputs = self.llm.generate([{"prompt_token_ids": p} for p in prompts], parameters, use_tqdm=False)
        return [self._completion(output.outputs[0]) for output in outputs]

    def _completion(self, output: Any) -> Completion:
        tokens = list(output.token_ids)
        logps = [float(chosen[token].logprob) for token, chosen in zip(tokens, output.logprobs)]
        return Completion(tokens, logps, bool(tokens) and tokens[-1] in self.policy.end_ids)


def _weights_folder(model: str) -> Path:
    folder = Path(model)
    return folder / "hf" if (folder / "hf").is_dir() else folder
