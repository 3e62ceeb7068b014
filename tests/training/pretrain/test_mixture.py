"""What must never move a sequence of a mixture: layout, length, later weights, sources that come later, a restart."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from millbase.config import load_config
from millbase.errors import ConfigError, InputError
from training.pretrain import PretrainConfig
from training.pretrain.blend import PARTS, Blend, deal, whole_weights
from training.pretrain.data import TrainingData
from training.pretrain.positions import batch_size, first_sequence, tokens_before
from training.pretrain.sources import TrainingOrder

Tiny = Callable[..., dict[str, Any]]
KEYS = ("a", "b", "c", "d")

weights = st.lists(st.integers(0, 40), min_size=1, max_size=4).filter(any)
phase_lists = st.lists(st.tuples(st.integers(1, 300), weights), max_size=3)


def blend(first: list[int], phases: list[tuple[int, list[int]]], limits: dict[str, int] | None = None) -> Blend:
    """A blend over four keys, sequences of 10 tokens; weights that are not given are 0."""

    def full(values: list[int]) -> dict[str, float]:
        return dict(zip(KEYS, [*map(float, values), 0.0, 0.0, 0.0], strict=False))

    return Blend([(0, full(first)), *((p, full(w)) for p, w in sorted(phases))], [(0, 10)], limits or {})


def dealt(order: Blend, positions: range) -> list[tuple[str, int]]:
    return [order.locate(k) for k in positions]


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(1, 400), min_size=1, max_size=7))
def test_shares_hold_at_every_place(weights: list[int]) -> None:
    table, total = deal(tuple(weights)), sum(weights)
    given_ = np.zeros((total, len(weights)))
    given_[np.arange(total), table.source] = 1
    exact = np.arange(1, total + 1)[:, None] * np.array(weights) / total
    worst = np.abs(given_.cumsum(0) - exact).max()
    # Tijdeman 1980, theorem 1
    assert worst <= 1 - 1 / (2 * len(weights) - 2) + 1e-9 if len(weights) > 1 else worst == 0


def test_weights_are_taken_as_written_and_rounded_only_when_they_must() -> None:
    assert whole_weights({"a": 0.7, "b": 0.2, "c": 0.1, "d": 0.0}) == {"a": 7, "b": 2, "c": 1}
    assert whole_weights({"b": 2.0, "a": 4.0}) == {"a": 2, "b": 1}
    odd = whole_weights({"a": 0.123456789, "b": 0.876543210, "c": 1e-9})
    assert sum(odd.values()) <= PARTS + 1
    assert odd["c"] >= 1
    assert odd["a"] / sum(odd.values()) == pytest.approx(0.123456789, abs=2 / PARTS)


@settings(deadline=None, max_examples=60)
@given(weights, phase_lists, st.integers(0, 500))
def test_numbers_within_a_source_count_up_without_gaps(first: list[int], phases: Any, far: int) -> None:
    order = blend(first, [(p, w) for p, w in dict(phases).items()])
    seen = dict.fromkeys(KEYS, 0)
    for k in range(far):
        assert order.counts(k) == seen
        key, number = order.locate(k)
        assert number == seen[key], "each source is read in its own order, nothing left out"
        seen[key] += 1
    # asked for in another order, by another object
    again = blend(first, [(p, w) for p, w in dict(phases).items()])
    assert [again.locate(k) for k in reversed(range(far))] == list(reversed(dealt(order, range(far))))


@settings(deadline=None, max_examples=60)
@given(weights, phase_lists, weights, st.integers(1, 400))
def test_a_later_weight_changes_only_what_comes_after(first: Any, phases: Any, new: Any, at: int) -> None:
    earlier = [(p, w) for p, w in dict(phases).items() if p < at]
    base, changed = blend(first, earlier), blend(first, [*earlier, (at, new)])
    assert dealt(base, range(at)) == dealt(changed, range(at))
    assert base.past(at) == changed.past(at)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=3), st.integers(1, 30), st.integers(1, 300))
def test_a_source_of_weight_0_is_not_there_until_it_is_raised(first: list[int], raised: int, at: int) -> None:
    base = blend(first, [])
    added = blend([*first, 0], [(at, [*first, raised])])
    assert dealt(base, range(at)) == dealt(added, range(at))
    assert any(added.locate(k)[0] == KEYS[len(first)] for k in range(at, at + sum(first) + raised))


@settings(deadline=None, max_examples=40)
@given(st.lists(st.integers(1, 9), min_size=2, max_size=4), st.integers(1, 60), st.integers(1, 60))
def test_a_used_up_source_leaves_its_place_to_the_others(first: list[int], limit: int, other: int) -> None:
    order = blend(first, [], {"a": limit * 10 + 9, "b": other * 10})
    free, far = blend(first, []), 400
    keys = [key for key, _ in dealt(order, range(far))] if len(first) > 2 else []
    if len(first) == 2:
        with pytest.raises(InputError, match="used up its max_epochs"):
            order.locate(limit + other)
        keys = [key for key, _ in dealt(order, range(limit + other))]
        assert keys.count("b") == other
    assert keys.count("a") == min(limit, far) or len(keys) == far
    ended = next((k for k in range(len(keys)) if keys[: k + 1].count("a") == limit), len(keys))
    ended = min(ended, next((k for k in range(len(keys)) if keys[: k + 1].count("b") == other), len(keys)))
    assert dealt(order, range(ended)) == dealt(free, range(ended)), "a limit moves nothing before it is reached"


def test_a_place_after_billions_is_found_at_once_and_shares_are_exact() -> None:
    order = blend([7, 2, 1], [])
    far = 10**12 + 3
    counts = order.counts(far)
    assert all(abs(counts[key] - far * weight / 10) < 1 for key, weight in zip("abc", (7, 2, 1), strict=True))
    key, number = order.locate(far)
    assert number == counts[key]


@pytest.fixture(scope="module")
def three(new_tokens: Any, toy_tokens_config: Any, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three tokens artifacts of one tokenizer."""
    folder = tmp_path_factory.mktemp("three")
    return [new_tokens(folder / f"t{n}", toy_tokens_config(seed=n + 1, documents=40 + n)) for n in range(3)]


def mixture(three: list[Path], *weights: float, schedule: Any = (), **data: Any) -> dict[str, Any]:
    sources = [
        {"name": f"s{n}", "tokens": str(path), "weight": weight}
        for n, (path, weight) in enumerate(zip(three, weights, strict=False))
    ]
    return {"tokens": str(three[0]), "sequence_length": 32, "sources": sources, "schedule": list(schedule)} | data


def rows(values: dict[str, Any], steps: range, *overrides: str) -> torch.Tensor:
    """The sequences of some steps in the order of the global batch, `[sequences, T]`."""
    config = load_config(PretrainConfig, values, overrides)
    data, found = TrainingData(config), []
    for step in steps:
        ranks = [[b.tokens for b in data.step(step, rank)] for rank in range(config.parallel.data)]
        found += [micro for group in zip(*ranks, strict=True) for micro in group]
    data.close()
    return torch.cat(found)


def test_batches_keep_their_bits(tiny: Tiny, three: list[Path]) -> None:
    values = tiny(data=mixture(three, 5, 3), steps=12)
    base = rows(values, range(12))
    assert base.shape == (96, 32)
    for overrides in (
        ["parallel.data=2"],
        ["parallel.data=4"],
        ["micro_batch_size=8"],
        ["micro_batch_size=1", "parallel.data=2"],
        ["steps=5000"],
        ["data.prefetch=0"],
        ["global_batch_size=8", "model.layers=4"],
    ):
        assert torch.equal(rows(values, range(12), *overrides), base), overrides
    # half the batch, twice the steps; a third source of weight 0, raised at sequence 40; the main artifact renamed
    assert torch.equal(rows(values, range(24), "global_batch_size=4", "steps=24"), base)
    later = [{"from_sequence": 40, "weights": {"s2": 8}}]
    added = rows(tiny(data=mixture(three, 5, 3, 0, schedule=later), steps=12), range(12))
    assert torch.equal(added[:40], base[:40])
    assert not torch.equal(added[40:], base[40:])
    moved = mixture(three, 5, 3)
    moved["sources"].reverse()
    assert torch.equal(rows(tiny(data=moved, steps=12), range(12)), base)
    assert not torch.equal(rows(values, range(12), "seed=4"), base)


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 30), st.integers(0, 12))
def test_stopping_and_going_on_changes_nothing(tiny: Tiny, three: list[Path], stop: int, ahead: int) -> None:
    values = tiny(data=mixture(three, 1, 2, 1, prefetch=ahead), steps=40)
    config = load_config(PretrainConfig, values)
    whole, resumed = TrainingData(config), TrainingData(config)
    for step in range(stop):
        list(whole.step(step, 0))
    for step in range(stop, stop + 3):
        for one, other in zip(whole.step(step, 0), resumed.step(step, 0), strict=True):
            assert torch.equal(one.tokens, other.tokens)
    whole.close()
    resumed.close()


def test_each_source_alone_is_read_in_the_order_it_has_in_the_mixture(tiny: Tiny, three: list[Path]) -> None:
    config = load_config(PretrainConfig, tiny(data=mixture(three, 5, 3, 2)))
    order = TrainingOrder(config)
    alone = [
        TrainingOrder(load_config(PretrainConfig, tiny(data={"tokens": str(path), "sequence_length": 32})))
        for path in three
    ]
    seen = [0, 0, 0]
    row, expected = np.empty(33, np.int64), np.empty(33, np.int64)
    for k in range(120):
        source, number = order.locate(k)
        index = int(source.config.name[1])
        assert number == seen[index]
        seen[index] += 1
        order.tokens(k, row)
        alone[index].tokens(number, expected)
        assert (row == expected).all()
    assert seen == [60, 36, 24]


def test_phases_by_tokens_and_a_longer_stage_continue_the_order(tiny: Tiny, three: list[Path]) -> None:
    schedule = [{"from_tokens": 40 * 32, "weights": {"s1": 0}}]
    base = mixture(three, 1, 1, schedule=schedule)
    order = TrainingOrder(load_config(PretrainConfig, tiny(data=base)))
    assert {order.locate(k)[0].config.name for k in range(38, 40)} == {"s0", "s1"}
    assert {order.locate(k)[0].config.name for k in range(40, 60)} == {"s0"}
    past = [{"steps": 2, "sequences": 16, "sequence_length": 32}]
    longer = mixture(three, 1, 1, schedule=schedule, sequence_length=64, history=past)
    config = load_config(PretrainConfig, tiny(data=longer, global_batch_size=4, steps=40))
    after = TrainingOrder(config)
    assert [first_sequence(config, step) for step in (2, 3, 4)] == [16, 20, 24]
    assert tokens_before(config, 4) == 16 * 32 + 8 * 64
    row, wide = np.empty(33, np.int64), np.empty(65, np.int64)
    expected = np.empty(33, np.int64)
    for k in range(16):
        order.tokens(k, expected)
        after.tokens(k, row)
        assert (row == expected).all()
    # the phase at 1,280 tokens: 16 sequences of 32 and 12 of 64 come before it
    assert {after.locate(k)[0].config.name for k in range(26, 28)} == {"s0", "s1"}
    assert {after.locate(k)[0].config.name for k in range(28, 40)} == {"s0"}
    after.tokens(16, wide)


def test_a_longer_stage_reads_nothing_of_its_epoch_twice(tiny: Tiny, three: list[Path], monkeypatch: Any) -> None:
    import training.pretrain.order as module

    monkeypatch.setattr(module, "REACH", 4)
    past = [{"steps": 2, "sequences": 10, "sequence_length": 32}]
    data = {"tokens": str(three[0]), "sequence_length": 64, "history": past}
    order = TrainingOrder(load_config(PretrainConfig, tiny(data=data)))
    source = next(iter(order.sources.values())).order
    begin, total = 12 * 32, source.tokens_per_epoch  # 12 windows are visited or in the way
    seen: list[tuple[int, int]] = []
    for k in range(10 + -(-(total - begin) // 64)):  # all windows that begin in the first epoch
        places = [(s.document, t) for s in order.spans(k)[1] for t in range(s.start, s.end)][:-1]  # last: label only
        inside = total - begin - source.window(k) * 64 if k >= 10 else 32  # the last window reaches into the next epoch
        seen += places[:inside]
    assert len(seen) == len(set(seen)) == 10 * 32 + total - begin


def test_the_ramp_by_hand(tiny: Tiny) -> None:
    ramp = {"start": 2, "increment": 2, "sequences": 18}
    config = load_config(PretrainConfig, tiny(batch_ramp=ramp, micro_batch_size=2, steps=40))
    # sizes 2, 4, 6 see 6 sequences each, or up to a step more
    assert [batch_size(config, s) for s in range(8)] == [2, 2, 2, 4, 4, 6, 8, 8]
    assert [first_sequence(config, s) for s in range(9)] == [0, 2, 4, 6, 10, 14, 20, 28, 36]


def test_a_part_of_an_artifact_is_a_source_by_its_column(tiny: Tiny, three: list[Path]) -> None:
    with pytest.raises(InputError, match=r"no document under .* says 'books' in column source; it holds toy"):
        TrainingOrder(
            load_config(PretrainConfig, tiny(data=mixture(three, 1) | {"sources": [{"name": "x", "column": "books"}]}))
        )
    part = TrainingOrder(
        load_config(PretrainConfig, tiny(data=mixture(three, 1) | {"sources": [{"name": "x", "column": "toy"}]}))
    )
    assert next(iter(part.sources)).endswith("#toy")
    assert len(list(part.spans(0)[1])) >= 1


def test_mixtures_that_cannot_be_are_refused(tiny: Tiny, three: list[Path]) -> None:
    def config(**data: Any) -> PretrainConfig:
        return load_config(PretrainConfig, tiny(data=mixture(three, 1, 1) | data))

    with pytest.raises(ConfigError, match="name twice: a, a"):
        config(sources=[{"name": "a"}, {"name": "a", "tokens": "x"}])
    with pytest.raises(ConfigError, match=r"schedule names s7; data\.sources has s0, s1"):
        config(schedule=[{"from_sequence": 5, "weights": {"s7": 1}}])
    with pytest.raises(ConfigError, match="from_sequence or from_tokens"):
        config(schedule=[{"weights": {"s1": 1}}])
    with pytest.raises(ConfigError, match="holds documents of another source"):
        config(sources=[{"name": "a"}, {"name": "b", "column": "toy"}])
    with pytest.raises(ConfigError, match="write A:B"):
        load_config(PretrainConfig, tiny(skip_steps=["5"]))
    twins = [{"name": "a", "tokens": str(three[0])}, {"name": "b", "tokens": f"{three[0]}/../{three[0].name}"}]
    with pytest.raises(InputError, match="'a' and 'b' are the same data"):
        TrainingOrder(config(sources=twins))
    with pytest.raises(InputError, match="in order of position"):
        TrainingOrder(config(schedule=[{"from_sequence": p, "weights": {"s1": 1}} for p in (9, 5)]))
