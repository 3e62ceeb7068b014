"""Every benchmark explains itself, and what they share measures what it says."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
SCRIPTS = sorted(path.name for path in BENCHMARKS.glob("*.py"))


def python(*arguments: str) -> str:
    environment = os.environ | {"PYTHONPATH": str(BENCHMARKS)}
    result = subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, env=environment, timeout=120, check=False
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.mark.parametrize("script", SCRIPTS)
def test_help(script: str) -> None:
    text = python(str(BENCHMARKS / script), "--help")
    assert "--quick" in text and f"python benchmarks/{script}" in text


def test_the_list_of_benchmarks_names_each() -> None:
    text = (BENCHMARKS / "README.md").read_text(encoding="utf-8")
    assert not [script for script in SCRIPTS if f"`{script}`" not in text]


def test_the_time_of_orphans_is_counted(tmp_path: Path) -> None:
    burn = "import time\nwhile time.process_time() < 0.4: pass"
    orphan = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {burn!r}], start_new_session=True)"
    code = f"""
import sys
from pathlib import Path
from support.measure import CommandError, measure
cost = measure([sys.executable, "-c", {orphan!r}], Path({str(tmp_path / "log")!r}))
assert cost.cpu > 0.4, cost
try:
    measure([sys.executable, "-c", "import sys; print('why'); sys.exit(3)"], Path({str(tmp_path / "log")!r}))
except CommandError as error:
    print(error)
"""
    message = python("-c", code)
    assert message.startswith("exit status 3") and "\nwhy\n" in message


def test_samples_are_whole_records_spread_over_all_files(tmp_path: Path) -> None:
    code = f"""
from pathlib import Path
from fastwarc.warc import ArchiveIterator
from support.warc import sample_pages, write_start_pages
folder = Path({str(tmp_path)!r})
write_start_pages(folder / "all", 10)
files = sorted((folder / "all").glob("*"))
assert sample_pages(files, folder / "few", parts=2, pages=5) == 5
parts = sorted((folder / "few").glob("*"))
found = [[r.headers["WARC-Target-URI"][-1] for r in ArchiveIterator(open(part, "rb"))] for part in parts]
assert found == [["0", "4", "8"], ["2", "6"]], found
assert sample_pages(files, folder / "links") == 10 and len(list((folder / "links").glob("*.warc.gz"))) == 10
"""
    python("-c", code)


def test_text_that_only_a_browser_shows_is_told_apart() -> None:
    code = """
from extraction import share_held
assert share_held("<p>One <b>two</b> three&nbsp;four</p>", "One two three four") == 1
assert share_held('<script>x = {"body": "one\\\\u003cb>two\\\\n three"}</script>', "One two three") == 1
assert share_held("<div id=app></div><p>one two</p>", "one two three four five") == 0.25
assert share_held("<p>x</p>", "") == share_held("", "word") == 1  # nothing to look for
"""
    python("-c", code)


def test_words_are_compared_however_accents_are_encoded() -> None:
    code = """
import unicodedata
from extraction import word_f1
text = "Größe und Mühe, für alle"
assert word_f1(text, unicodedata.normalize("NFD", text)) == (1, 1, 1)
assert word_f1(unicodedata.normalize("NFD", text), "größe und geld") == (2 / 5, 2 / 3, 0.5)
"""
    python("-c", code)
