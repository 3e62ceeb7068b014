"""One rank of a Megatron model that answers the process which started it (`engines/megatron.py`).

torchrun --nproc-per-node 4 -m evaluation.engines.megatron_worker SETTINGS.json
"""

from __future__ import annotations

import json
import os
import socket
import sys
import warnings
from multiprocessing.connection import Connection
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
import torch.distributed as dist

from evaluation.loglikelihood import scored_positions
from millbase.errors import UserError
from millbase.process import die_with_parent, keep_freed_memory
from training.megatron import load_megatron


def main() -> None:
    """Load, greet, answer until told to stop."""
    die_with_parent()
    keep_freed_memory()
    warnings.filterwarnings("ignore")  # Megatron's, about packages it does without
    settings = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    try:
        serve(settings)
    except (UserError, ValueError) as error:  # a layout that does not fit the model is pydantic's ValueError
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr, flush=True)
        os._exit(2)  # other ranks may be waiting in a collective


def serve(settings: dict[str, Any]) -> None:
    """Rank 0 talks to the parent and repeats every request to the others: a forward pass needs all of them."""
    model = load_megatron(
        settings["path"], settings["tensor"], settings["pipeline"], settings["dtype"], threads=settings["threads"]
    )
    parent = None
    if dist.get_rank() == 0:
        line = socket.socket(socket.AF_UNIX)
        line.connect(settings["address"])
        parent = Connection(line.detach())
        parent.send(
            {
                "tokenizer": str(model.source.tokenizer),
                "max_length": model.max_length,
                "vocab_size": model.vocab_size,
                "dtype": model.config.dtype,
            }
        )
    while True:
        box: list[Any] = [None]
        if parent is not None:
            try:
                box = [parent.recv()]
            except EOFError:
                box = [("stop",)]
        dist.broadcast_object_list(box)
        if box[0][0] == "stop":
            break
        answer = _answer(model, settings["path"], *box[0])
        if parent is not None:
            parent.send(answer)
    dist.barrier()
    dist.destroy_process_group()


def _answer(model: Any, path: str, request: str, rows: list[list[int]], counts: list[int]) -> Any:
    """`score`: `(log-probabilities, greedy)` of the last `counts[i]` tokens of each row; `next`: `[B, V]` logits."""
    if request == "score":
        device = torch.device("cuda", torch.cuda.current_device()) if torch.cuda.is_available() else torch.device("cpu")
        shim = SimpleNamespace(model=SimpleNamespace(device=device), logits=model.logits, path=path)
        log_probs, greedy, _ = scored_positions(shim, rows, counts)  # type: ignore[arg-type]
        return log_probs.tolist(), greedy.tolist()
    ids_BT = torch.zeros(len(rows), max(map(len, rows)), dtype=torch.long)
    for i, row in enumerate(rows):
        ids_BT[i, : len(row)] = torch.tensor(row)
    last = torch.tensor([len(row) - 1 for row in rows])
    logits: torch.Tensor = model.logits(ids_BT).cpu()
    return logits[torch.arange(len(rows)), last].float().numpy()


if __name__ == "__main__":
    main()
