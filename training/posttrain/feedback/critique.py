"""Critique and revision: an answer is criticised by a principle and written again; the revised are training data.

    llmill critique configs/posttrain/critique.yaml model=runs/demo/sft critic.server.url=http://localhost:8000/v1 \\
        critic.server.model=my-critic --out runs/mine/revised

Writes an `answers` artifact: `instructions.jsonl` (prompt and last revision), `preferences.jsonl` (revision over
original, where the two differ) and `answers.jsonl` (original, every critique and revision, why an answer was left
out).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import yaml

from millbase.artifacts import OpenArtifact, create_artifact
from millbase.errors import ConfigError, StageError
from millbase.files import glob_files, open_file
from millbase.judge.chat import Chat, Conversation
from millbase.judge.pairwise import Comparison, compare, summary
from millbase.judge.prompts import critique_question, prompt_text, revision_question
from millbase.seeds import derive_seed
from training.posttrain.feedback.answers import Answered, Writer, choose_prompts, in_pieces, quiet_torch, write_jsonl
from training.posttrain.feedback.config import ChatConfig, CritiqueConfig
from training.posttrain.feedback.judges import open_chat
from training.posttrain.feedback.output import KIND

NO_FAULT = "no fault"
"""What the critic writes where there is nothing to revise."""


@dataclass
class Case:
    """One answer on its way."""

    prompt: list[dict[str, Any]]
    columns: dict[str, Any]
    original: str
    number: int
    """Which of the prompt's answers it is, from 0."""
    steps: list[dict[str, str]] = field(default_factory=list)
    """`principle`, `critique`, and `revision` where there was a fault, of every round."""
    left_out: str | None = None
    """Why it is no training data."""

    @property
    def final(self) -> str:
        """The last revision, or the original."""
        return next((step["revision"] for step in reversed(self.steps) if "revision" in step), self.original)

    @property
    def revised(self) -> bool:
        """Whether the last revision differs from the original."""
        return self.final.strip() != self.original.strip()


def critique(config: CritiqueConfig, out: str | Path) -> Path:
    """Sample, criticise, revise, and write the `answers` artifact `out`.

    A killed run, or one whose server died, goes on where it stopped. Raises UserError for whatever a user can mend.
    """
    inputs = {
        "model": config.model,
        "prompts": glob_files(config.prompts, "prompt files"),
        "principles": config.principles,
        "critic": None if config.critic is None else config.critic.model,
        "template": None if config.check is None else config.check.template,
    }
    with create_artifact(out, kind=KIND, config=config, inputs=inputs, seed=config.seed) as artifact:
        with quiet_torch(config.threads):
            _run(config, artifact)
    return Path(out)


def _run(config: CritiqueConfig, artifact: OpenArtifact) -> None:
    principles = read_principles(config.principles)
    writer = Writer(config)
    critic = config.critic or ChatConfig(
        model=config.model, max_new_tokens=config.max_new_tokens, batch_size=config.sampling_batch_size
    )
    chat = open_chat(critic, artifact.scratch, writer.device)
    found = writer.prompts()
    prompts, repeated = choose_prompts(config, found)
    pieces = in_pieces(artifact.scratch / "pieces", prompts, config.piece, writer.answer)
    cases = [case for piece in pieces for row in piece for case in _cases(row, config)]
    for number in range(config.rounds):
        _revise(chat, cases, principles, number, config)
    checked = _check(chat, cases, config)
    chat.close()
    _write(artifact, cases)
    artifact.stats.update(
        stage="critique",
        prompts={**found.stats, "answered": len(prompts), "repeated": repeated},
        principles=len(principles),
        answers=len(cases),
        revised=sum(case.revised for case in cases),
        left_out=dict(sorted(Counter(_kind(case.left_out) for case in cases if case.left_out is not None).items())),
        check=checked,
        critic={"asked": chat.asked, "from_cache": chat.hits},
    )


def read_principles(path: str) -> list[str]:
    """The principles of a YAML file: a list of texts or of mappings with `principle`. ConfigError for anything else."""
    with open_file(path) as file:
        try:
            values = yaml.safe_load(file)
        except yaml.YAMLError as error:
            raise ConfigError(f"principles {path!r} is not YAML: {' '.join(str(error).split())}") from None
    found = [value.get("principle") if isinstance(value, dict) else value for value in values or []]
    texts = [" ".join(text.split()) for text in found if isinstance(text, str) and text.strip()]
    if not isinstance(values, list) or not texts or len(texts) < len(found):
        raise ConfigError(f"principles {path!r}: expected a list of texts, or of mappings with the key principle")
    return texts


def _cases(row: Answered, config: CritiqueConfig) -> list[Case]:
    cases = []
    for number, answer in enumerate(row.answers):
        case = Case(row.prompt, row.columns, answer.text.strip(), number)
        if not case.original:
            case.left_out = "empty answer"
        elif config.require_end and not answer.finished:
            case.left_out = "answer cut off"
        cases.append(case)
    return cases


def _revise(chat: Chat, cases: Sequence[Case], principles: list[str], number: int, config: CritiqueConfig) -> None:
    """One critique and one revision of every case that is still in."""
    active = [case for case in cases if case.left_out is None]
    for case in active:
        drawn = derive_seed(config.seed, "principle", json.dumps(case.prompt, sort_keys=True), case.number, number)
        case.steps.append({"principle": principles[drawn % len(principles)]})
    _ask(chat, active, "critique", config, lambda case: critique_question(
        prompt_text(case.prompt), case.final, case.steps[-1]["principle"]
    ))  # fmt: skip
    faulty = [case for case in active if case.left_out is None and not is_faultless(case.steps[-1]["critique"])]
    _ask(chat, faulty, "revision", config, lambda case: revision_question(
        prompt_text(case.prompt), case.final, case.steps[-1]["critique"], case.steps[-1]["principle"]
    ))  # fmt: skip


def is_faultless(critique: str) -> bool:
    """Whether a critique says that there is nothing to mend, and nothing else."""
    return critique.strip().strip('.!*"').lower() == NO_FAULT


def _ask(chat: Chat, cases: Sequence[Case], what: str, config: CritiqueConfig, question: Any) -> None:
    questions: list[Conversation] = [question(case) for case in cases]
    replies = chat.reply(questions)
    errors = [reply.error or "no reply" for reply in replies if reply.text is None]
    if len(errors) > config.max_failed_share * len(cases):
        raise StageError(
            f"the critic gave no {what} of {len(errors)} of {len(cases)} answers, more than max_failed_share = "
            f"{config.max_failed_share:g}; the first: {errors[0]}. What was answered is kept"
        )
    for case, reply in zip(cases, replies, strict=True):
        if reply.text is None:
            case.left_out = f"no {what}: {reply.error}"
        else:
            case.steps[-1][what] = reply.text.strip()


def _check(chat: Chat, cases: Sequence[Case], config: CritiqueConfig) -> dict[str, Any] | None:
    """Leave out revisions that do not win against their original; returns the judge's statistics."""
    if config.check is None:
        return None
    revised = [case for case in cases if case.left_out is None and case.revised]
    pairs = [Comparison(prompt_text(case.prompt), case.final, case.original) for case in revised]
    verdicts = compare(chat, pairs, config.check)
    for case, verdict in zip(revised, verdicts, strict=True):
        if verdict.outcome is None:
            case.left_out = f"no verdict: {verdict.reason}"
        elif verdict.outcome < 1:
            case.left_out = "revision not better"
    return summary(verdicts)


def _write(artifact: OpenArtifact, cases: Sequence[Case]) -> None:
    kept = [case for case in cases if case.left_out is None]
    if not kept:
        reasons = Counter(_kind(case.left_out) for case in cases)
        raise StageError(f"no answer of {len(cases)} is left: {dict(reasons)}; try another critic, or check: null")
    write_jsonl(artifact.path / "answers.jsonl", [{**asdict(case), "final": case.final} for case in cases])
    write_jsonl(artifact.path / "instructions.jsonl", [
        {**_columns(case), "messages": [*case.prompt, _say(case.final)]} for case in _different(kept)
    ])  # fmt: skip
    write_jsonl(artifact.path / "preferences.jsonl", [
        {**_columns(case), "prompt": case.prompt, "chosen": [_say(case.final)], "rejected": [_say(case.original)]}
        for case in kept
        if case.revised
    ])  # fmt: skip


def _different(cases: Sequence[Case]) -> list[Case]:
    """Cases without those that repeat an earlier one's prompt and final answer."""
    found: dict[str, Case] = {}
    for case in cases:
        found.setdefault(json.dumps([case.prompt, case.final]), case)
    return list(found.values())


def _columns(case: Case) -> dict[str, Any]:
    taken = ("messages", "prompt", "chosen", "rejected", "margin", "answers", "output_1")
    return {name: value for name, value in case.columns.items() if name not in taken}


def _say(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


def _kind(reason: str | None) -> str:
    """A reason without its details."""
    return str(reason).split(":")[0]
