"""Weights learned from proxy runs: on synthetic losses with a known optimum, on noise, and the files around them."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from scipy.optimize import minimize

from data_pipeline.mixture import MixConfig, MixtureConfig, mix_corpora
from data_pipeline.mixture.regmix import CandidatesConfig, MixFitConfig, fit_mixture, write_candidates
from data_pipeline.mixture.regmix import models as models_module
from data_pipeline.mixture.regmix.config import DrawConfig
from data_pipeline.mixture.regmix.draw import draw_mixtures, natural
from data_pipeline.mixture.regmix.law import fit_law, predict_law
from millbase.artifacts import open_artifact
from millbase.config import load_config
from millbase.errors import ConfigError, InputError

SIZES = {"web": 50.0, "books": 20.0, "code": 10.0, "talk": 5.0, "junk": 1.0}
GAINS = np.array(
    [[0.8, 0.2, 0.1, 0.05, 0.02], [0.1, 0.9, 0.05, 0.1, 0.02], [0.05, 0.1, 0.7, 0.1, 0.1], [0.02, 0.05, 0.1, 0.8, 0.3]]
)
DOMAINS = ["news", "novels", "programs", "chats"]
QUICK: dict[str, Any] = {"bootstrap": 30, "simulations": 4000, "top": 20, "repeats": 1}


def true_losses(weights: np.ndarray) -> np.ndarray:
    """[..., 4] losses by a power law in the data that is of use to each domain: no model here has this form."""
    return np.asarray(2.0 + 0.25 * (weights @ GAINS.T + 0.03) ** -0.4)


def optimum() -> np.ndarray:
    found = minimize(lambda z: true_losses(np.exp(z) / np.exp(z).sum()).mean(), np.zeros(5), tol=1e-10)
    return np.asarray(np.exp(found.x) / np.exp(found.x).sum())


def proxies(path: Path, runs: int, noise: float, seed: int, useless: bool = False) -> str:
    """A table of runs; with `useless`, losses that have nothing to do with the weights."""
    generator = np.random.default_rng(seed)
    weights = draw_mixtures(list(SIZES), natural(SIZES, 2.0), runs, DrawConfig(), generator)
    losses = (0 if useless else true_losses(weights)) + generator.normal(scale=noise, size=(runs, 4))
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["run", *(f"weight.{name}" for name in SIZES), *(f"loss.{name}" for name in DOMAINS)])
        writer.writerows([number, *weights[number], *losses[number]] for number in range(runs))
    return str(path)


def fit(out: Path, **fields: Any) -> dict[str, Any]:
    fit_mixture(load_config(MixFitConfig, {**QUICK, **fields}), out)
    found: dict[str, Any] = json.loads((out / "fit.json").read_text())
    return found


def weights_of(found: dict[str, Any]) -> np.ndarray:
    return np.array([found["weights"][name]["weight"] for name in SIZES])


@pytest.mark.parametrize("noise", [0.0, 0.02])
def test_a_known_optimum_is_found(tmp_path: Path, noise: float) -> None:
    """48 runs of five sources: nine tenths of what can be gained over the natural mixture is."""
    table = proxies(tmp_path / "runs.csv", 48, noise, seed=1)
    found = fit(tmp_path / "out", table=table, models=["linear", "mixing_law", "gaussian_process"])
    best, prior = true_losses(optimum()).mean(), true_losses(natural(SIZES)).mean()
    learned = true_losses(weights_of(found)).mean()
    assert learned - best < 0.1 * (prior - best)
    assert found["better_than_chance"] and found["models"][0]["rank_correlation"] > 0.8
    assert not any(row["used"] and row["model"] == "linear" for row in found["models"])
    assert found["models"][0]["model"] != "linear" and found["models"][0]["p_value"] < 1e-6
    assert found["gain"]["interval"][0] > (0 if noise == 0 else -0.02)
    assert abs(found["loss"]["predicted"] - learned) < 0.02
    inside = [
        low - 0.02 <= truth <= high + 0.02
        for truth, (low, high) in zip(optimum(), (found["weights"][name]["interval"] for name in SIZES))
    ]
    assert sum(inside) >= 4


def test_noise_is_called_noise(tmp_path: Path) -> None:
    verdicts = []
    for seed in range(6):
        table = proxies(tmp_path / f"{seed}.csv", 32, 1.0, seed, useless=True)
        found = fit(tmp_path / f"out{seed}", table=table, models=["linear", "mixing_law"], bootstrap=0)
        verdicts.append(found["better_than_chance"])
    assert sum(verdicts) <= 1
    bad = tmp_path / f"out{verdicts.index(False)}"
    assert "no better than chance" in (bad / "fit.txt").read_text()
    assert "NO BETTER than chance" in (bad / "weights.yaml").read_text()


def test_trees_and_the_objective(tmp_path: Path) -> None:
    """LightGBM, where it is installed, and a minimum of one domain alone."""
    table = proxies(tmp_path / "runs.csv", 48, 0.01, seed=2)
    models = [name for name in models_module.available_models(None) if name in ("gradient_boosting", "lightgbm")]
    found = fit(tmp_path / "out", table=table, models=models, objective={"programs": 1}, bootstrap=0, folds=3)
    assert found["better_than_chance"]
    assert found["weights"]["code"]["weight"] == max(row["weight"] for row in found["weights"].values())


def test_the_same_table_gives_the_same_bytes(tmp_path: Path) -> None:
    table = proxies(tmp_path / "runs.csv", 20, 0.02, seed=3)
    fields = {"table": table, "models": ["mixing_law", "linear"], "bootstrap": 5}
    for name in ("one", "two"):
        fit(tmp_path / name, **fields)
    for name in ("fit.json", "weights.yaml", "fit.txt"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    assert "  used\n" in (tmp_path / "one/fit.txt").read_text()


def test_a_mixing_law_is_recovered() -> None:
    generator = np.random.default_rng(0)
    weights = generator.dirichlet(np.ones(4), size=40)
    law = np.array([1.8, 0.5, -1.0, -0.3, 0.2])
    found = fit_law(weights, predict_law(law, weights))
    assert predict_law(found, weights) == pytest.approx(predict_law(law, weights), abs=5e-3)
    assert predict_law(fit_law(weights, np.full(40, 3.0)), weights) == pytest.approx(3.0)


def test_candidates_are_ready_to_be_mixed(corpus_from: Any, tmp_path: Path) -> None:
    rows = [{"id": f"{n}", "text": "x" * 100, "source": "big" if n % 10 else "small"} for n in range(300)]
    corpus = corpus_from(tmp_path / "corpus", rows)
    config = CandidatesConfig(corpus=str(corpus), runs=12, run_bytes=20_000, max_epochs=2, recipe=None)
    out = write_candidates(config, tmp_path / "candidates")
    table = list(csv.DictReader(open(out / "candidates.csv")))
    weights = np.array([[float(row["weight.big"]), float(row["weight.small"])] for row in table])
    assert weights[0] == pytest.approx([0.9, 0.1]) and len(weights) == 12
    assert weights.sum(axis=1) == pytest.approx(1, abs=1e-5) and len(np.unique(weights[:, 0])) > 8
    assert weights[:, 1].max() <= 2 * 3000 / 20_000 + 1e-6, "two epochs of the small source"
    assert (out / "commands.sh").read_text().count("llmill corpus mix") == 12
    shared = int(np.argmax(weights[:, 1]))
    mixed = mix_corpora(load_config(MixConfig, out / "runs" / f"{shared:03d}.yaml"), tmp_path / "mixed")
    sources = open_artifact(mixed).stats["sources"]
    assert sources["small"]["share"] == pytest.approx(weights[shared, 1], abs=0.01)
    assert sum(share["target"] or 0 for share in sources.values()) == pytest.approx(20_000)
    again = write_candidates(config, tmp_path / "again")
    assert (again / "candidates.csv").read_bytes() == (out / "candidates.csv").read_bytes()


def test_commands_run_a_recipe_with_overrides(tmp_path: Path) -> None:
    recipe = tmp_path / "proxy.yaml"
    recipe.write_text("name: proxy\n")
    config = CandidatesConfig(sizes=SIZES, runs=5, recipe=str(recipe), mix_stage="blend")
    out = write_candidates(config, tmp_path / "candidates")
    line = (out / "commands.sh").read_text().splitlines()[-1]
    assert line.startswith(f"llmill run {recipe} --out ")
    mixture: dict[str, Any] = {}
    import shlex

    for word in shlex.split(line):
        key, _, value = word.partition("=")
        if key.startswith("blend.mixture."):
            mixture[key.removeprefix("blend.mixture.")] = yaml.safe_load(value)
    read = load_config(MixtureConfig, mixture)
    assert set(read.weights) | set(read.epochs) == set(SIZES) and not any(read.epochs.values())
    assert sum(read.weights.values()) == pytest.approx(1, abs=1e-5)


def test_losses_may_come_later_and_runs_may_be_missing(tmp_path: Path) -> None:
    table = proxies(tmp_path / "runs.csv", 24, 0.01, seed=4)
    rows = list(csv.DictReader(open(table)))
    with open(tmp_path / "weights.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, ["run", *(f"weight.{name}" for name in SIZES)], extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    with open(tmp_path / "losses.jsonl", "w") as lines:
        for row in rows[:20]:
            losses = {name: float(row[f"loss.{name}"]) for name in DOMAINS}
            lines.write(json.dumps({"run": row["run"], "losses": losses}) + "\n")
    fields = {"table": str(tmp_path / "weights.csv"), "losses": str(tmp_path / "losses.jsonl")}
    found = fit(tmp_path / "out", **fields, models=["mixing_law"], bootstrap=0)
    assert found["runs"] == 20 and found["domains"] == sorted(DOMAINS)
    assert found["weights"]["web"]["interval"] is None


def test_mistakes_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table, out = proxies(tmp_path / "runs.csv", 10, 0.01, seed=5), tmp_path / "out"
    lines = Path(table).read_text().splitlines()

    def refuse(error: type[Exception], match: str, rows: list[str] | None = None, **fields: Any) -> None:
        (tmp_path / "bad.csv").write_text("\n".join(rows or lines))
        with pytest.raises(error, match=match):
            fit(out, **{"table": str(tmp_path / "bad.csv"), "models": ["mixing_law"], **fields})
        assert not out.exists()

    refuse(InputError, "losses of 3 runs, expected 8 or more", lines[:4])
    refuse(InputError, "run 1 stands there twice", [*lines, lines[2]])
    refuse(InputError, "run 0: weights add up to", [lines[0], lines[1].replace("0,", "0,7", 1), *lines[2:]])
    refuse(
        InputError,
        r"run 0: loss\.chats is 'abc', expected a number",
        [lines[0], lines[1].rpartition(",")[0] + ",abc", *lines[2:]],
    )
    refuse(InputError, "a loss is not finite", [lines[0], lines[1].rpartition(",")[0] + ",nan", *lines[2:]])
    refuse(InputError, "run 0: no loss of domain 'chats'", [lines[0], lines[1].rpartition(",")[0] + ",", *lines[2:]])
    refuse(ConfigError, "no domain 'chat' among the losses; did you mean 'chats'", objective={"chat": 1})
    refuse(ConfigError, "no source 'wb'", draw={"max_weights": {"wb": 0.5}})
    refuse(ConfigError, "add up to 0.5, so that no mixture", draw={"max_weights": dict.fromkeys(SIZES, 0.1)})
    monkeypatch.setattr(
        models_module.importlib.util, "find_spec", lambda name: None if name == "lightgbm" else object()
    )
    refuse(
        ConfigError, r"lightgbm is not installed; leave it out, or: pip install 'llmill\[mixfit\]'", models=["lightgbm"]
    )
    monkeypatch.setattr(models_module.importlib.util, "find_spec", lambda name: None)
    refuse(ConfigError, r"needs scikit-learn, which is not installed: pip install 'llmill\[mixfit\]'")
