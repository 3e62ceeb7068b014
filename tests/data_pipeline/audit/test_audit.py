"""Audits of a handful of labelled pages, counted by hand."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from data_pipeline.audit import AuditConfig, LabelledPages, build_audit
from millbase.errors import InputError

GOOD = [
    "The river ran through the valley and the people that lived there built a bridge.",
    "In the winter of that year the water rose, and they had to leave the houses with all they have.",
    "After the spring came, the market was held again, and travellers came from the villages to trade.",
    "Nobody remembers who had the idea to plant the trees that stand along the road to the town.",
    "There was a school for the children of the valley, and it is still to be seen near the mill.",
    "To be honest, the story of the bridge has been told in many ways, and that is the one I like.",
]
LIST = [f"Item number {number} of many" for number in range(30)]


def write(path: Path, rows: list[dict]) -> str:
    with gzip.open(path, "wt", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    return str(path)


@pytest.fixture
def labelled(tmp_path: Path) -> str:
    rows = [{"url": f"http://a/{number}", "text": "\n".join(GOOD), "page_type": "forum"} for number in range(3)]
    rows += [{"url": "http://a/list", "text": "\n".join(LIST)}, {"url": "http://a/none", "text": ""}]
    return write(tmp_path / "good.jsonl.gz", rows)


@pytest.fixture
def truth(tmp_path: Path) -> str:
    rows = [
        {"url": "http://b/1", "kind": "article", "expected_step": None, "text": "\n".join(GOOD)},
        {"url": "http://b/2", "kind": "mirror", "expected_step": "dedup", "text": "\n".join(GOOD)},
        {"url": "http://b/3", "kind": "list", "expected_step": "heuristics", "text": "\n".join(LIST)},
        {"url": "http://b/4", "kind": "subtle", "expected_step": "heuristics", "text": "\n".join(GOOD)},
        {"url": "http://b/5", "kind": "spam", "expected_step": "quality", "text": "\n".join(LIST)},
        {"url": "http://b/6", "kind": "empty", "expected_step": "read", "text": None},
    ]
    return write(tmp_path / "truth.jsonl.gz", rows)


def test_rates(labelled: str, truth: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = AuditConfig(good=[LabelledPages(path=labelled)], truth=truth)
    result = json.loads((build_audit(config, tmp_path / "out") / "audit.json").read_text())
    rates = {(row["filter"], row["kind"]): row for row in result["good"]}
    assert (rates["all", "forum"]["pages"], rates["all", "forum"]["dropped"]) == (3, 0)
    assert (rates["all", "article"]["pages"], rates["all", "article"]["dropped"]) == (1, 1)
    assert (rates["all", "all"]["share"], rates["fineweb.line_punctuation", "article"]["share"]) == (0.25, 1.0)
    low, high = rates["all", "all"]["ci95"]
    assert low == pytest.approx(0.0456, abs=1e-3) and high == pytest.approx(0.6994, abs=1e-3)  # Wilson, by hand
    every = next(row for row in result["truth"] if row["filter"] == "all")
    assert (every["precision"], every["recall"]) == (1.0, 0.5), "spam is for another step: neither right nor wrong"
    assert every["dropped_by_kind"] == {"article": 0, "list": 1, "mirror": 0, "spam": 1, "subtle": 0}
    printed = capsys.readouterr().out
    assert "all filters in order" in printed and "line_punctuation" in printed and "precision" in printed
    assert (tmp_path / "out" / "audit.txt").read_text() in printed + "\n"


def test_a_corpus_configuration_is_audited(labelled: str, tmp_path: Path) -> None:
    (tmp_path / "corpus.yaml").write_text("sources: [{inputs: x}]\ngopher_quality: {min_words: 1000}\n")
    config = AuditConfig(good=[LabelledPages(path=labelled)], corpus=str(tmp_path / "corpus.yaml"))
    result = json.loads((build_audit(config, tmp_path / "out") / "audit.json").read_text())
    rates = {(row["filter"], row["kind"]): row["share"] for row in result["good"]}
    assert rates["gopher_quality.too_few_words", "forum"] == 1.0 and rates["all", "all"] == 1.0


def test_mistakes(labelled: str, tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="needs labelled pages"):
        AuditConfig()
    with pytest.raises(InputError, match=r"no row of .* holds a text"):
        build_audit(AuditConfig(good=[LabelledPages(path=labelled, text="body")]), tmp_path / "out")
    with pytest.raises(InputError, match="has no expected_step"):
        build_audit(AuditConfig(truth=labelled), tmp_path / "out")
    broken = tmp_path / "broken.jsonl"
    broken.write_text('{"text": "a"}\nnot json\n')
    with pytest.raises(InputError, match=r"broken\.jsonl', line 2: not JSON"):
        build_audit(AuditConfig(good=[LabelledPages(path=str(broken))]), tmp_path / "out")
