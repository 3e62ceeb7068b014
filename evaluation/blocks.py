"""The blocks of one evaluation and the models they share, each loaded when first needed and once.

A block's module is imported when it runs: a reward model's evaluation never pays for lm-eval.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from evaluation.config import BLOCKS, EvaluationConfig
from evaluation.scores import BlockResult
from millbase.artifacts import describe_input
from millbase.errors import ConfigError

if TYPE_CHECKING:
    from evaluation.adapter import AnyLM
    from evaluation.cache import AnswerCache
    from evaluation.engines.base import Engine
    from evaluation.responses import Responses
    from evaluation.task_files import PreparedTask
    from training.load import LoadedModel, LoadedRewardModel

_LANGUAGE_MODEL = tuple(block for block in BLOCKS if block != "reward_accuracy")
"""Blocks that need a language model."""


class Blocks:
    """What a configuration asks to be measured."""

    def __init__(self, config: EvaluationConfig, cache: Path) -> None:
        self.config = config
        self.cache = cache
        """For converted data files."""
        self.kind = "served model" if config.server else str(describe_input(config.model)["kind"])
        self._loaded: dict[str, LoadedModel] = {}
        self._check_kind()

    @property
    def is_reward_model(self) -> bool:
        """Whether the model in question is a reward model of any kind."""
        from training.load import SCORING_KINDS

        return self.kind in SCORING_KINDS

    def digest(self, path: str) -> str:
        """Digest of a model, as its loader gives it."""
        if path == self.config.model and self.is_reward_model:
            return self.reward_model.digest
        if self.config.server is not None:
            from evaluation.engines.server import server_digest

            return server_digest(self.config.server, path)
        return self._loaded[path].digest if path in self._loaded else str(describe_input(path)["digest"])

    def _check_kind(self) -> None:
        asked = [name for name in _LANGUAGE_MODEL if getattr(self.config, name)]
        if self.is_reward_model and asked:
            raise ConfigError(
                f"model {self.config.model!r} is a reward model: {', '.join(asked)} need a language model"
            )
        if self.kind == "checkpoint" and self.config.reward_accuracy:
            raise ConfigError(f"model {self.config.model!r} is a language model: reward_accuracy needs a reward model")

    def load(self, path: str) -> LoadedModel:
        """A language model, from memory when it was loaded before."""
        from training.load import load_model

        if path not in self._loaded:
            self._loaded[path] = load_model(path, dtype=self.config.dtype, device=self.config.device)
        return self._loaded[path]

    @property
    def model(self) -> LoadedModel:
        """The checkpoint in question."""
        return self.load(self.config.model)

    @property
    def reference(self) -> LoadedModel:
        """What the win rate and KL divergence hold it against."""
        found = self.optional_reference
        assert found is not None, "the configuration demands a reference for the blocks that use one"
        return found

    @property
    def optional_reference(self) -> LoadedModel | None:
        """The reference, where there is one."""
        path = self.config.reference or self.config.previous
        return None if path is None else self.load(path)

    @cached_property
    def reward_model(self) -> LoadedRewardModel:
        """The reward model in question."""
        from training.load import load_reward_model

        return load_reward_model(self.config.model, dtype=self.config.dtype, device=self.config.device)

    @cached_property
    def responses(self) -> Responses:
        """What the models wrote, shared by the blocks."""
        from evaluation.responses import Responses

        return Responses(self.config.seed, self.config.batch_size)

    @cached_property
    def answers(self) -> AnswerCache | None:
        """Remembered answers."""
        from evaluation.cache import AnswerCache

        return AnswerCache(self.config.cache) if self.config.cache is not None else None

    @cached_property
    def tasks(self) -> list[PreparedTask]:
        """The lm-eval tasks, loaded."""
        from evaluation.task_files import prepare_tasks

        assert self.config.tasks is not None
        return prepare_tasks(
            self.config.tasks,
            cache=self.cache,
            seed=self.config.seed,
            maximum_bad_share=self.config.maximum_bad_share,
        )

    def requested(self) -> dict[str, Callable[[], BlockResult]]:
        """Name and function of every block of the configuration, in the order they run."""
        blocks: dict[str, Callable[[], BlockResult]] = {
            "bits_per_byte": lambda: self.run_bits_per_byte(self.model, "items"),
            "tasks": lambda: self.ask_tasks(self.config.model, "items"),
            "ifeval": self._ifeval,
            "code": self._code,
            "reward_accuracy": self._reward_accuracy,
            "win_rate": self._win_rate,
            "kl": self._kl,
            "safety": lambda: self._behaviour("safety"),
            "dialogues": lambda: self._behaviour("dialogues"),
            "diversity": lambda: self._behaviour("diversity"),
            "memorisation": lambda: self._behaviour("memorisation"),
            "overoptimisation": lambda: self._behaviour("overoptimisation"),
            "samples": self._samples,
        }
        return {name: function for name, function in blocks.items() if getattr(self.config, name) is not None}

    def run_bits_per_byte(self, model: LoadedModel, prefix: str) -> BlockResult:
        """Bits per byte of a model; its items go below `prefix`."""
        from evaluation.bits_per_byte import run_bits_per_byte

        assert self.config.bits_per_byte is not None
        return run_bits_per_byte(model, self.config.bits_per_byte, batch_size=self.config.batch_size, prefix=prefix)

    def ask_tasks(self, path: str, prefix: str) -> BlockResult:
        """The lm-eval tasks through the engine that the configuration names."""
        config = self.config
        if config.server is not None:
            from evaluation.engines.server import ServerLM

            lm = ServerLM(config.server, path, seed=config.seed, cache=self.answers)
            return self.run_tasks(lm, prefix)
        if config.megatron is not None:
            from evaluation.engines.megatron import MegatronEngine

            layout = config.megatron
            with MegatronEngine(
                path, tensor=layout.tensor, pipeline=layout.pipeline, dtype=config.dtype, threads=layout.threads
            ) as engine:
                return self.run_tasks(engine, prefix)
        if config.vllm is not None:
            from evaluation.engines.vllm import VllmEngine

            return self.run_tasks(VllmEngine(path, config.vllm, dtype=config.dtype, seed=config.seed), prefix)
        return self.run_tasks(self.load(path), prefix)

    def run_tasks(self, model: LoadedModel | Engine | AnyLM, prefix: str) -> BlockResult:
        """The lm-eval tasks on a model; its items go below `prefix`."""
        from evaluation.tasks import run_tasks

        return run_tasks(
            model,
            self.tasks,
            seed=self.config.seed,
            batch_size=self.config.batch_size,
            prefix=prefix,
            cache=self.answers,
            keep=self.cache.parent / "tasks",
        )

    def _ifeval(self) -> BlockResult:
        from evaluation.ifeval import run_ifeval

        assert self.config.ifeval is not None
        share = self.config.maximum_bad_share
        return run_ifeval(self.model, self.config.ifeval, self.responses, maximum_bad_share=share)

    def _code(self) -> BlockResult:
        from evaluation.code import run_code

        assert self.config.code is not None
        return run_code(
            self.model,
            self.config.code,
            seed=self.config.seed,
            batch_size=self.config.batch_size,
            maximum_bad_share=self.config.maximum_bad_share,
        )

    def _reward_accuracy(self) -> BlockResult:
        from evaluation.reward_accuracy import run_reward_accuracy

        assert self.config.reward_accuracy is not None
        return run_reward_accuracy(
            self.reward_model,
            self.config.reward_accuracy,
            batch_size=self.config.batch_size,
            maximum_bad_share=self.config.maximum_bad_share,
        )

    def _win_rate(self) -> BlockResult:
        from evaluation.win_rate import run_win_rate

        assert self.config.win_rate is not None
        return run_win_rate(self.model, self.reference, self.config.win_rate, self.config, self.responses)

    def _kl(self) -> BlockResult:
        from evaluation.kl import run_kl

        assert self.config.kl is not None
        return run_kl(
            self.model,
            self.reference,
            self.config.kl,
            self.responses,
            batch_size=self.config.batch_size,
            maximum_bad_share=self.config.maximum_bad_share,
        )

    def _behaviour(self, name: str) -> BlockResult:
        config, responses = self.config, self.responses
        if name == "safety":
            from evaluation.safety import run_safety

            return run_safety(self.model, config, responses)
        if name == "dialogues":
            from evaluation.dialogues import run_dialogues

            return run_dialogues(self.model, config, responses)
        if name == "diversity":
            from evaluation.diversity import run_diversity

            return run_diversity(self.model, self.optional_reference, config, responses)
        if name == "memorisation":
            from evaluation.memorisation import run_memorisation

            return run_memorisation(self.model, config)
        from evaluation.overoptimisation import run_overoptimisation

        return run_overoptimisation(self.load, self.optional_reference, config, responses)

    def _samples(self) -> BlockResult:
        from evaluation.samples import run_samples

        assert self.config.samples is not None
        other = self.config.previous or self.config.reference
        return run_samples(
            self.model,
            self.load(other) if other else None,
            self.config.samples,
            self.responses,
            maximum_bad_share=self.config.maximum_bad_share,
        )
