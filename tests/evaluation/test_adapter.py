"""The in-process adapter against lm-eval's own Hugging Face model on the same tasks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from lm_eval.api.instance import Instance
from lm_eval.evaluator import evaluate
from lm_eval.models.huggingface import HFLM
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

from evaluation.adapter import CheckpointLM, generation_settings
from evaluation.config import TasksConfig
from evaluation.generate import Sampling, stop_token_ids
from evaluation.loglikelihood import document_start_id, rolling_windows, score_continuations
from evaluation.task_files import prepare_tasks
from millbase.errors import ConfigError
from training.load import LoadedModel


def both(loaded: LoadedModel, web: Path, cache: Path, task: str, chat: bool = False) -> tuple[Any, Any]:
    """lm-eval's report for a task through HFLM and through ours."""
    (prepared,) = prepare_tasks(
        TasksConfig.model_validate({"task_path": str(web / "tasks"), "run": [{"task": task}]}),
        cache=cache,
        seed=0,
        maximum_bad_share=0.05,
    )
    loaded.model.generation_config.eos_token_id = sorted(stop_token_ids(loaded))
    hugging_face = HFLM(
        pretrained=loaded.model,
        tokenizer=loaded.tokenizer,
        batch_size=4,
        prefix_token_id=document_start_id(loaded),
        max_length=loaded.max_length,
        device="cpu",
    )
    reports = [
        evaluate(
            lm=lm,
            task_dict={"tasks": {task: prepared.task}, "groups": {}, "group_map": {}},
            bootstrap_iters=0,
            apply_chat_template=chat,
            fewshot_as_multiturn=chat,
        )
        for lm in (hugging_face, CheckpointLM(loaded, batch_size=5))
    ]
    return reports[0], reports[1]


def responses(report: Any, task: str) -> list[Any]:
    return [sample["resps"] for sample in report["samples"][task]]


def test_multiple_choice_log_likelihoods(loaded: LoadedModel, web: Path, tmp_path: Path) -> None:
    theirs, ours = both(loaded, web, tmp_path, "facts_mc")
    assert ours["results"] == theirs["results"]
    for mine, other in zip(responses(ours, "facts_mc"), responses(theirs, "facts_mc"), strict=True):
        for (a,), (b,) in zip(mine, other, strict=True):
            assert a[0] == pytest.approx(b[0], abs=1e-5)
            assert a[1] == b[1]


def test_rolling_log_likelihoods_and_bits_per_byte(loaded: LoadedModel, web: Path, tmp_path: Path) -> None:
    theirs, ours = both(loaded, web, tmp_path, "prose")
    for mine, other in zip(responses(ours, "prose"), responses(theirs, "prose"), strict=True):
        assert mine[0][0] == pytest.approx(other[0][0], rel=1e-6)
    key = "bits_per_byte,none"
    assert ours["results"]["prose"][key] == pytest.approx(theirs["results"]["prose"][key], rel=1e-6)


@pytest.mark.parametrize("chat", [False, True])
def test_generations_are_identical(loaded: LoadedModel, web: Path, tmp_path: Path, chat: bool) -> None:
    theirs, ours = both(loaded, web, tmp_path, "answers", chat)
    assert responses(ours, "answers") == responses(theirs, "answers")
    prompts = [[sample["arguments"][0][0] for sample in report["samples"]["answers"]] for report in (ours, theirs)]
    assert prompts[0] == prompts[1]
    assert prompts[0][0].startswith("<|im_start|>user") == chat


@pytest.mark.parametrize("length", [0, 1, 5, 6, 7, 12, 13, 29])
def test_rolling_windows_are_lm_evals(length: int) -> None:
    ids = list(range(100, 100 + length))
    theirs = [make_disjoint_window(w) for w in get_rolling_token_windows(ids, 0, max_seq_len=6, context_len=1)]
    assert rolling_windows(ids, 0, 6) == [(list(a), list(b)) for a, b in theirs]


def test_truncation_from_the_left_is_lm_evals(loaded: LoadedModel) -> None:
    hugging_face = HFLM(pretrained=loaded.model, tokenizer=loaded.tokenizer, batch_size=1, device="cpu")
    pairs = [
        (("c", "d"), [5 + i % 90 for i in range(loaded.max_length + extra)], [30, 31, 32]) for extra in (-3, -2, 0, 40)
    ]
    ours = CheckpointLM(loaded)._loglikelihood_tokens(pairs)
    theirs = hugging_face._loglikelihood_tokens(pairs, disable_tqdm=True)
    for a, b in zip(ours, theirs, strict=True):
        assert a[0] == pytest.approx(b[0], abs=1e-5) and a[1] == b[1]


def test_a_continuation_longer_than_the_context_is_scored_in_windows(loaded: LoadedModel) -> None:
    adapter = CheckpointLM(loaded)
    long = [5 + i % 90 for i in range(loaded.max_length * 2 + 10)]
    ((log_prob, greedy),) = adapter._loglikelihood_tokens([(("c", "d"), [30, 31], long)])
    windows = rolling_windows(long, 31, loaded.max_length)
    assert log_prob == pytest.approx(sum(score for score, _ in score_continuations(loaded, windows)), rel=1e-6)
    assert not greedy


def test_settings_that_would_be_ignored_are_refused(loaded: LoadedModel) -> None:
    adapter = CheckpointLM(loaded)
    request = Instance("generate_until", {}, ("Hello", {"until": ["x"], "max_gen_toks": 4, "num_beams": 4}), 0)
    with pytest.raises(ConfigError, match="num_beams"):
        adapter.generate_until([request])
    sampled = generation_settings({"do_sample": True, "top_p": 0.9, "max_new_tokens": 7}, 256)
    assert sampled[1:] == (7, Sampling(1.0, 0.9, 0))
    greedy = generation_settings({"temperature": 0.5, "do_sample": False, "until": "x"}, 256)
    assert greedy == (("x",), 256, Sampling())


def test_sampled_requests_are_reproducible(loaded: LoadedModel) -> None:
    arguments = ("Hello", {"until": [], "max_gen_toks": 12, "do_sample": True, "temperature": 1.0})
    requests = [Instance("generate_until", {}, arguments, 0) for _ in range(6)]
    texts = CheckpointLM(loaded, batch_size=4).generate_until(requests)
    assert texts == CheckpointLM(loaded, batch_size=1).generate_until(requests)
    assert len(set(texts)) > 1  # repeats of one request are different draws
