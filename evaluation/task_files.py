"""Loading lm-eval tasks safely: local ones without indexing the shipped 14,000, mistakes refused instead of ignored.

What lm-eval 0.4.13 lets pass and is refused or mended here:

- data files named relative to the YAML file are looked up in the working directory: they are made absolute;
- a misspelt key of a task file passes lm-eval's validation: it is refused, with the nearest known one;
- a task with few-shot examples and no split to take them from puts the scored item among its own examples: refused;
- a document without a field of the prompt is asked about "None": it is left out and counted;
- tasks that run code written by a model in this process: refused.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import datasets
import jinja2
import jinja2.meta
import lm_eval.api.task
import lm_eval.utils
from lm_eval.api.group import Group
from lm_eval.api.metrics import bits_per_byte, mean
from lm_eval.api.task import ConfigurableTask
from lm_eval.config.task import TaskConfig
from lm_eval.tasks import TaskManager
from lm_eval.tasks._index import Kind
from lm_eval.tasks._yaml_loader import load_yaml

from evaluation.config import TaskRun, TasksConfig
from evaluation.few_shot import guard
from evaluation.task_data import DATASETS_FILE, Datasets, localise, read_datasets
from evaluation.task_index import find_tasks, members
from evaluation.task_lint import lint_file, refuse
from millbase.errors import ConfigError, InputError, StageError, UserError
from millbase.log import get_logger

logger = get_logger(__name__)
PER_ITEM = (mean, bits_per_byte)
"""Aggregations of metrics that have a value for each item; others mean something for the whole set alone."""


@dataclass(frozen=True)
class PreparedTask:
    """A task ready to run."""

    name: str
    task: ConfigurableTask
    run: TaskRun
    skipped: int
    """Documents left out because a field of the prompt or target was missing."""
    chosen: list[int] | None
    """Positions of the documents used, when they are not all of the task's."""

    @property
    def version(self) -> str:
        """The task file's `metadata.version`."""
        return str(self.task.VERSION)

    def metric_label(self, metric: str, filter_name: str) -> str:
        """lm-eval's metric name, with the name of the answer filter when the task has several."""
        return metric if len(self.task._filters) == 1 else f"{metric},{filter_name}"

    def metric_labels(self, per_item: bool = False) -> list[str]:
        """Names of the scores this task will make, as far as its file says; `per_item`: of those with item values."""
        filters = [ensemble.name for ensemble in self.task._filters]
        chosen = [name for name, how in self.task.aggregation().items() if not per_item or how in PER_ITEM]
        return [self.metric_label(metric, name) for name in filters for metric in chosen]


@contextmanager
def quiet() -> Iterator[None]:
    """Keep lm-eval's and datasets' own progress bars and warnings off the terminal: ours are shown instead."""
    bar, level = lm_eval.api.task.tqdm, logging.getLogger("lm_eval").level
    enabled = not datasets.utils.are_progress_bars_disabled()
    lm_eval.api.task.tqdm = partial(bar, disable=True)
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        lm_eval.api.task.tqdm = bar
        logging.getLogger("lm_eval").setLevel(level)
        if enabled:
            datasets.enable_progress_bars()


@contextmanager
def compiled_once() -> Iterator[None]:
    """Compile each prompt template once: lm-eval compiles it again for every document and field."""
    environment = lm_eval.utils.env
    original = environment.from_string
    environment.from_string = cache(original)
    try:
        yield
    finally:
        environment.from_string = original


def prepare_tasks(config: TasksConfig, *, cache: Path, seed: int, maximum_bad_share: float) -> list[PreparedTask]:
    """Load every task of the configuration; groups and tags become their tasks.

    Args:
        config: which tasks.
        cache: directory for converted local data files.
        seed: origin of few-shot examples.
        maximum_bad_share: largest share of documents without a needed field.

    Raises:
        InputError: unknown task (with the nearest name), or data that is missing or unreadable.
        ConfigError: a task file or setting that would give wrong results.
        StageError: too many documents without a needed field.
    """
    with quiet():
        manager = find_tasks(config.task_path, [run.task for run in config.run])
    _absolute_data_files(manager, config, cache)
    prepared: list[PreparedTask] = []
    for run in config.run:
        for name, task in _load(manager, run.task, config, cache).items():
            if any(name == other.name for other in prepared):
                raise ConfigError(f"task {name!r} is asked for twice in tasks.run; name it once")
            _check_settings(name, task, run)
            skipped, chosen = _choose_documents(name, task, run.limit, maximum_bad_share)
            task.set_config("num_fewshot", _shots(task, run))
            guard(task)
            task.set_fewshot_seed(seed)
            prepared.append(PreparedTask(name, task, run, skipped, chosen))
    return prepared


def _load(manager: TaskManager, name: str, config: TasksConfig, cache: Path) -> dict[str, ConfigurableTask]:
    """Leaf tasks of a task, group or tag name."""
    try:
        with quiet():
            loaded = manager.load([name])
    except UserError:
        raise
    except Exception as error:
        raise InputError(
            f"task {name!r} cannot be loaded: {first_line(error)}; check its task file and data "
            "(data of shipped tasks must already be in the local Hugging Face cache)"
        ) from error
    tasks = loaded["tasks"]
    assert not any(isinstance(task, Group) for task in tasks.values()), "load() returns leaf tasks"
    return dict(tasks)


def first_line(error: BaseException) -> str:
    """What broke, from the innermost of chained errors: lm-eval and datasets raise whatever happened inside them."""
    while error.__cause__ is not None:
        error = error.__cause__
    text = str(error).strip()
    return f"{type(error).__name__}: {text.splitlines()[0]}" if text else type(error).__name__


def _absolute_data_files(manager: TaskManager, config: TasksConfig, cache: Path) -> None:
    """Check the files of the tasks asked for, and give the index absolute data files for them."""
    root = Path(config.task_path).resolve() if config.task_path is not None else None
    where = _datasets(config)
    for entry in _asked(manager, [run.task for run in config.run]):
        if entry.yaml_path is None:
            continue
        path = Path(entry.yaml_path).resolve()
        local = root is not None and path.is_relative_to(root)
        if local:
            refuse(lint_file(path, root))
        try:
            task = load_yaml(path, resolve_func=True)
        except Exception as error:  # whatever a module named by !function raises when it is imported
            raise InputError(f"{str(path)!r} cannot be loaded: {first_line(error)}") from error
        if "task" not in task or isinstance(task["task"], list) or "class" in task:
            continue  # groups hold no data; Python tasks look after their own
        localise(task, path, config.data_path, cache, where)
        entry.cfg, entry.yaml_path = task, None  # lm-eval reads `cfg` when there is no path


def _asked(manager: TaskManager, names: list[str]) -> list[Any]:
    """Index entries of the names, and of the members of groups and tags."""
    found: dict[str, Any] = {}
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        entry = manager.task_index.get(name)
        if entry is None or name in found:
            continue
        found[name] = entry
        waiting += sorted(entry.tags) if entry.kind is Kind.TAG else members(entry.cfg or {})
    return list(found.values())


def _datasets(config: TasksConfig) -> Datasets:
    if config.datasets is not None:
        return read_datasets(config.datasets)
    usual = Path(config.task_path or ".") / DATASETS_FILE
    return read_datasets(usual) if config.task_path is not None and usual.is_file() else {}


def _shots(task: ConfigurableTask, run: TaskRun) -> int:
    """Few-shot examples: ours if set, else the task file's."""
    return run.num_fewshot if run.num_fewshot is not None else int(task.config.num_fewshot or 0)


def _check_settings(name: str, task: ConfigurableTask, run: TaskRun) -> None:
    if getattr(task, "UNSAFE_CODE", False):
        raise ConfigError(f"task {name!r} runs model-written code in this process, which is refused; leave it out")
    shots = _shots(task, run)
    if shots == 0:
        return
    own_examples = task.config.fewshot_config is not None and task.fewshot_cfg.samples is not None
    if task.fewshot_cfg.split is None and not own_examples and not task.has_training_docs():
        raise ConfigError(
            f"task {name!r} takes {shots} few-shot examples but names no fewshot_split, so scored items would "
            "stand among their own examples; set fewshot_split in the task file or num_fewshot: 0"
        )


def _choose_documents(
    name: str, task: ConfigurableTask, limit: int | None, maximum_bad_share: float
) -> tuple[int, list[int] | None]:
    """Leave out documents that lack a field of the prompt or target, then keep `limit` of the others, evenly spaced.

    Returns how many were left out, and the positions of those kept when they are not all.
    """
    split = task.config.test_split if task.has_test_docs() else task.config.validation_split
    documents = task.dataset[split]
    if len(documents) == 0:
        raise InputError(f"task {name!r} has no documents in split {split!r}; check its data")
    good = list(range(len(documents)))
    if task.config.process_docs is None:  # otherwise the task makes its own documents, from fields of its own
        good = _complete(documents, _needed_fields(task.config))
    skipped = len(documents) - len(good)
    if skipped > maximum_bad_share * len(documents):
        raise StageError(
            f"task {name!r}: {skipped} of {len(documents)} documents lack a field that its prompt or target uses; mend "
            f"the data (at most {maximum_bad_share:.0%} may lack one: maximum_bad_share)"
        )
    if skipped:
        logger.warning("task %s: skipped %d of %d documents, which lack a field", name, skipped, len(documents))
    if limit is not None and limit < len(good):
        good = [good[i * len(good) // limit] for i in range(limit)]
    if len(good) == len(documents):
        return skipped, None
    task.dataset[split] = documents.select(good)
    task.task_docs = task.eval_docs
    return skipped, good


def _complete(documents: datasets.Dataset, fields_used: set[str]) -> list[int]:
    """Positions of the documents that have all the fields; lm-eval would ask about "None" in the others."""
    needed = sorted(fields_used & set(documents.column_names))
    if not needed:
        return list(range(len(documents)))
    rows = zip(*(documents[field][:] for field in needed), strict=True)  # [:]: a column alone is read row by row
    return [i for i, row in enumerate(rows) if all(value is not None for value in row)]


def _needed_fields(config: TaskConfig) -> set[str]:
    """Names of fields that the prompt, target and choices refer to, by name or in a template."""
    names: set[str] = set()
    for template in (config.doc_to_text, config.doc_to_target, config.doc_to_choice):
        if isinstance(template, str):
            names.add(template)
            names |= jinja2.meta.find_undeclared_variables(jinja2.Environment().parse(template))
    return names
