"""Answers of a policy, sampled in pieces: a killed run continues after its last whole piece, to the same bytes.

A piece is a few dozen prompts. Its samples depend on the weights, the seed and the piece's number alone, and its file
appears whole or not at all.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
import transformers

from millbase.atomic import atomic_write
from millbase.errors import ConfigError, InputError
from millbase.log import get_logger
from millbase.process import available_cores, keep_freed_memory
from millbase.progress import progress
from training.load import load_model
from training.posttrain.feedback.config import AnswersConfig
from training.posttrain.ppo.config import PpoConfig
from training.posttrain.ppo.config import RewardConfig as PpoRewardConfig
from training.posttrain.ppo.distributed import single_process
from training.posttrain.ppo.engines import make_sampler
from training.posttrain.ppo.models import Policy, check_head, end_of_turn_ids, prepare
from training.posttrain.ppo.options import SamplerConfig
from training.posttrain.ppo.prompts import Prompt, PromptSet, read_prompts
from training.posttrain.ppo.rollout import forward_precision
from training.posttrain.ppo.sampling import Completion

logger = get_logger(__name__)

_RATIO_CAP = 2.0
"""vLLM's sampler asks for one; nothing is trained on these samples' ratios."""


@dataclass
class Answer:
    """One answer."""

    text: str
    tokens: int
    """Its length, the end-of-turn token included."""
    finished: bool
    """Whether it ended by itself."""
    score: float | None = None
    """Higher is better; None when there is none."""
    sources: dict[str, float] = field(default_factory=dict)
    """Each source's part in the score, without weight."""
    error: str | None = None
    """Why there is no score."""


@dataclass
class Answered:
    """A prompt with its answers, in the order they were drawn."""

    prompt: list[dict[str, Any]]
    columns: dict[str, Any]
    answers: list[Answer]

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Answered:
        """The inverse of `to_dict`."""
        return cls(values["prompt"], values["columns"], [Answer(**answer) for answer in values["answers"]])


class Writer:
    """A policy that answers prompts."""

    def __init__(self, config: AnswersConfig, gradient_checkpointing: bool = False) -> None:
        """UserError when the model does not load or has no room for the prompts."""
        self.config = config
        self.device = single_process(config.device).device
        loaded = load_model(config.model, device=self.device)
        self.tokenizer: Any = loaded.tokenizer
        self.policy = Policy(prepare(loaded.model, gradient_checkpointing), end_of_turn_ids(loaded))
        self.digest = loaded.digest
        check_head(self.policy)
        longest = min(config.max_prompt_length, loaded.max_length - config.max_new_tokens)
        if longest < 1:
            raise ConfigError(
                f"max_new_tokens = {config.max_new_tokens} leaves no room for a prompt in the model's "
                f"{loaded.max_length} positions; lower it"
            )
        self.longest_prompt = longest
        self.sampling = _sampling(config)
        self._sampler = make_sampler(self.sampling, self.policy, self.tokenizer.pad_token_id or 0)

    def prompts(self) -> PromptSet:
        """The prompts of the configuration that fit."""
        return read_prompts(self.config.prompts, self.tokenizer, self.longest_prompt, self.config.seed)

    @torch.no_grad()
    def answer(self, number: int, prompts: Sequence[Prompt]) -> list[Answered]:
        """K answers to each prompt of piece `number`."""
        return self.read(prompts, self.draw(number, prompts))

    def draw(self, number: int, prompts: Sequence[Prompt]) -> list[Completion]:
        """The tokens of K answers to each prompt of piece `number`, those of one prompt side by side."""
        repeated = [prompt.tokens for prompt in prompts for _ in range(self.config.samples)]
        with forward_precision(self.sampling, self.device):
            return self._sampler.draw(number, repeated, list(range(len(repeated))), len(repeated))

    def read(self, prompts: Sequence[Prompt], drawn: Sequence[Completion]) -> list[Answered]:
        """Drawn tokens as text."""
        each = self.config.samples
        answers = [Answer(self._decode(one.tokens, one.finished), len(one.tokens), one.finished) for one in drawn]
        return [
            Answered(prompt.messages, prompt.columns, answers[n * each : (n + 1) * each])
            for n, prompt in enumerate(prompts)
        ]

    def _decode(self, tokens: list[int], finished: bool) -> str:
        return self.tokenizer.decode(tokens[:-1] if finished else tokens, skip_special_tokens=True)


def _sampling(config: AnswersConfig) -> PpoConfig:
    """What PPO's engines read, from our configuration."""
    ratio_cap = _RATIO_CAP if config.engine == "vllm" else None
    return PpoConfig(
        model=config.model,
        prompts=config.prompts,
        reward=PpoRewardConfig(functions=["none:none"]),
        sampler=SamplerConfig(engine=config.engine, vllm_memory_share=config.vllm_memory_share, ratio_cap=ratio_cap),
        temperature=config.temperature,
        max_prompt_length=config.max_prompt_length,
        max_new_tokens=config.max_new_tokens,
        sampling_batch_size=config.sampling_batch_size,
        precision=config.precision,
        seed=config.seed,
    )


def choose_prompts(config: AnswersConfig, found: PromptSet) -> tuple[list[Prompt], int]:
    """(the prompts to answer, all different; how many were left out because they occur before)."""
    taken = found.prompts if config.limit is None else found.take((config.block - 1) * config.limit, config.limit)
    if config.limit is None and config.block > 1:
        raise ConfigError(f"block = {config.block} needs limit: the number of prompts in a block")
    different: dict[str, Prompt] = {}
    for prompt in taken:
        different.setdefault(json.dumps(prompt.messages, sort_keys=True), prompt)
    return list(different.values()), len(taken) - len(different)


def in_pieces(
    folder: Path,
    prompts: Sequence[Prompt],
    size: int,
    make: Callable[[int, Sequence[Prompt]], list[Answered]],
    what: str = "answers",
) -> Iterator[list[Answered]]:
    """`make(number, prompts)` of every piece of `size` prompts, from its file in `folder` where that exists already."""
    folder.mkdir(parents=True, exist_ok=True)
    with progress(what, total=len(prompts), unit="prompts") as bar:
        for number, start in enumerate(range(0, len(prompts), size)):
            part = prompts[start : start + size]
            path = folder / f"piece-{number:05d}.jsonl"
            if path.is_file():
                rows = [Answered.from_dict(json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]
            else:
                rows = make(number, part)
                write_jsonl(path, [row.to_dict() for row in rows])
            bar.advance(len(part))
            yield rows


def write_jsonl(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Rows as lines of JSON; the file appears whole or not at all."""
    with atomic_write(path) as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n")


@contextmanager
def quiet_torch(threads: int | None) -> Iterator[None]:
    """Inside, torch has that many threads (null: every core) and transformers is silent."""
    logging = transformers.utils.logging
    verbosity, before = logging.get_verbosity(), torch.get_num_threads()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    torch.set_num_threads(threads or available_cores())
    keep_freed_memory()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        logging.enable_progress_bar()
        torch.set_num_threads(before)


def lengths_and_ends(rows: Sequence[Answered]) -> dict[str, float]:
    """Mean length in tokens and share of finished answers."""
    answers = [answer for row in rows for answer in row.answers]
    if not answers:
        raise InputError("no answers")
    return {
        "mean_tokens": sum(answer.tokens for answer in answers) / len(answers),
        "finished_share": sum(answer.finished for answer in answers) / len(answers),
    }
