"""Chat: turns are kept whole, answers stream, mistakes are one line. The model is tiny and untrained."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from llmill.chat.conversation import ChatOptions, Conversation, Message
from millbase.errors import ConfigError, InputError

TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def _count(messages: list[Message]) -> int:
    return sum(len(message["content"]) for message in messages)


def _conversation() -> Conversation:
    conversation = Conversation("S")
    for question, answer in (("aaaa", "bbbb"), ("cc", "dd")):
        conversation.ask(question)
        conversation.answer(answer)
    conversation.ask("ee")
    return conversation


@pytest.mark.parametrize(
    ("room", "expected", "dropped"),
    [(15, "Saaaabbbbccddee", 0), (14, "Sccddee", 1), (7, "Sccddee", 1), (6, "See", 2), (3, "See", 2)],
)
def test_oldest_whole_turns_are_left_out(room: int, expected: str, dropped: int) -> None:
    messages, left_out = _conversation().visible(_count, room)
    assert ("".join(message["content"] for message in messages), left_out) == (expected, dropped)


def test_newest_message_that_does_not_fit_is_an_error() -> None:
    with pytest.raises(InputError, match=r"has 3 tokens with its template, the model has room for 2; shorten it"):
        _conversation().visible(_count, 2)


def test_reset_keeps_the_system_message() -> None:
    conversation = _conversation()
    conversation.reset()
    conversation.ask("x")
    assert conversation.visible(_count, 10)[0] == [
        {"role": "system", "content": "S"},
        {"role": "user", "content": "x"},
    ]
    conversation.take_back()
    assert conversation.messages == []


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Hugging Face folder with a random model of byte tokens and a chat template."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("chat") / "model"
    vocabulary = {symbol: index for index, symbol in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    raw = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, eos_token="<|im_end|>", pad_token="<|pad|>")
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>"]})
    tokenizer.chat_template = TEMPLATE
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), max_position_embeddings=128, **sizes))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def piped(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    def give(text: str) -> None:
        monkeypatch.setattr(sys, "stdin", io.StringIO(text))

    yield give


def _options(**changes: Any) -> ChatOptions:
    return ChatOptions(**({"temperature": 1.0, "max_new_tokens": 12} | changes))


def test_one_prompt_streams_one_answer_and_seeds_decide(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from llmill.chat import start

    answers = []
    for seed in (1, 1, 2):
        start(checkpoint, _options(seed=seed), prompt="hello")
        answers.append(capsys.readouterr().out)
    assert answers[0] == answers[1] != answers[2]
    assert answers[0].endswith("\n") and "<|im_end|>" not in answers[0]


def test_answer_comes_in_pieces(checkpoint: Path) -> None:
    from llmill.chat.generate import ChatModel

    model = ChatModel(checkpoint)
    pieces: list[str] = []
    text = model.reply(model.encode([{"role": "user", "content": "hi"}]), _options(max_new_tokens=40), pieces.append)
    assert "".join(pieces).strip() == text and len(pieces) > 2


def test_piped_lines_are_turns_of_one_conversation(
    checkpoint: Path, piped: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    from llmill.chat import start

    piped("hello\n\n/temperature 0\nagain\n/system Be brief.\nhow\n/quit\nnever\n")
    start(checkpoint, _options())
    shown = capsys.readouterr()
    assert "temperature 0" in shown.err and "system message: Be brief." in shown.err
    assert ">" not in shown.err, "no prompt on a pipe"


def test_long_conversations_go_on(checkpoint: Path, piped: Any, capsys: pytest.CaptureFixture[str]) -> None:
    from llmill.chat import start

    piped("\n".join(["a question of some length"] * 4))
    start(checkpoint, _options())
    assert "no longer fit the context" in capsys.readouterr().err


def test_mistakes_are_one_clear_line(checkpoint: Path, piped: Any, tmp_path: Path) -> None:
    from llmill.chat import start

    with pytest.raises(InputError, match="shorten it"):
        start(checkpoint, _options(), prompt="x" * 300)
    piped("/temperature hot\n")
    with pytest.raises(ConfigError, match="temperature 'hot': expected a number from 0 to 10"):
        start(checkpoint, _options())
    piped("/rest\n")
    with pytest.raises(ConfigError, match="unknown command /rest"):
        start(checkpoint, _options())
    with pytest.raises(InputError, match="no such checkpoint folder"):
        start(tmp_path / "nothing", _options(), prompt="x")


def test_base_model_without_template_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    import shutil

    from llmill.chat import start

    base = tmp_path / "base"
    shutil.copytree(checkpoint, base)
    (base / "chat_template.jinja").unlink()
    with pytest.raises(InputError, match="is not a chat model: it has no chat template; give an SFT, DPO or PPO"):
        start(base, _options(), prompt="x")
