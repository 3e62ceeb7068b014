"""A Megatron checkpoint, scored where it lies on several layouts, against the same model in transformers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from lm_eval.api.instance import Instance

from evaluation.adapter import CheckpointLM
from evaluation.engines.base import Engine
from evaluation.engines.megatron import MegatronEngine
from evaluation.generate import Sampling, generate
from evaluation.loglikelihood import score_continuations
from millbase.errors import UserError
from training.load import LoadedModel
from training.pretrain.convert import ImportConfig, import_model

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def checkpoint(checkpoints: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A distributed checkpoint of the first of the random models."""
    return import_model(ImportConfig(model=str(checkpoints[0] / "hf")), tmp_path_factory.mktemp("megatron") / "model")


@pytest.fixture(scope="module")
def exported(loaded: LoadedModel) -> LoadedModel:
    """The same model in transformers."""
    return loaded


@pytest.fixture(scope="module", params=[(2, 2), (1, 1)], ids=["tp2-pp2", "one rank"])
def engine(request: pytest.FixtureRequest, checkpoint: Path) -> Iterator[MegatronEngine]:
    tensor, pipeline = request.param
    with MegatronEngine(checkpoint, tensor=tensor, pipeline=pipeline) as running:
        yield running


def test_scores_are_those_of_the_export(engine: MegatronEngine, exported: LoadedModel) -> None:
    assert isinstance(engine, Engine)
    assert engine.max_length == exported.max_length
    pairs = [([3 + i % 7, 20, 30 + i], [40 + i, *([50] * (i % 5))]) for i in range(24)]
    pairs += [([9], list(range(60, 80))), (list(range(100)), [5, 6]), pairs[0]]
    found = engine.score(pairs, batch_size=5, description="test")
    expected = score_continuations(exported, pairs)
    for (a, a_greedy), (b, b_greedy) in zip(found, expected, strict=True):
        assert a == pytest.approx(b, abs=1e-4)
        assert a_greedy == b_greedy


def test_answers_are_those_of_the_export(engine: MegatronEngine, exported: LoadedModel) -> None:
    prompts = [[3, 20, 30 + i] for i in range(3)]
    for sampling in (Sampling(), Sampling(temperature=1.0, top_p=0.9)):
        options = {"max_new_tokens": 6, "sampling": sampling, "seeds": [1, 2, 3]}
        found = engine.generate(prompts, batch_size=2, **options)  # type: ignore[arg-type]
        expected = generate(exported, prompts, batch_size=2, **options)  # type: ignore[arg-type]
        assert [c.ids for c in found] == [c.ids for c in expected]
        assert [c.text for c in found] == [c.text for c in expected]


def test_lm_eval_sees_the_same_model(engine: MegatronEngine, exported: LoadedModel) -> None:
    requests = [
        Instance("loglikelihood", {}, (text, " Melk"), i) for i, text in enumerate(["", "The capital", "It lies by"])
    ]
    ours = CheckpointLM(engine).loglikelihood(requests)
    theirs = CheckpointLM(exported).loglikelihood(requests)
    assert [a for a, _ in ours] == pytest.approx([a for a, _ in theirs], abs=1e-4)


def test_a_layout_that_does_not_fit_is_named(checkpoint: Path) -> None:
    with pytest.raises(UserError, match=r"heads|divisible"):
        MegatronEngine(checkpoint, tensor=3)
