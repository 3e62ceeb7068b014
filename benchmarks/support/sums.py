"""Sums of two two-digit numbers: the small world in which post-training methods are compared by their effect.

    from support.sums import HELD_OUT, answer_accuracy, start_model, write_prompts
    start = start_model()                             # a 1M-parameter Llama after SFT, often wrong
    answer_accuracy(start, HELD_OUT, samples=4)       # Estimate: value, low, high over held-out problems

The 8,100 problems are split once: training, `TUNING` (for choosing settings) and `HELD_OUT` (for the reported figures
only). Start models are cached under `benchmarks/.envs/sums`, keyed by everything that makes them.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from support.environment import ENVIRONMENTS, REPOSITORY

# benchmarks/evaluation.py is called as the package that is meant here
sys.path.insert(0, str(REPOSITORY))

from evaluation.statistics import Estimate, mean
from millbase.seeds import derive_seed

os.environ.setdefault("HF_HUB_OFFLINE", "1")

Problem = tuple[int, int]

TEMPLATE = (
    "{%- for message in messages %}{%- if message['role'] == 'assistant' %}"
    "{% generation %}{{- message['content'] + '<|im_end|>' }}{% endgeneration %}"
    "{%- else %}{{- message['content'] }}{%- endif %}{%- endfor %}"
)
"""`12+34=46<|im_end|>`: marks of roles would double the length of such short conversations."""
SIZE = {"hidden_size": 128, "intermediate_size": 512, "num_hidden_layers": 4, "num_attention_heads": 4}
"""About 1.1 million weights."""
INITIAL_SPREAD = 0.06
"""Standard deviation of the first weights."""
SFT: dict[str, Any] = {
    "max_steps": 800,
    "batch_size": 48,
    "learning_rate": 2e-3,
    "log_every": 10,
    "save_every": 800,
    "threads": 1,
}
"""Supervised fine-tuning from random weights, stopped on purpose while many answers are still wrong."""
MAX_NEW_TOKENS = 8


def _split() -> tuple[list[Problem], list[Problem], list[Problem]]:
    problems = [(a, b) for a in range(10, 100) for b in range(10, 100)]
    random.Random(0).shuffle(problems)
    return problems[1000:], problems[500:1000], problems[:500]


TRAINING, TUNING, HELD_OUT = _split()


def messages(problem: Problem) -> list[dict[str, str]]:
    """The problem as a chat prompt."""
    return [{"role": "user", "content": f"{problem[0]}+{problem[1]}="}]


def answer(problem: Problem) -> str:
    """The right answer."""
    return str(sum(problem))


def is_right(text: str, problem: Problem) -> bool:
    """Whether a completion is the answer and nothing else."""
    return text.strip() == answer(problem)


def write_prompts(path: Path, problems: Sequence[Problem] = TRAINING) -> Path:
    """Prompt rows with their `answer`, as every group method and PPO read them."""
    rows = [{"prompt": messages(problem), "answer": answer(problem)} for problem in problems]
    return write_rows(path, rows)


def write_instructions(path: Path, problems: Sequence[Problem] = TRAINING) -> Path:
    """Conversations with right answers, for SFT."""
    rows = [{"messages": [*messages(p), {"role": "assistant", "content": answer(p)}]} for p in problems]
    return write_rows(path, rows)


def exact_answer(completions: Any, answer: list[str], **columns: Any) -> list[float]:
    """The true reward: 1 for the right sum and nothing else (`support.sums:exact_answer` as a reward function)."""
    return [float(completion[0]["content"].strip() == right) for completion, right in zip(completions, answer)]


def tokenizer() -> Any:
    """Byte-level BPE with single digits and a chat template that marks the assistant's tokens."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    bpe.decoder = decoders.ByteLevel()
    special = ["<|pad|>", "<|im_start|>", "<|im_end|>", "<|endoftext|>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=288, special_tokens=special, initial_alphabet=alphabet)
    bpe.train_from_iterator(["user", "assistant", "the sum is", "carry"] * 50, trainer)
    made = PreTrainedTokenizerFast(tokenizer_object=bpe, pad_token="<|pad|>", eos_token="<|im_end|>")
    made.chat_template = TEMPLATE
    return made


def random_model(seed: int, folder: Path) -> Path:
    """An untrained Llama with the tokenizer, as a Hugging Face folder."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    words = tokenizer()
    config = LlamaConfig(
        vocab_size=len(words),
        num_key_value_heads=SIZE["num_attention_heads"],
        max_position_embeddings=128,
        pad_token_id=words.pad_token_id,
        eos_token_id=words.eos_token_id,
        bos_token_id=None,
        tie_word_embeddings=True,
        # 0.02 is for models ten times as wide
        initializer_range=INITIAL_SPREAD,
        **SIZE,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = LlamaForCausalLM(config)
    model.save_pretrained(folder)
    words.save_pretrained(folder)
    return folder


def start_model(seed: int = 0, **changes: Any) -> Path:
    """The Hugging Face folder of a model after SFT, made once per seed (and `changes` to `SFT`); some minutes."""
    from training.posttrain.sft import SftConfig, train_sft

    settings = {**SFT, **changes}
    key = hashlib.sha256(
        json.dumps([seed, SIZE, INITIAL_SPREAD, settings, TEMPLATE, TRAINING[:9]], sort_keys=True).encode()
    ).hexdigest()[:10]
    folder = ENVIRONMENTS / "sums" / f"seed-{seed}-{key}"
    if not (folder / "sft" / "hf").is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        raw = random_model(seed, folder / "random")
        data = write_instructions(folder / "instructions.jsonl")
        train_sft(SftConfig(model=str(raw), data=str(data), seed=seed, device="cpu", **settings), folder / "sft")
    return folder / "sft" / "hf"


def complete(model: Path | str, problems: Sequence[Problem], *, samples: int = 0, seed: int = 0) -> list[list[str]]:
    """Completions of each problem: `samples` drawn at temperature 1, or with 0 the greedy one."""
    import torch

    from training.load import load_model
    from training.posttrain.ppo.models import Policy, end_of_turn_ids
    from training.posttrain.ppo.sampling import sample

    loaded = load_model(model, device="cpu")
    texts = [
        loaded.tokenizer.apply_chat_template(messages(p), tokenize=False, add_generation_prompt=True) for p in problems
    ]
    prompts = loaded.tokenizer(texts, add_special_tokens=False)["input_ids"]
    policy = Policy(loaded.model, end_of_turn_ids(loaded))
    each = max(1, samples)
    generator = torch.Generator().manual_seed(derive_seed(seed, "sums"))
    uniforms = torch.rand(len(prompts) * each, MAX_NEW_TOKENS, dtype=torch.float64, generator=generator)
    # at this temperature only the likeliest token is ever drawn
    temperature = 1.0 if samples else 1e-6
    drawn = sample(policy, [p for p in prompts for _ in range(each)], uniforms, temperature, 512)
    decoded = loaded.tokenizer.batch_decode([c.tokens for c in drawn], skip_special_tokens=True)
    return [decoded[i * each : (i + 1) * each] for i in range(len(prompts))]


def right_shares(model: Path | str, problems: Sequence[Problem], *, samples: int = 0, seed: int = 0) -> list[float]:
    """Share of right completions of each problem; `samples` as in `complete`. For paired comparisons."""
    texts = complete(model, problems, samples=samples, seed=seed)
    return [sum(is_right(text, p) for text in answers) / len(answers) for answers, p in zip(texts, problems)]


def answer_accuracy(model: Path | str, problems: Sequence[Problem], *, samples: int = 0, seed: int = 0) -> Estimate:
    """Mean share of right completions with its interval over problems; `samples` 0 is greedy, 4 or so sampled."""
    shares = right_shares(model, problems, samples=samples, seed=seed)
    return mean(shares)


def divergence(model: Path | str, reference: Path | str, problems: Sequence[Problem], *, seed: int = 0) -> Estimate:
    """KL(model || reference) in nats per completion: the exact KL of every next-token distribution along one sampled
    completion of each problem, summed."""
    import torch

    from training.load import load_model

    first, second = load_model(model, device="cpu"), load_model(reference, device="cpu")
    words = first.tokenizer
    texts = [words.apply_chat_template(messages(p), tokenize=False, add_generation_prompt=True) for p in problems]
    starts = words(texts, add_special_tokens=False)["input_ids"]
    drawn = _sampled_tokens(first, starts, seed)
    totals = []
    for prompt, tokens in zip(starts, drawn):
        ids = torch.tensor([prompt + tokens])
        p, q = ((m.logits(ids)[0, len(prompt) - 1 : -1]).log_softmax(-1) for m in (first, second))
        totals.append(float((p.exp() * (p - q)).sum()))
    return mean(totals)


def _sampled_tokens(loaded: Any, prompts: list[list[int]], seed: int) -> list[list[int]]:
    import torch

    from training.posttrain.ppo.models import Policy, end_of_turn_ids
    from training.posttrain.ppo.sampling import sample

    generator = torch.Generator().manual_seed(derive_seed(seed, "divergence"))
    uniforms = torch.rand(len(prompts), MAX_NEW_TOKENS, dtype=torch.float64, generator=generator)
    policy = Policy(loaded.model, end_of_turn_ids(loaded))
    return [completion.tokens for completion in sample(policy, prompts, uniforms, 1.0, 512)]


def write_rows(path: Path, rows: list[dict[str, Any]]) -> Path:
    """Rows as JSON lines."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path
