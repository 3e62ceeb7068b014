"""Our scores on real questions equal those of lm-eval's own Hugging Face backend: the published tasks, few-shot too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from lm_eval.evaluator import evaluate
from lm_eval.models.huggingface import HFLM
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from evaluation.adapter import CheckpointLM
from evaluation.config import TasksConfig
from evaluation.generate import stop_token_ids
from evaluation.loglikelihood import document_start_id
from evaluation.task_files import PreparedTask, prepare_tasks, quiet
from training.load import LoadedModel

FOLDER = Path(__file__).resolve().parents[2] / "configs" / "evaluation" / "tasks"
RUNS: list[dict[str, Any]] = [
    {"task": "arc_easy", "limit": 12},
    {"task": "arc_challenge_letters", "limit": 8},
    {"task": "piqa", "limit": 8},
    {"task": "boolq", "limit": 8},
    {"task": "winogrande", "limit": 12},
    {"task": "lambada", "limit": 8},
    {"task": "blimp_pairs", "limit": 20},
    {"task": "mmlu_anatomy", "limit": 8, "num_fewshot": 5},
    {"task": "gsm8k", "limit": 4},
]


@pytest.fixture(scope="module")
def tasks(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> list[PreparedTask]:
    config = {"task_path": str(FOLDER), "data_path": str(real_data / "evals"), "run": RUNS}
    cache = tmp_path_factory.mktemp("cache")
    prepared = prepare_tasks(TasksConfig.model_validate(config), cache=cache, seed=0, maximum_bad_share=0)
    generation = next(task.task for task in prepared if task.name == "gsm8k")
    generation.set_config("generation_kwargs", {"max_gen_toks": 24}, update=True)
    return prepared


@pytest.fixture(scope="module")
def small(tasks: list[PreparedTask]) -> LoadedModel:
    """A random model with opinions, and a tokenizer of the questions' own text."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=1024,
        special_tokens=["<|endoftext|>", "<|pad|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator((str(doc) for task in tasks for doc in task.task.eval_docs), trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|endoftext|>", pad_token="<|pad|>")
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=1024,
        hidden_size=48,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=2048,
        initializer_range=0.2,
        tie_word_embeddings=True,
        pad_token_id=fast.pad_token_id,
        eos_token_id=fast.eos_token_id,
        bos_token_id=None,
    )
    loaded = LoadedModel(LlamaForCausalLM(config).eval(), fast, Path("small"), "small", 2048)
    loaded.model.generation_config.eos_token_id = sorted(stop_token_ids(loaded))
    return loaded


@pytest.mark.parametrize("name", [run["task"] for run in RUNS])
def test_scores_and_log_likelihoods_are_lm_evals(name: str, tasks: list[PreparedTask], small: LoadedModel) -> None:
    (task,) = [task.task for task in tasks if task.name == name]
    theirs = HFLM(
        pretrained=small.model,
        tokenizer=small.tokenizer,
        batch_size=4,
        prefix_token_id=document_start_id(small),
        max_length=small.max_length,
        device="cpu",
    )
    reports = []
    for lm in (theirs, CheckpointLM(small, batch_size=16)):
        task.set_fewshot_seed(0)
        with quiet():
            wanted = {"tasks": {name: task}, "groups": {}, "group_map": {}}
            reports.append(evaluate(lm=lm, task_dict=wanted, bootstrap_iters=0))
    expected, found = reports
    for a, b in zip(expected["samples"][name], found["samples"][name], strict=True):
        assert a["arguments"] == b["arguments"]
        for (x,), (y,) in zip(a["resps"], b["resps"], strict=True):
            if isinstance(x, str):
                assert x == y
            else:
                assert y[0] == pytest.approx(x[0], abs=1e-4) and y[1] == x[1]
    for key, value in expected["results"][name].items():
        if key.startswith("perplexity,"):  # the exponential of a mean
            assert found["results"][name][key] == pytest.approx(value, rel=1e-5)
        else:
            assert found["results"][name][key] == value, key
