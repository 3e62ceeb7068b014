"""Workers start fast: nothing heavy is imported on the path of a corpus build."""

import subprocess
import sys

HEAVY = (
    "torch",
    "transformers",
    "datasets",
    "nltk",
    "spacy",
    "pandas",
    "scipy",
    "sklearn",
    "matplotlib",
    "trafilatura",
)


def imported(code: str) -> list[str]:
    """Those of `HEAVY` that a fresh Python has imported after running `code`."""
    code += f"\nimport sys\nprint(*(name for name in {HEAVY!r} if name in sys.modules))"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()


def test_building_imports_nothing_heavy() -> None:
    assert imported("import data_pipeline.corpus.build") == []


def test_workers_write_arrow_without_pandas() -> None:
    code = """
from data_pipeline.executors.local import _leave_pandas_out
import pyarrow as pa
_leave_pandas_out()
assert pa.table({"a": ["x", None]}).to_pylist() == [{"a": "x"}, {"a": None}]
"""
    assert imported(code) == []
    assert imported(code + "import pandas") == ["pandas"], "it can be imported all the same"
