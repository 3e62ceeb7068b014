"""Lineage: from a score back to the bytes of a page, also after the run was moved."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from fake_run import FakeRun, make_run, record_offsets

from llmill.lineage import sample_documents, trace_document, walk
from llmill.lineage.documents import read_record
from llmill.lineage.show import print_lineage
from millbase.errors import ArtifactError, InputError


@pytest.fixture
def fake(tmp_path: Path) -> FakeRun:
    return make_run(tmp_path / "run")


def test_walk_goes_from_scores_to_the_crawl(fake: FakeRun) -> None:
    tree = walk(fake.eval_ppo)
    chain = []
    node = tree
    while True:
        chain.append((node.kind, node.path.name))
        if not node.children:
            break
        node = node.children[0]
    assert chain == [
        ("scores", "eval_ppo"),
        ("checkpoint", "ppo"),
        ("checkpoint", "sft"),
        ("checkpoint", "pretrain"),
        ("tokens", "tokens"),
        ("corpus", "corpus"),
        ("synthetic-web", "web"),
    ]
    assert [file.name for file in node.files] == ["part-0.warc.gz"]
    base = walk(fake.eval_base / "scores.json")
    assert base.path == fake.eval_base
    assert [child.repeated for child in base.children] == [False, True], "tokens appear twice, and are expanded once"


def test_document_leads_to_its_warc_record(fake: FakeRun) -> None:
    trace = trace_document(walk(fake.eval_base), "doc1")
    expected = record_offsets(fake.web / "crawl/web/part-0.warc.gz")[fake.pages["doc1"]]
    assert trace.record is not None
    assert (trace.record.offset, trace.record.length) == expected
    assert [Path(row.partition(",")[0]).parts[-3:] for row in trace.rows] == [
        ("tokens", "heldout", "part-0.arrow"),
        ("corpus", "data", "part-0.arrow"),
    ]
    assert "items/bits_per_byte.jsonl" in trace.items[0]
    headers, content = read_record(trace.record)
    assert headers["WARC-Target-URI"] == fake.pages["doc1"] and b"Page of doc1." in content


@pytest.mark.parametrize("whole", [False, True], ids=["crawl by file", "crawl as artifact"])
def test_moved_run_is_found_by_digest(tmp_path: Path, whole: bool, capsys: pytest.CaptureFixture[str]) -> None:
    moved = tmp_path / "moved"
    os.rename(make_run(tmp_path / "run", whole=whole).root, moved)
    tree = walk(moved / "eval_ppo")
    assert all(node.problem is None for node in tree.nodes())
    trace = trace_document(tree, "doc4")
    assert trace.record is not None and trace.record.found == moved / "web/crawl/web/part-0.warc.gz"
    print_lineage(tree, [trace], content=True)
    shown = capsys.readouterr().out
    assert "Page of doc4." in shown and "offset" in shown and "not found" not in shown


def test_missing_and_rebuilt_artifacts_are_named(fake: FakeRun, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(fake.corpus)
    tree = walk(fake.tokens)
    assert [child.problem for child in tree.children] == ["not found"]
    make_run(fake.root / "other", text="x")
    shutil.rmtree(fake.root / "other")
    (fake.pretrain / "manifest.json").write_text(
        (fake.pretrain / "manifest.json").read_text().replace('"digest": "sha256:', '"digest": "sha256:0', 1)
    )
    problem = walk(fake.sft).children[0].problem
    assert problem is not None and problem.startswith("changed since")


def test_changed_warc_is_noticed(fake: FakeRun) -> None:
    trace = trace_document(walk(fake.corpus), "doc1")
    assert trace.record is not None
    trace.record.offset = 0
    with pytest.raises(ArtifactError, match="the file changed since the corpus was built"):
        read_record(trace.record)


def test_samples_and_unknown_documents(fake: FakeRun) -> None:
    tree = walk(fake.eval_base)
    assert sample_documents(tree, 2) == ["doc0", "doc1"]
    assert sample_documents(walk(fake.corpus), 3) == ["doc0", "doc2", "doc4"]
    with pytest.raises(InputError, match="no document or scored item 'nope'"):
        trace_document(tree, "nope")
    with pytest.raises(ArtifactError, match="nothing behind"):
        sample_documents(walk(fake.web), 1)
    with pytest.raises(ArtifactError, match="does not exist"):
        walk(fake.root / "nothing")


def test_page_bytes_cannot_steer_the_terminal(fake: FakeRun, capsys: pytest.CaptureFixture[str]) -> None:
    from llmill.lineage.show import _printable

    assert "\x1b" not in _printable(b"\x1b[31mred\x00\n ok \xff")
    assert _printable(b"a\r\nb") == "a\nb"
