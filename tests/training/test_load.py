"""The public loader: what it opens, what it gives back, and what it refuses."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, LlamaForSequenceClassification, PreTrainedTokenizerFast

from millbase.artifacts import create_artifact
from millbase.config import Config
from millbase.errors import ArtifactError, InputError
from training.load import load_model, load_reward_model, tokenizer_digest

WORDS = ["<|endoftext|>", "<|im_end|>", "<|pad|>", "[UNK]", "user", "assistant", "yes", "no", "maybe", ":"]
SHAPE: dict[str, Any] = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": 24,
    "initializer_range": 0.5,
}


class Made(Config):
    note: str = "made for a test"


def save_tokenizer(folder: Path, words: list[str]) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers

    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|im_end|>", pad_token="<|pad|>")
    fast.chat_template = "{% for m in messages %}{{ m['role'] }} : {{ m['content'] }} <|im_end|> {% endfor %}"
    fast.save_pretrained(folder)


def save_model(
    folder: Path, kind: Any = LlamaForCausalLM, rows: int = len(WORDS), words: Any = None, **extra: Any
) -> Path:
    torch.manual_seed(0)
    kind(LlamaConfig(vocab_size=rows, pad_token_id=2, **SHAPE, **extra)).save_pretrained(folder)
    save_tokenizer(folder, words or WORDS)
    return folder


def artifact(out: Path, kind: str = "checkpoint", model: Any = LlamaForCausalLM, **extra: Any) -> Path:
    with create_artifact(out, kind=kind, config=Made()) as art:
        save_model(art.path / "hf", model, **extra)
        art.stats.update(stage="test", tokenizer_digest=tokenizer_digest(art.path / "hf"))
    return out


def test_artifact_its_folder_and_a_copy_load_the_same(tmp_path: Path) -> None:
    made = artifact(tmp_path / "made")
    plain = Path(shutil.copytree(made / "hf", tmp_path / "plain"))
    one, two, three = (load_model(path) for path in (made, made / "hf", plain))
    tokens = torch.tensor([[4, 9, 6, 1], [5, 9, 7, 1]])
    assert torch.equal(one.logits(tokens), two.logits(tokens))
    assert torch.equal(one.logits(tokens), three.logits(tokens))
    assert one.digest == two.digest == json.loads((made / "manifest.json").read_text())["digest"]
    assert one.max_length == 24
    assert one.logits(tokens).shape == (2, 4, len(WORDS))
    assert not one.model.training
    assert not one.logits(tokens).requires_grad
    reference = LlamaForCausalLM.from_pretrained(plain)(tokens).logits
    assert torch.allclose(one.logits(tokens), reference, atol=1e-6)


def test_padding_on_either_side_leaves_the_logits(tmp_path: Path) -> None:
    model = load_model(save_model(tmp_path / "m"))
    row = torch.tensor([[4, 9, 6, 1]])
    padding = torch.full((1, 3), 2)
    alone = model.logits(row)
    left = model.logits(torch.cat([padding, row], 1), torch.tensor([[0, 0, 0, 1, 1, 1, 1]]))[:, 3:]
    right = model.logits(torch.cat([row, padding], 1), torch.tensor([[1, 1, 1, 1, 0, 0, 0]]))[:, :4]
    assert torch.allclose(alone, left, atol=1e-5)
    assert torch.allclose(alone, right, atol=1e-5)
    unmasked = model.logits(torch.cat([padding, row], 1))[:, 3:]
    assert not torch.allclose(alone, unmasked, atol=1e-3)


def test_dtype_and_its_check(tmp_path: Path) -> None:
    folder = save_model(tmp_path / "m")
    assert load_model(folder, dtype="bfloat16").model.dtype == torch.bfloat16
    with pytest.raises(InputError, match="'float8': expected one of float32"):
        load_model(folder, dtype="float8")


def test_changed_missing_and_wrong_artifacts_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such checkpoint folder"):
        load_model(tmp_path / "nothing")
    with pytest.raises(InputError, match=r"no config\.json"):
        load_model(tmp_path)
    wrong = artifact(tmp_path / "wrong", kind="reward-model", model=LlamaForSequenceClassification, num_labels=1)
    with pytest.raises(ArtifactError, match="reward-model"):
        load_model(wrong)
    for path in ("", "hf"):
        made = artifact(tmp_path / f"made{path}")
        with (made / "hf" / "config.json").open("a") as file:
            file.write("\n")
        with pytest.raises(ArtifactError, match="changed"):
            load_model(made / path)


def test_a_foreign_tokenizer_is_refused(tmp_path: Path) -> None:
    bigger = save_model(tmp_path / "bigger", words=[*WORDS, "one", "two"])
    with pytest.raises(InputError, match="12 tokens but the model's embedding only 10 rows"):
        load_model(bigger)
    with create_artifact(tmp_path / "made", kind="checkpoint", config=Made()) as art:
        save_model(art.path / "hf")
        art.stats.update(tokenizer_digest=tokenizer_digest(art.path / "hf"))
        save_tokenizer(art.path / "hf", [*WORDS[:-1], "else"])
    with pytest.raises(InputError, match="not the one this checkpoint was trained with"):
        load_model(tmp_path / "made")
    (bigger / "tokenizer.json").unlink()
    with pytest.raises(InputError, match=r"no tokenizer\.json"):
        load_model(bigger)


def test_pickled_weights_are_refused(tmp_path: Path) -> None:
    folder = save_model(tmp_path / "m")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(InputError, match="pickled weights are not read"):
        load_model(folder)


def test_tokenizer_digest_sees_meaning_and_not_layout(tmp_path: Path) -> None:
    save_tokenizer(tmp_path, WORDS)
    before = tokenizer_digest(tmp_path)
    file = tmp_path / "tokenizer.json"
    content = json.loads(file.read_text())
    file.write_text(json.dumps(content | {"padding": {"strategy": "BatchLongest"}}, indent=7))
    assert tokenizer_digest(tmp_path) == before
    content["model"]["vocab"]["yes"], content["model"]["vocab"]["no"] = 7, 6
    file.write_text(json.dumps(content))
    assert tokenizer_digest(tmp_path) != before


def test_rewards_do_not_depend_on_the_batch(tmp_path: Path) -> None:
    model = load_reward_model(
        artifact(tmp_path / "rm", kind="reward-model", model=LlamaForSequenceClassification, num_labels=1)
    )
    talks = [
        [{"role": "user", "content": "yes"}, {"role": "assistant", "content": answer}]
        for answer in ("no", "maybe maybe yes", "yes " * 40)
    ]
    together = model.score(talks)
    alone = [model.score([talk])[0] for talk in talks]
    assert together == pytest.approx(alone, abs=1e-5)
    assert together == pytest.approx(model.score(talks, batch_size=2), abs=1e-5)
    assert len({round(x, 4) for x in together}) == 3
    assert model.score([]) == []
    # by hand: the score head on the last real token
    ids = torch.tensor([model.tokenizer("user : yes <|im_end|> assistant : no <|im_end|>")["input_ids"]])
    with torch.no_grad():
        hidden = model.model.model(ids).last_hidden_state
    assert together[0] == pytest.approx(float(model.model.score(hidden[0, -1])), abs=1e-5)


def test_a_classifier_is_no_reward_model(tmp_path: Path) -> None:
    folder = save_model(tmp_path / "m", LlamaForSequenceClassification, num_labels=3)
    with pytest.raises(InputError, match="3 labels"):
        load_reward_model(folder)
