"""Which of two corpora makes the better model: scores of models trained alike on each, over several seeds.

One scores artifact per arm and seed goes in; a verdict per score, with its interval over items and seeds, comes out.
`llmill ablate` trains the models and calls this last.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Self

import numpy as np
from pydantic import Field, model_validator

from evaluation import significance
from evaluation.compare import conclusion
from evaluation.repeats import crossed_difference
from evaluation.scores import Comparison, Item, Score, Scores, make_comparison, read_scores
from millbase.artifacts import create_artifact
from millbase.atomic import write_json
from millbase.config import Config
from millbase.errors import ArtifactError

SCHEMA = 1


class ArmConfig(Config):
    """The models of one corpus."""

    name: str = Field(min_length=1)
    """What the corpus is called."""
    scores: list[dict[str, str]] = Field(min_length=2)
    """For each seed, in the order of the other arm's: scores artifacts by a label, which stands before the task's name
    in the verdict. The label `tasks` is left out."""


class AblationConfig(Config):
    """Two arms that differ in their corpus alone."""

    arms: list[ArmConfig] = Field(min_length=2, max_length=2)
    """The corpus in question first, then the one it is held against."""
    facts: dict[str, dict[str, Any]] = {}
    """What to write beside each arm, such as its tokens and epochs."""
    correction: significance.Correction = "holm"
    """How p-values are adjusted for the number of scores."""

    @model_validator(mode="after")
    def _same_seeds(self) -> Self:
        first, second = self.arms
        if len(first.scores) != len(second.scores):
            counts = f"{first.name} has {len(first.scores)} seeds and {second.name} {len(second.scores)}"
            raise ValueError(f"{counts}; train both on the same")
        return self


def judge_ablation(config: AblationConfig, out: str | Path) -> Path:
    """Write the `ablation` artifact: `ablation.json` with a comparison and a verdict per score.

    Raises:
        ArtifactError: missing scores, or none that all models share.
    """
    paths = [path for arm in config.arms for seed in arm.scores for path in seed.values()]
    with create_artifact(out, kind="ablation", config=config, inputs={"scores": paths}) as artifact:
        first, second = ([_read(seed) for seed in arm.scores] for arm in config.arms)
        comparisons = _compare(first, second, config)
        verdicts = [conclusion(item) for item in comparisons]
        document = {
            "schema": SCHEMA,
            "arms": [arm.name for arm in config.arms],
            "seeds": len(config.arms[0].scores),
            "facts": config.facts,
            "correction": config.correction,
            "scores": [
                {
                    "task": item.task,
                    "metric": item.metric,
                    "difference": item.value,
                    "ci95": list(item.ci95),
                    "stderr": item.stderr,
                    "items": item.n,
                    "means": [item.details["mean"], item.details["other_mean"]],
                    "p": item.details.get("p_value"),
                    "p_adjusted": item.details.get("p_adjusted"),
                    "smallest_detectable": item.details.get("smallest_detectable"),
                    "higher_is_better": item.higher_is_better,
                    "verdict": verdict,
                }
                for item, verdict in zip(comparisons, verdicts, strict=True)
            ],
            "verdict": summary(config.arms[0].name, config.arms[1].name, comparisons, verdicts),
        }
        write_json(artifact.path / "ablation.json", document)
        artifact.stats.update(verdict=document["verdict"])
    return Path(out)


def summary(name: str, other: str, comparisons: list[Comparison], verdicts: list[str]) -> str:
    """The verdict in one sentence."""
    wins, losses = (
        [label(item.task, item.metric) for item, verdict in zip(comparisons, verdicts, strict=True) if verdict == word]
        for word in ("better", "worse")
    )
    if not wins and not losses:
        return f"cannot tell {name} from {other} on any of {len(comparisons)} scores"
    parts = [f"better on {', '.join(wins)}"] if wins else []
    parts += [f"worse on {', '.join(losses)}"] if losses else []
    rest = len(comparisons) - len(wins) - len(losses)
    parts += [f"not to be told apart on {rest} more"] if rest else []
    return f"{name} is {'; '.join(parts)} (against {other})"


def label(task: str, metric: str) -> str:
    """A score's name for people; tasks of one metric are often named after it, which is not said twice."""
    return task if task.endswith(metric) else f"{task} {metric}"


Group = dict[tuple[str, str], tuple[Score, list[Item]]]
"""(task, metric) -> the score of one seed and its items."""


def _read(artifacts: dict[str, str]) -> Group:
    """The scores of one seed."""
    found: Group = {}
    for label, path in artifacts.items():
        scores: Scores = read_scores(path)
        for score in scores.scores:
            if score.items is not None:
                task = score.task if label == "tasks" else f"{label} {score.task}"
                found[task, score.metric] = (score, scores.items(score))
    return found


def _compare(first: list[Group], second: list[Group], config: AblationConfig) -> list[Comparison]:
    name, other = (arm.name for arm in config.arms)
    shared = [key for key in first[0] if all(key in group for group in (*first, *second))]
    found = [_one(key, first, second, other) for key in shared]
    comparisons = [comparison for comparison in found if comparison is not None]
    if not comparisons:
        raise ArtifactError(f"the scores of {name} and {other} have no metric with common items; evaluate all alike")
    tested = [item for item in comparisons if "p_value" in item.details]
    adjusted = significance.adjust([item.details["p_value"] for item in tested], config.correction)
    for item, p in zip(tested, adjusted, strict=True):
        item.details["p_adjusted"] = p
    return comparisons


def _one(key: tuple[str, str], first: list[Group], second: list[Group], other: str) -> Comparison | None:
    task, metric = key
    tables = [_values(group[key][1], group[key][0].metric) for group in (*first, *second)]
    common = [item for item in tables[0] if all(item in table for table in tables)]
    if not common:
        return None
    weights = None
    if isinstance(tables[0][common[0]], list):  # [numerator, denominator]
        weights = np.array([tables[0][item][1] for item in common])
        values = np.array([[table[item][0] for item in common] for table in tables])
    else:
        values = np.array([[table[item] for item in common] for table in tables], dtype=np.float64)
    ours, theirs = values[: len(first)], values[len(first) :]
    estimate, p = crossed_difference(ours - theirs, weights)
    scale = 1.0 if weights is None else float(weights.mean())
    details: dict[str, Any] = {"mean": float(ours.mean()) / scale, "other_mean": float(theirs.mean()) / scale}
    if p == p:
        details |= {"p_value": p, "smallest_detectable": significance.smallest_detectable(estimate.stderr)}
    return make_comparison(
        task,
        metric,
        other,
        estimate,
        kind="paired_difference",
        null=0.0,
        higher_is_better=first[0][key][0].higher_is_better,
        details=details,
    )


def _values(items: list[Item], metric: str) -> dict[tuple[str, str], Any]:
    return {
        (str(item["id"]), str(item["prompt_hash"])): item["scores"][metric]
        for item in items
        if metric in item["scores"]
    }


def read_ablation(path: str | Path) -> dict[str, Any]:
    """`ablation.json` of a finished artifact."""
    document: dict[str, Any] = json.loads((Path(path) / "ablation.json").read_text(encoding="utf-8"))
    return document
