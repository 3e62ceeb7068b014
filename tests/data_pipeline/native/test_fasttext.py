"""fastText models read by the extension: the labels and probabilities of the fasttext library."""

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from data_pipeline.language import find_model
from data_pipeline.native import kernels
from data_pipeline.native.fasttext import FastTextModel, LibraryModel, load_fasttext
from data_pipeline.quality.fit import run_fit

TOLERANCE = 1e-6
ODD = [
    "",
    " ",
    "</s> never seen",
    "seen </s> never",
    "__label__en hello",
    "a\0b\tc\vd",
    "x" * 5000,
    "é" * 999,
    "中文字",
]
ODD += ["\u2028line\xa0space", "\ud800 lone surrogate", "one\ntwo\r\nthree", "😀 🇩🇪 👩‍👩‍👧"]

pytestmark = pytest.mark.skipif(kernels is None, reason="the native extension is not built")


def texts(seed: int, count: int = 300) -> list[str]:
    """Words of several scripts, some of them often, with white space of all kinds."""
    draw = random.Random(seed)
    alphabets = ["abcdefghijklmnopqrstuvwxyz", "абвгдежзийклмн", "αβγδεζηθικ", "的一是不了人我在", "àéîöüßñç'’-.,!"]
    words = ["".join(draw.choices(draw.choice(alphabets), k=draw.randint(1, 12))) for _ in range(400)]
    return [draw.choice(" \n\t").join(draw.choices(words, k=draw.randint(0, 120))) for _ in range(count)]


def same(ours: FastTextModel, theirs: FastTextModel, samples: list[str], k: int) -> None:
    for text in samples:
        got, wanted = ours.predict(text, k), theirs.predict(text, k)
        assert [label for label, _ in got] == [label for label, _ in wanted], text[:50]
        assert [p for _, p in got] == pytest.approx([p for _, p in wanted], abs=TOLERANCE), text[:50]


@pytest.fixture(scope="module")
def train(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """`train(loss=..., ...)`: a small model of three classes."""
    folder = tmp_path_factory.mktemp("models")
    lines = [f"__label__{number % 3} {' '.join(text.split())}" for number, text in enumerate(texts(1))]
    (folder / "train.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")

    def make(quantise: bool = False, **options: object) -> Path:
        path = folder / f"{len(list(folder.iterdir()))}.bin"
        run_fit(folder / "train.txt", path, {"dim": 10, "epoch": 2, "bucket": 5000} | options)
        if quantise:
            import fasttext

            fasttext.FastText.eprint = lambda *_: None
            model = fasttext.load_model(str(path))
            model.quantize(str(folder / "train.txt"), retrain=False, cutoff=900, qnorm=True)
            model.save_model(str(path))
        return path

    return make


@pytest.mark.parametrize(
    "options",
    [
        {"loss": "hs", "minn": 2, "maxn": 4},
        {"loss": "softmax", "wordNgrams": 3, "dim": 16},
        {"loss": "hs", "minn": 1, "maxn": 3, "quantise": True, "dim": 12},
    ],
)
def test_models_of_every_kind(train: Callable[..., Path], options: dict[str, object]) -> None:
    path = train(**options)
    ours, theirs = load_fasttext(path), LibraryModel(path)
    assert not isinstance(ours, LibraryModel), "read by the extension"
    assert ours.labels == theirs.labels
    for k in (1, 3):
        same(ours, theirs, texts(2, 80) + ODD, k)


def test_lid_176() -> None:
    path = find_model(None)
    ours = load_fasttext(path)
    same(ours, LibraryModel(path), texts(3) + ODD, 5)
    assert ours.predict("Where is the library, please?")[0][0] == "__label__en"
    assert ours.predict("Wo finde ich\nbitte die Bibliothek?")[0][0] == "__label__de"


def test_what_was_met_before_changes_nothing() -> None:
    path = find_model(None)
    fresh = [load_fasttext(path).predict(text, 3) for text in texts(4, 5)]
    used = load_fasttext(path)
    for seed in range(5, 15):
        for text in texts(seed, 500):
            used.predict(text)
    assert [used.predict(text, 3) for text in texts(4, 5)] == fresh


def test_other_losses_fall_back_to_the_library(train: Callable[..., Path]) -> None:
    path = train(loss="ova", minn=2, maxn=3)
    assert isinstance(load_fasttext(path), LibraryModel)


def test_damaged_files_are_refused(train: Callable[..., Path], tmp_path: Path) -> None:
    data = train(loss="hs", minn=2, maxn=3).read_bytes()
    for name, content in {"empty": b"", "other": b"no model at all", "half": data[: len(data) // 2]}.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError):
            kernels.FastText(str(tmp_path / name))
    draw = random.Random(0)
    for _ in range(200):  # whatever is wrong in the head, no crash
        broken = bytearray(data)
        broken[draw.randrange(8, 400)] = draw.randrange(256)
        (tmp_path / "broken").write_bytes(broken)
        try:
            kernels.FastText(str(tmp_path / "broken")).predict("some words here", 2)
        except ValueError:
            continue
    with pytest.raises(ValueError, match="cannot be opened"):
        load_fasttext(tmp_path / "missing")
