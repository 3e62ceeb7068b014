"""A tiny random Llama with a tiny byte-level BPE tokenizer, and artifacts in the shapes the stages write."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    LlamaForSequenceClassification,
    PreTrainedTokenizerFast,
)

from millbase.artifacts import create_artifact
from millbase.config import Config
from training.load import LoadedModel, load_model

CONTEXT = 96
PLACES = ["Melk", "Arnor", "Dova", "Quill", "Ruhn", "Sella", "Tarn", "Ovik"]
LANDS = ["Zorland", "Pella", "Wex", "Narvia", "Imber", "Calder", "Ostra", "Yarrow"]
SENTENCES = [f"The capital of {land} is {place}. It lies by the river, é à ü." for land, place in zip(LANDS, PLACES)]
TEMPLATE = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' }}"
    "{% if m['role'] == 'assistant' %}{% generation %}{{ m['content'] + '<|im_end|>' }}{% endgeneration %}{{ '\n' }}"
    "{% else %}{{ m['content'] + '<|im_end|>\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


class MadeByTests(Config):
    """Configuration of hand-made artifacts."""

    name: str
    """What it is."""


def make_tokenizer() -> PreTrainedTokenizerFast:
    specials = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|pad|>"]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=384,
        special_tokens=specials,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(SENTENCES * 3, trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|im_end|>", pad_token="<|pad|>")
    fast.add_special_tokens({"additional_special_tokens": ["<|endoftext|>", "<|im_start|>"]})
    fast.chat_template = TEMPLATE
    return fast


def llama_config(tokenizer: PreTrainedTokenizerFast, **extra: Any) -> LlamaConfig:
    return LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=CONTEXT,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=None,
        tie_word_embeddings=True,
        initializer_range=0.25,  # large, so that a random model has opinions
        **extra,
    )


def save(model: Any, tokenizer: PreTrainedTokenizerFast, out: Path, kind: str, stage: str) -> Path:
    with create_artifact(out, kind=kind, config=MadeByTests(name=out.name)) as artifact:
        model.save_pretrained(artifact.path / "hf")
        tokenizer.save_pretrained(artifact.path / "hf")
        artifact.stats["stage"] = stage
    return out


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerFast:
    return make_tokenizer()


@pytest.fixture(scope="session")
def sentences() -> list[str]:
    return SENTENCES


@pytest.fixture(scope="session")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("shelf")


@pytest.fixture(scope="session")
def checkpoints(shelf: Path, tokenizer: PreTrainedTokenizerFast) -> tuple[Path, Path]:
    """Two random checkpoints of one shape: `(a, b)`."""
    paths = []
    for index, name in enumerate(("a", "b")):
        torch.manual_seed(index)
        model = LlamaForCausalLM(llama_config(tokenizer))
        paths.append(save(model, tokenizer, shelf / name, "checkpoint", "sft"))
    return paths[0], paths[1]


@pytest.fixture(scope="session")
def reward_checkpoint(shelf: Path, tokenizer: PreTrainedTokenizerFast) -> Path:
    torch.manual_seed(7)
    model = LlamaForSequenceClassification(llama_config(tokenizer, num_labels=1))
    return save(model, tokenizer, shelf / "reward", "reward-model", "reward")


@pytest.fixture(scope="session")
def loaded(checkpoints: tuple[Path, Path]) -> LoadedModel:
    return load_model(checkpoints[0], device="cpu")


@pytest.fixture(scope="session")
def other_loaded(checkpoints: tuple[Path, Path]) -> LoadedModel:
    return load_model(checkpoints[1], device="cpu")


@pytest.fixture(scope="session")
def tokens(shelf: Path, tokenizer: PreTrainedTokenizerFast) -> Path:
    """A token artifact: short documents, one longer than the context, one empty."""
    texts = [*SENTENCES, " ".join(SENTENCES[:6]), ""]
    end = tokenizer.convert_tokens_to_ids("<|endoftext|>")
    ids = [[*tokenizer(text, add_special_tokens=False)["input_ids"], end] for text in texts]
    schema = pa.schema(
        [("id", pa.string()), ("source", pa.string()), ("bytes", pa.int64()), ("tokens", pa.large_list(pa.uint16()))]
    )
    rows = [
        pa.array([f"doc-{i}" for i in range(len(texts))]),
        pa.array(["web"] * len(texts)),
        pa.array([len(text.encode()) for text in texts]),
        pa.array(ids, type=pa.large_list(pa.uint16())),
    ]
    counts = [0] * len(tokenizer)
    for row in ids:
        for token in row:
            counts[token] += 1
    out = shelf / "tokens"
    with create_artifact(out, kind="tokens", config=MadeByTests(name="tokens")) as artifact:
        for split in ("train", "heldout"):
            (artifact.path / split).mkdir()
            with pa.ipc.new_file(str(artifact.path / split / "part-00000.arrow"), schema) as writer:
                batch = pa.record_batch(rows, schema=schema)
                writer.write_batch(batch.slice(0, 4))  # two batches: sliced list columns have offsets
                writer.write_batch(batch.slice(4))
        (artifact.path / "unigram.json").write_text(json.dumps({"counts": counts, "tokens": sum(counts)}))
        tokenizer.save_pretrained(artifact.path / "tokenizer")
    return out


def write_jsonl(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def web(shelf: Path) -> Path:
    """Prompts, pairs, a rule and lm-eval tasks as the synthetic web writes them (20 rows each)."""
    root = shelf / "web"
    questions = [
        {"land": LANDS[i % 8], "answer": PLACES[(i * 3) % 8], "question": f"({i}) Name the capital of {LANDS[i % 8]}."}
        for i in range(20)
    ]
    asked = [[{"role": "user", "content": q["question"]}] for q in questions]
    write_jsonl(
        root / "prompts" / "heldout.jsonl",
        [{"prompt": prompt, "answer": q["answer"], "task": "x"} for prompt, q in zip(asked, questions, strict=True)],
    )
    write_jsonl(
        root / "preferences" / "heldout.jsonl",
        [
            {
                "prompt": prompt,
                "chosen": [{"role": "assistant", "content": f"It is {q['answer']}."}],
                "rejected": [{"role": "assistant", "content": "Go away."}],
                "answer": q["answer"],
            }
            for prompt, q in zip(asked, questions, strict=True)
        ],
    )
    rule = {
        "version": 1,
        "correct": {"weight": 2.0, "extract": r"is (\w+)\."},
        "patterns": [{"name": "vowels", "regex": "[aeiou]{2}", "weight": 1.0}],
        "length": {"per_character_over": [10, -0.01]},
    }
    (root / "rule.json").write_text(json.dumps(rule))
    write_tasks(root / "tasks", questions)
    return root


def write_tasks(folder: Path, questions: list[dict[str, Any]]) -> None:
    """A task of each kind of request, with data files named relative to the YAML."""
    rows = [{**question, "choices": PLACES[:4], "label": i % 4} for i, question in enumerate(questions)]
    write_jsonl(folder / "questions.jsonl", rows)
    write_jsonl(folder / "texts.jsonl", [{"text": text} for text in [*SENTENCES, " ".join(SENTENCES[:6])]])
    write_task(
        folder,
        task="facts_mc",
        output_type="multiple_choice",
        dataset_kwargs={"data_files": {"test": "questions.jsonl"}},
        doc_to_text="The capital of {{land}} is",
        doc_to_target="label",
        doc_to_choice="choices",
        metric_list=[metric("acc"), metric("acc_norm")],
    )
    write_task(
        folder,
        task="answers",
        output_type="generate_until",
        dataset_kwargs={"data_files": {"test": "questions.jsonl"}},
        doc_to_text="{{question}}",
        doc_to_target="{{answer}}",
        generation_kwargs={"until": ["\n", "<|im_end|>"], "max_gen_toks": 24, "do_sample": False},
        metric_list=[metric("exact_match")],
    )
    write_task(
        folder,
        task="prose",
        output_type="loglikelihood_rolling",
        dataset_kwargs={"data_files": {"test": "texts.jsonl"}},
        doc_to_text="",
        doc_to_target="{{text}}",
        metric_list=[
            metric("bits_per_byte", "bits_per_byte", False),
            metric("word_perplexity", "weighted_perplexity", False),
        ],
    )


def metric(name: str, aggregation: str = "mean", higher_is_better: bool = True) -> dict[str, Any]:
    return {"metric": name, "aggregation": aggregation, "higher_is_better": higher_is_better}


def write_task(folder: Path, **config: Any) -> Path:
    """A task file; JSON is YAML."""
    common = {"dataset_path": "json", "test_split": "test", "metadata": {"version": 2.0}}
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{config['task']}.yaml"
    path.write_text(json.dumps({**common, **config}))
    return path
