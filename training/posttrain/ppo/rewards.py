"""Scores of completions: from a reward model, from functions, weighted and summed; then normalised and clipped."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch

from millbase.errors import ConfigError, StageError
from training.load import LoadedRewardModel, load_reward_model
from training.posttrain.ppo.batches import cut
from training.posttrain.ppo.config import RewardConfig
from training.posttrain.ppo.options import MonitorConfig
from training.posttrain.ppo.prompts import Prompt
from training.posttrain.verifiable import load_verifiable

RewardFunction = Callable[..., Sequence[float]]
_LETTERS_A_TOKEN = 4


class RewardSource(Protocol):
    """Something that gives one number per completion."""

    name: str
    weight: float

    def score(self, prompts: list[Prompt], completions: list[str]) -> list[float]: ...


class ModelReward:
    """A reward model; conversations are rendered with its own chat template and tokenizer."""

    def __init__(self, model: LoadedRewardModel, weight: float, batch_size: int, name: str = "reward_model") -> None:
        self.name, self.model, self.weight, self.batch_size = name, model, weight, batch_size

    def score(self, prompts: list[Prompt], completions: list[str]) -> list[float]:
        conversations = [
            [*prompt.messages, {"role": "assistant", "content": text}] for prompt, text in zip(prompts, completions)
        ]
        # batches of like length waste little on padding; the reward model's own tokens are not known here
        lengths = [sum(len(m["content"]) for m in messages) // _LETTERS_A_TOKEN for messages in conversations]
        order = sorted(range(len(conversations)), key=lambda i: (-lengths[i], i))
        result = [0.0] * len(order)
        for start, end in cut([lengths[i] for i in order], self.batch_size):
            part = order[start:end]
            for i, score in zip(part, self.model.score([conversations[i] for i in part], self.batch_size)):
                result[i] = score
        bad = next((score for score in result if not math.isfinite(score)), None)
        if bad is not None:
            raise StageError(
                f"{self.name} {str(self.model.path)!r} returned {bad}; every reward must be a finite number"
            )
        return result


class FunctionReward:
    """A function `f(prompts=[messages], completions=[messages], **columns) -> [number]`; it gets what it names."""

    def __init__(self, name: str, function: RewardFunction, weight: float) -> None:
        self.name, self.function, self.weight = name, function, weight
        parameters = inspect.signature(function).parameters.values()
        self._any = any(p.kind is p.VAR_KEYWORD for p in parameters)
        self._names = {p.name for p in parameters}

    def score(self, prompts: list[Prompt], completions: list[str]) -> list[float]:
        names = sorted({name for prompt in prompts for name in prompt.columns})
        columns: dict[str, list[Any]] = {name: [prompt.columns.get(name) for prompt in prompts] for name in names}
        columns["prompts"] = [prompt.messages for prompt in prompts]
        columns["completions"] = [[{"role": "assistant", "content": text}] for text in completions]
        given = {name: values for name, values in columns.items() if self._any or name in self._names}
        try:
            scores = self.function(**given)
            numbers = [float(score) for score in scores]
        except Exception as error:  # whatever user code raises, the line names the function
            raise StageError(f"reward function {self.name!r} failed: {error}") from error
        if len(numbers) != len(completions):
            raise StageError(
                f"reward function {self.name!r} returned {len(numbers)} numbers for {len(completions)} completions"
            )
        bad = next((number for number in numbers if not math.isfinite(number)), None)
        if bad is not None:
            raise StageError(f"reward function {self.name!r} returned {bad}; every reward must be a finite number")
        return numbers


@dataclass(frozen=True)
class Scored:
    """One source's scores of some completions."""

    values: list[float]
    """0 where the source failed."""
    errors: dict[int, str] = field(default_factory=dict)
    """Why it failed, by position."""


def score(source: RewardSource, prompts: list[Prompt], completions: list[str], on_error: str) -> Scored:
    """Scores by `source`; with `on_error` other than `stop`, a batch that fails is scored again one by one, so that one
    bad completion costs no other its score."""
    if on_error == "stop":
        return Scored(source.score(prompts, completions))
    try:
        return Scored(source.score(prompts, completions))
    except StageError:
        values, errors = [0.0] * len(completions), {}
        for i, (prompt, text) in enumerate(zip(prompts, completions)):
            try:
                (values[i],) = source.score([prompt], [text])
            except StageError as error:
                errors[i] = str(error)
        return Scored(values, errors)


def load_sources(config: RewardConfig, device: torch.device) -> list[RewardSource]:
    """All sources the configuration names. ConfigError when a function cannot be found."""
    sources: list[RewardSource] = []
    if config.model is not None:
        model = load_reward_model(config.model, device=device)
        sources.append(ModelReward(model, config.model_weight, config.batch_size))
    weights = config.function_weights or [1.0] * len(config.functions)
    for reference, weight in zip(config.functions, weights):
        sources.append(FunctionReward(reference.rpartition(":")[2], find_function(reference), weight))
    sources.extend(load_verifiable(config.verifiable))
    return sources


def load_judges(config: MonitorConfig, batch_size: int, device: torch.device) -> list[RewardSource]:
    """The monitor's judges: reward models `model_0`, `model_1`, ..., then functions by name."""
    judges: list[RewardSource] = [
        ModelReward(load_reward_model(path, device=device), 1.0, batch_size, f"model_{n}")
        for n, path in enumerate(config.models)
    ]
    judges += [FunctionReward(f.rpartition(":")[2], find_function(f), 1.0) for f in config.functions]
    return judges


def find_function(reference: str) -> RewardFunction:
    """The function that `package.module:name` or `file.py:name` points to."""
    place, _, name = reference.rpartition(":")
    if not place or not name:
        raise ConfigError(f"reward function {reference!r} is not of the form package.module:name or file.py:name")
    try:
        module = _module_from_file(place) if place.endswith(".py") else importlib.import_module(place)
        function = getattr(module, name)
    except (ImportError, AttributeError, OSError) as error:
        raise ConfigError(f"reward function {reference!r} cannot be loaded: {error}") from None
    if not callable(function):
        raise ConfigError(f"reward function {reference!r} is a {type(function).__name__}, not a function")
    return function


def _module_from_file(path: str) -> Any:
    spec = importlib.util.spec_from_file_location(Path(path).stem, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class ScoreNormalizer:
    """Shifts and scales scores by the mean and standard deviation of those it has seen (Welford, merged by batch)."""

    def __init__(self, mode: str, clip: float | None) -> None:
        self.mode, self.clip = mode, clip
        self.count, self.mean, self.squares = 0, 0.0, 0.0

    def __call__(self, scores: torch.Tensor) -> torch.Tensor:
        """Normalised and clipped scores [B]; with `reference`, only the first call moves the statistics."""
        if self.mode == "batch":
            self.count, self.mean, self.squares = 0, 0.0, 0.0
        if self.mode not in ("none", "reference") or (self.mode == "reference" and self.count == 0):
            self._observe(scores.double())
        if self.mode != "none":
            centre = 0.0 if self.mode == "running_scale" else self.mean
            # a constant score carries no preference: do not blow its rounding up
            scores = (scores - centre) / max(self.std, 1e-6)
        return scores if self.clip is None else scores.clamp(-self.clip, self.clip)

    @property
    def std(self) -> float:
        """Population standard deviation of the scores seen."""
        return math.sqrt(self.squares / self.count) if self.count else 1.0

    def state(self) -> dict[str, float]:
        """What `restore` needs."""
        return {"count": self.count, "mean": self.mean, "squares": self.squares}

    def restore(self, state: dict[str, float]) -> None:
        self.count, self.mean, self.squares = int(state["count"]), state["mean"], state["squares"]

    def _observe(self, scores: torch.Tensor) -> None:
        count, mean = len(scores), float(scores.mean())
        squares = float((scores - mean).square().sum())
        total, delta = self.count + count, mean - self.mean
        self.squares += squares + delta * delta * self.count * count / total
        self.mean += delta * count / total
        self.count = total
