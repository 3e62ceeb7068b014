"""A small world in which all of post-training can be tried in minutes: sums of two two-digit numbers.

    llmill sums --out runs/mine/world

There is a right answer to everything, so every reward can be checked against the truth. Writes a `sums-world` artifact:

    base/                       an untrained Llama of about a million weights with its tokenizer
    pretrain.jsonl              sums as found in the wild, some of them wrong: what the base model is pretrained on
    instructions.jsonl          right answers, for SFT
    prompts/{train,heldout}.jsonl       with `answer`
    preferences/{train,heldout}.jsonl   a right answer over a likely mistake, some labelled the wrong way round
    steps/{train,heldout}.jsonl         with `style: steps`: solutions whose steps are labelled, for `llmill prm`
    rule.json, tasks/sums.yaml          for `llmill evaluate`: win rate by the truth, exact answers

No problem of a held-out file occurs in any other file. With `style: steps` the answers show the working; with `mixed`
some do and some do not, as people's answers, and a small model is far more often right where it does.
"""

from __future__ import annotations

import json
from pathlib import Path
from random import Random
from typing import Any, Literal

import yaml
from pydantic import Field, model_validator

from millbase.artifacts import create_artifact
from millbase.atomic import atomic_write, write_json
from millbase.config import Config
from millbase.seeds import derive_seed

Problem = tuple[int, int]

TEMPLATE = (
    "{%- for message in messages %}{%- if message['role'] == 'assistant' %}"
    "{% generation %}{{- message['content'] + '<|im_end|>' }}{% endgeneration %}"
    "{%- else %}{{- message['content'] }}{%- endif %}{%- endfor %}"
)
"""`12+34=46<|im_end|>`: marks of roles would double the length of such short conversations."""
SPECIAL = ["<|pad|>", "<|im_end|>", "<|endoftext|>"]
SMALLEST = 10
LAST = r"(\d+)\s*$"
"""The number an answer ends with."""


class SumsConfig(Config):
    """The small world of sums."""

    style: Literal["direct", "steps", "mixed"] = "direct"
    """`direct`: 47+38= is answered with 85; `steps`: with 7+8=15 4+3+1=8 85; `mixed`: with one or the other. Of mixed
    preferences, three in four of the right answers show the working, and one in four of the wrong."""
    worked_share: float = Field(default=0.6, gt=0, lt=1)
    """Share of the answers of `mixed` that show the working."""
    largest: int = Field(default=99, ge=39, le=99)
    """Largest summand; the smallest is 10. Fewer problems are learnt faster."""
    heldout: int = Field(default=500, gt=0)
    """Problems that only the held-out files and the task have; at most half of all."""
    pretraining: int = Field(default=6000, gt=0)
    """Rows of pretrain.jsonl, problems drawn with repetition."""
    wrong_share: float = Field(default=0.2, ge=0, lt=1)
    """Share of them with a mistake."""
    instructions: int = Field(default=2000, gt=0)
    """Rows of instructions.jsonl."""
    preferences: int = Field(default=1500, gt=0)
    """Rows of preferences/train.jsonl; the held-out file has a fifth of that."""
    flipped_share: float = Field(default=0.05, ge=0, lt=0.5)
    """Share of the training preferences that are labelled the wrong way round, as people do."""
    hidden_size: int = Field(default=128, gt=0)
    """Width of the base model; a multiple of four heads."""
    layers: int = Field(default=4, gt=0)
    """Its layers."""
    seed: int = Field(default=0, ge=0)
    """Origin of every random choice."""

    @model_validator(mode="after")
    def _check(self) -> SumsConfig:
        if 2 * self.heldout > len(_problems(self)):
            raise ValueError(f"heldout = {self.heldout} is more than half of the {len(_problems(self))} problems")
        return self


def _problems(config: SumsConfig) -> list[Problem]:
    numbers = range(SMALLEST, config.largest + 1)
    return [(a, b) for a in numbers for b in numbers]


def build_sums(config: SumsConfig, out: str | Path) -> Path:
    """Write the `sums-world` artifact `out`."""
    with create_artifact(out, kind="sums-world", config=config, seed=config.seed) as artifact:
        folder = artifact.path
        _write_data(config, folder)
        _write_model(config, folder / "base")
        artifact.stats.update(problems=len(_problems(config)), heldout=config.heldout)
    return Path(out)


def answer(problem: Problem, style: str, total: int | None = None) -> str:
    """The answer text; `total`: a wrong sum to state at the end."""
    a, b = problem
    total = a + b if total is None else total
    if style == "direct":
        return str(total)
    return " ".join([*working(problem), str(total)])


def working(problem: Problem) -> list[str]:
    """The two sums of digits: ones, and tens with the carry."""
    a, b = problem
    ones = a % 10 + b % 10
    carry = "+1" if ones > 9 else ""
    return [f"{a % 10}+{b % 10}={ones}", f"{a // 10}+{b // 10}{carry}={a // 10 + b // 10 + ones // 10}"]


def mistake(problem: Problem, random: Random) -> int:
    """A wrong sum of the kind people and small models write: a carry lost, a digit off."""
    a, b = problem
    likely = [a + b + error for error in (-10, 10, -1, 1, -2, 2, -20)]
    lost = a + b - 10 if a % 10 + b % 10 > 9 else a + b + 10
    return random.choice([lost, lost, *[total for total in likely if total > 0]])


def _write_data(config: SumsConfig, folder: Path) -> None:
    problems = _problems(config)
    Random(derive_seed(config.seed, "split")).shuffle(problems)
    heldout, training = problems[: config.heldout], problems[config.heldout :]
    random = Random(derive_seed(config.seed, "rows"))
    wild = [random.choice(training) for _ in range(config.pretraining)]
    _write(folder / "pretrain.jsonl", [_conversation(p, config, random, config.wrong_share) for p in wild])
    taught = random.choices(training, k=config.instructions)
    _write(folder / "instructions.jsonl", [_conversation(p, config, random, 0.0) for p in taught])
    compared = random.choices(training, k=config.preferences)
    pairs = [_pair(p, config, random, config.flipped_share) for p in compared]
    _write(folder / "preferences" / "train.jsonl", pairs)
    unseen = [random.choice(heldout) for _ in range(max(1, config.preferences // 5))]
    _write(folder / "preferences" / "heldout.jsonl", [_pair(p, config, random, 0.0) for p in unseen])
    for name, part in (("train", training), ("heldout", heldout)):
        _write(folder / "prompts" / f"{name}.jsonl", [{"prompt": _ask(p), "answer": str(sum(p))} for p in part])
    if config.style != "direct":
        labelled = Random(derive_seed(config.seed, "steps"))
        for name, part in (("train", compared), ("heldout", unseen)):
            _write(folder / "steps" / f"{name}.jsonl", [_steps(p, labelled) for p in part])
    write_json(folder / "rule.json", {"version": 1, "correct": {"weight": 1.0, "extract": LAST}})
    _write_task(folder / "tasks", heldout)


def _ask(problem: Problem) -> list[dict[str, str]]:
    return [{"role": "user", "content": f"{problem[0]}+{problem[1]}="}]


def _conversation(problem: Problem, config: SumsConfig, random: Random, wrong_share: float) -> dict[str, Any]:
    total = mistake(problem, random) if random.random() < wrong_share else None
    said = answer(problem, _style(config, random, config.worked_share), total)
    return {"messages": [*_ask(problem), {"role": "assistant", "content": said}]}


def _style(config: SumsConfig, random: Random, worked: float) -> str:
    """The style of one answer; of `mixed`, `worked` is the share that shows the working."""
    if config.style != "mixed":
        return config.style
    return "steps" if random.random() < worked else "direct"


def _pair(problem: Problem, config: SumsConfig, random: Random, flipped_share: float) -> dict[str, Any]:
    right = answer(problem, _style(config, random, 0.75))
    sides = [right, answer(problem, _style(config, random, 0.25), mistake(problem, random))]
    if random.random() < flipped_share:
        sides.reverse()
    chosen, rejected = ([{"role": "assistant", "content": side}] for side in sides)
    return {"prompt": _ask(problem), "chosen": chosen, "rejected": rejected}


def _steps(problem: Problem, random: Random) -> dict[str, Any]:
    """A solution in steps; in two of three some step goes wrong, and with it all that follow."""
    steps = [*working(problem), str(sum(problem))]
    labels = [True] * len(steps)
    broken = random.choice([None, *range(len(steps)), *range(len(steps))])
    if broken is not None:
        head, equals, value = steps[broken].rpartition("=")
        steps[broken] = f"{head}{equals}{max(0, int(value) + random.choice([-2, -1, 1, 2, 10]))}"
        labels = [place < broken for place in range(len(steps))]
    return {"prompt": _ask(problem), "completions": steps, "labels": labels}


def _write_task(folder: Path, problems: list[Problem]) -> None:
    """An lm-eval task: the greedy answer's last number is the right sum."""
    _write(folder / "sums.jsonl", [{"question": f"{a}+{b}=", "answer": str(a + b)} for a, b in problems])
    task = {
        "task": "sums",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": "sums.jsonl"}},
        "test_split": "test",
        "num_fewshot": 0,
        "output_type": "generate_until",
        "doc_to_text": "{{question}}",
        "doc_to_target": "{{answer}}",
        "generation_kwargs": {"until": ["<|im_end|>"], "do_sample": False, "max_gen_toks": 32},
        "filter_list": [
            {"name": "last", "filter": [{"function": "regex", "regex_pattern": LAST}, {"function": "take_first"}]}
        ],
        "metric_list": [{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}],
        "metadata": {"version": 1.0},
    }
    with atomic_write(folder / "sums.yaml") as file:
        yaml.safe_dump(task, file, sort_keys=False)


def _write(path: Path, rows: list[dict[str, Any]]) -> None:
    with atomic_write(path) as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)


def _write_model(config: SumsConfig, folder: Path) -> None:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    words = _tokenizer()
    shape = LlamaConfig(
        vocab_size=len(words),
        hidden_size=config.hidden_size,
        intermediate_size=4 * config.hidden_size,
        num_hidden_layers=config.layers,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=128,
        pad_token_id=words.pad_token_id,
        eos_token_id=words.eos_token_id,
        bos_token_id=None,
        tie_word_embeddings=True,
        # 0.02 is for models ten times as wide
        initializer_range=0.06,
    )
    with torch.random.fork_rng():
        torch.manual_seed(derive_seed(config.seed, "weights"))
        model = LlamaForCausalLM(shape)
    model.save_pretrained(folder)
    words.save_pretrained(folder)


def _tokenizer() -> Any:
    """Bytes as tokens, and a chat template that marks the assistant's."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: number for number, token in enumerate([*SPECIAL, *letters])}
    bpe = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    made = PreTrainedTokenizerFast(tokenizer_object=bpe, pad_token=SPECIAL[0], eos_token=SPECIAL[1])
    made.chat_template = TEMPLATE
    return made
