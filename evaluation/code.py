"""Asks a model for programs, runs them against their tests in the sandbox, and reports pass@k."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from evaluation.code_problems import Problem, parse_problem
from evaluation.generate import Completion, Sampling, generate
from evaluation.pass_at_k import estimate_pass_at_k, pass_at_k
from evaluation.records import prompt_ids, read_rows
from evaluation.scores import BlockResult, Item, make_score
from evaluation.verified_config import CodeConfig
from millbase.hashing import value_digest
from millbase.log import get_logger
from millbase.seeds import derive_seed
from millbase.verify.sandbox import Outcome, describe, run_many

if TYPE_CHECKING:
    from training.load import LoadedModel

logger = get_logger(__name__)

VERSION = "1"


def run_code(
    model: LoadedModel, block: CodeConfig, *, seed: int, batch_size: int, maximum_bad_share: float
) -> BlockResult:
    """Generate, run, count. ConfigError, before anything is generated, where no sandbox works."""
    mechanism = describe(block.sandbox)
    logger.info("programs run under %s", mechanism)
    problems = read_rows(
        block.problems,
        parse_problem,
        limit=block.limit,
        maximum_bad_share=maximum_bad_share,
        needed="task_id, prompt, entry_point, test (HumanEval) or text, test_list (MBPP)",
    )
    answers = _answers(model, problems.rows, block, seed, batch_size)
    checks = [
        problem.check(answer.text, chat=block.chat)
        for problem, row in zip(problems.rows, answers, strict=True)
        for answer in row
    ]
    outcomes = run_many(checks, block.sandbox, block.workers)
    n = block.samples
    items = [
        _item(problem, answers[i], outcomes[i * n : (i + 1) * n], block) for i, problem in enumerate(problems.rows)
    ]
    path = f"items/{block.name}.jsonl"
    counts = [(n, item["right"]) for item in items]
    details = {"samples": n, "sandbox": mechanism, "outcomes": dict(Counter(outcome.status for outcome in outcomes))}
    scores = [
        make_score(
            block.name,
            f"pass@{k}",
            estimate_pass_at_k(counts, k),
            higher_is_better=True,
            items=path,
            task_version=VERSION,
            details=details,
        )
        for k in block.k
    ]
    return BlockResult(
        scores=scores, items={path: items}, skipped={block.problems: problems.skipped} if problems.skipped else {}
    )


def _answers(
    model: LoadedModel, problems: list[Problem], block: CodeConfig, seed: int, batch_size: int
) -> list[list[Completion]]:
    """`samples` completions of each problem; each has its own random stream."""
    rows, seeds = [], []
    for problem in problems:
        ids = (
            prompt_ids(model.tokenizer, [{"role": "user", "content": problem.question}], str(model.path))
            if block.chat
            else list(model.tokenizer(problem.prompt, add_special_tokens=False)["input_ids"])
        )
        rows += [ids] * block.samples
        seeds += [derive_seed(seed, "code", problem.id, str(sample)) for sample in range(block.samples)]
    by_stops: dict[tuple[str, ...], list[int]] = {}
    for i in range(len(rows)):
        by_stops.setdefault(() if block.chat else problems[i // block.samples].stops, []).append(i)
    written: dict[int, Completion] = {}
    for stops, chosen in by_stops.items():
        completions = generate(
            model,
            [rows[i] for i in chosen],
            max_new_tokens=block.max_new_tokens,
            sampling=Sampling(block.temperature, block.top_p if block.temperature else 1.0),
            seeds=[seeds[i] for i in chosen],
            stop_strings=stops,
            batch_size=batch_size,
            description=block.name,
        )
        written.update(zip(chosen, completions, strict=True))
    return [[written[i * block.samples + j] for j in range(block.samples)] for i in range(len(problems))]


def _item(problem: Problem, answers: list[Completion], outcomes: list[Outcome], block: CodeConfig) -> Item:
    right = sum(outcome.passed for outcome in outcomes)
    asked = problem.question if block.chat else problem.prompt
    tried: list[dict[str, Any]] = [
        {"response": answer.text, "status": outcome.status, "reason": outcome.reason, "truncated": not answer.stopped}
        for answer, outcome in zip(answers, outcomes, strict=True)
    ]
    return {
        "id": problem.id,
        "prompt_hash": value_digest([asked, problem.test]),
        "prompt": asked,
        "right": right,
        "programs": tried,
        "scores": {f"pass@{k}": pass_at_k(block.samples, right, k) for k in block.k},
    }
