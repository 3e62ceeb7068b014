"""How much each source gives: weights, temperature, epochs, budgets, and their mistakes."""

from __future__ import annotations

import pytest
import yaml

from data_pipeline.mixture import MixtureConfig, plan_mixture
from data_pipeline.mixture.plan import fill
from millbase.config import load_config
from millbase.errors import ConfigError, InputError

SIZES = {"a": 4000, "b": 1000, "c": 100}


def targets(sizes: dict[str, int] = SIZES, **fields: object) -> dict[str, float | None]:
    shares = plan_mixture(
        sizes, {name: float(size) for name, size in sizes.items()}, load_config(MixtureConfig, fields)
    )
    return {name: share.target for name, share in shares.items()}


def test_the_scarcest_source_is_used_up_at_the_exact_weights() -> None:
    assert targets(weights={"a": 2, "b": 1}) == {"a": 2000, "b": 1000, "c": None}
    assert targets(weights={"a": 1, "b": 1, "c": 1}) == {"a": 100, "b": 100, "c": 100}
    assert targets(weights={"a": 1, "b": 1, "c": 1}, max_epochs=3) == {"a": 300, "b": 300, "c": 300}
    assert targets(weights={"a": 1, "c": 1}, source_max_epochs={"c": 7.5})["c"] == 750


def test_temperature_evens_out() -> None:
    proportional = targets(temperature=1, total_bytes=510)
    assert proportional == pytest.approx({"a": 400, "b": 100, "c": 10})
    square_root = targets(temperature=2, total_bytes=510, max_epochs=10)
    assert square_root["a"] / square_root["b"] == pytest.approx(2)  # type: ignore[operator]
    assert square_root["b"] / square_root["c"] == pytest.approx(10**0.5)  # type: ignore[operator]


def test_a_budget_goes_round_what_a_source_cannot_give() -> None:
    found = targets(weights={"a": 1, "b": 1, "c": 2}, total_bytes=2000, max_epochs=4)
    assert found == {"a": 800, "b": 800, "c": 400}
    everything = targets(weights={"a": 1, "b": 1, "c": 1}, total_bytes=1e9, max_epochs=2)
    assert everything == {"a": 8000, "b": 2000, "c": 200}
    assert targets(weights={"a": 1, "b": 1}, total_tokens=250, bytes_per_token=4.4)["a"] == (1100 - 100) / 2
    assert targets(total_bytes=2550) == {"a": 2000, "b": 500, "c": 50}, "without weights, of each source alike"


def test_equal_weights_with_a_cap_are_unimax() -> None:
    """Against algorithm 1 of Chung et al. 2023: smallest first, each gets the even share of what is left, or its
    cap."""
    sizes = {"a": 900, "b": 30, "c": 200, "d": 4}
    budget, epochs, expected = 700.0, 2.0, {}
    for left, name in zip(range(4, 0, -1), sorted(sizes, key=lambda name: sizes[name])):
        expected[name] = min(budget / left, epochs * sizes[name])
        budget -= expected[name]
    assert fill(dict.fromkeys(sizes, 1.0), {n: epochs * s for n, s in sizes.items()}, 700) == pytest.approx(expected)


def test_fixed_epochs_stand_outside_the_shares() -> None:
    config = load_config(MixtureConfig, {"weights": {"a": 1, "b": 1}, "epochs": {"c": 2.5}, "total_bytes": 1250})
    shares = plan_mixture(SIZES, {name: float(size) for name, size in SIZES.items()}, config)
    assert {name: share.target for name, share in shares.items()} == {"a": 500, "b": 500, "c": 250}
    assert (shares["c"].epochs, shares["c"].weight, shares["c"].share) == (2.5, None, 0.2)
    assert (shares["a"].epochs, shares["a"].weight, shares["a"].share) == (0.125, 0.5, 0.4)


def test_mistakes_are_named() -> None:
    with pytest.raises(InputError, match="source 'd' has weight 3 and no document left"):
        targets(weights={"a": 1, "d": 3})
    with pytest.raises(ConfigError, match=r"mixture\.epochs: no source 'bb' in the corpus; did you mean 'b'"):
        targets(epochs={"bb": 2})
    with pytest.raises(InputError, match="sources without a weight give 5e\\+03 bytes, the whole budget"):
        targets(weights={"c": 1}, total_bytes=4000)
    with pytest.raises(ConfigError, match="weights and temperature are two ways"):
        load_config(MixtureConfig, {"weights": {"a": 1}, "temperature": 2})
    with pytest.raises(ConfigError, match="a: a weight and a number of epochs"):
        load_config(MixtureConfig, {"weights": {"a": 1}, "epochs": {"a": 2}})
    with pytest.raises(ConfigError, match="ascending order of 'above'"):
        load_config(MixtureConfig, {"quality": {"buckets": [{"above": 0.5, "repeat": 1}, {"above": 0.1, "repeat": 2}]}})


def test_llamas_table_gives_llamas_epochs(repository) -> None:  # type: ignore[no-untyped-def]
    """The ready configuration: with LLaMA's sizes in tokens, its proportions of 1.4T tokens are its published
    epochs."""
    values = yaml.safe_load((repository / "configs/corpus/mixture_llama.yaml").read_text())
    epochs = {"commoncrawl": 1.10, "c4": 1.06, "github": 0.64, "wikipedia": 2.45, "books": 2.23, "arxiv": 1.06,
              "stackexchange": 1.03}  # fmt: skip
    config = load_config(MixtureConfig, values["mixture"])
    assert sum(config.weights.values()) == pytest.approx(1.0)
    sizes = {name: int(config.weights[name] * 1.4e12 * config.bytes_per_token / epochs[name]) for name in epochs}
    shares = plan_mixture(sizes, {name: float(size) for name, size in sizes.items()}, config)
    assert {name: share.epochs for name, share in shares.items()} == pytest.approx(epochs, rel=1e-6)
    assert {name: share.share for name, share in shares.items()} == pytest.approx(config.weights)
