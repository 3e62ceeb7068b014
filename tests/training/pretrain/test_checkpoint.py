"""Checkpoints: only whole ones count, old ones go, and an index that could run code is refused."""

import json
import os
import pickle
from pathlib import Path

import pytest

from millbase.errors import ArtifactError
from training.pretrain import checkpoint


def make(checkpoints: Path, step: int) -> Path:
    temporary = checkpoints / ".step.new"
    temporary.mkdir(parents=True)
    (temporary / "weights").write_bytes(b"w" * step)
    final = checkpoint.step_directory(checkpoints, step)
    checkpoint.finish(temporary, final)
    return final


def test_the_latest_is_the_newest_whole_one(tmp_path: Path) -> None:
    assert checkpoint.latest_checkpoint(tmp_path) is None
    first, second, third = (make(tmp_path, step) for step in (5, 10, 15))
    (tmp_path / ".step_00000020.new").mkdir()
    assert checkpoint.latest_checkpoint(tmp_path) == third
    (third / "weights").write_bytes(b"x" * 15)  # same size, other content
    assert checkpoint.latest_checkpoint(tmp_path) == second
    (second / "weights").unlink()
    assert checkpoint.latest_checkpoint(tmp_path) == first
    (first / "complete.json").write_text('{"weights": ')
    assert checkpoint.latest_checkpoint(tmp_path) is None


def test_prune_keeps_the_newest_and_clears_interrupted_saves(tmp_path: Path) -> None:
    for step in (5, 10, 15):
        make(tmp_path, step)
    (tmp_path / ".step_00000020.new").mkdir()
    checkpoint.prune(tmp_path, keep=2)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step_00000010", "step_00000015"]


class Evil:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> object:
        return os.system, (f"touch {self.marker}",)


def test_an_index_that_runs_code_is_refused_without_running_it(tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    (tmp_path / ".metadata").write_bytes(pickle.dumps(Evil(marker)))
    with pytest.raises(ArtifactError, match="source you trust") as caught:
        checkpoint.check_safe(tmp_path)
    assert "system" in str(caught.value)
    assert not marker.exists()


def test_pickled_objects_among_the_tensors_are_refused(tmp_path: Path) -> None:
    from torch.distributed.checkpoint.metadata import BytesStorageMetadata, Metadata

    (tmp_path / ".metadata").write_bytes(pickle.dumps(Metadata({"rng_state": BytesStorageMetadata()})))
    with pytest.raises(ArtifactError, match="rng_state"):
        checkpoint.check_safe(tmp_path)
    (tmp_path / ".metadata").write_bytes(pickle.dumps(Metadata({}))[:-5])
    with pytest.raises(ArtifactError, match="not loaded"):
        checkpoint.check_safe(tmp_path)


class ByName:
    """An attribute, pickled as Python before 3.11.4 pickles the members of enumerations."""

    def __init__(self, owner: object, name: str) -> None:
        self.owner, self.name = owner, name

    def __reduce__(self) -> object:
        return getattr, (self.owner, self.name)


def test_indexes_of_earlier_pythons_are_read_and_give_no_other_attributes(tmp_path: Path) -> None:
    from torch.distributed.checkpoint.metadata import Metadata
    from torch.distributed.checkpoint.planner import WriteItemType

    by_name = Metadata({}, planner_data=ByName(WriteItemType, "TENSOR"))
    (tmp_path / ".metadata").write_bytes(pickle.dumps(by_name))
    checkpoint.check_safe(tmp_path)
    assert checkpoint.saved_names(tmp_path) == set()
    for owner, name in ((WriteItemType, "mro"), (Metadata, "__init__")):
        (tmp_path / ".metadata").write_bytes(pickle.dumps(ByName(owner, name)))
        with pytest.raises(ArtifactError, match=name):
            checkpoint.check_safe(tmp_path)


def test_objects_in_common_pt_are_refused_without_running_them(tmp_path: Path) -> None:
    import torch
    from torch.distributed.checkpoint.metadata import Metadata

    marker = tmp_path / "ran"
    (tmp_path / ".metadata").write_bytes(pickle.dumps(Metadata({})))
    torch.save({"optimizer": 1}, tmp_path / "common.pt")
    checkpoint.check_safe(tmp_path)
    torch.save({"optimizer": Evil(marker)}, tmp_path / "common.pt")
    with pytest.raises(ArtifactError, match=r"common\.pt: not loaded"):
        checkpoint.check_safe(tmp_path)
    assert not marker.exists()


def test_a_file_shorter_than_the_index_says_was_not_written(tmp_path: Path) -> None:
    from torch.distributed.checkpoint.filesystem import _StorageInfo
    from torch.distributed.checkpoint.metadata import Metadata, MetadataIndex

    places = {
        MetadataIndex("a"): _StorageInfo("__0_0.distcp", 0, 40),
        MetadataIndex("b"): _StorageInfo("__0_0.distcp", 40, 60),
    }
    (tmp_path / ".metadata").write_bytes(pickle.dumps(Metadata({}, storage_data=places)))
    (tmp_path / "__0_0.distcp").write_bytes(bytes(100))
    checkpoint.check_written(tmp_path)
    (tmp_path / "__0_0.distcp").write_bytes(bytes(99))
    with pytest.raises(OSError, match=r"__0_0\.distcp has 99 of 100 bytes"):
        checkpoint.check_written(tmp_path)


def test_the_damaged_file_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    first, second = make(tmp_path, 5), make(tmp_path, 10)
    (second / "weights").write_bytes(b"x" * 10)
    with caplog.at_level("WARNING"):
        assert checkpoint.latest_checkpoint(tmp_path) == first
    assert "step_00000010: damaged (weights changed), the checkpoint before it is used" in caplog.text
    assert checkpoint.damaged_file(second) == "weights changed"
    (second / "weights").unlink()
    assert checkpoint.damaged_file(second) == "weights is missing"
    assert checkpoint.latest_checkpoint(tmp_path, lambda directory: directory == second) is None


def test_a_deletion_that_was_killed_leaves_no_half_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for step in (5, 10, 15):
        make(tmp_path, step)
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint.shutil, "rmtree", lambda *_, **__: None)  # killed before anything is deleted
        checkpoint.prune(tmp_path, keep=1)
    assert [p.name[-2:] for p in checkpoint.complete_checkpoints(tmp_path)] == ["15"]
    checkpoint.prune(tmp_path, keep=1)
    assert [p.name for p in tmp_path.iterdir()] == ["step_00000015"]


def test_every_nth_is_kept_beside_the_newest(tmp_path: Path) -> None:
    for step in (5, 10, 15, 20, 25):
        make(tmp_path, step)
    checkpoint.prune(tmp_path, keep=1, keep_every=10)
    assert sorted(p.name[-2:] for p in tmp_path.iterdir()) == ["10", "20", "25"]
    checkpoint.delete_after(tmp_path, 10)
    assert [p.name[-2:] for p in tmp_path.iterdir()] == ["10"]


def test_a_folder_that_is_no_checkpoint_is_named(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="not a pretraining checkpoint"):
        checkpoint.RunState.read(tmp_path)
    (tmp_path / "state.json").write_text(json.dumps({"step": 3}))
    with pytest.raises(ArtifactError, match="not a pretraining checkpoint"):
        checkpoint.RunState.read(tmp_path)
