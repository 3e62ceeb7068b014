"""Train the model of the `blocks` engine on pages with a gold main text. Three minutes on a core, with LightGBM, torch:

    pip install -e '.[train-extract]'
    python -m data_pipeline.extract.train ../shared/data --out data_pipeline/extract/model.npz

Only pages of 80% of the registered domains are used (`gold.py`); `benchmarks/extraction.py` measures on the others.
What a model predicts on its own training pages is better than what it predicts elsewhere, so each stage learns from
predictions that the stage before made for pages of other domains, in five folds:

1. a logistic regression of "is main text" on the words of a block, its heading and its class names;
2. a forest on the features of blocks, with the word scores of step 1;
3. a second forest that also sees the scores of step 2 around each block;
4. a network over all blocks of a page (`net.py`) on the inputs of step 3. A block's score is 0.4 times that of step 3
   and 0.6 times that of step 4.

Blocks weigh by their words to the power 0.75, pages alike but for the sources in `PAGE_WEIGHT`. Of long pages the
blocks near main text are used, and a sample of the others with more weight.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from data_pipeline.extract.blocks import make_model
from data_pipeline.extract.gold import FOLDS, HELD_OUT, GoldPage, domain_number, gold_pages
from data_pipeline.extract.labels import block_labels
from data_pipeline.extract.net import SETTINGS, NetPage, train_net
from millbase.atomic import atomic_write
from millbase.log import get_logger

logger = get_logger(__name__)

PAGE_WEIGHT = {
    "daniel_waddle": 0.5, "cleanportaleval": 0.5, "mozilla_readability": 0.5, "newspaper4k_tests": 0.5,
    "fundus_tests": 0.8, "fundus_evaluation": 0.8,
}  # fmt: skip
"""News pages of few sites, or with gold texts made by machines, count less than modern pages reviewed by people."""
_BLOCKS_PER_PAGE = 140
_MIN_DOMAINS = 6  # a word or class name that fewer domains use is left out
_REGULARISATION = 0.001
_MAX_TAGS, _MAX_BLOCKS = 400_000, 20_000
_FIRST: dict[str, Any] = {"trees": 60, "num_leaves": 24, "learning_rate": 0.13, "feature_fraction": 0.5}
_SECOND: dict[str, Any] = {"trees": 220, "num_leaves": 24, "learning_rate": 0.05, "feature_fraction": 0.3}
_BOTH: dict[str, Any] = {
    "objective": "binary", "lambda_l2": 5.0, "min_data_in_leaf": 40, "max_bin": 127, "seed": 0, "num_threads": 1,
    "deterministic": True, "force_row_wise": True, "verbose": -1,
}  # fmt: skip
_NET_SHARE = 0.6
_EMPTY = {"feature": np.int32, "threshold": np.float32, "left": np.int32, "right": np.int32, "roots": np.int32}
Arrays = dict[str, Any]


def main(arguments: Sequence[str] | None = None) -> None:
    """Train and write the model file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="gold pages: extraction/ and warc/")
    parser.add_argument("--out", type=Path, required=True, help="model file to write")
    options = parser.parse_args(arguments)
    arrays = train(options.folder)
    with atomic_write(options.out, "wb") as file:
        np.savez_compressed(file, **arrays)
    logger.info("wrote %s (%d bytes)", options.out, options.out.stat().st_size)


def train(folder: Path) -> Arrays:
    """The arrays of a model trained on the pages of `folder` that are not held out."""
    pages = [page for page in gold_pages(folder) if not page.held_out]
    data = _Data(pages)
    rest: Arrays = {**_forest_arrays("first"), **_forest_arrays("second"), **_decision()}
    words = data.by_fold(data.words)
    near = data.features("near", [{**rest, **found} for found in words[:-1]])
    first = data.by_fold(lambda rows: data.forest("first", near, rows, _FIRST))
    folds = [{**rest, **found, **forest} for found, forest in zip(words[:-1], first[:-1], strict=True)]
    far = data.features("far", folds)
    second = data.forest("second", far, np.ones(len(far), dtype=bool), _SECOND)
    net = {**train_net(data.net_pages(folds)), "net_share": np.float64(_NET_SHARE)}
    return {**rest, **words[-1], **first[-1], **second, **net, "card": np.array(json.dumps(_card(pages)))}


@dataclass
class _Rows:
    """The blocks of a page that are trained on."""

    page: GoldPage
    label: NDArray[np.bool_]
    """Of all its blocks."""
    chosen: NDArray[np.intp]


class _Data:
    """Labels, weights and words of the training blocks."""

    def __init__(self, pages: list[GoldPage]) -> None:
        random = np.random.default_rng(0)
        model = make_model({**_forest_arrays("first"), **_forest_arrays("second"), **_decision(), **_no_words()},
                           _MAX_TAGS, _MAX_BLOCKS)  # fmt: skip
        self.rows: list[_Rows] = []
        keys, values, sizes, labels, weights, folds, domains = [], [], [], [], [], [], []
        count = 0
        for page in pages:
            blocks = model.blocks(page.html)
            if not blocks["texts"]:
                continue
            label = block_labels(blocks["texts"], page.text)
            weight = _weights(blocks["words"], label) * PAGE_WEIGHT.get(page.source, 1.0)
            chosen, factor = _sample(label, random)
            self.rows.append(_Rows(page, label, chosen))
            count += len(chosen)
            ends = blocks["ends"].astype(np.int64)
            starts = np.concatenate([[0], ends[:-1]])
            for i in chosen:
                keys.append(blocks["keys"][starts[i] : ends[i]])
                values.append(blocks["values"][starts[i] : ends[i]])
                sizes.append(ends[i] - starts[i])
            labels.append(label[chosen])
            weights.append(weight[chosen] * factor)
            folds.append(np.full(len(chosen), page.fold))
            domains.append(np.full(len(chosen), domain_number(page.domain)))
        self.labels, self.folds = np.concatenate(labels), np.concatenate(folds)
        self.weights = np.concatenate(weights)
        self.weights /= self.weights.mean()
        self.keys, self.matrix = _common_words(keys, values, sizes, np.concatenate(domains))
        logger.info("%d blocks of %d pages, %d words and names", count, len(self.rows), len(self.keys))

    def by_fold(self, fit: Callable[[NDArray[np.bool_]], Arrays]) -> list[Arrays]:
        """What `fit` makes of the rows outside each fold, and at last of all rows."""
        return [fit(self.folds != fold) for fold in range(FOLDS + 1)]

    def words(self, rows: NDArray[np.bool_]) -> Arrays:
        """Weights of words and names."""
        from sklearn.linear_model import LogisticRegression

        model = LogisticRegression(C=_REGULARISATION, max_iter=60, tol=1e-3)
        model.fit(self.matrix[rows], self.labels[rows], sample_weight=self.weights[rows])
        weights = model.coef_[0].astype(np.float16).astype(np.float32)  # half the file, no difference
        used = np.abs(weights) > 1e-4
        return {"keys": self.keys[used], "weights": weights[used]}

    def features(self, which: str, models: list[Arrays]) -> NDArray[np.float32]:
        """Features of all rows, each by the model that has not seen its fold."""
        made = [make_model(arrays, _MAX_TAGS, _MAX_BLOCKS) for arrays in models]
        parts = [made[rows.page.fold].blocks(rows.page.html)[which][rows.chosen] for rows in self.rows]
        return np.concatenate(parts)

    def net_pages(self, models: list[Arrays]) -> list[NetPage]:
        """All blocks of all pages, with the features that the model which has not seen the page makes of them."""
        made = [make_model(arrays, _MAX_TAGS, _MAX_BLOCKS) for arrays in models]
        pages = []
        for rows in self.rows:
            blocks = made[rows.page.fold].blocks(rows.page.html)
            words, label = blocks["words"].astype(np.float32), rows.label.astype(np.float32)
            pages.append(NetPage(blocks["far"], words, label, PAGE_WEIGHT.get(rows.page.source, 1.0)))
        return pages

    def forest(self, name: str, x: NDArray[np.float32], rows: NDArray[np.bool_], settings: dict[str, Any]) -> Arrays:
        """A forest fitted to some rows, as arrays."""
        import lightgbm

        parameters = {**_BOTH, **{key: value for key, value in settings.items() if key != "trees"}}
        data = lightgbm.Dataset(x[rows], self.labels[rows], weight=self.weights[rows], params=parameters)
        booster = lightgbm.train(parameters, data, settings["trees"])
        logger.info("%s forest: %d rows, %d trees", name, int(rows.sum()), booster.num_trees())
        return _forest_arrays(name, [tree["tree_structure"] for tree in booster.dump_model()["tree_info"]])


def _weights(words: NDArray[np.float64], label: NDArray[np.bool_]) -> NDArray[np.float64]:
    sized = (words + 1) ** 0.75
    return np.asarray(sized / (sized[label].sum() + 0.5 * sized.sum()))


def _sample(label: NDArray[np.bool_], random: np.random.Generator) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Blocks to train on, and how many others each stands for."""
    if len(label) <= _BLOCKS_PER_PAGE:
        return np.arange(len(label)), np.ones(len(label))
    near = np.convolve(label, np.ones(5), "same") > 0
    chance = np.where(near, 1.0, 0.25)
    chance = np.minimum(1.0, chance * _BLOCKS_PER_PAGE / chance.sum())
    chosen = np.flatnonzero(random.random(len(label)) < chance)
    return chosen, 1 / chance[chosen]


def _common_words(
    keys: list[NDArray[np.uint32]], values: list[NDArray[np.float32]], sizes: list[int], domains: NDArray[np.int64]
) -> tuple[NDArray[np.uint32], sparse.csr_matrix]:
    """Words that enough domains use, and how often each stands in each row."""
    distinct, column = np.unique(np.concatenate(keys), return_inverse=True)
    ends = np.concatenate([[0], np.cumsum(sizes)])
    matrix = sparse.csr_matrix((np.concatenate(values), column, ends), shape=(len(sizes), len(distinct)))
    sites, site = np.unique(domains, return_inverse=True)
    rows = sparse.csr_matrix((np.ones(len(site)), (site, np.arange(len(site)))), shape=(len(sites), len(site)))
    users = np.asarray(((rows @ (matrix != 0).astype(np.float32)) > 0).sum(axis=0)).ravel()
    common = users >= _MIN_DOMAINS
    return distinct[common], matrix[:, common].astype(np.float32)


def _no_words() -> Arrays:
    return {"keys": np.zeros(0, np.uint32), "weights": np.zeros(0, np.float32)}


def _decision() -> Arrays:
    scores = np.linspace(-8, 8, 65)
    return {
        "probabilities": (1 / (1 + np.exp(-scores))).astype(np.float32),
        "low": np.float64(0.1),  # chosen by cross-validation, as are all settings here
    }


def _forest_arrays(name: str, trees: list[dict[str, Any]] | None = None) -> Arrays:
    """Splits of LightGBM's trees in one list; the threshold of a leaf (feature -1) is its value."""
    splits: dict[str, list[Any]] = {key: [] for key in _EMPTY}

    def add(node: dict[str, Any]) -> int:
        index = len(splits["feature"])
        for key, value in (("feature", -1), ("threshold", node.get("leaf_value", 0.0)), ("left", 0), ("right", 0)):
            splits[key].append(value)
        if "leaf_value" not in node:
            limit = np.float32(node["threshold"])
            if float(limit) > node["threshold"]:  # rounded down, single precision splits the training rows alike
                limit = np.nextafter(limit, np.float32(-np.inf))
            splits["feature"][index], splits["threshold"][index] = node["split_feature"], limit
            splits["left"][index] = add(node["left_child"])
            splits["right"][index] = add(node["right_child"])
        return index

    for tree in trees or []:
        splits["roots"].append(add(tree))
    return {
        **{f"{name}_{key}": np.array(splits[key], dtype=kind) for key, kind in _EMPTY.items()},
        f"{name}_baseline": np.float64(0.0),
    }


def _card(pages: list[GoldPage]) -> dict[str, Any]:
    sources = sorted({page.source for page in pages})
    return {
        "pages": {source: sum(page.source == source for page in pages) for source in sources},
        "domains": len({page.domain for page in pages}),
        "held_out_share_of_domains": HELD_OUT,
        "page_weight": PAGE_WEIGHT,
        "first": {**_BOTH, **_FIRST},
        "second": {**_BOTH, **_SECOND},
        "net": {**SETTINGS, "share": _NET_SHARE},
        "lightgbm": version("lightgbm"),
        "scikit-learn": version("scikit-learn"),
        "torch": version("torch"),
    }


if __name__ == "__main__":
    main()
