"""What an evaluation reads, for its manifest: every input with its digest."""

from __future__ import annotations

from pathlib import Path

from evaluation.config import EvaluationConfig
from evaluation.judge_config import JudgeModelConfig

Inputs = dict[str, str | Path | list[str] | None]


def evaluation_inputs(config: EvaluationConfig) -> Inputs:
    """Paths by name; None for what is not given."""
    inputs: Inputs = {
        "model": None if config.server else config.model,
        "previous": config.previous,
        "previous_scores": config.previous_scores,
        "reference": config.reference,
        "contamination": config.contamination,
    }
    if config.bits_per_byte:
        inputs["tokens"] = config.bits_per_byte.tokens
        domains = config.bits_per_byte.domains
        inputs["domains_corpus"] = None if domains is None else domains.corpus
    if config.tasks:
        inputs["tasks"] = config.tasks.task_path
        inputs["task_data"] = config.tasks.data_path
    if config.ifeval:
        inputs["instructions"] = config.ifeval.prompts
    if config.code:
        inputs["problems"] = config.code.problems
    if config.reward_accuracy:
        inputs["pairs"] = config.reward_accuracy.pairs
    if config.win_rate:
        judge = config.win_rate.judge_model
        inputs["prompts"] = config.win_rate.prompts
        inputs["judge"] = config.win_rate.rule or config.win_rate.reward_model or _local(judge)
    if config.kl:
        inputs["kl_prompts"] = config.kl.prompts
    if config.samples:
        inputs["sample_prompts"] = config.samples.prompts
    return inputs | _behaviour_inputs(config)


def _behaviour_inputs(config: EvaluationConfig) -> Inputs:
    inputs: Inputs = {}
    if config.safety:
        judge = config.safety.judge_model
        inputs["safety_prompts"] = config.safety.prompts
        inputs["safety_judge"] = _local(judge)
    if config.dialogues:
        judge = config.dialogues.judge_model
        inputs["dialogue_prompts"] = config.dialogues.prompts
        inputs["dialogue_references"] = config.dialogues.references
        inputs["dialogue_judge"] = config.dialogues.reward_model or _local(judge)
    if config.diversity:
        inputs["diversity_prompts"] = config.diversity.prompts
    if config.memorisation:
        inputs["memorised_tokens"] = config.memorisation.tokens
    if config.overoptimisation:
        block = config.overoptimisation
        inputs["checkpoints"] = block.checkpoints
        inputs["reward_prompts"] = block.prompts
        inputs["learned_reward"] = block.learned
        inputs["true_reward"] = block.rule or block.held_out
    if config.alignment_tax:
        inputs["scores_before"] = config.alignment_tax.before
    return inputs


def _local(judge: JudgeModelConfig | None) -> str | None:
    """The judge's checkpoint, when it runs in this process."""
    return None if judge is None else judge.model
