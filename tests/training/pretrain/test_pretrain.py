"""Whole runs under torchrun on tiny models: parallel layouts, interruption, continuation, refusals.

The loss curves of one configuration under different layouts, and before and after an interruption, are compared.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from millbase.artifacts import open_artifact
from millbase.config import load_config
from millbase.errors import ArtifactError, StageError
from training.load import load_model, tokenizer_digest
from training.pretrain import PretrainConfig, pretrain

Tiny = Callable[..., dict[str, Any]]


def curve(run: Path, *names: str) -> list[list[float]]:
    """[[loss, ...] of each logged training step]."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    steps = [line["step"] for line in lines if "loss" in line]
    assert steps == list(range(1, len(steps) + 1)), "each step is logged once, in order"
    return [[line[name] for name in names or ("loss", "grad_norm")] for line in lines if "loss" in line]


def worst(one: list[list[float]], other: list[list[float]]) -> float:
    assert len(one) == len(other)
    return max(abs(x - y) for a, b in zip(one, other, strict=True) for x, y in zip(a, b, strict=True))


def train(values: dict[str, Any], out: Path, *overrides: str) -> Path:
    return pretrain(load_config(PretrainConfig, values, overrides), out)


@pytest.fixture(scope="module")
def reference(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One rank, 8 steps."""
    return train(tiny(), tmp_path_factory.mktemp("reference") / "run")


@pytest.fixture(scope="module")
def tensor_parallel(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same over two tensor-parallel ranks."""
    return train(tiny(), tmp_path_factory.mktemp("tp2") / "run", "parallel.tensor=2")


def test_a_run_learns_and_leaves_a_whole_artifact(reference: Path, toy_tokens: Path) -> None:
    manifest = open_artifact(reference, kind="checkpoint")
    assert manifest.stats["stage"] == "pretrain"
    assert manifest.stats["export_max_logit_difference"] < 1e-4
    assert manifest.stats["tokenizer_digest"] == tokenizer_digest(toy_tokens / "tokenizer")
    assert manifest.inputs["tokens"]["digest"] == open_artifact(toy_tokens).digest
    assert {"megatron/state.json", "hf/model.safetensors", "hf/tokenizer.json"} <= manifest.files.keys()
    assert not (reference / "scratch").exists()
    losses = curve(reference, "loss")
    assert losses[-1][0] < losses[0][0] - 0.3
    model = load_model(reference)
    assert model.model.config.num_key_value_heads == 2
    assert sum(p.numel() for p in model.model.parameters()) == manifest.stats["parameters"]


def test_bits_per_byte_equals_the_exported_model_by_hand(reference: Path, toy_tokens: Path) -> None:
    import math

    import pyarrow as pa
    import torch

    table = pa.ipc.open_file(str(toy_tokens / "heldout" / "00000.arrow")).read_all().to_pylist()
    rows, total = [], 0
    while total < 200:
        rows.append(table[len(rows)])
        total += len(rows[-1]["tokens"])
    stream = [0] + [t for row in rows for t in row["tokens"]]
    model, nll = load_model(reference), 0.0
    for start in range(0, len(stream) - 1, 32):
        piece = torch.tensor([stream[start : start + 33]])
        logits = model.logits(piece[:, :-1])[0]
        nll += float(torch.nn.functional.cross_entropy(logits, piece[0, 1:], reduction="sum"))
    stats = open_artifact(reference).stats
    assert stats["bits_per_byte"] == pytest.approx(nll / math.log(2) / sum(r["bytes"] for r in rows), abs=1e-5)
    assert stats["val_loss"] == pytest.approx(nll / (len(stream) - 1), abs=1e-5)


def test_tensor_parallel_equals_one_rank(reference: Path, tensor_parallel: Path) -> None:
    # Gradient norms too: a parameter counted twice, or not at all, shows there before it shows in the loss.
    assert worst(curve(reference), curve(tensor_parallel)) < 1e-4
    assert worst(curve(reference, "loss"), curve(tensor_parallel, "loss")) < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize(
    "layout",
    [
        ["parallel.tensor=2", "parallel.sequence_parallel=true"],
        ["parallel.pipeline=2"],
        ["parallel.data=2"],
        ["parallel.data=2", "parallel.zero=0"],
        ["parallel.data=2", "parallel.zero=2"],
        ["parallel.data=2", "parallel.zero=3"],
        ["parallel.tensor=2", "parallel.data=2", "micro_batch_size=1"],
    ],
    ids=["sequence", "pipeline", "data", "data-replicated", "zero-2", "zero-3", "tensor-data"],
)
def test_every_layout_equals_one_rank(tiny: Tiny, reference: Path, tmp_path: Path, layout: list[str]) -> None:
    run = train(tiny(), tmp_path / "run", *layout)
    assert worst(curve(reference), curve(run)) < 1e-4
    assert worst(curve(reference, "loss"), curve(run, "loss")) < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("layout", [[], ["parallel.tensor=2"]], ids=["one", "tensor"])
def test_masks_qk_norm_and_untied_embeddings_train_and_export(tiny: Tiny, tmp_path: Path, layout: list[str]) -> None:
    options = ["data.mask_across_documents=true", "data.mask_loss_at_document_start=true", "steps=3"]
    run = train(tiny(), tmp_path / "run", "model.qk_norm=true", "model.tied_embeddings=false", *options, *layout)
    assert open_artifact(run).stats["export_max_logit_difference"] < 1e-4
    assert load_model(run).model.config.model_type == "qwen3"


DRIVER = """
import json, sys
from millbase.config import load_config
from training.pretrain import PretrainConfig, pretrain
pretrain(load_config(PretrainConfig, json.loads(sys.argv[1])), sys.argv[2])
"""


def start(values: dict[str, Any], out: Path) -> subprocess.Popen[str]:
    root = Path(__file__).resolve().parents[3]
    return subprocess.Popen(
        [sys.executable, "-c", DRIVER, json.dumps(values), str(out)],
        cwd=root,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def wait_for_checkpoint(process: subprocess.Popen[str], out: Path, step: int) -> None:
    checkpoint = out.parent / f".{out.name}.work" / "scratch" / "checkpoints" / f"step_{step:08d}"
    deadline = time.monotonic() + 200
    while not checkpoint.exists():
        assert process.poll() is None, process.stderr and process.stderr.read()[-2000:]
        assert time.monotonic() < deadline, "no checkpoint in time"
        time.sleep(0.02)


def test_kill_and_resume_gives_the_identical_curve(tiny: Tiny, tmp_path: Path) -> None:
    values = tiny(steps=18, parallel={"tensor": 2}, checkpoint={"every_steps": 3})
    out = tmp_path / "killed"
    process = start(values, out)
    wait_for_checkpoint(process, out, 6)
    process.kill()
    process.wait()
    work = tmp_path / ".killed.work"
    assert work.is_dir()
    assert not out.exists()
    assert max(int(p.name[5:]) for p in (work / "scratch" / "checkpoints").glob("step_*")) < 18
    whole = train(values, tmp_path / "whole")
    # a rank of the killed run would still write: all of them must have died with their parent
    resumed = train(values, out)
    names = ("loss", "grad_norm", "learning_rate")
    assert curve(resumed, *names) == curve(whole, *names)
    assert (resumed / "hf" / "model.safetensors").read_bytes() == (whole / "hf" / "model.safetensors").read_bytes()


@pytest.mark.slow
def test_sigterm_saves_and_another_layout_continues(tiny: Tiny, tmp_path: Path) -> None:
    values = tiny(steps=30, parallel={"tensor": 2}, checkpoint={"every_steps": 5})
    whole = train(values, tmp_path / "whole")
    out = tmp_path / "stopped"
    process = start(values, out)
    wait_for_checkpoint(process, out, 5)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) != 0
    steps = sorted(int(p.name[5:]) for p in (tmp_path / ".stopped.work/scratch/checkpoints").glob("step_*"))
    assert steps[-1] < 30
    # pipeline parallel goes on from what tensor parallel saved
    resumed = train(values | {"parallel": {"pipeline": 2}}, out)
    assert worst(curve(whole), curve(resumed)) < 1e-4
    assert worst(curve(whole, "loss"), curve(resumed, "loss")) < 1e-4
    assert not (tmp_path / ".stopped.checkpoints").exists()


@pytest.mark.slow
def test_resume_from_a_finished_run_lengthens_it(tiny: Tiny, tensor_parallel: Path, tmp_path: Path) -> None:
    constant = {"kind": "constant", "warmup_steps": 2}
    whole = train(tiny(steps=12, schedule=constant), tmp_path / "whole")
    short = train(tiny(steps=8, schedule=constant), tmp_path / "short", "parallel.tensor=2")
    longer = train(tiny(steps=12, schedule=constant, checkpoint={"resume_from": str(short)}), tmp_path / "longer")
    lines = [json.loads(line) for line in (longer / "metrics.jsonl").read_text().splitlines()]
    continued = [[line["loss"]] for line in lines if "loss" in line]
    assert worst(curve(whole, "loss")[8:], continued) < 1e-4


def test_what_may_not_be_continued_is_refused(
    tiny: Tiny, reference: Path, new_tokens: Callable[..., Path], toy_tokens_config: Any, tmp_path: Path
) -> None:
    resume = {"checkpoint": {"resume_from": str(reference)}, "steps": 20}
    other = new_tokens(tmp_path / "other", toy_tokens_config(seed=9))
    for overrides, tokens, words in (
        (["model.layers=4"], None, ["model.layers 2 (now 4)"]),
        (["seed=8"], None, ["seed 3 (now 8)"]),
        ([], other, ["tokens 'sha256:"]),
        (["steps=8"], None, ["8 steps already", "raise steps"]),
    ):
        with pytest.raises(StageError) as caught:
            train(tiny(tokens=tokens, **resume), tmp_path / "out", *overrides)
        for word in [*words, "resume_from"]:
            assert word in str(caught.value)
    with pytest.raises(ArtifactError, match="holds no finished checkpoint"):
        train(tiny(checkpoint={"resume_from": str(tmp_path)}), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_unfinished_run_is_not_thrown_away(tiny: Tiny, tensor_parallel: Path, tmp_path: Path) -> None:
    work = tmp_path / ".run.work" / "scratch"
    shutil.copytree(tensor_parallel / "megatron", work / "checkpoints" / "step_00000008")
    config = load_config(PretrainConfig, tiny(steps=50))
    digest = open_artifact(config.data.tokens).digest
    description = {"config": config.to_dict(), "trajectory": config.trajectory(), "dataset_digest": digest}
    (work / "run.json").write_text(json.dumps(description))
    with pytest.raises(StageError) as caught:
        train(tiny(steps=50), tmp_path / "run", "optimizer.learning_rate=0.5")
    assert "optimizer.learning_rate 0.003 (now 0.5)" in str(caught.value)
    assert "delete" in str(caught.value)
    assert (work / "checkpoints" / "step_00000008" / "state.json").is_file()


def test_a_loss_that_is_not_finite_stops_the_run_and_names_documents(tiny: Tiny, tmp_path: Path) -> None:
    values = tiny(optimizer={"learning_rate": 1e30, "clip_grad": 0}, schedule={"warmup_steps": 0})
    with pytest.raises(StageError, match=r"(loss|gradient norm) is (nan|inf) at step \d \(documents doc-\d+"):
        train(values, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.gpu
def test_the_same_run_on_a_gpu(tiny: Tiny, reference: Path, tmp_path: Path) -> None:
    import torch

    if not torch.cuda.is_available():
        pytest.skip("no CUDA device: the GPU path (NCCL, flash attention) is not exercised")
    run = train(tiny(), tmp_path / "run")
    assert worst(curve(reference, "loss"), curve(run, "loss")) < 1e-3
