"""A Megatron checkpoint on any tensor- and pipeline-parallel layout, scored as it lies on disk: nothing is exported.

The ranks run under torchrun in processes of their own and answer this one, so everything else of an evaluation is the
same as for a Hugging Face model. Rows are scored whole, without shared prefixes; generation reads each prompt again for
every token, for Megatron's training model keeps no keys and values: right, and slow for long answers.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import tempfile
import threading
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Self

import torch

from evaluation.engines.base import Pair
from evaluation.generate import (
    GREEDY,
    Completion,
    Sampling,
    Stops,
    choose,
    noise,
    room_for_prompt,
    tokenizer_stops,
)
from evaluation.loglikelihood import batches, clipped, start_token
from millbase.artifacts import describe_input
from millbase.errors import StageError
from millbase.launch import torchrun
from millbase.progress import progress

WORKER = "evaluation.engines.megatron_worker"


class MegatronEngine:
    """A running group of ranks. Close it (or use it in `with`) to end them; they also end with this process."""

    def __init__(
        self, path: str | Path, *, tensor: int = 1, pipeline: int = 1, dtype: str | None = None, threads: int = 1
    ) -> None:
        """Start the ranks and wait until they have loaded. StageError with the failing rank's words when one cannot."""
        self.where = str(path)
        self._folder = Path(tempfile.mkdtemp(prefix="megatron-"))
        address = str(self._folder / "line")
        settings = {
            "path": str(Path(path).resolve()),
            "tensor": tensor,
            "pipeline": pipeline,
            "dtype": dtype,
            "threads": threads,
            "address": address,
        }
        (self._folder / "settings.json").write_text(json.dumps(settings), encoding="utf-8")
        self._failure: BaseException | None = None
        with socket.socket(socket.AF_UNIX) as door:
            door.bind(address)
            door.listen(1)
            door.settimeout(0.5)
            self._ranks = threading.Thread(target=self._run, args=(tensor * pipeline, threads), daemon=True)
            self._ranks.start()
            self._line = self._welcome(door)
        hello = self._receive()
        from transformers import AutoTokenizer

        self.tokenizer = AutoTokenizer.from_pretrained(hello["tokenizer"])
        self.max_length = int(hello["max_length"])
        self.vocab_size = int(hello["vocab_size"])
        self.start_id = start_token(self.tokenizer, self.where)
        self.identity = {
            "digest": str(describe_input(path)["digest"]),
            "engine": "megatron",
            "dtype": hello["dtype"],
            "context": self.max_length,
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the ranks."""
        if self._ranks.is_alive():
            with contextlib.suppress(OSError):  # they are gone already
                self._line.send(("stop",))
        self._line.close()
        self._ranks.join(60)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _run(self, ranks: int, threads: int) -> None:
        try:
            torchrun(
                WORKER,
                nproc=ranks,
                args=[str(self._folder / "settings.json")],
                log_dir=self._folder / "logs",
                env={"OMP_NUM_THREADS": str(threads)},
            )
        except BaseException as error:  # told to the thread that waits for an answer
            self._failure = error

    def _welcome(self, door: socket.socket) -> Connection:
        while True:
            try:
                return Connection(door.accept()[0].detach())
            except TimeoutError:
                self._check_alive()

    def _receive(self) -> Any:
        try:
            while not self._line.poll(1.0):
                self._check_alive()
            return self._line.recv()
        except EOFError:
            self._ranks.join(60)
            self._check_alive()
            raise

    def _check_alive(self) -> None:
        if not self._ranks.is_alive():
            raise self._failure or StageError(f"{self.where!r}: the Megatron ranks ended unasked; evaluate again")

    def score(self, pairs: Sequence[Pair], *, batch_size: int, description: str) -> list[tuple[float, bool]]:
        """As `loglikelihood.score_continuations`; equal rows are computed once."""
        rows = clipped(pairs, self.max_length)
        counts = [len(after) for _, after in pairs]
        distinct = {(tuple(row), count): i for i, (row, count) in enumerate(zip(rows, counts, strict=True))}
        kinds = list(distinct)
        found: dict[tuple[tuple[int, ...], int], tuple[float, bool]] = {}
        with progress(description, total=len(kinds), unit="sequences") as bar:
            for batch in batches([len(row) for row, _ in kinds], batch_size, self.vocab_size):
                sizes = [kinds[i][1] for i in batch]
                self._line.send(("score", [list(kinds[i][0]) for i in batch], sizes))
                log_probs, greedy = self._receive()
                start = 0
                for i, size in zip(batch, sizes, strict=True):
                    end = start + size
                    found[kinds[i]] = (sum(log_probs[start:end]), all(greedy[start:end]))
                    start = end
                bar.advance(len(batch))
        return [found[tuple(row), count] for row, count in zip(rows, counts, strict=True)]

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        *,
        max_new_tokens: int,
        sampling: Sampling = GREEDY,
        seeds: Sequence[int] | None = None,
        stop_strings: Sequence[str] = (),
        batch_size: int = 64,
    ) -> list[Completion]:
        """As `generate.generate`, with the same random streams."""
        room = room_for_prompt(self.max_length, max_new_tokens, self.where)
        stops = Stops.make(self.tokenizer, tokenizer_stops(self.tokenizer), stop_strings)
        rows = [list(prompt)[-room:] for prompt in prompts]
        written: list[list[int]] = [[] for _ in rows]
        stopped = [False] * len(rows)
        order = sorted(range(len(rows)), key=lambda i: (-len(rows[i]), i))
        with progress("generating", total=len(rows), unit="responses") as bar:
            for start in range(0, len(order), batch_size):
                active = order[start : start + batch_size]
                draws = dict(zip(active, noise([seeds[i] for i in active], max_new_tokens))) if seeds else {}
                for step in range(max_new_tokens):
                    self._line.send(("next", [rows[i] + written[i] for i in active], []))
                    logits = torch.from_numpy(self._receive())
                    greedy = sampling.temperature == 0
                    draw = None if greedy else torch.stack([draws[i][step] for i in active])
                    for i, token in zip(active, choose(logits, sampling, draw, self.where).tolist(), strict=True):
                        written[i].append(token)
                        stopped[i] = stops(written[i])
                    staying = [i for i in active if not stopped[i]]
                    bar.advance(len(active) - len(staying))
                    active = staying
                    if not active:
                        break
                bar.advance(len(active))
        return [
            Completion(row, ids, stops.text(ids), done) for row, ids, done in zip(rows, written, stopped, strict=True)
        ]
