"""One TRL stage from configuration to artifact: data, model, trainer, resume, metrics, export.

A stage (`sft.py`, `reward.py`, `dpo.py`) says what its rows are and which trainer it uses; the rest is here.
"""

from __future__ import annotations

import gzip
import json
import math
import time
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar, get_args

import datasets
import torch
import transformers
from transformers import PrinterCallback, ProgressCallback

from millbase.artifacts import create_artifact
from millbase.errors import ConfigError, InputError
from millbase.files import glob_files
from millbase.log import get_logger
from millbase.metrics import MetricsWriter
from millbase.process import available_cores, keep_freed_memory
from millbase.progress import progress
from millbase.seeds import seed_everything
from training.load import tokenizer_digest
from training.posttrain.callbacks import MetricsCallback, WholeCheckpoints, last_whole_checkpoint
from training.posttrain.config import PosttrainConfig
from training.posttrain.data import Loaded, Row, as_pairs
from training.posttrain.encode import IGNORED, ChatEncoder, encode_rows
from training.posttrain.model import Start, export, load_start, resolve_device
from training.posttrain.order import TrainingOrder
from training.posttrain.split import hold_out, take
from training.posttrain.templates import NAMES
from training.posttrain.token_statistics import in_words, padding_share, token_statistics
from training.posttrain.worker import Place, launch

logger = get_logger(__name__)

C = TypeVar("C", bound=PosttrainConfig)

_KEPT_CHECKPOINTS = 2  # the newest may be half-written when we are killed
_SCHEDULES = {"cosine": "cosine", "linear": "linear", "constant": "constant_with_warmup"}


class Stage(ABC, Generic[C]):
    """A post-training stage; `run` writes its artifact."""

    name: ClassVar[str]
    """Stage name in the manifest."""
    what: ClassVar[str]
    """What its rows are called in messages."""
    kind: ClassVar[str] = "checkpoint"
    parallel: ClassVar[bool] = False
    """Whether it trains on several processes: its loss must be a mean over rows, or over the whole step's tokens."""

    def __init__(self, config: C) -> None:
        self.config = config

    @abstractmethod
    def load_rows(self, patterns: str | list[str]) -> Loaded:
        """Read and normalise data files."""

    @abstractmethod
    def encode(self, encoder: ChatEncoder, row: Row) -> Row:
        """One row as the trainer's token columns."""

    @abstractmethod
    def trainer(self, start: Start, arguments: dict[str, Any], train: Any, heldout: Any) -> Any:
        """The TRL trainer, a StageTrainer; `arguments` go into its configuration class."""

    def arrange(self, train: Any, start: Start) -> Any:
        """The training set as the trainer sees it; packing happens here."""
        return train

    def mix(self, rows: list[Row], stats: dict[str, Any]) -> list[Row]:
        """The training rows with those of other sources; counts go to `stats`."""
        return rows

    def to_write(self, model: Any, start: Start) -> Any:
        """The model to write after training."""
        return model

    def finish(self, art: Place) -> None:
        """Add to the statistics after training."""

    def start(self) -> Start:
        """The model to train."""
        return load_start(self.config)

    def inputs(self) -> dict[str, str | list[str] | None]:
        """Named inputs for the manifest."""
        data, eval_data, template = self.config.data, self.config.eval_data, self.config.chat_template
        return {
            "model": self.config.model,
            "tokenizer": self.config.tokenizer,
            "chat_template": None if template in (None, *NAMES) else template,
            "data": glob_files(data, f"{self.what} files"),
            "eval_data": None if eval_data is None else glob_files(eval_data, f"validation {self.what} files"),
        }

    def run(self, out: str | Path) -> Path:
        """Train and write the artifact `out`; goes on from the last checkpoint of an interrupted run."""
        config = self.config
        if config.processes > 1 and not self.parallel:
            raise ConfigError(
                f"processes = {config.processes}: this stage ({self.name}) trains in one process; sft, reward and dpo "
                "train on several"
            )
        keep_freed_memory()
        with create_artifact(out, kind=self.kind, config=config, inputs=self.inputs(), seed=config.seed) as art:
            if config.processes == 1:
                self.train(Place(art.path, art.scratch, art.stats))
            else:
                art.stats.update(launch(self, art.path, art.scratch))
        return Path(out)

    def train(self, art: Place) -> None:
        """One process's part of the run."""
        with _quiet_libraries(), _threads(self.config.threads, self.config.processes):
            self._run(art)

    @classmethod
    def config_class(cls) -> type[PosttrainConfig]:
        """The class of its configuration."""
        found: type[PosttrainConfig] = get_args(cls.__orig_bases__[0])[0]  # type: ignore[attr-defined]
        return found

    def _run(self, art: Place) -> None:
        config = self.config
        seed_everything(config.seed)
        start = self.start()
        encoder = ChatEncoder(start.tokenizer, start.max_length, truncate=config.too_long == "truncate")
        train, heldout = self._data(encoder, art)
        train = self.arrange(train, start)
        art.stats.update(stage=self.name, steps=self._steps(len(train)), rows=len(train))
        trainer = self._trainer(start, train, heldout, art)
        art.stats.update(trainable_parameters=sum(p.numel() for p in trainer.model.parameters() if p.requires_grad))
        self._train(trainer, len(train), art)
        self.finish(art)
        if not trainer.is_world_process_zero():
            return
        model = self.to_write(trainer.accelerator.unwrap_model(trainer.model), start)
        export(model, start.tokenizer, art.path / "hf", encoder.stop_id)
        art.stats["tokenizer_digest"] = tokenizer_digest(art.path / "hf")

    def _data(self, encoder: ChatEncoder, art: Place) -> tuple[Any, Any]:
        """(training set, validation set or None) of token rows; counts go to the statistics."""
        config = self.config
        loaded = self.load_rows(config.data)
        rows, held = loaded.rows, []
        art.stats["data"] = {"read": loaded.stats}
        if config.eval_data is not None:
            other = self.load_rows(config.eval_data)
            held = other.rows
            art.stats["eval_data"] = {"read": other.stats}
        elif config.eval_share:
            rows, held = hold_out(rows, config.eval_share)
            # pairs, which DPO and evaluation read too
            _write_rows(art.path / "heldout.jsonl.gz", [pair for row in held for pair in as_pairs(row)])
            art.stats["eval_data"] = {"held_out": len(held)}
        rows = self.mix(take(rows, config.share, config.limit, config.seed), art.stats)
        train = self._encoded(encoder, rows, self.what, art.stats["data"])
        if not held:
            return train, None
        held = take(held, 1.0, config.eval_limit, config.seed)
        return train, self._encoded(encoder, held, f"validation {self.what}", art.stats["eval_data"])

    def _encoded(self, encoder: ChatEncoder, rows: list[Row], what: str, stats: dict[str, Any]) -> Any:
        encoded = encode_rows(encoder, lambda row: self.encode(encoder, row), rows, self.config.max_bad_share, what)
        stats["encoded"] = encoded.stats
        for reason, count in {**encoded.stats["skipped"], **encoded.stats["left_out"]}.items():
            logger.warning("%s: %d of %d rows left out: %s", what, count, len(rows), reason)
        if encoded.stats["truncated"]:
            logger.warning("%s: %d answers cut at %d tokens", what, encoded.stats["truncated"], encoder.max_length)
        # Longest first: a validation batch then needs little padding.
        lengths, trained = [row_length(row) for row in encoded.rows], trained_tokens(encoded.rows)
        read = sum(tokens_read(row) for row in encoded.rows)
        stats["tokens"] = token_statistics(lengths, trained, encoder.max_length, read)
        logger.info("%s", in_words(what, stats["tokens"]))
        ordered = encoded.rows if what == self.what else sorted(encoded.rows, key=row_length, reverse=True)
        return datasets.Dataset.from_list(ordered)

    def _steps(self, rows: int) -> int:
        """Optimizer steps of the run."""
        config = self.config
        return config.max_steps or max(1, math.ceil(config.epochs * rows / config.batch_size))

    def _trainer(self, start: Start, train: Any, heldout: Any, art: Place) -> Any:
        config = self.config
        steps = self._steps(len(train))
        validated = 0 if heldout is None else len(heldout)
        arguments = training_arguments(config, str(art.scratch / "trainer"), steps, validated)
        trainer = self.trainer(start, arguments, train, heldout)
        lengths = [row_length(row) for row in train]
        trainer.order = TrainingOrder(lengths, config.batch_size, steps, config.seed, config.length_window)
        art.stats["padding_share"] = round(padding_share(lengths, list(trainer.order), config.micro_rows), 4)
        trainer.remove_callback(PrinterCallback)
        trainer.remove_callback(ProgressCallback)
        return trainer

    def _train(self, trainer: Any, rows: int, art: Place) -> None:
        config = self.config
        with trainer.accelerator.main_process_first():  # it removes halves
            found = last_whole_checkpoint(Path(trainer.args.output_dir))
        checkpoint, step = found if found else (None, None)
        if step is not None:
            logger.info("going on from step %d of %d", step, trainer.args.max_steps)
        # The baseline before the first step; an interrupted run has logged it already.
        trainer.args.eval_on_start = trainer.eval_dataset is not None and step is None
        started = time.monotonic()
        with (
            MetricsWriter(art.path, resume_step=step) as writer,
            progress(self.name, total=trainer.args.max_steps, unit="steps") as bar,
        ):
            metrics = MetricsCallback(writer, bar, rows, config.batch_size)
            trainer.add_callback(metrics)
            trainer.add_callback(WholeCheckpoints())
            trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
        art.stats.update(final={name: float(f"{value:.6g}") for name, value in metrics.last.items()})
        art.stats.update(train_seconds=round(time.monotonic() - started, 1))


def validation_interval(config: PosttrainConfig, steps: int, validated: int) -> int:
    """Steps between validations on `validated` rows in a run of `steps` steps."""
    return config.eval_every or max(1, round(steps / 10), math.ceil(validated / config.batch_size))


def training_arguments(config: PosttrainConfig, directory: str, steps: int, validated: int) -> dict[str, Any]:
    """Keyword arguments that every trainer configuration of TRL takes, from ours; `validated`: validation rows."""
    device, bfloat16 = resolve_device(config)
    return {
        "output_dir": directory,
        "max_steps": steps,
        "per_device_train_batch_size": config.micro_rows,
        "gradient_accumulation_steps": config.batch_size // (config.micro_rows * config.processes),
        "per_device_eval_batch_size": config.micro_rows,
        "learning_rate": config.learning_rate,
        "lr_scheduler_type": _SCHEDULES[config.schedule],
        "warmup_steps": math.ceil(config.warmup_share * steps),
        "weight_decay": config.weight_decay,
        "max_grad_norm": config.max_grad_norm,
        "gradient_checkpointing": config.gradient_checkpointing,
        "bf16": bfloat16,
        "use_cpu": device == "cpu",
        "seed": config.seed,
        "logging_steps": config.log_every,
        "logging_nan_inf_filter": False,
        "eval_strategy": "steps" if validated else "no",
        "eval_steps": validation_interval(config, steps, validated) if validated else None,
        "prediction_loss_only": True,
        "save_strategy": "steps",
        "save_steps": config.save_every,
        "save_total_limit": _KEPT_CHECKPOINTS,
        "dataloader_num_workers": 0,
        "dataloader_pin_memory": device == "cuda",
        "disable_tqdm": True,
        "report_to": "none",
    }


def row_length(row: Row) -> int:
    """Tokens the model reads for one row: of several answers, those of the longest."""
    if "input_ids" in row:
        return len(row["input_ids"])
    if "answer_ids" in row:
        return max(len(ids) for ids in row["answer_ids"])
    if "completion_ids" in row:
        return len(row["prompt_ids"]) + len(row["completion_ids"])
    return len(row.get("prompt_ids") or []) + max(len(row["chosen_ids"]), len(row["rejected_ids"]))


def tokens_read(row: Row) -> int:
    """Tokens the model reads for one row in all; each answer is read with its prompt."""
    if "answer_ids" in row:
        return sum(len(ids) for ids in row["answer_ids"])
    if "chosen_ids" in row:
        return 2 * len(row.get("prompt_ids") or []) + len(row["chosen_ids"]) + len(row["rejected_ids"])
    return row_length(row)


def trained_tokens(rows: list[Row]) -> list[int] | None:
    """Of each row, the tokens that the loss is over; None where rows have no labels."""
    if "labels" not in rows[0]:
        return None
    return [sum(label != IGNORED for label in row["labels"]) for row in rows]


def _write_rows(path: Path, rows: list[Row]) -> None:
    # mtime 0 and no name: the same rows give the same bytes
    with open(path, "wb") as raw, gzip.GzipFile(filename="", fileobj=raw, mode="wb", mtime=0) as file:
        for row in rows:
            file.write((json.dumps(row, ensure_ascii=False) + "\n").encode())


@contextmanager
def _threads(count: int | None, processes: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count or max(1, available_cores() // processes))
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def _quiet_libraries() -> Iterator[None]:
    """Only our own progress bars and log lines."""
    logging = transformers.utils.logging
    before = logging.get_verbosity()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    datasets.disable_progress_bars()
    try:
        with warnings.catch_warnings():
            # names that transformers will drop in its version 6; we stay below it
            warnings.simplefilter("ignore", FutureWarning)
            yield
    finally:
        logging.set_verbosity(before)
        logging.enable_progress_bar()
        datasets.enable_progress_bars()


def check_vocabulary(name: str, tokenizer: Any, other: Any) -> None:
    """Raise InputError when two models that must read the same tokens have other vocabularies."""
    if tokenizer.get_vocab() != other.get_vocab():
        raise InputError(
            f"{name} has another vocabulary ({len(other)} tokens) than the model to train ({len(tokenizer)}); "
            "both must have the same tokenizer"
        )
