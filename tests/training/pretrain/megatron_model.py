"""Checks of the Megatron model that need a process of its own (the runtime changes torch for the whole process).

python tests/training/pretrain/megatron_model.py        prints one JSON object of measured differences
"""

# ruff: noqa: E402 - the runtime must be prepared before Megatron is imported
from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from training.pretrain import runtime

runtime.prepare(threads=1)

import torch
import torch.distributed as dist
from megatron.core.transformer.enums import AttnMaskType

from millbase.config import load_config
from tests.training.pretrain.families import FAMILIES, LENGTH, SHAPE, VOCAB, random_hf, tiny
from training.pretrain.attention import SDPACoreAttention
from training.pretrain.config import PretrainConfig
from training.pretrain.model import build_model, initialize_layout, padded_vocab
from training.pretrain.models.hf import pieces
from training.pretrain.models.hf.settings import model_config
from training.pretrain.optimizer import FusedAdam
from training.pretrain.parameters import parameter_counts
from training.pretrain.weights import fill, hf_weights, initial_weights, local_shards, place


def configuration(model: dict[str, Any], **data: Any) -> PretrainConfig:
    values = {"data": {"tokens": "none", "sequence_length": LENGTH, **data}, "model": SHAPE | model}
    return load_config(PretrainConfig, values)


def compare(name: str, folder: Path) -> dict[str, Any]:
    """Hugging Face -> Megatron: difference of logits; -> Hugging Face again: difference of weights."""
    config = configuration(FAMILIES[name])
    reference = random_hf(config.model)
    reference.save_pretrained(folder)
    back, _ = model_config(folder)
    [ours] = build_model(config, VOCAB)
    fill(ours, hf_weights(folder, config.model))
    tokens = torch.randint(0, VOCAB, (2, LENGTH), generator=torch.Generator().manual_seed(1))
    positions = torch.arange(LENGTH).expand(2, -1)
    with torch.no_grad():
        expected = reference(tokens).logits
        actual = ours.eval()(tokens, positions, None)[..., :VOCAB]
        # one norm weight changed must show, or the comparison proves nothing
        norm = next(w for n, w in reversed(list(reference.named_parameters())) if w.dim() == 1 and "weight" in n)
        norm[0] += 0.5
        changed = reference(tokens).logits
        norm[0] -= 0.5
    whole: dict[Any, torch.Tensor] = {}
    for shard in local_shards(ours):
        key, lead = place(shard.key, tuple(shard.global_offset[: shard.prepend_axis_num]))
        known = whole.get((key, lead))
        whole[key, lead] = shard.data if known is None else torch.cat([known, shard.data])
    state, worst, seen = reference.state_dict(), 0.0, set()
    saved = {**state, **_saved(folder)}
    for piece in pieces(config.model):
        tensor = whole[piece.name, piece.index]
        if piece.targets[0].startswith(f"model.layers.{config.model.layers}."):
            continue  # multi-token prediction, which transformers' model has no part for
        for target, part in zip(piece.targets, piece.split(tensor), strict=True):
            rows = part[:VOCAB] if piece.vocabulary else part
            worst = max(worst, float((rows - saved[target]).abs().max()))
            seen.add(target)
    counts = parameter_counts(config.model, padded_vocab(VOCAB, config.model.vocab_multiple))
    return {
        "logits": float((actual - expected).abs().max()),
        "scale": float(expected.abs().max()),
        "control": float((actual - changed).abs().max()),
        "weights": worst,
        "missing": sorted(set(_saved(folder)) - seen),
        "counted": counts.total + counts.mtp,
        "parameters": sum(weight.numel() for weight in ours.parameters()),
        "transformers": sum(weight.numel() for weight in reference.parameters()),
        "unpadded": parameter_counts(config.model, VOCAB).total,
        "changed_settings": _changed(tiny(name), back),
    }


def _saved(folder: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return load_file(folder / "model.safetensors")


def _changed(before: Any, after: Any) -> list[str]:
    return sorted(key for key, value in before if value != getattr(after, key))


def initial_values() -> dict[str, float]:
    """Initial weights of a model of experts: their spread by kind, and that two experts differ."""
    config = configuration(FAMILIES["dots1"])
    draw = initial_weights(config.model, 3)
    name = "decoder.layers.mlp.experts.experts.linear_fc2.weight"
    one, other = (draw(name, (2, expert), (64, 48)) for expert in (0, 1))
    return {
        "residual_std": float(one.std()),
        "experts_differ": float((one - other).abs().max()),
        "norm": float(draw("decoder.final_layernorm.weight", (), (64,)).min()),
        "bias": float(draw("decoder.layers.mlp.router.expert_bias", (2,), (8,)).abs().max()),
    }


def document_mask() -> dict[str, float]:
    """Two documents packed with the mask must give what each gives alone; without it they do not."""
    config = configuration({}, mask_across_documents=True)
    [model] = build_model(config, VOCAB)
    model.eval()
    tokens = torch.randint(0, VOCAB, (1, 20), generator=torch.Generator().manual_seed(2))
    segment = (torch.arange(20) >= 12).long()
    later = torch.ones(20, 20, dtype=torch.bool).triu(1)
    mask = (later | (segment[:, None] != segment[None, :]))[None, None]
    position = torch.arange(20)[None]
    with torch.no_grad():
        packed = model(tokens, position, mask)[..., :VOCAB]
        alone = model(tokens[:, 12:], position[:, :8], later[None, None, :8, :8])[..., :VOCAB]
        leaking = model(tokens, position, later[None, None])[..., :VOCAB]
    return {
        "same": float((packed[:, 12:] - alone).abs().max()),
        "leak": float((leaking[:, 12:] - alone).abs().max()),
    }


def attention() -> dict[str, float]:
    """Packed attention against each sequence alone, and grouped heads against repeated ones computed by hand."""
    core = SDPACoreAttention(
        SimpleNamespace(context_parallel_size=1, attention_dropout=0.0), 1, AttnMaskType.causal, "self"
    )
    q, k, v = (torch.randn(24, n, 16, generator=torch.Generator().manual_seed(n)) for n in (8, 2, 4))
    v = v[:, :2]
    bounds = torch.tensor([0, 5, 17, 24])
    packed = core(q, k, v, packed_seq_params=SimpleNamespace(cu_seqlens_q=bounds))
    by_hand = []
    for a, b in ((0, 5), (5, 17), (17, 24)):
        heads = []
        for head in range(8):
            scores = q[a:b, head] @ k[a:b, head // 4].T / 4.0
            scores = scores.masked_fill(torch.ones(b - a, b - a).triu(1).bool(), float("-inf"))
            heads.append(scores.softmax(-1) @ v[a:b, head // 4])
        by_hand.append(torch.cat(heads, -1))
    return {"packed": float((packed - torch.cat(by_hand)).abs().max())}


def adam() -> dict[str, float]:
    """FusedAdam against torch.optim.AdamW over 20 steps."""
    start = torch.randn(40, generator=torch.Generator().manual_seed(0))
    ours, theirs = (torch.nn.Parameter(start.clone()) for _ in range(2))
    settings: dict[str, Any] = {"lr": 0.1, "betas": (0.8, 0.9), "eps": 1e-6, "weight_decay": 0.3}
    optimizers = [FusedAdam([ours], **settings), torch.optim.AdamW([theirs], **settings)]
    for step in range(20):
        for weight, optimizer in zip((ours, theirs), optimizers, strict=True):
            weight.grad = torch.sin(weight.detach() * (step + 1))
            optimizer.step()
    return {"difference": float((ours - theirs).abs().max()), "moved": float((ours - start).abs().max())}


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=0, world_size=1)
        initialize_layout(configuration({}))
        torch.manual_seed(0)
        result: dict[str, Any] = {name: compare(name, Path(folder) / name) for name in FAMILIES}
        result |= {
            "initial": initial_values(),
            "document_mask": document_mask(),
            "attention": attention(),
            "adam": adam(),
        }
        print(json.dumps(result))
        dist.destroy_process_group()


if __name__ == "__main__":
    main()
