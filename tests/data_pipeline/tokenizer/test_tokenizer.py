"""The tokenizer: lossless, loads everywhere, the chat template's spans are exact, and training is deterministic."""

import gzip
import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer, LlamaConfig

from data_pipeline.tokenizer import TokenizerConfig, train_tokenizer
from millbase.artifacts import create_artifact, open_artifact
from millbase.config import load_config
from millbase.errors import ArtifactError, ConfigError, InputError

WORDS = ["the", "capital", "of", "Zorland", "is", "Melk", "river", "flows", "12", "miles", "7", "old", "towns", "hello"]
SIZE = 320


@pytest.fixture(scope="module")
def chats(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = random.Random(0)
    path = tmp_path_factory.mktemp("texts") / "chats.jsonl"
    with path.open("w") as file:
        for _ in range(600):
            sentences = [" ".join(rng.choices(WORDS, k=12)) + "." for _ in range(2)]
            roles = ("user", "assistant")
            messages = [{"role": role, "content": text} for role, text in zip(roles, sentences, strict=True)]
            file.write(json.dumps({"messages": messages}) + "\n")
    return path


def config(chats: Path, **fields: Any) -> TokenizerConfig:
    values = {"texts": [{"path": str(chats), "field": "messages"}], "vocab_size": SIZE} | fields
    return load_config(TokenizerConfig, values)


@pytest.fixture(scope="module")
def artifact(chats: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_tokenizer(config(chats), tmp_path_factory.mktemp("tokenizer") / "tokenizer")


@pytest.fixture(scope="module")
def tokenizer(artifact: Path) -> Any:
    return AutoTokenizer.from_pretrained(artifact)


@settings(max_examples=400, deadline=None)
@given(st.text(st.characters(codec="utf-8")))
def test_any_text_survives(tokenizer: Any, text: str) -> None:
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


AWKWARD = [
    "",
    " ",
    "\n\n  x\t\r\n",
    "हिन्दी ไทย العربية",
    "👩\u200d👩\u200d👧 e\u0301 \u0000\uffff\U0010ffff",
    "don't  , . ! 'S",
    "<|im_end|>",
]


@pytest.mark.parametrize("text", [*AWKWARD, "a" * 5000])
def test_awkward_texts_survive(tokenizer: Any, text: str) -> None:
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


def test_every_byte_is_a_token(tokenizer: Any) -> None:
    vocabulary = tokenizer.get_vocab()
    assert sorted(vocabulary.values()) == list(range(SIZE))
    assert sum(len(token) == 1 for token in vocabulary) == 256


def test_digits_stand_alone(tokenizer: Any) -> None:
    tokens = tokenizer.convert_ids_to_tokens(tokenizer("in 1234 and 12.5x7 12")["input_ids"])
    digits = [token for token in tokens if any(character.isdigit() for character in token)]
    assert digits == list("1234") + list("12") + list("5") + list("7") + list("12")


def test_nothing_is_added_on_encoding(tokenizer: Any) -> None:
    ids = tokenizer("the capital")["input_ids"]
    assert not set(ids) & set(tokenizer.all_special_ids)
    assert ids == tokenizer("the capital", add_special_tokens=False)["input_ids"]
    assert (
        tokenizer.build_inputs_with_special_tokens(ids) == ids
        if hasattr(tokenizer, "build_inputs_with_special_tokens")
        else True
    )


def test_special_tokens(tokenizer: Any) -> None:
    assert tokenizer.convert_tokens_to_ids(["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|pad|>"]) == [0, 1, 2, 3]
    assert (tokenizer.bos_token, tokenizer.eos_token, tokenizer.pad_token) == ("<|endoftext|>", "<|im_end|>", "<|pad|>")
    assert tokenizer.unk_token is None


CHAT = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "What is the capital of Zorland?"},
    {"role": "assistant", "content": "The capital is Melk.\nIt lies on a river."},
    {"role": "user", "content": [{"type": "text", "text": "And "}, {"type": "text", "text": "then?"}]},
    {"role": "assistant", "content": "\n  - Hello!\n"},
]


def test_chat_text(tokenizer: Any) -> None:
    assert tokenizer.apply_chat_template(CHAT, tokenize=False) == (
        "<|im_start|>system\nBe brief.<|im_end|>\n"
        "<|im_start|>user\nWhat is the capital of Zorland?<|im_end|>\n"
        "<|im_start|>assistant\nThe capital is Melk.\nIt lies on a river.<|im_end|>\n"
        "<|im_start|>user\nAnd then?<|im_end|>\n"
        "<|im_start|>assistant\n- Hello!<|im_end|>\n"
    )


def test_assistant_mask_is_content_and_end_of_turn(tokenizer: Any) -> None:
    encoded = tokenizer.apply_chat_template(CHAT, return_assistant_tokens_mask=True, return_dict=True)
    spans: list[list[int]] = [[]]
    for token, marked in zip(encoded["input_ids"], encoded["assistant_masks"], strict=True):
        if marked:
            spans[-1].append(token)
        elif spans[-1]:
            spans.append([])
    texts = [tokenizer.decode(span) for span in spans if span]
    assert texts == ["The capital is Melk.\nIt lies on a river.<|im_end|>", "- Hello!<|im_end|>"]


def test_prompt_tokens_are_a_prefix_of_the_chat(tokenizer: Any) -> None:
    for content in ("Melk", "\nMelk", " \n\n x", "1", "'s", "", "- a\n- b"):
        chat = [*CHAT[:2], {"role": "assistant", "content": content}]
        prompt = tokenizer.apply_chat_template(CHAT[:2], add_generation_prompt=True, return_dict=True)["input_ids"]
        whole = tokenizer.apply_chat_template(chat, return_dict=True)["input_ids"]
        assert whole[: len(prompt)] == prompt, repr(content)


def test_role_names_are_single_tokens(tokenizer: Any) -> None:
    assert [len(tokenizer(role)["input_ids"]) for role in ("user", "assistant")] == [1, 1]


def test_unknown_role_is_refused(tokenizer: Any) -> None:
    with pytest.raises(Exception, match="unknown role robot"):
        tokenizer.apply_chat_template([{"role": "robot", "content": "x"}], tokenize=False)


def test_loads_beside_a_model_and_survives_saving(artifact: Path, tokenizer: Any, tmp_path: Path) -> None:
    """In a model's directory AutoTokenizer also sees the architecture, which must not replace our splitting."""
    LlamaConfig(vocab_size=SIZE).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path)
    text = "  It's 1234 miles\n\nto Melk"
    assert again(text)["input_ids"] == tokenizer(text)["input_ids"]
    assert again.apply_chat_template(CHAT, tokenize=False) == tokenizer.apply_chat_template(CHAT, tokenize=False)
    assert (tmp_path / "tokenizer.json").read_bytes() == (artifact / "tokenizer.json").read_bytes()


def test_training_is_byte_identical_for_any_threads_and_order(chats: Path, artifact: Path, tmp_path: Path) -> None:
    lines = chats.read_text().splitlines(keepends=True)
    (tmp_path / "b.jsonl").write_text("".join(reversed(lines[:200])))
    (tmp_path / "a.jsonl").write_text("".join(lines[200:]))
    code = (
        "import sys; from data_pipeline.tokenizer import *; from data_pipeline.texts import TextSource;"
        "texts = [TextSource(path=sys.argv[1], field='messages')];"
        "train_tokenizer(TokenizerConfig(texts=texts, vocab_size=320), sys.argv[2])"
    )
    for threads, pattern in (("1", str(chats)), ("4", str(tmp_path / "*.jsonl"))):
        out = tmp_path / f"threads{threads}"
        environment = {**os.environ, "RAYON_NUM_THREADS": threads, "PYTHONHASHSEED": threads}
        command = [sys.executable, "-c", code, pattern, str(out)]
        subprocess.run(command, env=environment, check=True, capture_output=True)
        for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
            assert (out / name).read_bytes() == (artifact / name).read_bytes(), (threads, name)


def test_stats(artifact: Path) -> None:
    stats = open_artifact(artifact, kind="tokenizer").stats
    assert stats["vocab_size"] == SIZE and stats["bytes"] > 10_000


def test_empty_texts_are_an_error(tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").write_text('{"messages": []}\n\n')
    with pytest.raises(InputError, match="are empty"):
        train_tokenizer(config(tmp_path / "empty.jsonl"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_wrong_field_is_named(chats: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no key 'text', only 'messages'"):
        train_tokenizer(config(chats, texts=[{"path": str(chats)}]), tmp_path / "out")


def test_config_errors(chats: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nothing to learn from"):
        load_config(TokenizerConfig, {})
    with pytest.raises(ConfigError, match="vocab_size = 100"):
        config(chats, vocab_size=100)
    (tmp_path / "plain.jinja").write_text("{{ messages }}")
    with pytest.raises(ConfigError, match=r"no \{% generation %\} block"):
        train_tokenizer(config(chats, chat_template=str(tmp_path / "plain.jinja")), tmp_path / "out")
    with pytest.raises(ArtifactError, match="does not exist"):
        train_tokenizer(config(chats, corpus=str(tmp_path / "none")), tmp_path / "out")


def test_own_template_and_special_tokens(chats: Path, tmp_path: Path) -> None:
    template = "{% for m in messages %}[{% generation %}{{ m['content'] }}{% endgeneration %}]{% endfor %}"
    (tmp_path / "mine.jinja").write_text(template)
    fields = {"chat_template": str(tmp_path / "mine.jinja"), "extra_special_tokens": ["<|tool|>"]}
    loaded = AutoTokenizer.from_pretrained(train_tokenizer(config(chats, **fields), tmp_path / "out"))
    assert loaded.apply_chat_template(CHAT[:1], tokenize=False) == "[Be brief.]"
    assert loaded("<|tool|>")["input_ids"] == [4]


def test_real_text_compresses_like_a_published_tokenizer(real_data: Path, tmp_path: Path) -> None:
    """Bytes per token on held-out books, beside plain BPE of the same size by the library's own byte-level recipe."""
    from tokenizers import ByteLevelBPETokenizer

    with gzip.open(real_data / "text" / "classic_books_en.jsonl.gz", "rt") as lines:
        books = [json.loads(line)["text"][:40_000] for line in lines]
    train, heldout = books[::2], "".join(books[1::4])
    (tmp_path / "books.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in train))
    fields = {"texts": [{"path": str(tmp_path / "books.jsonl")}], "vocab_size": 4096}
    ours = AutoTokenizer.from_pretrained(train_tokenizer(config(tmp_path, **fields), tmp_path / "out"))
    peer = ByteLevelBPETokenizer()
    peer.train_from_iterator(train, vocab_size=4096, show_progress=False)
    ratio = len(ours(heldout)["input_ids"]) / len(peer.encode(heldout).ids)
    assert ratio < 1.03


def write_corpus(path: Path, texts: dict[str, str]) -> Path:
    table = pa.table({"id": list(texts), "text": list(texts.values())})
    with create_artifact(path, kind="corpus", config=TokenizerConfig(corpus="x")) as artifact:
        (artifact.path / "data").mkdir(exist_ok=True)
        with pa.ipc.new_file(str(artifact.path / "data" / "shard-00000.arrow"), table.schema) as writer:
            writer.write_table(table, max_chunksize=100)
    return path


def test_learns_from_a_share_of_the_corpus_chosen_by_id(tmp_path: Path) -> None:
    rng = random.Random(1)
    texts = {f"doc-{index}": " ".join(rng.choices(WORDS, k=20)) for index in range(1000)}
    size = sum(len(text) for text in texts.values())
    corpus = write_corpus(tmp_path / "corpus", texts)
    shuffled = write_corpus(tmp_path / "shuffled", dict(rng.sample(list(texts.items()), len(texts))))
    built = []
    for number, path in enumerate((corpus, shuffled)):
        fields = {"corpus": str(path), "max_bytes": size // 4, "vocab_size": 280}
        out = train_tokenizer(load_config(TokenizerConfig, fields), tmp_path / f"out{number}")
        assert open_artifact(out).stats["bytes"] == pytest.approx(size / 4, rel=0.15)
        built.append((out / "tokenizer.json").read_bytes())
    assert built[0] == built[1], "the order of documents does not matter"


def test_empty_corpus_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    corpus = write_corpus(tmp_path / "x" / "corpus", {"a": ""})
    with pytest.raises(InputError, match="are empty"):
        train_tokenizer(load_config(TokenizerConfig, {"corpus": str(corpus)}), tmp_path / "out")
