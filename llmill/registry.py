"""Stage kinds: which configuration class and which function build each kind of artifact.

Paths are ``module:name`` strings, resolved only when a kind is used, so that listing kinds costs no import
of torch. A recipe may also name any function of its own as ``my_package.my_module:build_thing``; its
``config`` parameter's annotation is then the configuration class.
"""

from __future__ import annotations

import importlib
import sys
import typing
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from millbase.config import Config, suggest
from millbase.errors import ConfigError

Build = Callable[[Any, str | Path], Path]


@dataclass(frozen=True)
class StageKind:
    """One kind of stage a recipe can run."""

    name: str
    config: str | None
    """``module:Class`` of the configuration; None: the annotation of the build function's first parameter."""
    build: str
    """``module:function`` called as ``build(config, out)``."""
    artifact: str | None
    """Kind of the artifact it writes; None when only the function knows."""
    summary: str
    """One line for help texts."""

    def config_class(self) -> type[Config]:
        """Import and return the configuration class. ConfigError when there is none."""
        if self.config is not None:
            cls = _resolve(self.config, self.name)
        else:
            cls = _annotated_config(_resolve(self.build, self.name), self.build)
        if not (isinstance(cls, type) and issubclass(cls, Config)):
            raise ConfigError(f"stage kind {self.name!r}: {cls!r} is not a subclass of millbase.config.Config")
        return cls

    def build_function(self) -> Build:
        """Import and return the function that writes the artifact."""
        function: Build = _resolve(self.build, self.name)
        return function


KINDS: dict[str, StageKind] = {
    kind.name: kind
    for kind in (
        StageKind(
            "web",
            "data_pipeline.synthetic:SyntheticWebConfig",
            "data_pipeline.synthetic:build_synthetic_web",
            "synthetic-web",
            "Write the synthetic web: WARC files, the truth about each page, instructions, preferences, tasks.",
        ),
        StageKind(
            "quality",
            "data_pipeline.quality:QualityModelConfig",
            "data_pipeline.quality:train_quality",
            "quality-model",
            "Train the fastText quality classifier.",
        ),
        StageKind(
            "perplexity",
            "data_pipeline.perplexity.train_config:PerplexityModelConfig",
            "data_pipeline.perplexity.train:train_perplexity",
            "perplexity-model",
            "Train an n-gram model, or take one, and set its perplexity buckets.",
        ),
        StageKind(
            "educational",
            "data_pipeline.educational.config:EducationalModelConfig",
            "data_pipeline.educational.train:train_educational",
            "educational-model",
            "Distil scores of educational value into a small transformer.",
        ),
        StageKind(
            "filter",
            "data_pipeline.filter:FilterConfig",
            "data_pipeline.filter:filter_corpus",
            "corpus",
            "Keep the documents of a finished corpus that meet a condition.",
        ),
        StageKind(
            "audit",
            "data_pipeline.audit:AuditConfig",
            "data_pipeline.audit:build_audit",
            "audit",
            "Measure each filter on labelled pages: false drops by page type, precision and recall.",
        ),
        StageKind(
            "corpus",
            "data_pipeline.corpus:CorpusConfig",
            "data_pipeline.corpus:build_corpus",
            "corpus",
            "Turn WARC files into a clean, deduplicated Arrow corpus.",
        ),
        StageKind(
            "decontaminate",
            "data_pipeline.decontaminate:DecontaminateCorpusConfig",
            "data_pipeline.decontaminate:decontaminate_corpus",
            "corpus",
            "Take evaluation items out of a finished corpus.",
        ),
        StageKind(
            "mix",
            "data_pipeline.mixture:MixConfig",
            "data_pipeline.mixture:mix_corpora",
            "corpus",
            "Mix finished corpora, or the sources of one, in given shares.",
        ),
        StageKind(
            "mix-candidates",
            "data_pipeline.mixture.regmix:CandidatesConfig",
            "data_pipeline.mixture.regmix:write_candidates",
            "mixture-candidates",
            "Draw the mixtures of proxy runs, with a configuration and a command for each.",
        ),
        StageKind(
            "mix-fit",
            "data_pipeline.mixture.regmix:MixFitConfig",
            "data_pipeline.mixture.regmix:fit_mixture",
            "mixture-fit",
            "Learn mixture weights, with intervals, from the losses of proxy runs.",
        ),
        StageKind(
            "export",
            "data_pipeline.export:ExportConfig",
            "data_pipeline.export:export_corpus",
            "corpus-export",
            "Write a finished corpus as Parquet or JSON Lines.",
        ),
        StageKind(
            "tokenizer",
            "data_pipeline.tokenizer:TokenizerConfig",
            "data_pipeline.tokenizer:train_tokenizer",
            "tokenizer",
            "Train a byte-level BPE tokenizer with a chat template.",
        ),
        StageKind(
            "tokens",
            "data_pipeline.tokens:TokensConfig",
            "data_pipeline.tokens:build_tokens",
            "tokens",
            "Tokenise a corpus into memory-mapped Arrow token shards.",
        ),
        StageKind(
            "pretrain",
            "training.pretrain:PretrainConfig",
            "training.pretrain:pretrain",
            "checkpoint",
            "Pretrain a language model with Megatron-core.",
        ),
        StageKind(
            "checkpoint-import",
            "training.pretrain.convert:ImportConfig",
            "training.pretrain.convert:import_model",
            "checkpoint",
            "Take a Hugging Face model in as a checkpoint to pretrain from.",
        ),
        StageKind(
            "checkpoint-export",
            "training.pretrain.convert:ExportConfig",
            "training.pretrain.convert:export_model",
            "checkpoint",
            "Write a checkpoint of any layout, finished or not, as a Hugging Face folder.",
        ),
        StageKind(
            "sft",
            "training.posttrain.sft:SftConfig",
            "training.posttrain.sft:train_sft",
            "checkpoint",
            "Fine-tune on instructions, assistant tokens only.",
        ),
        StageKind(
            "reward",
            "training.posttrain.reward:RewardConfig",
            "training.posttrain.reward:train_reward",
            "reward-model",
            "Train a reward model on preference pairs or ranked lists.",
        ),
        StageKind(
            "reward-ensemble",
            "training.posttrain.ensemble:EnsembleConfig",
            "training.posttrain.ensemble:build_ensemble",
            "reward-ensemble",
            "Join reward models into one: calibrated on pairs, with the spread between them.",
        ),
        StageKind(
            "prm",
            "training.posttrain.prm:PrmConfig",
            "training.posttrain.prm:train_prm",
            "process-reward-model",
            "Train a process reward model on solutions with labelled steps.",
        ),
        StageKind(
            "kto",
            "training.posttrain.kto:KtoConfig",
            "training.posttrain.kto:train_kto",
            "checkpoint",
            "Align on single answers, each desirable or not.",
        ),
        StageKind(
            "dpo",
            "training.posttrain.dpo:DpoConfig",
            "training.posttrain.dpo:train_dpo",
            "checkpoint",
            "Align with direct preference optimisation.",
        ),
        StageKind(
            "distill",
            "training.posttrain.distill:DistillConfig",
            "training.posttrain.distill:train_distill",
            "checkpoint",
            "Distil a teacher's next-token distributions into a checkpoint.",
        ),
        StageKind(
            "ppo",
            "training.posttrain.ppo:PpoConfig",
            "training.posttrain.ppo:train_ppo",
            "checkpoint",
            "Align with PPO against a reward model.",
        ),
        StageKind(
            "grpo",
            "training.posttrain.group:GroupConfig",
            "training.posttrain.group:train_group",
            "checkpoint",
            "Align with a group method (GRPO, Dr. GRPO, DAPO, GSPO, RLOO, Tree-GRPO) on verifiable rewards.",
        ),
        StageKind(
            "sums",
            "training.posttrain.feedback.sums:SumsConfig",
            "training.posttrain.feedback.sums:build_sums",
            "sums-world",
            "Write the small world of sums: an untrained tiny model, data for every post-training stage, the truth.",
        ),
        StageKind(
            "reject",
            "training.posttrain.feedback.config:RejectConfig",
            "training.posttrain.feedback.reject:reject",
            "answers",
            "Sample K answers to each prompt and keep the best by a reward: instructions, preference pairs.",
        ),
        StageKind(
            "feedback",
            "training.posttrain.feedback.config:FeedbackConfig",
            "training.posttrain.feedback.rank:give_feedback",
            "answers",
            "Let a judge rank K answers to each prompt: preference pairs.",
        ),
        StageKind(
            "critique",
            "training.posttrain.feedback.config:CritiqueConfig",
            "training.posttrain.feedback.critique:critique",
            "answers",
            "Criticise and revise answers by principles: instructions, preference pairs.",
        ),
        StageKind(
            "online-dpo",
            "training.posttrain.feedback.config:OnlineDpoConfig",
            "training.posttrain.feedback.online:train_online_dpo",
            "checkpoint",
            "Align with DPO on pairs that the policy itself writes, scored as it goes.",
        ),
        StageKind(
            "evaluate",
            "evaluation:EvaluationConfig",
            "evaluation:evaluate",
            "scores",
            "Score a checkpoint, compare it with the previous stage, judge its gates; `evaluate show SCORES` and "
            "`evaluate compare A B` are for finished ones.",
        ),
        StageKind(
            "contamination",
            "llmill.contamination:ContaminationConfig",
            "llmill.contamination:measure",
            "contamination",
            "Look for an evaluation's items in the training corpus: contaminated share and clean score of each metric.",
        ),
        StageKind(
            "ablation",
            "evaluation.ablation:AblationConfig",
            "evaluation.ablation:judge_ablation",
            "ablation",
            "Say which of two corpora makes the better model, from scores over several seeds.",
        ),
        StageKind(
            "report",
            "llmill.report:ReportConfig",
            "llmill.report:build_report",
            "report",
            "Write one self-contained HTML page about a run.",
        ),
    )
}


def get_kind(name: str) -> StageKind:
    """The kind called ``name``, or a user's own ``module:function``. ConfigError suggests the nearest name."""
    if name in KINDS:
        return KINDS[name]
    if ":" in name:
        if str(Path.cwd()) not in sys.path:  # a user's own module lies in the working directory, as for python -m
            sys.path.insert(0, str(Path.cwd()))
        return StageKind(name, None, name, None, f"The function {name}.")
    raise ConfigError(f"unknown stage kind {name!r}{suggest(name, sorted(KINDS))}")


def _resolve(path: str, kind: str) -> Any:
    module_name, _, name = path.partition(":")
    try:
        return getattr(importlib.import_module(module_name), name)
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"stage kind {kind!r} needs the module {error.name!r}, which is not installed; install it or fix the name"
        ) from None
    except AttributeError:
        raise ConfigError(f"stage kind {kind!r}: module {module_name!r} has no {name!r}") from None


def _annotated_config(function: Any, path: str) -> Any:
    hints = typing.get_type_hints(function)
    hints.pop("return", None)
    if not hints:
        raise ConfigError(f"stage function {path!r} must annotate its config parameter with a Config class")
    return hints.get("config", next(iter(hints.values())))
