"""Online DPO: the policy answers, the answers are scored, the best and the worst of each prompt make a DPO step; again.

    llmill online-dpo CONFIG --out runs/mine/online

A loop of our own as PPO's, because the unit is a batch that the model being trained writes. TRL's trainer (experimental
in 1.16) takes two completions a prompt and holds whole [B, T, V] logits with gradients. Here the best and the worst of
K count, logits exist a chunk at a time, and all that is random is a pure function of (seed, update), so a saved state
is weights and optimizer moments. Writes a `checkpoint` artifact: `hf/`, `metrics.jsonl`, `samples.jsonl`.
"""

from __future__ import annotations

import copy
import json
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from millbase.artifacts import OpenArtifact, create_artifact
from millbase.atomic import atomic_write
from millbase.errors import InputError, StageError
from millbase.files import glob_files
from millbase.log import get_logger
from millbase.metrics import MetricsWriter, read_metrics
from millbase.progress import progress
from millbase.seeds import derive_seed, seed_everything
from training.load import load_model, tokenizer_digest
from training.posttrain.feedback.answers import Answer, Answered, Writer, quiet_torch
from training.posttrain.feedback.config import OnlineDpoConfig
from training.posttrain.feedback.judges import open_chat
from training.posttrain.feedback.online_loss import Tokens, pair_losses, sequence_logprobs
from training.posttrain.feedback.rank import rank_answers
from training.posttrain.feedback.scores import Scorer, score_inputs
from training.posttrain.model import export
from training.posttrain.ppo.models import Policy, prepare
from training.posttrain.ppo.prompts import Prompt
from training.posttrain.ppo.rollout import forward_precision

logger = get_logger(__name__)

STATE = "state.pt"
SAMPLES = "samples.jsonl"
_SHOWN = 4
"""Prompts in a record of samples."""
_FLOOR = 0.1
"""Final learning rate as a share of the peak."""


def train_online_dpo(config: OnlineDpoConfig, out: str | Path) -> Path:
    """Train and write the `checkpoint` artifact `out`.

    A killed run continues from its last saved state to the same bytes. Raises UserError for whatever a user can mend.
    """
    inputs: dict[str, Any] = {
        "model": config.model,
        "reference": config.reference,
        "prompts": glob_files(config.prompts, "prompt files"),
        "judge": None if config.judge is None else config.judge.model,
        **({} if config.reward is None else score_inputs(config.reward)),
    }
    with create_artifact(out, kind="checkpoint", config=config, inputs=inputs, seed=config.seed) as artifact:
        with quiet_torch(config.threads):
            OnlineDpo(config, artifact).run()
    return Path(out)


@dataclass(frozen=True)
class TokenPair:
    """The better and the worse completion of one prompt."""

    chosen: Tokens
    rejected: Tokens


class OnlineDpo:
    """One run in this process."""

    def __init__(self, config: OnlineDpoConfig, artifact: OpenArtifact) -> None:
        self.config, self.artifact = config, artifact
        self.writer = Writer(config, config.gradient_checkpointing)
        self.policy = self.writer.policy
        self.reference = self._load_reference()
        self.prompts = self.writer.prompts()
        device = self.writer.device
        self.scorer = None if config.reward is None else Scorer(config.reward, device)
        self.chat = None if config.judge is None else open_chat(config.judge, artifact.scratch, device)
        if self.scorer is not None:
            self.scorer.check(self.prompts.prompts)
        self.optimizer = torch.optim.AdamW(
            self.policy.model.parameters(), lr=0.0, weight_decay=config.weight_decay, betas=(0.9, 0.999), eps=1e-8
        )
        self.idle = 0

    def run(self) -> None:
        """Train to the end and save."""
        config, artifact = self.config, self.artifact
        start = self._restore()
        self._drop_samples(start)
        with (
            MetricsWriter(artifact.path, resume_step=start or None) as records,
            progress("online DPO", total=config.updates, unit="updates") as bar,
        ):
            bar.advance(start)
            for update in range(start, config.updates):
                metrics = self.update(update)
                records.log(update + 1, metrics)
                bar.note(f"score {metrics.get('score', math.nan):.3f}, KL {metrics['kl']:.3f}")
                bar.advance(1)
                if (update + 1) % config.save_every == 0:
                    self._save(update + 1)
        if self.chat is not None:
            self.chat.close()
        tokenizer = self.writer.tokenizer
        export(self.policy.model, tokenizer, artifact.path / "hf", tokenizer.eos_token_id or min(self.policy.end_ids))
        artifact.stats.update(
            stage="online-dpo",
            prompts=self.prompts.stats,
            updates=config.updates,
            final=_final(artifact.path),
            tokenizer_digest=tokenizer_digest(artifact.path / "hf"),
        )

    def update(self, number: int) -> dict[str, float]:
        """Sample, score, and take the optimizer steps of one update; returns its metrics."""
        config, began = self.config, time.monotonic()
        seed_everything(derive_seed(config.seed, "update", number))  # for reward functions that draw numbers
        prompts = self.prompts.take(number * config.prompts_per_update, config.prompts_per_update)
        drawn = self.writer.draw(number, prompts)
        rows = self.writer.read(prompts, drawn)
        sampled = time.monotonic()
        self._score(rows, prompts)
        scored = time.monotonic()
        sequences = [(prompts[i // config.samples].tokens, one.tokens) for i, one in enumerate(drawn)]
        metrics = _describe(rows)
        metrics["kl"] = self._kl(sequences)
        pairs = self._pairs(rows, sequences)
        metrics["pairs"] = float(len(pairs))
        self.idle = 0 if pairs else self.idle + 1
        if self.idle >= config.idle_updates:
            raise StageError(
                f"no pair in {self.idle} updates in a row (idle_updates): all answers to a prompt score the same, or "
                "none ends; raise samples or max_new_tokens, or take another reward"
            )
        if pairs:
            metrics |= self._train(number, pairs)
        if number % config.sample_every == 0:
            self._keep_samples(number, rows)
        ended = time.monotonic()
        seconds = {"sampling": sampled - began, "scoring": scored - sampled, "training": ended - scored}
        return metrics | {f"seconds_{name}": value for name, value in seconds.items()}

    def _score(self, rows: list[Answered], prompts: Sequence[Prompt]) -> None:
        if self.scorer is not None:
            self.scorer.score(rows, prompts)
            self.scorer.count(rows)
        else:
            assert self.chat is not None, "the configuration holds exactly one of reward and judge"
            rank_answers(self.chat, rows, self.config.verdict, self.config.require_end)

    def _pairs(self, rows: Sequence[Answered], sequences: Sequence[Tokens]) -> list[TokenPair]:
        config = self.config
        pairs = []
        for n, row in enumerate(rows):
            places = best_and_worst(row.answers, config.require_end, config.min_margin)
            if places is not None:
                chosen, rejected = (sequences[n * config.samples + place] for place in places)
                pairs.append(TokenPair(chosen, rejected))
        return pairs

    @torch.no_grad()
    def _kl(self, sequences: Sequence[Tokens]) -> float:
        """Mean over completions of log p_policy - log p_reference: an estimate of the KL, nats per completion."""
        ours = self._logprobs(self.policy, sequences)
        return float((ours - self._logprobs(self.reference, sequences)).mean())

    @torch.no_grad()
    def _logprobs(self, policy: Policy, sequences: Sequence[Tokens]) -> torch.Tensor:
        size = 2 * self.config.micro_batch_size
        parts = [sequences[start : start + size] for start in range(0, len(sequences), size)]
        with forward_precision(self.writer.sampling, self.writer.device):
            found = [
                sequence_logprobs(policy, part, self.config.temperature, self.config.logit_chunk) for part in parts
            ]
        return torch.cat(found)

    def _train(self, number: int, pairs: list[TokenPair]) -> dict[str, float]:
        config = self.config
        reference = self._logprobs(self.reference, [side for pair in pairs for side in (pair.chosen, pair.rejected)])
        generator = torch.Generator().manual_seed(derive_seed(config.seed, "pairs", number))
        order = torch.randperm(len(pairs), generator=generator).tolist()
        size = math.ceil(len(pairs) / config.minibatches)
        totals: dict[str, float] = {}
        for step, start in enumerate(range(0, len(order), size)):
            for name, value in self._step(number, step, order[start : start + size], pairs, reference).items():
                totals[name] = totals.get(name, 0.0) + value
        last = {"grad_norm": totals.pop("grad_norm"), "learning_rate": self.optimizer.param_groups[0]["lr"]}
        return {name: value / len(pairs) for name, value in totals.items()} | last

    def _step(
        self, number: int, step: int, rows: list[int], pairs: list[TokenPair], reference: torch.Tensor
    ) -> dict[str, float]:
        """One optimizer step; returns sums over its pairs."""
        config = self.config
        self.optimizer.zero_grad(set_to_none=True)
        sums: dict[str, float] = {}
        for start in range(0, len(rows), config.micro_batch_size):
            part = rows[start : start + config.micro_batch_size]
            loss, values = self.loss([pairs[i] for i in part], reference.view(-1, 2)[part])
            (loss / len(rows)).backward()
            for name, value in values.items():
                sums[name] = sums.get(name, 0.0) + value
        norm = float(torch.nn.utils.clip_grad_norm_(self.policy.model.parameters(), config.max_grad_norm))
        if not math.isfinite(norm):
            raise StageError(f"online DPO diverged: the gradient norm is {norm}; lower learning_rate or raise beta")
        for group in self.optimizer.param_groups:
            group["lr"] = config.learning_rate * learning_rate_scale(config, number, step)
        self.optimizer.step()
        return sums | {"grad_norm": norm}

    def loss(self, pairs: Sequence[TokenPair], reference: torch.Tensor) -> tuple[torch.Tensor, dict[str, float]]:
        """(sum of the losses of `pairs`, sums for the metrics); `reference` [B, 2]: chosen and rejected."""
        config, count = self.config, len(pairs)
        sequences = [pair.chosen for pair in pairs] + [pair.rejected for pair in pairs]
        with forward_precision(self.writer.sampling, self.writer.device):
            logps = sequence_logprobs(self.policy, sequences, config.temperature, config.logit_chunk)
        lengths = torch.tensor([float(len(completion)) for _, completion in sequences], device=logps.device)
        losses, rewards = pair_losses(
            logps[:count], logps[count:], reference[:, 0], reference[:, 1], (lengths[:count], lengths[count:]),
            config.beta, config.loss,
        )  # fmt: skip
        if config.sft_weight:
            losses = losses - config.sft_weight * logps[:count] / lengths[:count]
        values = {
            "loss": losses.sum(),
            "accuracy": (rewards[0] > rewards[1]).sum(),
            "margin": (rewards[0] - rewards[1]).sum(),
            "reward_chosen": rewards[0].sum(),
            "reward_rejected": rewards[1].sum(),
            "logprob_chosen": logps[:count].sum(),
            "logprob_rejected": logps[count:].sum(),
        }
        return losses.sum(), {name: float(value.detach()) for name, value in values.items()}

    def _load_reference(self) -> Policy:
        config = self.config
        if config.reference is None:
            model = copy.deepcopy(self.policy.model)
        else:
            loaded = load_model(config.reference, device=self.writer.device)
            if loaded.tokenizer.get_vocab() != self.writer.tokenizer.get_vocab():
                raise InputError(
                    f"reference {config.reference!r} has another vocabulary than model {config.model!r}; both must "
                    "have the same tokenizer"
                )
            model = prepare(loaded.model, False)
        return Policy(model.requires_grad_(False).eval(), self.policy.end_ids)

    def _save(self, update: int) -> None:
        state = {
            "update": update,
            "idle": self.idle,
            "policy": self.policy.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }
        with atomic_write(self.artifact.scratch / STATE, "wb") as file:
            torch.save(state, file)

    def _restore(self) -> int:
        path = self.artifact.scratch / STATE
        if not path.is_file():
            return 0
        state: dict[str, Any] = torch.load(path, map_location=self.writer.device, weights_only=True)
        self.policy.model.load_state_dict(state["policy"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.idle = int(state["idle"])
        logger.info("continuing at update %d of an interrupted run", state["update"])
        return int(state["update"])

    def _keep_samples(self, number: int, rows: Sequence[Answered]) -> None:
        with open(self.artifact.path / SAMPLES, "a", encoding="utf-8") as file:
            for row in rows[:_SHOWN]:
                answers = [{"text": answer.text, "score": answer.score} for answer in row.answers]
                line = {"step": number + 1, "prompt": row.prompt, "answers": answers}
                file.write(json.dumps(line, ensure_ascii=False) + "\n")

    def _drop_samples(self, start: int) -> None:
        """Samples of updates that will be done again are dropped."""
        path = self.artifact.path / SAMPLES
        lines = [line for line in read_metrics(path) if line["step"] <= start]
        with atomic_write(path) as file:
            file.writelines(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)


def _final(folder: Path) -> dict[str, float]:
    """The metrics of the last update, without what the clock decides."""
    last = read_metrics(folder / "metrics.jsonl")[-1]
    left_out = ("step", "time", "seconds_sampling", "seconds_scoring", "seconds_training")
    return {name: float(f"{value:.6g}") for name, value in last.items() if name not in left_out and value is not None}


def best_and_worst(answers: Sequence[Answer], require_end: bool, margin: float) -> tuple[int, int] | None:
    """Places of the best answer that may be chosen and of the worst; None where their scores do not differ by more than
    `margin`. Of equal scores the first counts."""
    scored = [i for i, answer in enumerate(answers) if answer.score is not None and answer.tokens]
    usable = [i for i in scored if answers[i].finished or not require_end]
    if not usable:
        return None
    best = max(usable, key=lambda i: (_score(answers[i]), -i))
    worst = min(scored, key=lambda i: (_score(answers[i]), i))
    return (best, worst) if _score(answers[best]) - _score(answers[worst]) > margin else None


def learning_rate_scale(config: OnlineDpoConfig, update: int, step: int) -> float:
    """Factor on the peak learning rate at a step of an update: linear warm-up, then constant or down to a tenth."""
    done = update + (step + 1) / config.minibatches
    if done <= config.warmup_updates:
        return done / config.warmup_updates
    if config.schedule == "constant":
        return 1.0
    share = (done - config.warmup_updates) / max(config.updates - config.warmup_updates, 1)
    return 1 - (1 - _FLOOR) * min(share, 1.0)


def _describe(rows: Sequence[Answered]) -> dict[str, float]:
    """Means over answers; `score_spread` is the mean difference of best and worst score of a prompt."""
    answers = [answer for row in rows for answer in row.answers]
    scores = [answer.score for answer in answers if answer.score is not None]
    metrics = {
        "length": sum(answer.tokens for answer in answers) / len(answers),
        "finished": sum(answer.finished for answer in answers) / len(answers),
        "without_score": float(len(answers) - len(scores)),
    }
    if scores:
        metrics["score"] = sum(scores) / len(scores)
        spreads = [[a.score for a in row.answers if a.score is not None] for row in rows]
        metrics["score_spread"] = sum(max(one) - min(one) for one in spreads if one) / len(rows)
    return metrics


def _score(answer: Answer) -> float:
    assert answer.score is not None, "only scored answers are compared"
    return answer.score
