"""The `blocks` engine: the HTML as blocks of text, and a model that says which of them are the main text.

One pass cuts the page into blocks (`native/src/html_parse.cpp`). Each is described by some 250 numbers: its text, the
words of its class names, what it lies in, its neighbours, the page. A linear model turns words into scores, a forest of
regression trees judges each block, and a second forest judges again, knowing what the first said of the surroundings.
So does a small convolutional network that reads the blocks in their order and weighs several readings of the page; a
block's score is a mean of both.
From the probabilities follows the threshold that maximises the expected F1 of words on this page (as Ye, Chai, Lee and
Chieu 2012, "Optimizing F-measures: a tale of two approaches"); it is lower where the model is unsure of a whole page.
Tables of data stay or go whole. Long blocks that repeat what better ones say are left out: copies of the article,
quotations in full, the text once more for printing.

Without the extension, `reference/` computes the same in plain Python, some fifty times slower. The model is trained by
`train.py` and lies beside this file.
"""

from __future__ import annotations

import functools
import html
import html.entities
import json
from pathlib import Path
from typing import Any

import numpy as np

from data_pipeline.extract.reference import PythonModel
from data_pipeline.native import kernels

MODEL = Path(__file__).with_name("model.npz")
_SHARE = "net_share"
_FOREST = ("feature", "threshold", "left", "right", "roots")


@functools.lru_cache(maxsize=4)
def block_model(max_tags: int = 400_000, max_blocks: int = 20_000, native: bool = True) -> Any:
    """The trained model with bounds on its work; in C++ where the extension is built and `native` is true.

    Its `extract(html)` gives a dictionary of `text`, what the page states about itself (`title`, `metas`, `json_ld`,
    `times`, `authors`, all as in the source), and `cut`: whether a bound was reached.
    """
    with np.load(MODEL, allow_pickle=False) as arrays:
        return make_model(dict(arrays), max_tags, max_blocks, native)


def make_model(arrays: dict[str, Any], max_tags: int, max_blocks: int, native: bool = True) -> Any:
    """A model of the arrays in a model file."""
    first, second = (
        (*(arrays[f"{forest}_{name}"] for name in _FOREST), float(arrays[f"{forest}_baseline"]))
        for forest in ("first", "second")
    )
    made = _native_model() if native else None
    return (made or PythonModel)(
        arrays["keys"],
        arrays["weights"],
        first,
        second,
        {name.removeprefix("net_"): arrays[name] for name in arrays if name.startswith("net_") and name != _SHARE},
        float(arrays[_SHARE]) if _SHARE in arrays else 0.0,
        arrays["probabilities"],
        float(arrays["low"]),
        max_tags,
        max_blocks,
    )


def model_card() -> dict[str, Any]:
    """How the model was trained: sources, shares, settings, versions."""
    with np.load(MODEL, allow_pickle=False) as arrays:
        card: dict[str, Any] = json.loads(str(arrays["card"]))
    return card


@functools.cache
def _native_model() -> Any:
    if kernels is None or not hasattr(kernels, "HtmlModel"):
        return None
    charrefs, invalid = html._invalid_charrefs, html._invalid_codepoints  # type: ignore[attr-defined]
    kernels.set_entities(dict(html.entities.html5), dict(charrefs), set(invalid))
    return kernels.HtmlModel
