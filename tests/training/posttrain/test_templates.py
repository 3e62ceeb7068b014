"""Chat templates by name: text against the originals that TRL ships, and exactly the assistant's tokens trained on."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import trl
from transformers import AutoTokenizer

from data_pipeline.tokenizer.chat import CHAT_TEMPLATE
from millbase.artifacts import open_artifact
from millbase.errors import InputError
from training.load import load_model
from training.posttrain.encode import IGNORED, ChatEncoder
from training.posttrain.sft import SftConfig, train_sft
from training.posttrain.templates import ENDS, NAMES, template_text, use_template

from .conftest import assistant, build_model, save_model, small_run, user

EXTRA = ["<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]
SYSTEM = [{"role": "system", "content": "be big"}]
CONVERSATIONS = [
    user("what is 1 plus 2") + assistant("3"),
    SYSTEM + user("what is 1 plus 2") + assistant("3 is the sum") + user("and 4") + assistant("7") + user("plus 1")
    + assistant("8 is\n\n### Response"),
]  # fmt: skip


@pytest.fixture(scope="module")
def rich(tokenizer: Any) -> Any:
    """The tests' tokenizer with every special token that a template of ours writes."""
    other = copy.deepcopy(tokenizer)
    other.add_special_tokens({"additional_special_tokens": [*EXTRA, "<|endoftext|>", "<|im_start|>"]})
    other.bos_token = "<|begin_of_text|>"
    return other


def with_template(rich: Any, name: str) -> Any:
    other = copy.deepcopy(rich)
    use_template(other, name)
    return other


@pytest.mark.parametrize("conversation", CONVERSATIONS, ids=["one turn", "three turns"])
@pytest.mark.parametrize("name", NAMES)
def test_trained_tokens_are_the_assistants_once_a_turn(name: str, conversation: Any, rich: Any) -> None:
    tokenizer = with_template(rich, name)
    end = ENDS.get(name, tokenizer.eos_token)
    row = ChatEncoder(tokenizer, 512).instruction({"messages": conversation})
    labels, answers = row["labels"], [m["content"] for m in conversation if m["role"] == "assistant"]
    runs: list[list[int]] = []
    for place, label in enumerate(labels):
        if label != IGNORED:
            if labels[place - 1] == IGNORED:
                runs.append([])
            runs[-1].append(label)
    assert [tokenizer.decode(run) for run in runs] == [answer + end for answer in answers]
    assert sum(label == tokenizer.convert_tokens_to_ids(end) for label in labels) == len(answers)
    # every answer stands after what the model would be asked with: the conversation split into one row an answer, each
    # with the loss on its last, has the same tokens before the same labels
    for place, message in enumerate(conversation):
        if message["role"] == "assistant":
            pair = {"prompt": conversation[:place], "chosen": [message], "rejected": assistant("other")}
            split = ChatEncoder(tokenizer, 512).pair(pair)
            before, after = len(split["prompt_ids"]), len(split["prompt_ids"] + split["chosen_ids"])
            assert row["input_ids"][:after] == split["prompt_ids"] + split["chosen_ids"]
            assert labels[before:after] == split["chosen_ids"] and labels[before - 1] == IGNORED


@pytest.mark.parametrize(("name", "original"), [("llama3", "llama3.jinja"), ("qwen", "qwen2_5.jinja")])
def test_text_is_the_originals(name: str, original: str, rich: Any) -> None:
    text = (Path(trl.__file__).parent / "chat_templates" / original).read_text(encoding="utf-8")
    for conversation in CONVERSATIONS:
        for prompt in (False, True):
            messages = conversation[:-1] if prompt else conversation
            theirs = rich.apply_chat_template(
                messages, chat_template=text, tokenize=False, add_generation_prompt=prompt
            )
            ours = with_template(rich, name).apply_chat_template(messages, tokenize=False, add_generation_prompt=prompt)
            assert ours == theirs


def test_qwen_wraps_tool_responses_as_the_original_does(rich: Any) -> None:
    text = (Path(trl.__file__).parent / "chat_templates" / "qwen2_5.jinja").read_text(encoding="utf-8")
    tools = [{"role": "tool", "content": "3"}, {"role": "tool", "content": "4"}]
    messages = user("what is 1 plus 2") + assistant("answer") + tools + assistant("3")
    theirs = rich.apply_chat_template(messages, chat_template=text, tokenize=False)
    assert with_template(rich, "qwen").apply_chat_template(messages, tokenize=False) == theirs


def test_alpaca_is_the_published_prompt(rich: Any) -> None:
    text = with_template(rich, "alpaca").apply_chat_template(CONVERSATIONS[0], tokenize=False)
    assert text == (
        "Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n"
        "### Instruction:\nwhat is 1 plus 2\n\n### Response:\n3<|im_end|>\n\n"
    )


def test_chatml_is_the_template_of_our_tokenizers() -> None:
    assert template_text("chatml") == CHAT_TEMPLATE


def test_what_a_tokenizer_lacks_is_named(tokenizer: Any, rich: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"needs <\|begin_of_text|<\|end_header_id\|>, <\|eot_id\|>.*extra_special"):
        use_template(copy.deepcopy(tokenizer), "llama3")
    without = copy.deepcopy(rich)
    without.eos_token = None
    with pytest.raises(InputError, match="needs an end-of-text token"):
        use_template(without, "alpaca")
    with pytest.raises(InputError, match="'chatlm' is neither one of chatml, llama3, qwen, alpaca nor a file"):
        use_template(copy.deepcopy(rich), "chatlm")
    plain = tmp_path / "plain.jinja"
    plain.write_text("{{ messages[0]['content'] }}")
    other = copy.deepcopy(rich)
    use_template(other, str(plain))
    with pytest.raises(InputError, match="marks no assistant spans"):
        ChatEncoder(other, 64)
    same = with_template(rich, "alpaca")
    same.pad_token = same.eos_token
    with pytest.raises(InputError, match="must be set and differ from the end-of-turn token"):
        ChatEncoder(same, 64)


def test_a_stage_trains_with_a_template_and_saves_it(rich: Any, instructions: Path, tmp_path: Path) -> None:
    start = save_model(tmp_path / "start", build_model(rich), rich)
    settings = small_run(start, instructions, max_steps=1, save_every=1)
    out = train_sft(SftConfig(**settings, chat_template="llama3"), tmp_path / "sft")
    loaded = load_model(out)
    assert loaded.tokenizer.chat_template == template_text("llama3")
    assert loaded.tokenizer.eos_token == "<|eot_id|>"
    ends = loaded.model.generation_config.eos_token_id
    assert loaded.tokenizer.convert_tokens_to_ids("<|eot_id|>") in ends
    own = tmp_path / "own.jinja"
    own.write_text(template_text("chatml"))
    out = train_sft(SftConfig(**settings, chat_template=str(own)), tmp_path / "own")
    assert "chat_template" in open_artifact(out).inputs
    assert AutoTokenizer.from_pretrained(out / "hf").chat_template == template_text("chatml")
