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
from transformers import AutoModelForCausalLM

from millbase.config import load_config
from training.pretrain.attention import SDPACoreAttention
from training.pretrain.config import PretrainConfig
from training.pretrain.hf import from_hf, hf_config, to_hf
from training.pretrain.model import build_model, initialize_layout, padded_vocab
from training.pretrain.optimizer import FusedAdam
from training.pretrain.weights import fill, local_shards, stacked

VOCAB = 300  # padded to 384
VARIANTS: dict[str, dict[str, Any]] = {
    "llama_gqa_tied": {"kv_heads": 2, "tied_embeddings": True},
    "llama_gqa_untied": {"kv_heads": 2, "tied_embeddings": False},
    "llama_mha_theta": {"kv_heads": 4, "tied_embeddings": False, "rope_theta": 500_000.0, "head_dim": 24},
    "qwen3_tied": {"kv_heads": 1, "tied_embeddings": True, "qk_norm": True},
    "qwen3_untied": {"kv_heads": 2, "tied_embeddings": False, "qk_norm": True},
}


def configuration(model: dict[str, Any], **data: Any) -> PretrainConfig:
    shape = {"layers": 3, "hidden_size": 64, "heads": 4, "ffn_hidden_size": 160, "init_std": 0.2}
    return load_config(
        PretrainConfig, {"data": {"tokens": "none", "sequence_length": 128, **data}, "model": {**shape, **model}}
    )


def random_hf(config: PretrainConfig) -> Any:
    """A transformers model whose every weight, norms included, is random."""
    model = AutoModelForCausalLM.from_config(hf_config(config.model, VOCAB, 128, "float32", {}))
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "norm" in name:
                weight.uniform_(0.5, 1.5, generator=generator)
            else:
                weight.normal_(0.0, 0.2, generator=generator)
    return model.eval()


def compare(model: dict[str, Any]) -> dict[str, float]:
    """Hugging Face -> Megatron: difference of logits; -> Hugging Face again: difference of weights."""
    config = configuration(model)
    reference = random_hf(config)
    state = reference.state_dict()
    rows = padded_vocab(VOCAB, config.model.vocab_multiple)
    ours = build_model(config, VOCAB)
    fill(ours, stacked(from_hf(state, config.model, rows)))
    tokens = torch.randint(0, VOCAB, (2, 128), generator=torch.Generator().manual_seed(1))
    positions = torch.arange(128).expand(2, -1)
    with torch.no_grad():
        expected = reference(tokens).logits
        actual = ours.eval()(tokens, positions, None)[..., :VOCAB]
        # one norm weight changed must show, or the comparison proves nothing
        kept = reference.model.layers[1].post_attention_layernorm.weight.clone()
        reference.model.layers[1].post_attention_layernorm.weight[0] += 0.5
        changed = reference(tokens).logits
        reference.model.layers[1].post_attention_layernorm.weight.copy_(kept)
    whole: dict[str, Any] = {}
    for shard in local_shards(ours):
        if shard.prepend_axis_num:
            layers = whole.setdefault(shard.key, {})
            layers.setdefault(shard.global_offset[0], []).append(shard.data)
        else:
            whole[shard.key] = shard.data
    joined = {
        key: torch.stack([torch.cat(value[i]) for i in sorted(value)]) if isinstance(value, dict) else value
        for key, value in whole.items()
    }
    back = to_hf(joined, config.model, VOCAB)
    return {
        "logits": float((actual - expected).abs().max()),
        "scale": float(expected.abs().max()),
        "control": float((actual - changed).abs().max()),
        "weights": max(float((back[name] - state[name]).abs().max()) for name in back),
        "missing": len(set(state) - set(back) - ({"lm_head.weight"} if config.model.tied_embeddings else set())),
    }


def document_mask() -> dict[str, float]:
    """Two documents packed with the mask must give what each gives alone; without it they do not."""
    config = configuration({}, mask_across_documents=True)
    model = build_model(config, VOCAB).eval()
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
        result: dict[str, Any] = {name: compare(model) for name, model in VARIANTS.items()}
        result |= {"document_mask": document_mask(), "attention": attention(), "adam": adam()}
        print(json.dumps(result))
        dist.destroy_process_group()


if __name__ == "__main__":
    main()
