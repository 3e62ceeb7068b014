"""Reward sources and the normaliser."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForSequenceClassification, PreTrainedTokenizerFast

from millbase.errors import ConfigError, InputError, StageError
from training.posttrain.ppo.config import RewardConfig
from training.posttrain.ppo.prompts import Prompt
from training.posttrain.ppo.rewards import FunctionReward, ScoreNormalizer, find_function, load_sources
from training.posttrain.ppo.trainer import PpoTrainer

PROMPTS = [Prompt([{"role": "user", "content": f"what is {n}"}], [1] * (n + 1), {"answer": str(n)}) for n in range(4)]
TEXTS = ["it is 0", "2", "", "three is 3 please"]


def test_functions_get_prompts_completions_and_columns() -> None:
    seen: dict[str, Any] = {}

    def reward(prompts: Any, completions: Any, answer: list[str]) -> list[float]:
        seen.update(prompts=prompts, completions=completions)
        return [float(a in c[0]["content"]) for c, a in zip(completions, answer, strict=True)]

    assert FunctionReward("reward", reward, 1.0).score(PROMPTS, TEXTS) == [1, 0, 0, 1]
    assert seen["prompts"][1] == [{"role": "user", "content": "what is 1"}]
    assert seen["completions"][3] == [{"role": "assistant", "content": "three is 3 please"}]


@pytest.mark.parametrize(
    ("name", "message"),
    [("broken", "1 numbers for 4 completions"), ("infinite", "finite"), ("digits", "failed: .*answer")],
)
def test_bad_functions_are_named(rewards_file: Path, name: str, message: str) -> None:
    source = FunctionReward(name, find_function(f"{rewards_file}:{name}"), 1.0)
    prompts = [Prompt(p.messages, p.tokens, {}) for p in PROMPTS]
    with pytest.raises(StageError, match=f"{name}.*{message}"):
        source.score(prompts, TEXTS)


@pytest.mark.parametrize("reference", ["nofunction", "no.such.module:f", "math:nothing", "math:pi", "missing.py:f"])
def test_functions_that_cannot_be_found(reference: str) -> None:
    with pytest.raises(ConfigError, match=reference):
        find_function(reference)


def test_verifiable_rewards_are_sources_too(make_trainer: Callable[..., PpoTrainer]) -> None:
    verifiable = "reward.verifiable=[{check: numeric, weight: 2.0}]"
    trainer = make_trainer(verifiable)
    letters, numeric = trainer.maker.sources
    prompts = trainer.prompts.prompts[:2]
    answers = [str(prompt.columns["answer"]) for prompt in prompts]
    assert (numeric.weight, numeric.score(prompts, [answers[0], "no"])) == (2.0, [1.0, 0.0])
    rollout = trainer.maker.make(0, 0.1)
    expected = torch.tensor(rollout.source_scores[letters.name]) + 2 * torch.tensor(rollout.source_scores[numeric.name])
    torch.testing.assert_close(rollout.scores, expected)
    with pytest.raises(InputError, match="reads the column 'solution'"):
        make_trainer("reward.verifiable=[{check: numeric, column: solution}]")


def test_no_source_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"set reward\.model, reward\.functions"):
        RewardConfig()
    with pytest.raises(ValueError, match="2 numbers for 1 functions"):
        RewardConfig(functions=["a:b"], function_weights=[1, 2])


def test_reward_model_scores_equal_its_own_score(reward_folder: Path) -> None:
    (source,) = load_sources(RewardConfig(model=str(reward_folder), batch_size=3), torch.device("cpu"))
    scores = source.score(PROMPTS, TEXTS)
    for prompt, text, score in zip(PROMPTS, TEXTS, scores, strict=True):
        (alone,) = source.model.score([[*prompt.messages, {"role": "assistant", "content": text}]])  # type: ignore[attr-defined]
        assert score == pytest.approx(alone, abs=1e-5)
    assert len(set(scores)) == 4


def test_reward_model_with_another_tokenizer(tmp_path: Path) -> None:
    """A character tokenizer and a template of its own: the text is rendered and encoded anew."""
    characters = sorted(set("abcdefghijklmnopqrstuvwxyz0123456789 :|"))
    vocabulary = {"<pad>": 0, "<unk>": 1, **{c: i + 2 for i, c in enumerate(characters)}}
    raw = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    raw.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    raw.decoder = decoders.Fuse()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, pad_token="<pad>", unk_token="<unk>")
    tokenizer.chat_template = "{% for m in messages %}{{ m['role'][0] + ':' + m['content'] + '|' }}{% endfor %}"
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(vocabulary), hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2
    )
    config.num_labels, config.pad_token_id = 1, 0
    model = LlamaForSequenceClassification(config).eval()
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    (source,) = load_sources(RewardConfig(model=str(tmp_path)), torch.device("cpu"))
    scores = source.score(PROMPTS, TEXTS)
    for prompt, text, score in zip(PROMPTS, TEXTS, scores, strict=True):
        rendered = f"u:{prompt.messages[0]['content']}|a:{text}|"
        ids = torch.tensor([[vocabulary[c] for c in rendered]])
        with torch.no_grad():
            hidden = model.model(input_ids=ids).last_hidden_state[0, -1]
            assert score == pytest.approx(float(model.score(hidden)), abs=1e-5)


def test_reference_statistics_are_frozen_after_the_first_batch() -> None:
    normalize = ScoreNormalizer("reference", clip=None)
    first = torch.tensor([1.0, 2.0, 3.0, 6.0])
    white = normalize(first)
    assert float(white.mean()) == pytest.approx(0, abs=1e-6)
    assert float(white.std(correction=0)) == pytest.approx(1)
    assert normalize(first + 10).tolist() == pytest.approx(
        (white + 10 / float(first.std(correction=0))).tolist(), abs=1e-5
    )


def test_running_statistics_equal_those_of_all_scores() -> None:
    normalize = ScoreNormalizer("running", clip=None)
    torch.manual_seed(0)
    batches = [torch.randn(n) * 5 + 3 for n in (4, 9, 1, 30)]
    for batch in batches:
        last = normalize(batch)
    everything = torch.cat(batches).double()
    assert normalize.mean == pytest.approx(float(everything.mean()))
    assert normalize.std == pytest.approx(float(everything.std(correction=0)))
    expected = (batches[-1].double() - normalize.mean) / normalize.std
    torch.testing.assert_close(last.double(), expected, check_dtype=False)


def test_scale_and_batch_normalisation() -> None:
    batches = [torch.tensor([1.0, 3.0]), torch.tensor([5.0, 9.0])]
    scale, batch = ScoreNormalizer("running_scale", None), ScoreNormalizer("batch", None)
    for scores in batches:
        scaled, own = scale(scores), batch(scores)
    spread = float(torch.cat(batches).double().std(correction=0))
    assert scaled.tolist() == pytest.approx([5 / spread, 9 / spread]), "nothing is shifted"
    assert own.tolist() == pytest.approx([-1, 1]), "of this rollout alone"


def test_clipping_and_constant_scores() -> None:
    assert ScoreNormalizer("none", clip=2.0)(torch.tensor([-9.0, 1.0, 9.0])).tolist() == [-2, 1, 2]
    assert ScoreNormalizer("reference", clip=5.0)(torch.full((4,), 0.3)).abs().max() < 1e-3


def test_state_restores() -> None:
    first = ScoreNormalizer("running", None)
    first(torch.tensor([1.0, 4.0]))
    second = ScoreNormalizer("running", None)
    second.restore(first.state())
    scores = torch.tensor([2.0, 7.0])
    assert torch.equal(first(scores), second(scores))
