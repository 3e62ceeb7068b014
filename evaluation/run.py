"""Runs one evaluation: loads what is needed, runs the blocks, compares, applies the gates, writes the artifact.

Each finished block is kept in the work directory, so an interrupted evaluation goes on with the next block. Nothing in
`scores.json` depends on the clock; how long each block took is in `timings.json`.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evaluation.compare import compare_scores
from evaluation.config import EvaluationConfig
from evaluation.gates import all_gates, apply_gates, check_names
from evaluation.scores import SCHEMA, BlockResult, Comparison, Score, Scores, metric_name, read_scores, write_items
from millbase.artifacts import OpenArtifact, create_artifact, describe_input, open_artifact
from millbase.atomic import write_json
from millbase.errors import ConfigError, InputError
from millbase.log import get_logger

if TYPE_CHECKING:
    from evaluation.responses import Responses
    from evaluation.task_files import PreparedTask
    from training.load import LoadedModel, LoadedRewardModel

logger = get_logger(__name__)

REWARD_MODEL = "reward-model"


def evaluate(config: EvaluationConfig, out: str | Path) -> Path:
    """Evaluate `config.model` and write the `scores` artifact `out`.

    Raises:
        ConfigError: settings that do not fit together, a gate on something that is not measured.
        InputError: missing or unusable input, a tokenizer that is not the model's.
        ArtifactError: an artifact that is missing, changed or of the wrong kind; scores that cannot be paired.
        StageError: too many bad rows, or a model that gives NaN.
    """
    out = Path(out)
    with create_artifact(out, kind="scores", config=config, inputs=_inputs(config), seed=config.seed) as artifact:
        _Evaluation(config, artifact).run()
    return out


def _inputs(config: EvaluationConfig) -> dict[str, str | Path | list[str] | None]:
    inputs: dict[str, str | Path | list[str] | None] = {
        "model": config.model,
        "previous": config.previous,
        "previous_scores": config.previous_scores,
        "reference": config.reference,
    }
    if config.bits_per_byte:
        inputs["tokens"] = config.bits_per_byte.tokens
    if config.tasks:
        inputs["tasks"] = config.tasks.task_path
        inputs["task_data"] = config.tasks.data_path
    if config.reward_accuracy:
        inputs["pairs"] = config.reward_accuracy.pairs
    if config.win_rate:
        inputs["prompts"] = config.win_rate.prompts
        inputs["judge"] = config.win_rate.rule or config.win_rate.reward_model
    if config.kl:
        inputs["kl_prompts"] = config.kl.prompts
    if config.samples:
        inputs["sample_prompts"] = config.samples.prompts
    return inputs


class _Evaluation:
    """One run: models are loaded when first needed, and once."""

    def __init__(self, config: EvaluationConfig, artifact: OpenArtifact) -> None:
        self.config = config
        self.artifact = artifact
        self.subject = describe_input(config.model)
        self.is_reward_model = self.subject["kind"] == REWARD_MODEL
        self.timings: dict[str, float] = {}
        self._loaded: dict[str, LoadedModel] = {}
        self._check_kind()

    def run(self) -> None:
        """Everything, in order of cost: what can fail cheaply fails first."""
        config = self.config
        gates = all_gates(config)
        earlier = self._previous_scores()
        check_names(gates, *self._expected_names())
        blocks = self._blocks()
        results = {name: self._block(name, function) for name, function in blocks.items()}
        scores = [score for result in results.values() for score in result.scores]
        comparisons = [comparison for result in results.values() for comparison in result.comparisons]
        previous = self._previous_block()
        comparisons += self._paired(results, earlier, previous)
        self._write(results, scores, comparisons, apply_gates(gates, scores, comparisons), previous)

    def _check_kind(self) -> None:
        asked = [name for name in ("bits_per_byte", "tasks", "win_rate", "kl", "samples") if getattr(self.config, name)]
        if self.is_reward_model and asked:
            raise ConfigError(
                f"model {self.config.model!r} is a reward model: {', '.join(asked)} need a language model"
            )
        if self.subject["kind"] == "checkpoint" and self.config.reward_accuracy:
            raise ConfigError(f"model {self.config.model!r} is a language model: reward_accuracy needs a reward model")

    # models

    def _model(self, path: str) -> LoadedModel:
        from training.load import load_model

        if path not in self._loaded:
            self._loaded[path] = load_model(path, dtype=self.config.dtype, device=self.config.device)
        return self._loaded[path]

    @property
    def model(self) -> LoadedModel:
        return self._model(self.config.model)

    @property
    def reference(self) -> LoadedModel:
        path = self.config.reference or self.config.previous
        assert path is not None, "the configuration demands a reference for the blocks that use one"
        return self._model(path)

    @cached_property
    def reward_model(self) -> LoadedRewardModel:
        from training.load import load_reward_model

        return load_reward_model(self.config.model, dtype=self.config.dtype, device=self.config.device)

    @cached_property
    def responses(self) -> Responses:
        from evaluation.responses import Responses

        return Responses(self.config.seed, self.config.batch_size)

    @cached_property
    def prepared_tasks(self) -> list[PreparedTask]:
        from evaluation.task_files import prepare_tasks

        assert self.config.tasks is not None
        return prepare_tasks(
            self.config.tasks,
            cache=self.artifact.scratch / "datasets",
            seed=self.config.seed,
            maximum_bad_share=self.config.maximum_bad_share,
        )

    # blocks

    def _blocks(self) -> dict[str, Callable[[], BlockResult]]:
        blocks: dict[str, Callable[[], BlockResult]] = {
            "bits_per_byte": lambda: self._bits_per_byte(self.model, "items"),
            "tasks": lambda: self._tasks(self.model, "items"),
            "reward_accuracy": self._reward_accuracy,
            "win_rate": self._win_rate,
            "kl": self._kl,
            "samples": self._samples,
        }
        return {name: function for name, function in blocks.items() if getattr(self.config, name) is not None}

    def _block(self, name: str, function: Callable[[], BlockResult]) -> BlockResult:
        """Run a block, or take its result from an interrupted run."""
        kept = self.artifact.scratch / f"{name}.json"
        if kept.is_file():
            raw = json.loads(kept.read_text(encoding="utf-8"))
            self.timings[name] = raw["seconds"]
            return BlockResult.from_json(raw["result"])
        started = time.perf_counter()
        result = function()
        self.timings[name] = round(time.perf_counter() - started, 3)
        write_json(kept, {"seconds": self.timings[name], "result": result.to_json()}, indent=None)
        # one code path for fresh and resumed runs: tuples become lists either way
        return BlockResult.from_json(json.loads(kept.read_text(encoding="utf-8"))["result"])

    def _bits_per_byte(self, model: LoadedModel, prefix: str) -> BlockResult:
        from evaluation.bits_per_byte import run_bits_per_byte

        assert self.config.bits_per_byte is not None
        return run_bits_per_byte(model, self.config.bits_per_byte, batch_size=self.config.batch_size, prefix=prefix)

    def _tasks(self, model: LoadedModel, prefix: str) -> BlockResult:
        from evaluation.tasks import run_tasks

        return run_tasks(
            model, self.prepared_tasks, seed=self.config.seed, batch_size=self.config.batch_size, prefix=prefix
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

    def _samples(self) -> BlockResult:
        from evaluation.samples import run_samples

        assert self.config.samples is not None
        other = self.config.previous or self.config.reference
        return run_samples(
            self.model,
            self._model(other) if other else None,
            self.config.samples,
            self.responses,
            maximum_bad_share=self.config.maximum_bad_share,
        )

    # the previous stage

    def _previous_scores(self) -> Scores | None:
        """The previous stage's scores, checked to be of the previous checkpoint."""
        if self.config.previous_scores is None:
            return None
        earlier = read_scores(self.config.previous_scores)
        if self.config.previous is not None:
            previous = describe_input(self.config.previous)
            if previous["kind"] == "checkpoint" and previous["digest"] != earlier.model_digest:
                raise InputError(
                    f"previous_scores {self.config.previous_scores!r} were not made from "
                    f"previous {self.config.previous!r} (other digest); give that checkpoint's scores or leave one out"
                )
        return earlier

    def _previous_block(self) -> BlockResult | None:
        """The previous checkpoint on our tasks and documents, when it comes without scores."""
        if self.config.previous is None or self.config.previous_scores is not None or self.is_reward_model:
            return None
        path = self.config.previous

        def run() -> BlockResult:
            result = BlockResult()
            parts = []
            if self.config.bits_per_byte:
                parts.append(self._bits_per_byte(self._model(path), "items/previous"))
            if self.config.tasks:
                parts.append(self._tasks(self._model(path), "items/previous"))
            for part in parts:
                result.scores += part.scores
                result.items |= part.items
            return result

        return self._block("previous", run) if self.config.bits_per_byte or self.config.tasks else None

    def _paired(
        self, results: dict[str, BlockResult], earlier: Scores | None, previous: BlockResult | None
    ) -> list[Comparison]:
        scores = [score for result in results.values() for score in result.scores]
        items = {path: rows for result in results.values() for path, rows in result.items.items()}

        def ours(score: Score) -> list[dict[str, Any]]:
            return items[str(score.items)]

        if earlier is not None:
            return compare_scores(scores, ours, earlier.scores, earlier.items, "previous")
        if previous is not None:
            return compare_scores(
                scores, ours, previous.scores, lambda score: previous.items[str(score.items)], "previous"
            )
        return []

    # what gates may name

    def _expected_names(self) -> tuple[list[str], list[str]]:
        """Names of the scores and comparisons that this run will make, before the time is spent on it."""
        config = self.config
        scores: list[str] = []
        comparisons: list[str] = []
        if config.bits_per_byte:
            scores.append("bits_per_byte")
            comparisons.append("bits_per_byte vs unigram")
        if config.reward_accuracy:
            scores += ["reward_accuracy accuracy", "reward_accuracy margin"]
            comparisons.append("reward_accuracy accuracy vs chance")
        if config.tasks:
            scores += [metric_name(task.name, label) for task in self.prepared_tasks for label in task.metric_labels()]
        if config.previous or config.previous_scores:
            comparisons += [f"{name} vs previous" for name in scores]
        if config.win_rate:
            scores.append("win_rate")
            comparisons.append("win_rate vs reference")
        if config.kl:
            scores += ["kl", "kl per_token"]
        return scores, comparisons

    # output

    def _write(
        self,
        results: dict[str, BlockResult],
        scores: list[Score],
        comparisons: list[Comparison],
        gates: list[dict[str, Any]],
        previous: BlockResult | None,
    ) -> None:
        root = self.artifact.path
        for result in (*results.values(), *([previous] if previous else [])):
            for path, items in result.items.items():
                write_items(root / path, items)
        skipped = {name: count for result in results.values() for name, count in result.skipped.items()}
        document = {
            "schema": SCHEMA,
            "stage": self.config.stage or _stage(self.config.model) or self.subject["kind"],
            "model": {"path": self.config.model, "digest": self._digest(self.config.model)},
            "previous": self._described(self.config.previous),
            "reference": self._described(self.config.reference or self.config.previous),
            "scores": [asdict(score) for score in scores],
            "previous_scores": [asdict(score) for score in previous.scores] if previous else [],
            "comparisons": [asdict(comparison) for comparison in comparisons],
            "gates": gates,
            "samples": [sample for result in results.values() for sample in result.samples],
            "skipped": skipped,
        }
        write_json(root / "scores.json", document)
        write_json(root / "timings.json", self.timings)
        self.artifact.stats.update(
            scores={score.name: score.value for score in scores},
            gates={gate["name"]: gate["passed"] for gate in gates},
            skipped=skipped,
        )
        for gate in gates:
            low, high = (f"{end:.4g}" if end is not None else "?" for end in gate["ci95"])
            outcome = "passed" if gate["passed"] else "FAILED"
            logger.info(
                "gate %s: %s: %.4g [%s, %s], required %s",
                *(outcome, gate["name"], gate["value"], low, high, gate["requirement"]),
            )

    def _digest(self, path: str) -> str:
        if self.is_reward_model:
            return self.reward_model.digest if path == self.config.model else str(describe_input(path)["digest"])
        return self._loaded[path].digest if path in self._loaded else str(describe_input(path)["digest"])

    def _described(self, path: str | None) -> dict[str, str] | None:
        return None if path is None else {"path": path, "digest": self._digest(path)}


def _stage(model: str) -> str | None:
    """What the checkpoint's manifest calls its stage."""
    for folder in (Path(model), Path(model).parent):
        if (folder / "manifest.json").is_file():
            manifest = open_artifact(folder, verify=False)
            return str(manifest.stats.get("stage") or manifest.kind)
    return None
