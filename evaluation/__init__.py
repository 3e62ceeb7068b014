"""Evaluation: scores any checkpoint, with intervals; compares it with another; applies gates.

    from evaluation import EvaluationConfig, evaluate
    config = EvaluationConfig(model="runs/demo/sft", previous_scores="runs/demo/base_scores", ...)
    evaluate(config, "runs/demo/sft_scores")

Checkpoints are opened through `training.load` only; nothing else of the stages is known here.
"""

from evaluation.compare import compare
from evaluation.config import EvaluationConfig
from evaluation.run import evaluate

__all__ = ["EvaluationConfig", "compare", "evaluate"]
