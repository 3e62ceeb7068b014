"""Runs one evaluation: loads what is needed, runs the blocks, compares, applies the gates, writes the artifact.

Each finished block is kept in the work directory, so an interrupted evaluation goes on with the next block. Nothing in
`scores.json` depends on the clock; how long each block took is in `timings.json`.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from evaluation.alignment_tax import BEFORE, capabilities, run_alignment_tax
from evaluation.blocks import Blocks
from evaluation.clean import read_flags, with_clean
from evaluation.compare import compare_scores
from evaluation.config import EvaluationConfig
from evaluation.gates import all_gates, apply_gates, check_names
from evaluation.inputs import evaluation_inputs
from evaluation.names import capability_names, expected_names
from evaluation.scores import SCHEMA, BlockResult, Comparison, Score, Scores, read_scores, write_items
from millbase.artifacts import OpenArtifact, create_artifact, describe_input, open_artifact
from millbase.atomic import write_json
from millbase.errors import ConfigError, InputError, StageError
from millbase.log import get_logger
from millbase.process import keep_freed_memory

logger = get_logger(__name__)


def evaluate(config: EvaluationConfig, out: str | Path) -> Path:
    """Evaluate `config.model` and write the `scores` artifact `out`.

    Raises:
        ConfigError: settings that do not fit together, a gate on something that is not measured.
        InputError: missing or unusable input, a tokenizer that is not the model's.
        ArtifactError: an artifact that is missing, changed or of the wrong kind; scores that cannot be paired.
        StageError: too many bad rows, a model that gives NaN, a judge that is down. The other blocks run all the same,
            and are kept.
    """
    out = Path(out)
    keep_freed_memory()
    with create_artifact(
        out, kind="scores", config=config, inputs=evaluation_inputs(config), seed=config.seed
    ) as artifact:
        _Evaluation(config, artifact).run()
    return out


class _Evaluation:
    """One run."""

    def __init__(self, config: EvaluationConfig, artifact: OpenArtifact) -> None:
        self.config = config
        self.artifact = artifact
        self.blocks = Blocks(config, artifact.scratch / "datasets")
        self.timings: dict[str, float] = {}

    def run(self) -> None:
        """Everything; what can fail cheaply fails first."""
        if self.config.threads is not None:
            import torch

            torch.set_num_threads(self.config.threads)
        gates = all_gates(self.config)
        earlier = self._previous_scores()
        before = self._scores_before(earlier)
        tasks = self.blocks.tasks if self.config.tasks else []
        check_names(gates, *expected_names(self.config, tasks, earlier, before, self.blocks.is_reward_model))
        flagged = None if self.config.contamination is None else read_flags(self.config.contamination)
        from transformers.utils import logging

        logging.disable_progress_bar()  # loading takes a moment, and each block shows its own progress
        results = self._all_blocks()
        scores = with_clean([score for result in results.values() for score in result.scores], _items(results), flagged)
        comparisons = [comparison for result in results.values() for comparison in result.comparisons]
        previous = self._previous_block()
        comparisons += self._paired(results, earlier, previous)
        comparisons += self._taxed(results, before)
        self._write(results, scores, comparisons, apply_gates(gates, scores, comparisons), previous)

    def _all_blocks(self) -> dict[str, BlockResult]:
        """The results of every block. One that fails as a whole, for a judge that is down, does not stop the others."""
        results: dict[str, BlockResult] = {}
        failed: list[str] = []
        requested = self.blocks.requested()
        for name, function in requested.items():
            try:
                results[name] = self._block(name, function)
            except StageError as error:
                failed.append(self._told(name, error))
                logger.error("block %s", failed[-1])
            except (ConfigError, InputError) as error:
                # a mistake in the settings or data: to be mended before more time is spent
                raise type(error)(self._told(name, error) + _kept(results)) from error
        if failed:
            several = f"{len(failed)} of {len(requested)} blocks failed. " if len(requested) > 1 else ""
            raise StageError(f"{several}{' | '.join(failed)}{_kept(results)}")
        return results

    def _told(self, block: str, error: Exception) -> str:
        """What went wrong, with the block and the file of its prompts."""
        prompts = getattr(getattr(self.config, block), "prompts", None)
        return f"{block}{f' ({prompts})' if prompts else ''}: {error}"

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
        if self.config.previous is None or self.config.previous_scores is not None or self.blocks.is_reward_model:
            return None
        path = self.config.previous

        def run() -> BlockResult:
            result, parts = BlockResult(), []
            if self.config.bits_per_byte:
                parts.append(self.blocks.run_bits_per_byte(self.blocks.load(path), "items/previous"))
            if self.config.tasks:
                parts.append(self.blocks.ask_tasks(path, "items/previous"))
            for part in parts:
                result.scores += part.scores
                result.items |= part.items
            return result

        return self._block("previous", run) if self.config.bits_per_byte or self.config.tasks else None

    def _paired(
        self, results: dict[str, BlockResult], earlier: Scores | None, previous: BlockResult | None
    ) -> list[Comparison]:
        scores = [score for result in results.values() for score in result.scores]
        ours = _items(results)
        if earlier is not None:
            return compare_scores(scores, ours, earlier.scores, earlier.items, "previous")
        if previous is not None:
            return compare_scores(
                scores, ours, previous.scores, lambda score: previous.items[str(score.items)], "previous"
            )
        return []

    def _scores_before(self, earlier: Scores | None) -> Scores | None:
        """The scores that the alignment tax is counted from."""
        tax = self.config.alignment_tax
        if tax is None:
            return None
        return earlier if tax.before is None else read_scores(tax.before)

    def _taxed(self, results: dict[str, BlockResult], before: Scores | None) -> list[Comparison]:
        if self.config.alignment_tax is None or before is None:
            return []
        scores = [score for result in results.values() for score in result.scores]
        tasks = self.blocks.tasks if self.config.tasks else []
        chosen = capabilities(self.config.alignment_tax, capability_names(self.config, tasks))
        compared = compare_scores(scores, _items(results), before.scores, before.items, BEFORE)
        return run_alignment_tax(chosen, scores, compared)

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
            "stage": self.config.stage or _stage(self.config.model) or self.blocks.kind,
            "model": self._described(self.config.model),
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

    def _described(self, path: str | None) -> dict[str, str] | None:
        return None if path is None else {"path": path, "digest": self.blocks.digest(path)}


def _kept(results: dict[str, BlockResult]) -> str:
    return f"; kept for the next run: {', '.join(results)}" if results else ""


def _items(results: dict[str, BlockResult]) -> Callable[[Score], list[dict[str, Any]]]:
    """What looks up the items behind a score."""
    items = {path: rows for result in results.values() for path, rows in result.items.items()}
    return lambda score: items[str(score.items)]


def _stage(model: str) -> str | None:
    """What the checkpoint's manifest calls its stage."""
    for folder in (Path(model), Path(model).parent):
        if (folder / "manifest.json").is_file():
            manifest = open_artifact(folder, verify=False)
            return str(manifest.stats.get("stage") or manifest.kind)
    return None
