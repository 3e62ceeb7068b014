"""Methods set the papers' numbers, what is given counts, and mistakes are answered by a line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from millbase.config import load_config
from millbase.errors import ConfigError
from training.posttrain.group.config import PRESETS, GroupConfig

MakeConfig = Callable[..., GroupConfig]


def test_methods_set_the_papers_numbers(make_config: MakeConfig) -> None:
    grpo, dr, dapo = (make_config(f"method={name}") for name in ("grpo", "dr_grpo", "dapo"))
    assert (grpo.advantage.scale, grpo.loss.normalization, grpo.kl.coef) == ("group", "sequence", 0.04)
    assert (dr.advantage.scale, dr.loss.normalization, dr.kl.coef) == ("none", "constant", 0)
    assert (dapo.loss.clip_low, dapo.loss.clip_high, dapo.loss.normalization) == (0.2, 0.28, "token")
    assert dapo.kl.coef == 0 and dapo.dynamic is not None and dapo.overlong is not None
    gspo, rloo = make_config("method=gspo"), make_config("method=rloo")
    assert (gspo.loss.ratio, gspo.loss.clip_low, gspo.loss.clip_high, gspo.kl.coef) == ("sequence", 3e-4, 4e-4, 0)
    assert (rloo.advantage.baseline, rloo.advantage.scale) == ("leave_one_out", "none")
    assert (rloo.loss.ratio, rloo.kl.place, rloo.kl.estimator) == ("sequence_sum", "reward", "k1")
    assert make_config("method=tree_grpo", "samples_per_prompt=8").tree is not None


def test_what_is_given_counts(make_config: MakeConfig) -> None:
    config = make_config("method=dapo", "loss.clip_high=0.3", "dynamic=null", "kl.coef=0.01")
    assert config.loss.clip_high == 0.3 and config.loss.normalization == "token"
    assert config.dynamic is None and config.overlong is not None and config.kl.coef == 0.01


@pytest.mark.parametrize("method", sorted(PRESETS))
def test_the_resolved_configuration_says_everything(make_config: MakeConfig, method: str) -> None:
    config = make_config(f"method={method}", "samples_per_prompt=8")
    assert load_config(GroupConfig, config.to_dict()) == config
    assert config.as_ppo().rollout_size == config.rollout_size


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("rollout_size=18",), "rollout_size = 18 is not a multiple of samples_per_prompt = 4"),
        (("method=tree_grpo",), "samples_per_prompt = 4 and tree.trees .* = 8: make them equal"),
        (("method=tree_grpo", "samples_per_prompt=8", "sampler.engine=transformers"), "trees need sampler.engine"),
        (("mask_truncated=true", "method=rloo"), "masked completions have no KL"),
        (("kl.measure=false",), "kl.coef = 0.04 needs the reference"),
        (("overlong.cache=99",), "overlong.cache = 99 exceeds max_new_tokens = 12"),
        (("lora.dropout=0.1",), "first ratios are not 1"),
        (("reward.functions=[]",), "no source of rewards"),
        (("reward.whiten=true",), "reward.whiten"),
        (("method=grop",), "grop"),
        (("loss.ratoi=token",), "did you mean 'ratio'"),
        (("reward.verifiable=[{check: mathz}]",), "mathz"),
        (("reward.verifiable=[{check: format, pattern: '('}]",), "not a regular expression"),
    ],
)
def test_mistakes(make_config: MakeConfig, overrides: tuple[str, ...], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        make_config(*overrides)
    assert "\n" not in str(caught.value)


def test_shipped_configuration(repository: Path) -> None:
    config: Any = load_config(GroupConfig, repository / "configs" / "posttrain" / "grpo_demo.yaml")
    assert config.reward.verifiable
