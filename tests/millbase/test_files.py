import gzip

import pytest

from millbase.atomic import atomic_write, write_json
from millbase.errors import InputError
from millbase.files import glob_files, open_file, storage_error
from millbase.hashing import file_digest, value_digest
from millbase.seeds import derive_seed


def test_atomic_write_is_all_or_nothing(tmp_path):
    path = tmp_path / "a" / "file.txt"
    with atomic_write(path) as file:
        file.write("one\n")
    with pytest.raises(RuntimeError), atomic_write(path) as file:
        file.write("half")
        raise RuntimeError
    assert path.read_text() == "one\n"
    assert [item.name for item in path.parent.iterdir()] == ["file.txt"]


def test_json_refuses_nan(tmp_path):
    with pytest.raises(ValueError):
        write_json(tmp_path / "x.json", {"loss": float("nan")})
    assert not (tmp_path / "x.json").exists()


def test_globs_are_sorted_unique_and_never_silently_empty(tmp_path):
    for name in ("b.txt", "a.txt", "c.md"):
        (tmp_path / name).write_text(name)
    found = glob_files([f"{tmp_path}/*.txt", f"{tmp_path}/a.txt"])
    assert [path.rsplit("/", 1)[1] for path in found] == ["a.txt", "b.txt"]
    with pytest.raises(InputError, match=r"\*\.gz"):
        glob_files(f"{tmp_path}/*.gz")
    with pytest.raises(InputError, match="missing"):
        glob_files(f"{tmp_path}/missing.txt")
    with pytest.raises(InputError):
        glob_files([])


def test_open_file_decompresses_and_reports_missing(tmp_path):
    (tmp_path / "x.gz").write_bytes(gzip.compress("grüße".encode()))
    with open_file(f"{tmp_path}/x.gz") as file:
        assert file.read() == "grüße"
    with pytest.raises(InputError, match="does not exist"):
        open_file(f"{tmp_path}/nope.txt")


def test_zstd_frames_are_read_on_and_a_cut_stream_is_an_error(tmp_path):
    import random

    import zstandard

    rng = random.Random(0)
    text = "\n".join(str(rng.random()) for _ in range(20_000))
    frame = zstandard.compress(text.encode())
    (tmp_path / "two.zst").write_bytes(frame + frame)
    with open_file(f"{tmp_path}/two.zst") as file:
        assert file.read() == text + text
    (tmp_path / "cut.zst").write_bytes(frame[: len(frame) // 2])
    with pytest.raises(OSError, match="runcated"), open_file(f"{tmp_path}/cut.zst") as file:
        file.read()


def test_memory_filesystem_paths():
    import fsspec

    with fsspec.open("memory://bucket/one.txt", "w") as file:
        file.write("far")
    paths = glob_files("memory://bucket/*.txt")
    with open_file(paths[0]) as file:
        assert file.read() == "far"


def test_digests(tmp_path):
    (tmp_path / "empty").write_bytes(b"")
    # published XXH3-128 of the empty input with seed 0
    assert file_digest(tmp_path / "empty") == "xxh3:99aa06d3014798d86001c324468d497f"
    assert value_digest({"a": 1, "b": 2}) == value_digest({"b": 2, "a": 1})


def test_seeds_are_stable_and_separate():
    assert derive_seed(0, "data") == derive_seed(0, "data")
    assert (
        len({derive_seed(0, "data"), derive_seed(1, "data"), derive_seed(0, "model"), derive_seed(0, "data", 1)}) == 4
    )
    assert all(0 <= derive_seed(0, index) < 2**63 for index in range(100))


@pytest.mark.parametrize(
    ("path", "error", "words"),
    [
        ("s3://b/x", ImportError("Install s3fs to access S3"), "pip install 'llmill[s3]'"),
        ("gs://b/x", ImportError("Please install gcsfs"), "pip install gcsfs"),
        ("s3://b/x", type("NoCredentialsError", (Exception,), {})("Unable to locate credentials"), "AWS_ACCESS_KEY_ID"),
        ("s3://b/x", PermissionError("Access\nDenied"), "may not be read (Access Denied); check its permissions"),
        ("s3://b/x", FileNotFoundError("The specified bucket does not exist"), "does not exist; check the path"),
        ("https://h/x", OSError("Cannot connect to host h"), "cannot be reached (OSError: Cannot connect to host h)"),
        ("/a/x", IsADirectoryError("x"), "is a directory, expected a file; give its files, such as /a/x/*"),
        ("/a/x", OSError("[Errno 5] Input/output error"), "cannot be read ([Errno 5] Input/output error)"),
    ],
)
def test_errors_of_stores_name_the_address_and_the_fix(path: str, error: Exception, words: str) -> None:
    message = str(storage_error(path, error))
    assert path in message and words in message and "\n" not in message


def test_unknown_kinds_of_address() -> None:
    with pytest.raises(InputError, match=r"'nowhere://x/\*'.*no package for nowhere:// is installed"):
        glob_files("nowhere://x/*")
