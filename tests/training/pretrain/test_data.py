"""Shards are read in place, and sequence k is the same tokens whatever the run around it looks like."""

import itertools
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from millbase.artifacts import create_artifact, open_artifact
from millbase.config import load_config
from millbase.errors import ArtifactError, InputError
from training.pretrain import PretrainConfig, which_documents
from training.pretrain.checks import check_machine, check_steps, check_tokens
from training.pretrain.data import HeldoutData, TrainingData
from training.pretrain.order import SequenceOrder, epoch_order, permuted
from training.shards import TokenShards

Tiny = Callable[..., dict[str, Any]]


def rows(directory: Path) -> list[dict[str, Any]]:
    return [
        row for file in sorted(directory.glob("*.arrow")) for row in pa.ipc.open_file(str(file)).read_all().to_pylist()
    ]


def test_documents_are_views_of_the_mapped_file(toy_tokens: Path) -> None:
    before = pa.total_allocated_bytes()
    shards = TokenShards(toy_tokens / "train")
    views = [shards.tokens(number) for number in range(len(shards))]
    assert pa.total_allocated_bytes() == before, "token values were copied into Arrow's memory"
    assert all(v.dtype == np.uint16 and not v.flags.owndata and not v.flags.writeable for v in views)
    expected = rows(toy_tokens / "train")
    assert len(shards) == len(expected) == 60
    for number, row in enumerate(expected):
        assert shards.tokens(number).tolist() == row["tokens"]
        assert (shards.id(number), shards.source(number), shards.text_bytes(number)) == (
            row["id"],
            row["source"],
            row["bytes"],
        )


def stream(toy_tokens: Path, digest: str, seed: int, epochs: int) -> np.ndarray:
    """The endless stream, built the plain way."""
    documents = [row["tokens"] for row in rows(toy_tokens / "train")]
    return np.concatenate([documents[d] for e in range(epochs) for d in epoch_order(len(documents), digest, seed, e)])


def test_sequences_are_cuts_of_the_shuffled_stream(toy_tokens: Path) -> None:
    shards = TokenShards(toy_tokens / "train")
    order = SequenceOrder(shards, "digest", 5, 32)
    expected = stream(toy_tokens, "digest", 5, 3)
    assert order.tokens_per_epoch * 3 == len(expected)
    count = (len(expected) - 1) // 32
    for number in [*reversed(range(count)), 0, count // 2]:  # any order of asking gives the same
        window = order.window(number)
        if window < count:  # else in the fourth epoch
            assert order.tokens(number).tolist() == expected[window * 32 : window * 32 + 33].tolist()


@pytest.mark.parametrize("length", [32, 7, 301])
def test_an_epoch_visits_each_window_that_begins_in_it_once(toy_tokens: Path, length: int) -> None:
    order = SequenceOrder(TokenShards(toy_tokens / "train"), "digest", 5, length)
    windows = [order.window(number) for number in range(3 * order.tokens_per_epoch // length + 1)]
    for epoch in range(3):
        first, after = (-(-e * order.tokens_per_epoch // length) for e in (epoch, epoch + 1))
        assert sorted(windows[first:after]) == list(range(first, after))


def test_neighbouring_windows_of_a_long_document_are_not_trained_on_together(toy_tokens: Path) -> None:
    order = SequenceOrder(TokenShards(toy_tokens / "train"), "digest", 5, 4)
    windows = [order.window(number) for number in range(order.tokens_per_epoch // 4)]
    neighbours = sum(b == a + 1 for a, b in itertools.pairwise(windows))
    assert neighbours <= 5  # one is expected


@pytest.mark.parametrize("size", [1, 2, 3, 10, 64, 65, 1000])
def test_permuted_is_a_permutation_drawn_from_the_key(size: int) -> None:
    places = [permuted(index, size, 7) for index in range(size)]
    assert sorted(places) == list(range(size))
    if size == 1000:
        other = [permuted(index, size, 8) for index in range(size)]
        assert sum(a == b for a, b in zip(places, other, strict=True)) < 10
        assert sum(a == b for a, b in zip(places, range(size), strict=True)) < 10
        # pinned: a change of the derivation must not reorder anybody's data
        assert places[:8] == [282, 961, 534, 553, 89, 699, 930, 393]


def test_an_epoch_is_a_permutation_that_depends_on_digest_seed_and_epoch_only() -> None:
    base = epoch_order(1000, "a", 1, 0)
    assert sorted(base.tolist()) == list(range(1000))
    assert (epoch_order(1000, "a", 1, 0) == base).all()
    for other in (epoch_order(1000, "b", 1, 0), epoch_order(1000, "a", 2, 0), epoch_order(1000, "a", 1, 1)):
        assert (other == base).mean() < 0.02
    # pinned: a new numpy or a new derivation must not reorder anybody's data
    assert base[:8].tolist() == [446, 92, 608, 349, 713, 664, 269, 527]


def test_batches_do_not_depend_on_layout_or_length(tiny: Tiny) -> None:
    def sequences(*overrides: str) -> torch.Tensor:
        config = load_config(PretrainConfig, tiny(), overrides)
        data = TrainingData(config, "digest")
        # rank by rank, then put back in the order of the global batch
        ranks = [[b.tokens for b in data.step(5, r)] for r in range(config.parallel.data)]
        return torch.cat([micro for group in zip(*ranks, strict=True) for micro in group])

    base = sequences()
    assert base.shape == (8, 32)
    for overrides in (["parallel.data=2"], ["parallel.data=4"], ["micro_batch_size=8"], ["steps=500"], ["seed=3"]):
        assert torch.equal(sequences(*overrides), base)
    assert not torch.equal(sequences("seed=4"), base)


def test_which_documents_names_exactly_the_tokens_of_a_step(tiny: Tiny, toy_tokens: Path) -> None:
    config = load_config(PretrainConfig, tiny())
    by_id = {row["id"]: row["tokens"] for row in rows(toy_tokens / "train")}
    digest = open_artifact(toy_tokens).digest
    batches = list(TrainingData(config, digest).step(2, 0))
    tokens = torch.cat([b.tokens for b in batches])
    spans = which_documents(config, 2)
    for sequence in range(8):
        parts = [by_id[s.id][s.start : s.end] for s in spans if s.sequence == 16 + sequence]
        assert [t for part in parts for t in part][:-1] == tokens[sequence].tolist()


def test_masks_by_hand(tiny: Tiny) -> None:
    config = load_config(
        PretrainConfig, tiny(), ["data.mask_across_documents=true", "data.mask_loss_at_document_start=true"]
    )
    data = TrainingData(config, "digest")
    number = next(k for k in range(100) if len(list(data.order.spans(k)[1])) > 1)
    spans = list(data.order.spans(number)[1])
    batch = data.batch([number])
    assert batch.attention_mask is not None
    document = [i for i, span in enumerate(spans) for _ in range(span.start, span.end)]
    place = 0
    for t in range(32):
        for u in range(32):
            visible = u <= t and document[t] == document[u]
            assert bool(batch.attention_mask[0, 0, t, u]) == (not visible)
        begins = document[t + 1] != document[t]
        assert float(batch.loss_mask[0, t]) == float(not begins)
        place += begins
    assert place == len(spans) - 1
    plain = TrainingData(load_config(PretrainConfig, tiny()), "digest").batch([number])
    assert plain.attention_mask is None
    assert plain.loss_mask.min() == 1


@pytest.mark.parametrize("replicas", [1, 2])
def test_heldout_predicts_every_token_once(tiny: Tiny, toy_tokens: Path, replicas: int) -> None:
    config = load_config(PretrainConfig, tiny(), [f"parallel.data={replicas}"])
    heldout = HeldoutData(config, end_of_document=0)
    expected = rows(toy_tokens / "heldout")[: heldout.documents]
    sizes = np.cumsum([len(row["tokens"]) for row in rows(toy_tokens / "heldout")])
    assert sizes[heldout.documents - 1] >= 200 > sizes[heldout.documents - 2]
    batches = [list(heldout.batches(rank)) for rank in range(replicas)]
    assert {len(b) for b in batches} == {heldout.micro_batches}
    rest = [b for group in zip(*batches, strict=True) for b in group]
    predicted = torch.cat([b.labels[b.loss_mask.bool()] for b in rest])
    assert predicted.tolist() == [t for row in expected for t in row["tokens"]]
    assert heldout.tokens == len(predicted)
    assert heldout.bytes == sum(row["bytes"] for row in expected)


def with_shards_of(shards: Path, rest: Path, out: Path, config: Any) -> Path:
    """A tokens artifact with the shards of one and the tokenizer and vocabulary of another."""
    with create_artifact(out, kind="tokens", config=config) as artifact:
        for folder, source in (("train", shards), ("heldout", shards), ("tokenizer", rest)):
            shutil.copytree(source / folder, artifact.path / folder)
        artifact.stats.update(open_artifact(rest).stats)
    return out


def test_data_that_cannot_work_is_refused(
    tiny: Tiny, new_tokens: Callable[..., Path], toy_tokens: Path, toy_tokens_config: Any, tmp_path: Path
) -> None:
    def check(path: Path, *overrides: str) -> None:
        check_tokens(load_config(PretrainConfig, tiny(tokens=path), overrides))

    check(toy_tokens)
    with pytest.raises(ArtifactError, match="does not exist"):
        check(tmp_path / "nothing")
    with pytest.raises(InputError, match=r"tokens do not fill a sequence of 100000 \+ 1"):
        check(toy_tokens, "data.sequence_length=100000")
    with pytest.raises(InputError, match="training split is empty"):
        check(new_tokens(tmp_path / "empty", toy_tokens_config(documents=0)))
    with pytest.raises(InputError, match="held-out split is empty"):
        check(new_tokens(tmp_path / "unheld", toy_tokens_config(heldout=0)))
    other = new_tokens(tmp_path / "other", extra_vocab=5)
    with pytest.raises(InputError, match=r"made with another tokenizer than .* \(vocabulary 29 and 24\)"):
        check(toy_tokens, f"data.sources=[{{name: a}}, {{name: b, tokens: {other}}}]")
    with pytest.raises(InputError, match=r"train: holds token id 2[4-8], the vocabulary of .* ends at 23"):
        check(with_shards_of(other, toy_tokens, tmp_path / "beyond", toy_tokens_config()))
    with pytest.raises(InputError, match=r"used up its max_epochs before sequence \d+"):
        check_steps(load_config(PretrainConfig, tiny(steps=500), ["data.sources=[{name: a, max_epochs: 1.5}]"]))
    with pytest.raises(InputError, match=r"this run does not fit: .* a CPU rank has"):
        check_machine(load_config(PretrainConfig, tiny(), ["model.hidden_size=262144", "model.layers=64"]), 24)
    damaged = new_tokens(tmp_path / "damaged")
    shard = damaged / "train" / "00000.arrow"
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)
    with pytest.raises(ArtifactError, match="changed"):
        check(damaged)
