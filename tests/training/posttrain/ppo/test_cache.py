"""The cache that is written in place holds what transformers' own does."""

from __future__ import annotations

import torch
from transformers import DynamicCache, LlamaConfig, LlamaForCausalLM

from training.posttrain.ppo.cache import sampling_cache


def test_equals_the_cache_of_transformers() -> None:
    """Prompts, single tokens past the first room, and rows taken out in between."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=50, hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2,
    )  # fmt: skip
    model = LlamaForCausalLM(config).eval()
    ids = torch.randint(50, (5, 30))
    ours, theirs = sampling_cache(config), DynamicCache(config=config)
    rows = torch.arange(5)
    with torch.no_grad():
        for start, end in ((0, 7), *((n, n + 1) for n in range(7, 30))):
            if start in (9, 20):
                keep = torch.arange(len(rows))[1:]
                rows = rows[keep]
                ours.batch_select_indices(keep)
                theirs.batch_select_indices(keep)
            logits = [
                model(input_ids=ids[rows, start:end], past_key_values=cache, use_cache=True).logits
                for cache in (ours, theirs)
            ]
            assert torch.equal(*logits)
            assert ours.get_seq_length() == theirs.get_seq_length() == end
    for one, other in zip(ours.layers, theirs.layers, strict=True):
        assert torch.equal(one.keys, other.keys) and torch.equal(one.values, other.values)
