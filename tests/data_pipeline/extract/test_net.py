"""The network over the blocks of a page: C++ as numpy, numpy as torch, training that learns and repeats itself."""

from __future__ import annotations

import math
import random
from typing import Any

import numpy as np
import pytest

from data_pipeline.extract.blocks import MODEL, make_model
from data_pipeline.extract.reference.net import Net, exponential, logarithm, squash
from data_pipeline.native import kernels

WIDTH, INPUTS, GAPS = 32, 299, [1, 2, 4, 8]
needs_native = pytest.mark.skipif(
    kernels is None or not hasattr(kernels, "HtmlModel"), reason="the native extension is not built"
)


def random_net(seed: int = 0, readings: int = 4) -> dict[str, Any]:
    make = np.random.default_rng(seed)

    def floats(*shape: int) -> Any:
        return (make.normal(size=shape) * 0.2).astype(np.float16)

    layers = len(GAPS)
    return {
        "net_mean": floats(INPUTS).astype(np.float32), "net_scale": floats(INPUTS).astype(np.float32) ** 2,
        "net_input": floats(INPUTS, WIDTH), "net_input_bias": floats(WIDTH),
        "net_conv": floats(layers, 3, WIDTH, WIDTH), "net_page": floats(layers, 2 * WIDTH, WIDTH),
        "net_bias": floats(layers, WIDTH), "net_gain": floats(layers, WIDTH), "net_shift": floats(layers, WIDTH),
        "net_output": floats(WIDTH, readings), "net_output_bias": floats(readings), "net_gaps": np.array(GAPS),
        "net_gate": floats(2 * WIDTH, readings), "net_gate_bias": floats(readings),
    }  # fmt: skip


def shipped() -> dict[str, Any]:
    with np.load(MODEL, allow_pickle=False) as arrays:
        return dict(arrays)


def page(blocks: int) -> str:
    say = random.Random(blocks)
    words = "the of mill grain river stone wheel, and. Water 12 turns (slowly) but"
    texts = [" ".join(say.choices(words.split(), k=say.randint(1, 40))) for _ in range(blocks)]
    return "".join(f"<div class=c{i % 5}><p>{text}</p><a href=x>more</a></div>" for i, text in enumerate(texts))


@needs_native
@pytest.mark.parametrize("blocks", [0, 1, 3, 9, 120])
@pytest.mark.parametrize("share", [0.0, 0.4, 1.0])
def test_both_implementations_give_the_same_bits(blocks: int, share: float) -> None:
    arrays = {**shipped(), **random_net(), "net_share": np.float64(share)}
    native, plain = (make_model(arrays, 4000, 1000, native) for native in (True, False))
    found, wanted = native.blocks(page(blocks)), plain.blocks(page(blocks))
    assert found["scores"].tolist() == wanted["scores"]
    assert found["keep"].astype(bool).tolist() == wanted["keep"]


@needs_native
def test_one_reading_is_a_plain_network() -> None:
    arrays = {**shipped(), **random_net(readings=1), "net_share": np.float64(1.0)}
    found = make_model(arrays, 4000, 1000).blocks(page(30))
    gates = {"net_gate": arrays["net_gate"] * 3, "net_gate_bias": arrays["net_gate_bias"] + 1}
    assert found["scores"].tolist() == make_model({**arrays, **gates}, 4000, 1000).blocks(page(30))["scores"].tolist()
    assert found["scores"].tolist() == make_model(arrays, 4000, 1000, native=False).blocks(page(30))["scores"]


@needs_native
def test_a_share_mixes_the_scores_of_network_and_forest() -> None:
    alone, half, none = (
        make_model({**shipped(), **random_net(), "net_share": np.float64(share)}, 4000, 1000).blocks(page(20))["scores"]
        for share in (1.0, 0.5, 0.0)
    )
    assert np.allclose(half, (alone + none) / 2) and not np.allclose(alone, none)


@needs_native
def test_a_network_of_another_shape_is_refused() -> None:
    wrong = {**shipped(), **random_net(), "net_share": np.float64(0.5)}
    with pytest.raises(ValueError, match="network's input has 9536 numbers; expected 9568"):
        make_model({**wrong, "net_input": wrong["net_input"][:-1]}, 4000, 1000)
    with pytest.raises(ValueError, match="network's gate_bias has 3 numbers; expected 4"):
        make_model({**wrong, "net_gate_bias": wrong["net_gate_bias"][:-1]}, 4000, 1000)
    with pytest.raises(ValueError, match="the network has no readings"):
        make_model({**wrong, "net_output_bias": wrong["net_output_bias"][:0]}, 4000, 1000)
    fewer = {name: wrong[name][:-1] for name in ("net_mean", "net_scale", "net_input")}
    with pytest.raises(ValueError, match="the network has 298 inputs; blocks have 299 features"):
        make_model({**wrong, **fewer}, 4000, 1000).blocks(page(3))


def test_squash_is_a_logarithm_of_straight_pieces() -> None:
    powers = np.array([0, 1, 3, 7, 1023, -1, -3], dtype=np.float32)
    assert squash(powers).tolist() == [0, 1, 2, 3, 10, -1, -2]
    many = np.linspace(-1e6, 1e6, 10_001, dtype=np.float32)
    assert np.abs(squash(many) - np.sign(many) * np.log2(1 + np.abs(many))).max() < 0.09
    assert (np.diff(squash(many)) > 0).all()


def test_exponentials_and_logarithms_are_right_to_the_last_digits() -> None:
    for x in [-700.0, -30.0, -1.0, -1e-9, 0.0, 1e-9, 0.3465, 0.3466, 1.0, 29.99, *np.linspace(-31, 31, 997).tolist()]:
        assert math.isclose(exponential(x), math.exp(x), rel_tol=4e-16)
    for x in [1e-6, 0.5, 0.7071, 0.7072, 1 - 1e-9, 1.0, 1 + 1e-9, 2.0, 1e6, *np.geomspace(1e-7, 1e7, 997).tolist()]:
        assert math.isclose(logarithm(x), math.log(x), rel_tol=4e-16, abs_tol=1e-300)


def training_pages(count: int) -> list[Any]:
    """Pages whose main text is where the second number is high, but for blocks that stand alone."""
    from data_pipeline.extract.net import NetPage

    make, pages = np.random.default_rng(3), []
    for _ in range(count):
        blocks = int(make.integers(5, 40))
        label = (np.arange(blocks) < blocks // 2).astype(np.float32)
        x = make.normal(size=(blocks, 6)).astype(np.float32)
        x[:, 1] += 3 * label
        pages.append(NetPage(x, make.integers(1, 50, blocks).astype(np.float32), label, 1.0))
    return pages


def test_training_learns_and_gives_the_same_again(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch")
    from data_pipeline.extract import net

    monkeypatch.setitem(net.SETTINGS, "passes", 30)
    pages = training_pages(60)
    arrays, again = net.train_net(pages), net.train_net(pages)
    assert all((arrays[name] == again[name]).all() for name in arrays)
    model = Net({name.removeprefix("net_"): value for name, value in arrays.items()})
    right = [
        np.mean((np.array(model.scores(held.features)) > 0) == (held.label > 0)) for held in training_pages(90)[60:]
    ]
    assert np.mean(right) > 0.95


def test_numpy_computes_what_torch_was_trained_on() -> None:
    torch = pytest.importorskip("torch")
    from data_pipeline.extract import net

    torch.manual_seed(0)
    trained = net._Net(7).eval()
    with torch.no_grad():
        for parameter in trained.parameters():
            parameter.copy_(parameter.to(torch.float16).float())  # what the arrays can hold
    x = np.random.default_rng(1).normal(size=(30, 7)).astype(np.float32)
    plain = {"net_mean": np.zeros(7, np.float32), "net_scale": np.ones(7, np.float32), **trained.arrays()}
    found = Net({name.removeprefix("net_"): value for name, value in plain.items()}).scores(x)
    with torch.no_grad():
        scores, chances = trained(torch.from_numpy(np.clip(squash(x), -4, 4))[None], torch.ones(1, 30))
        wanted = torch.logit((torch.sigmoid(scores) * chances.exp()[:, None]).sum(-1))[0]
    assert np.allclose(found, wanted, atol=5e-3)


def test_readings_learn_what_is_all_or_nothing() -> None:
    """Where half of the pages keep their tail and nothing tells which, one reading keeps it and another does not."""
    torch = pytest.importorskip("torch")
    from data_pipeline.extract import net

    make, pages = np.random.default_rng(5), []
    for i in range(80):
        tail = np.arange(12) >= 6
        x = make.normal(size=(12, 4)).astype(np.float32)
        x[:, 1] += 4 * tail
        label = (~tail | bool(i % 2)).astype(np.float32)
        pages.append(net.NetPage(x, np.full(12, 20, np.float32), label, 1.0))
    rows = [torch.from_numpy(held.features) for held in pages]
    torch.manual_seed(0)
    fitted = net._fit(rows, pages).eval()
    with torch.no_grad():
        scores, chances = fitted(rows[0][None], torch.ones(1, 12))
    tails = torch.sigmoid(scores[0, 6:]).mean(0)  # by reading
    likely = chances[0].exp() > 0.2
    assert tails[likely].min() < 0.2 and tails[likely].max() > 0.8
    assert 0.3 < float((tails * chances[0].exp()).sum()) < 0.7
