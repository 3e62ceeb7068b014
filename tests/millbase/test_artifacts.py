import json
import os
import signal
import subprocess
import sys
import textwrap

import pytest

from millbase.artifacts import create_artifact, open_artifact, work_directory
from millbase.config import Config
from millbase.errors import ArtifactError, InputError, StageError


class Tiny(Config):
    """A component."""

    size: int = 1
    """Size."""


def make(out, text="hello", config=None, inputs=None):
    with create_artifact(out, kind="thing", config=config or Tiny(), inputs=inputs, seed=3) as artifact:
        (artifact.path / "sub").mkdir(exist_ok=True)
        (artifact.path / "sub" / "a.txt").write_text(text)
        (artifact.scratch / "x").write_text("gone later")
        artifact.stats["rows"] = 5
    return open_artifact(out)


def test_round_trip(tmp_path):
    manifest = make(tmp_path / "one")
    assert manifest.kind == "thing"
    assert manifest.stats == {"rows": 5}
    assert manifest.seed == 3
    assert list(manifest.files) == ["sub/a.txt"]
    assert manifest.config == {"size": 1}
    assert sorted(os.listdir(tmp_path)) == ["one"]
    assert manifest.raw["versions"]["python"]


def test_digest_depends_on_content_alone(tmp_path):
    one = make(tmp_path / "one")
    two = make(tmp_path / "elsewhere" / "two")
    other = make(tmp_path / "three", text="hullo")
    assert one.digest == two.digest != other.digest


def test_telemetry_is_checked_but_not_part_of_the_digest(tmp_path):
    digests = []
    for name in ("a", "b"):
        with create_artifact(tmp_path / name, kind="thing", config=Tiny()) as artifact:
            (artifact.path / "model").write_text("weights")
            (artifact.path / "metrics.jsonl").write_text(name)
        digests.append(open_artifact(tmp_path / name).digest)
    assert digests[0] == digests[1]
    (tmp_path / "a" / "metrics.jsonl").write_text("x")
    with pytest.raises(ArtifactError, match="changed"):
        open_artifact(tmp_path / "a")


def test_inputs_are_recorded_by_digest(tmp_path):
    source = make(tmp_path / "source")
    (tmp_path / "file.txt").write_text("x")
    inputs = {"source": tmp_path / "source", "files": [str(tmp_path / "file.txt")], "none": None}
    manifest = make(tmp_path / "next", inputs=inputs)
    assert manifest.inputs["source"]["digest"] == source.digest
    assert manifest.inputs["files.0"]["kind"] == "file"
    assert "none" not in manifest.inputs
    with pytest.raises(ArtifactError, match="does not exist"):
        make(tmp_path / "bad", inputs={"source": tmp_path / "nowhere"})
    assert not (tmp_path / "bad").exists()


@pytest.mark.parametrize("damage", ["change", "remove", "edit manifest"])
def test_damage_is_found(tmp_path, damage):
    make(tmp_path / "one")
    file = tmp_path / "one" / "sub" / "a.txt"
    if damage == "change":
        file.write_text("jello")
    elif damage == "remove":
        file.unlink()
    else:
        path = tmp_path / "one" / "manifest.json"
        raw = json.loads(path.read_text())
        raw["digest"] = "sha256:0"
        path.write_text(json.dumps(raw))
    with pytest.raises(ArtifactError):
        open_artifact(tmp_path / "one")
    with pytest.raises(ArtifactError):
        make(tmp_path / "two", inputs={"one": tmp_path / "one"})


def test_wrong_kind_missing_and_foreign_directories(tmp_path):
    make(tmp_path / "one")
    with pytest.raises(ArtifactError, match="expected 'corpus' or 'tokens'"):
        open_artifact(tmp_path / "one", kind=("corpus", "tokens"))
    with pytest.raises(ArtifactError, match="does not exist"):
        open_artifact(tmp_path / "zero")
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "precious").write_text("mine")
    with pytest.raises(ArtifactError, match="not an llmill artifact"):
        make(tmp_path / "foreign")
    assert (tmp_path / "foreign" / "precious").exists()


def test_failure_leaves_no_output_and_resumes(tmp_path):
    out = tmp_path / "one"
    with pytest.raises(RuntimeError), create_artifact(out, kind="thing", config=Tiny()) as artifact:
        assert not artifact.resumed
        (artifact.scratch / "progress").write_text("half")
        raise RuntimeError("stop")
    assert not out.exists()
    with pytest.raises(ArtifactError, match="unfinished"):
        open_artifact(out)
    with create_artifact(out, kind="thing", config=Tiny()) as artifact:
        assert artifact.resumed
        assert (artifact.scratch / "progress").read_text() == "half"
        (artifact.path / "a").write_text("done")
    assert list(open_artifact(out).files) == ["a"]


def test_a_mistake_found_before_any_work_leaves_nothing(tmp_path):
    with pytest.raises(InputError), create_artifact(tmp_path / "one", kind="thing", config=Tiny()) as artifact:
        (artifact.scratch / "task.log").write_text("started")
        raise InputError("file 'x' is empty")
    assert not list(tmp_path.iterdir())
    with pytest.raises(InputError), create_artifact(tmp_path / "one", kind="thing", config=Tiny()) as artifact:
        (artifact.scratch / "half").write_text("work")
        raise InputError("file 'y' is empty")
    assert (work_directory(tmp_path / "one") / "scratch" / "half").exists()


def test_other_configuration_empties_the_work(tmp_path):
    out = tmp_path / "one"
    with pytest.raises(RuntimeError), create_artifact(out, kind="thing", config=Tiny()) as artifact:
        (artifact.path / "old").write_text("x")
        raise RuntimeError
    with create_artifact(out, kind="thing", config=Tiny(size=2)) as artifact:
        assert not artifact.resumed
        assert not (artifact.path / "old").exists()


def test_rebuilding_replaces_a_finished_artifact(tmp_path):
    make(tmp_path / "one")
    assert make(tmp_path / "one", text="new").path.joinpath("sub/a.txt").read_text() == "new"


def test_two_writers_are_refused(tmp_path):
    with create_artifact(tmp_path / "one", kind="thing", config=Tiny()) as artifact:
        (artifact.path / "a").write_text("x")
        with pytest.raises(StageError, match="another process"):
            make(tmp_path / "one")


def test_kill_leaves_work_that_resumes(tmp_path):
    script = textwrap.dedent(
        """
        import sys, time
        from millbase.artifacts import create_artifact
        from millbase.config import Config
        class Tiny(Config):
            size: int = 1
        with create_artifact(sys.argv[1], kind="thing", config=Tiny()) as artifact:
            (artifact.path / "a").write_text("partial")
            print("ready", flush=True)
            time.sleep(60)
        """
    )
    process = subprocess.Popen([sys.executable, "-c", script, str(tmp_path / "one")], stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"ready\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "one").exists()
    assert (work_directory(tmp_path / "one") / "a").read_text() == "partial"
    with create_artifact(tmp_path / "one", kind="thing", config=Tiny()) as artifact:
        assert artifact.resumed
