"""Modified Kneser-Ney: against the formulas written out with dictionaries, sums of probabilities, and KenLM."""

from __future__ import annotations

import math
import random
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest

from data_pipeline.perplexity.kneser_ney import Model, discounts, train, write_arpa
from millbase.errors import InputError


def corpus(seed: int = 0, lines: int = 400) -> list[str]:
    """Sentences of a small random grammar, so that counts of counts fall as they do in language."""
    rng = random.Random(seed)
    words = [f"w{n}" for n in range(60)]
    weights = [1 / (n + 1) for n in range(60)]
    made = []
    for _ in range(lines):
        sentence = rng.choices(words, weights, k=rng.randint(1, 9))
        made.append(" ".join(word if rng.random() < 0.7 else f"w{(int(word[1:]) * 7 + 1) % 60}" for word in sentence))
    return made


class Written:
    """The formulas of Chen and Goodman (1998) word for word, with dictionaries; no pruning."""

    def __init__(self, lines: list[str], order: int) -> None:
        sentences = [["<s>", *line.split(), "</s>"] for line in lines]
        self.order = order
        raw: list[Counter[tuple[str, ...]]] = [Counter() for _ in range(order + 1)]
        for sentence in sentences:
            for n in range(1, order + 1):
                raw[n].update(tuple(sentence[i : i + n]) for i in range(len(sentence) - n + 1))
        self.adjusted = [dict(counts) for counts in raw]
        for n in range(1, order):
            left: dict[tuple[str, ...], set[str]] = defaultdict(set)
            for gram in raw[n + 1]:
                left[gram[1:]].add(gram[0])
            self.adjusted[n] = {g: c if g[0] == "<s>" else len(left[g]) for g, c in raw[n].items()}
        del self.adjusted[1][("<s>",)]
        self.vocabulary = {gram[0] for gram in raw[1]} - {"<s>"} | {"<unk>"}
        self.discount = []
        for n in range(order + 1):
            values = list(self.adjusted[n].values())
            n1, n2, n3, n4 = (values.count(value) for value in (1, 2, 3, 4))
            if min(n1, n2, n3, n4) == 0:
                self.discount.append([0, 0.5, 1.0, 1.5])
                continue
            y = n1 / (n1 + 2 * n2)
            three = [1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3]
            usable = all(0 <= d <= k for k, d in enumerate(three, 1))
            self.discount.append([0, *(three if usable else (0.5, 1.0, 1.5))])

    def probability(self, gram: tuple[str, ...]) -> float:
        n, context = len(gram), gram[:-1]
        if n == 0:
            return 1 / len(self.vocabulary)
        following = {g: c for g, c in self.adjusted[n].items() if g[:-1] == context}
        lower = self.probability(gram[1:]) if n > 1 else 1 / len(self.vocabulary)
        if not following:
            return lower
        total = sum(following.values())
        weight = sum(self.discount[n][min(c, 3)] for c in following.values()) / total
        count = self.adjusted[n].get(gram, 0)
        return max(count - self.discount[n][min(count, 3)], 0) / total + weight * lower


def by_text(model: Model) -> list[dict[str, tuple[float, float]]]:
    """For each order: n-gram -> (probability, backoff)."""
    tables: list[dict[str, tuple[float, float]]] = []
    spelt: list[str] = []
    for n, order in enumerate(model.orders):
        words = [model.vocabulary[word] for word in order.word.tolist()]
        spelt = words if n == 0 else [f"{spelt[p]} {w}" for p, w in zip(order.prefix.tolist(), words, strict=True)]
        rows = zip(spelt, order.probability.tolist(), order.backoff.tolist(), order.kept.tolist(), strict=True)
        tables.append({text: (p, b) for text, p, b, kept in rows if kept})
    return tables


def looked_up(tables: list[dict[str, tuple[float, float]]], gram: list[str]) -> float:
    """p(last | others) as a reader of the ARPA file finds it, by backing off."""
    text = " ".join(gram)
    if text in tables[len(gram) - 1]:
        return tables[len(gram) - 1][text][0]
    _, backoff = tables[len(gram) - 2].get(" ".join(gram[:-1]), (0.0, 1.0))
    return backoff * looked_up(tables, gram[1:])


@pytest.mark.parametrize("order", [2, 3])
def test_probabilities_are_those_of_the_formulas(order: int) -> None:
    lines = corpus(lines=150)
    written, tables = Written(lines, order), by_text(train(lines, order))
    for n, table in enumerate(tables, 1):
        for text in sorted(table)[:: max(1, len(table) // 60)]:
            if text != "<s>" and not text.endswith(" <s>"):
                assert table[text][0] == pytest.approx(written.probability(tuple(text.split())), rel=1e-9), (n, text)


@pytest.mark.parametrize("prune", [(0,), (0, 0, 1), (0, 1)])
def test_every_distribution_sums_to_one(prune: tuple[int, ...]) -> None:
    model = train(corpus(), 4, prune)
    tables = by_text(model)
    words = [word for word in model.vocabulary if word != "<s>"]
    contexts = [
        ["<s>"],
        ["<s>", "w0"],
        ["w0"],
        ["w1", "w0"],
        ["w0", "w0", "w1"],
        ["w5", "w9"],
        ["<unk>"],
        ["w3", "<unk>"],
    ]
    for context in contexts:
        assert sum(looked_up(tables, [*context, word]) for word in words) == pytest.approx(1.0, abs=1e-9), context


def test_pruned_n_grams_are_gone_and_their_parts_stay() -> None:
    lines = corpus()
    full, pruned = by_text(train(lines, 3)), by_text(train(lines, 3, (0, 0, 1)))
    assert pruned[0].keys() == full[0].keys() and pruned[1].keys() == full[1].keys()
    assert 0 < len(pruned[2]) < len(full[2])
    for text in pruned[2]:
        assert text.rpartition(" ")[0] in pruned[1] and text.partition(" ")[2] in pruned[1]


def test_discounts() -> None:
    adjusted = np.array([1] * 40 + [2] * 15 + [3] * 8 + [4] * 5 + [9] * 3)
    y = 40 / 70
    assert discounts(adjusted).tolist() == pytest.approx(
        [0, 1 - 2 * y * 15 / 40, 2 - 3 * y * 8 / 15, 3 - 4 * y * 5 / 8]
    )
    assert discounts(np.array([1, 1, 2])).tolist() == [0, 0.5, 1.0, 1.5], "too little text"


def test_kenlm_reads_the_same_probabilities(tmp_path: Path) -> None:
    kenlm = pytest.importorskip("kenlm", reason="the package kenlm is not installed (extra `perplexity`)")
    lines = corpus()
    model = train(lines, 4, (0, 0, 1))
    sizes = write_arpa(model, tmp_path / "model.arpa")
    tables = by_text(model)
    assert sizes == [len(table) for table in tables]
    lm = kenlm.Model(str(tmp_path / "model.arpa"))
    assert lm.order == 4
    for line in [*corpus(seed=1, lines=30), "w0 never seen w1", "w59"]:
        tokens = ["<s>", *line.split(), "</s>"]
        known = [token if token in model.vocabulary else "<unk>" for token in tokens]
        ours = sum(math.log10(looked_up(tables, known[max(0, i - 3) : i + 1])) for i in range(1, len(known)))
        assert lm.score(line, bos=True, eos=True) == pytest.approx(ours, abs=1e-3)


def test_text_like_the_training_text_is_less_perplexing() -> None:
    tables = by_text(train(corpus(), 3))
    rng = random.Random(5)

    def mean(lines: list[str]) -> float:
        logs = [
            math.log(looked_up(tables, tokens[max(0, i - 2) : i + 1]))
            for line in lines
            for tokens in [["<s>", *line.split(), "</s>"]]
            for i in range(1, len(tokens))
        ]
        return sum(logs) / len(logs)

    same, other = corpus(seed=2, lines=60), [" ".join(f"w{rng.randint(0, 59)}" for _ in range(6)) for _ in range(60)]
    assert mean(same) > mean(other) + 0.5


def test_order_of_lines_changes_no_probability() -> None:
    lines = corpus(lines=80)
    one, other = by_text(train(lines, 3)), by_text(train(lines[::-1], 3))
    for left, right in zip(one, other, strict=True):
        assert {text: values[0] for text, values in left.items()} == pytest.approx({t: v[0] for t, v in right.items()})


def test_no_text_is_an_error() -> None:
    with pytest.raises(InputError, match="every line is empty"):
        train(["", "  "], 3)
