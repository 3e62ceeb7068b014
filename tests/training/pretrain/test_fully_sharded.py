"""ZeRO-3 builds a model that no rank has room for; that it trains the same model is test_parity.py's."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import torch

from training.pretrain.fully_sharded import without_values

MODEL = {"layers": 4, "hidden_size": 32, "heads": 4, "ffn_hidden_size": 64, "vocab_multiple": 64}


def test_no_rank_holds_a_whole_model(tmp_path: Path) -> None:
    config = {
        "model": MODEL,
        "data": {"tokens": "none", "sequence_length": 32},
        "parallel": {"zero": 3, "data": 2},
        "steps": 30,
        "global_batch_size": 2,
        "micro_batch_size": 1,
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    script = Path(__file__).with_name("sharded_building.py")
    commands = [
        [sys.executable, str(script), str(rank), str(tmp_path), str(tmp_path / "config.json")] for rank in (0, 1)
    ]
    ranks = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for command in commands
    ]
    ends = [rank.communicate(timeout=300) for rank in ranks]
    assert all(rank.returncode == 0 for rank in ranks), ends[0][1][-3000:] + ends[1][1][-3000:]
    found = [json.loads(out.splitlines()[-1]) for out, _ in ends]
    for rank in found:
        assert rank["without_values"] and rank["same_rows"] and rank["marks_kept"]
        assert rank["held"] <= 0.51 * rank["whole"]
        assert 0 < rank["most_at_once"] <= rank["largest"]
    assert sum(rank["held"] for rank in found) == found[0]["whole"]


def test_without_values_leaves_marks_buffers_and_torch_alone() -> None:
    class Marked(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.ones(3, 2), requires_grad=False)
            self.weight.partitioned = True  # type: ignore[attr-defined]
            self.register_parameter("bias", None)
            self.register_buffer("count", torch.arange(3))

    with without_values():
        made = Marked()
    assert made.weight.is_meta and made.weight.shape == (3, 2) and not made.weight.requires_grad
    assert made.weight.partitioned and made.bias is None and made.count.tolist() == [0, 1, 2]
    assert not Marked().weight.is_meta
