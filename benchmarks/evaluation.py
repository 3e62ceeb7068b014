"""Wall time of lm-eval's Hugging Face backend over ours: same tasks, same model, same batch size, one run.

    python benchmarks/evaluation.py           # about four minutes on one core
    python benchmarks/evaluation.py --quick   # fewer items, a smaller model, under 50 seconds

A Llama with random weights (28 million, vocabulary 16,384; --quick 3 million, 4,096) takes the shipped tasks on real
questions: multiple choice with and without worked examples, LAMBADA, GSM8K with five worked examples. Each task runs
through `lm_eval.evaluator.evaluate` twice, with `HFLM` and with `evaluation.adapter.CheckpointLM`; building the prompts
is part of both times. Every score must be identical and every log-likelihood within 1e-4 nats, or the exit status is 1.
One thing is allowed for: HFLM adds the tokens' log-probabilities up in float32. Two that are further apart are held
against the model in float64: ours must be within 1e-4 nats of it, and HFLM's within 1e-4 and the rounding of its
sum. An addition rounds by at most 2^-24 of its result, and torch adds n numbers in 32 partial sums that are then joined
in pairs, so a sum S of numbers of one sign is off by at most (n/32 + 5) 2^-24 |S| (Higham 2002, "Accuracy and Stability
of Numerical Algorithms", section 4.2). The longest request of every task is held against float64 in any case. Weights
and tokenizer are made here from the questions themselves: what is timed does not depend on what a model knows, except
that a trained one ends its answers earlier. The last line is JSON: the ratio on multiple choice.
Data: ../shared/data (LLMILL_TEST_DATA names another folder).
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import os
import sys
import tempfile
import time
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # this file is called as the package it measures

import torch
from lm_eval.evaluator import evaluate
from lm_eval.models.huggingface import HFLM
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from transformers.utils import logging

from evaluation.adapter import CheckpointLM
from evaluation.config import TasksConfig
from evaluation.generate import stop_token_ids
from evaluation.loglikelihood import document_start_id
from evaluation.task_files import PreparedTask, compiled_once, prepare_tasks, quiet
from training.load import LoadedModel

REPOSITORY = Path(__file__).resolve().parent.parent
RESULT = REPOSITORY / "benchmarks" / "results" / "evaluation.json"
CHOICE = {
    "arc_easy": {"limit": 50},
    "arc_challenge": {"limit": 50},
    "openbookqa": {"limit": 66},
    "piqa": {"limit": 40},
    "winogrande": {"limit": 66},
    "boolq": {"limit": 33},
    "arc_easy_letters": {"limit": 33},
    "mmlu_cloze": {"limit": 40},
    "mmlu_anatomy": {"limit": 20, "num_fewshot": 5},
    "mmlu_high_school_biology": {"limit": 20, "num_fewshot": 5},
    "blimp_pairs": {"limit": 100},
}
OTHER = {"lambada": {"limit": 50}, "gsm8k": {"limit": 6}}
GOAL, GOAL_OVERALL = 2.0, 1.3
TOLERANCE = 1e-4


@dataclass(frozen=True)
class Row:
    """One task through both."""

    task: str
    requests: int
    theirs: float
    """Seconds of lm-eval's HFLM."""
    ours: float
    theirs_cpu: float
    """Seconds of processor time: what the wall time would be on a machine that does nothing else, for one thread."""
    ours_cpu: float
    largest_difference: float
    """Of two log-likelihoods of one request, in nats; 0 for generated texts, which must be equal."""
    identical: bool
    """All scores."""
    checked: int
    """Requests held against float64: the longest, and all that are more than the tolerance apart."""
    ours_from_exact: float
    """Largest difference of ours from float64 among them."""
    theirs_from_exact: float
    within: bool
    """All log-likelihoods are as close as they must be."""


def main() -> int:
    """Print a table; write the result of a full run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="half of the items, a smaller model")
    parser.add_argument("--batch-size", type=int, default=16, help="sequences at once, in both")
    parser.add_argument("--tasks", help="only these, separated by commas")
    options = parser.parse_args()
    data = Path(os.environ.get("LLMILL_TEST_DATA", REPOSITORY.parent / "shared" / "data")) / "evals"
    if not data.is_dir():
        print(f"no evaluation data: {data} does not exist; set LLMILL_TEST_DATA", file=sys.stderr)
        return 1
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    names = options.tasks.split(",") if options.tasks else [*CHOICE, *OTHER]
    with tempfile.TemporaryDirectory() as folder:
        tasks = load_tasks(names, data, Path(folder), 2 if options.quick else 1)
        loaded = make_model(tasks, Path(folder), small=options.quick)
        warm_up(loaded, tasks[0], options.batch_size)
        titles = f"{'task':<26}{'requests':>9}{'HFLM s':>9}{'ours s':>9}{'ratio':>8}{'CPU':>8}"
        print(f"{titles}{'difference':>13}{'float64':>10}  scores")
        rows = [compare(loaded, task, options.batch_size) for task in tasks]
    return finish(rows, options, sum(p.numel() for p in loaded.model.parameters()))


def load_tasks(names: list[str], data: Path, cache: Path, divisor: int) -> list[PreparedTask]:
    runs = []
    for name in names:
        settings = {**CHOICE, **OTHER}[name]
        runs.append({"task": name, **settings, "limit": max(4, settings["limit"] // divisor)})
    folder = REPOSITORY / "configs" / "evaluation"
    config = TasksConfig.model_validate({"task_path": str(folder / "tasks"), "data_path": str(data), "run": runs})
    tasks = prepare_tasks(config, cache=cache, seed=0, maximum_bad_share=0.05)
    for task in tasks:
        if task.task.OUTPUT_TYPE == "generate_until":
            task.task.set_config("generation_kwargs", {"max_gen_toks": 32 if divisor > 1 else 64}, update=True)
    return tasks


def make_model(tasks: list[PreparedTask], folder: Path, small: bool) -> LoadedModel:
    """A tokenizer of the questions' text and a Llama with random weights."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=4096 if small else 16384,
        special_tokens=["<|endoftext|>", "<|pad|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator((json.dumps(doc) for task in tasks for doc in task.task.eval_docs), trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|endoftext|>", pad_token="<|pad|>")
    torch.manual_seed(0)
    hidden = 192 if small else 512
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=4096 if small else 16384,
            hidden_size=hidden,
            intermediate_size=hidden * 8 // 3,
            num_hidden_layers=6,
            num_attention_heads=8,
            num_key_value_heads=4,
            max_position_embeddings=2048,
            tie_word_embeddings=True,
            initializer_range=0.06,  # a random model with opinions: choices do not tie
            pad_token_id=fast.pad_token_id,
            eos_token_id=fast.eos_token_id,
            bos_token_id=None,
        )
    ).eval()
    return LoadedModel(model, fast, folder, "random", 2048)


def backends(loaded: LoadedModel, batch_size: int) -> tuple[Any, Any]:
    loaded.model.generation_config.eos_token_id = sorted(stop_token_ids(loaded))
    theirs = HFLM(
        pretrained=loaded.model,
        tokenizer=loaded.tokenizer,
        batch_size=batch_size,
        prefix_token_id=document_start_id(loaded),
        max_length=loaded.max_length,
        device=str(loaded.model.device),
    )
    return theirs, CheckpointLM(loaded, batch_size=batch_size)


def run(lm: Any, task: PreparedTask, limit: int | None = None) -> tuple[Any, float, float]:
    """lm-eval's report, the seconds it took and the processor's seconds; ours as `evaluation.tasks` runs it."""
    task.task.set_fewshot_seed(0)
    started, started_cpu = time.perf_counter(), time.process_time()
    with quiet(), compiled_once() if isinstance(lm, CheckpointLM) else nullcontext():
        report = evaluate(
            lm=lm,
            task_dict={"tasks": {task.name: task.task}, "groups": {}, "group_map": {}},
            bootstrap_iters=0,
            limit=limit,
        )
    return report, time.perf_counter() - started, time.process_time() - started_cpu


def warm_up(loaded: LoadedModel, task: PreparedTask, batch_size: int) -> None:
    for lm in backends(loaded, batch_size):
        run(lm, task, limit=8)


def compare(loaded: LoadedModel, task: PreparedTask, batch_size: int) -> Row:
    theirs, ours = backends(loaded, batch_size)
    their_report, their_seconds, their_cpu = run(theirs, task)
    our_report, our_seconds, our_cpu = run(ours, task)
    difference, texts_equal, requests = 0.0, True, 0
    pairs: list[tuple[tuple[str, str], float, float]] = []
    samples = zip(their_report["samples"][task.name], our_report["samples"][task.name], strict=True)
    for theirs_sample, ours_sample in samples:
        answers = zip(ours_sample["arguments"], theirs_sample["resps"], ours_sample["resps"], strict=True)
        for asked, (theirs_one,), (ours_one,) in answers:
            requests += 1
            if isinstance(theirs_one, str):
                texts_equal &= theirs_one == ours_one
            else:
                pairs.append((asked, theirs_one[0], ours_one[0]))
                difference = max(difference, abs(theirs_one[0] - ours_one[0]))
    checks = hold_against_float64(loaded, ours, pairs)
    same = texts_equal and scores(their_report, task.name) == scores(our_report, task.name)
    row = Row(
        task=task.name,
        requests=requests,
        theirs=their_seconds,
        ours=our_seconds,
        theirs_cpu=their_cpu,
        ours_cpu=our_cpu,
        largest_difference=difference,
        identical=same,
        checked=len(checks),
        ours_from_exact=max((abs(check.ours - check.exact) for check in checks), default=0.0),
        theirs_from_exact=max((abs(check.theirs - check.exact) for check in checks), default=0.0),
        within=all(check.holds for check in checks),
    )
    ratio = their_seconds / our_seconds
    print(
        f"{row.task:<26}{requests:>9}{their_seconds:>9.2f}{our_seconds:>9.2f}{ratio:>7.2f}x"
        f"{their_cpu / our_cpu:>7.2f}x{difference:>13.1e}{row.ours_from_exact:>10.1e}"
        f"  {'identical' if same else 'DIFFERENT'}",
        flush=True,
    )
    return row


@dataclass(frozen=True)
class Check:
    """One log-likelihood by HFLM, by us, and in float64."""

    theirs: float
    ours: float
    exact: float
    tokens: int

    @property
    def holds(self) -> bool:
        rounding = (math.ceil(self.tokens / 32) + 5) * 2**-24 * abs(self.exact)
        ours_is_right = abs(self.ours - self.exact) <= TOLERANCE
        return ours_is_right and abs(self.theirs - self.exact) <= TOLERANCE + rounding


def hold_against_float64(
    loaded: LoadedModel, lm: CheckpointLM, pairs: list[tuple[tuple[str, str], float, float]]
) -> list[Check]:
    """The longest request, and every one whose two answers are more than the tolerance apart."""
    chosen = [pair for pair in pairs if abs(pair[1] - pair[2]) > TOLERANCE]
    if pairs:
        chosen.append(min(pairs, key=lambda pair: pair[1]))
    if not chosen:
        return []
    exact = copy.deepcopy(loaded.model).double()
    checks = []
    for asked, theirs, ours in chosen:
        ((before, after),) = lm._encode_pairs([asked])
        row = torch.tensor([[*before, *after][-(loaded.max_length + 1) :]])
        with torch.inference_mode():
            log_probs = exact(input_ids=row[:, :-1]).logits[0, -len(after) :].log_softmax(-1)
        total = float(log_probs.gather(1, row[0, -len(after) :, None]).sum())
        checks.append(Check(theirs, ours, total, len(after)))
    return checks


def scores(report: Any, name: str) -> dict[str, Any]:
    """A perplexity is the exponential of a sum, so it is rounded; the others are counts."""
    found = {key: value for key, value in report["results"][name].items() if isinstance(value, (int, float))}
    return {key: float(f"{value:.5g}") for key, value in found.items()}


def finish(rows: list[Row], options: argparse.Namespace, parameters: int) -> int:
    choice = [row for row in rows if row.task in CHOICE]
    ratio = sum(row.theirs for row in choice) / max(sum(row.ours for row in choice), 1e-9)
    overall = sum(row.theirs for row in rows) / sum(row.ours for row in rows)
    good = all(row.identical and row.within for row in rows)
    cpu = sum(row.theirs_cpu for row in choice) / max(sum(row.ours_cpu for row in choice), 1e-9)
    overall_cpu = sum(row.theirs_cpu for row in rows) / sum(row.ours_cpu for row in rows)
    print(f"multiple choice {ratio:.2f}x (goal {GOAL}x), overall {overall:.2f}x (goal {GOAL_OVERALL}x)")
    print(f"in processor time {cpu:.2f}x and {overall_cpu:.2f}x")
    print("all scores identical" if good else "NOT all scores identical")
    figure = {
        "figure": "wall time of lm-eval's Hugging Face backend over ours, multiple choice, identical scores",
        "value": round(ratio, 2) if good else 0.0,
        "goal": GOAL,
        "unit": "x",
    }
    if not options.quick and not options.tasks:
        machine = f"{os.cpu_count()} CPU cores, torch {torch.__version__}, {torch.get_num_threads()} threads"
        details: dict[str, Any] = {"overall": round(overall, 2), "goal_overall": GOAL_OVERALL, "identical_scores": good}
        details |= {"processor_time": round(cpu, 2), "processor_time_overall": round(overall_cpu, 2)}
        settings = {"machine": machine, "parameters": parameters, "batch_size": options.batch_size}
        RESULT.write_text(
            json.dumps({**figure, **details, **settings, "tasks": [asdict(row) for row in rows]}, indent=1) + "\n",
            encoding="utf-8",
        )
    print(json.dumps(figure))
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
