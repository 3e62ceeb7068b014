"""What is found, ignored, dropped and removed: each published rule on texts made for it."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from data_pipeline.decontaminate import DecontaminateConfig, Outcome, decide
from data_pipeline.decontaminate.index import ContaminationIndex, build_index
from data_pipeline.decontaminate.judge import merge_spans, remove_spans
from data_pipeline.decontaminate.report import describe_report
from data_pipeline.decontaminate.step import find_rows
from millbase.config import load_config


def prose(seed: object, words: int) -> str:
    """Words in an order that no other seed repeats; punctuation and line breaks among them."""
    draw = random.Random(str(seed))
    return "".join(draw.choice(VOCABULARY) + draw.choice([" "] * 12 + [", ", ". ", "\n\n"]) for _ in range(words))


VOCABULARY = [a + b + c for a in "bdl" for b in "aeiou" for c in "nrstmk"]


class Setting:
    """Ten items of 40 words, and documents of 300 words some of which hold one."""

    def __init__(self, folder: Path, **fields: Any) -> None:
        self.items = [" ".join(prose(f"item {n}", 40).split()) for n in range(10)]
        path = folder / "items.jsonl"
        path.write_text("".join(json.dumps({"q": text, "label": "A"}) + "\n" for text in self.items))
        self.config = load_config(DecontaminateConfig, {"sets": [{"name": "quiz", "path": str(path)}], **fields})
        self.index: ContaminationIndex = build_index(self.config)

    def run(self, documents: list[str]) -> Outcome:
        rows = [find_rows(self.index, self.config, text).tolist() or None for text in documents]
        ids = [f"d{n}" for n in range(len(documents))]
        return decide(self.config, self.index, pa.array(rows, pa.list_(pa.int32())), ids, documents.__getitem__)


def around(text: str, seed: object = 0, words: int = 150) -> str:
    return f"{prose(f'{seed} before', words)}\n{text}\n{prose(f'{seed} after', words)}"


def test_a_copied_item_is_found_however_it_is_set(tmp_path: Path) -> None:
    setting = Setting(tmp_path)
    shouted = setting.items[3].upper().replace(" ", ",\n  ")
    outcome = setting.run([around("nothing here"), around(shouted), setting.items[4], ""])
    assert set(outcome.drops) == {1, 2} and not outcome.edits
    drop = outcome.drops[1]
    assert (drop.reason, drop.value, drop.threshold) == ("quiz", 1.0, None)
    assert (drop.detail or "").startswith(f"item 3: '{setting.items[3].split()[0].upper()}")


def test_thirteen_words_are_enough_and_twelve_are_not(tmp_path: Path) -> None:
    setting = Setting(tmp_path)
    words = setting.items[0].split()
    outcome = setting.run([around(" ".join(words[5:18])), around(" ".join(words[5:17]))])
    assert set(outcome.drops) == {0}
    assert outcome.drops[0].value == 13 / 40


def test_short_items_are_looked_for_whole(tmp_path: Path) -> None:
    setting = Setting(tmp_path)
    short, shorter = setting.items[0].split()[:9], setting.items[1].split()[:7]
    (tmp_path / "short.jsonl").write_text("".join(json.dumps({"q": " ".join(t)}) + "\n" for t in (short, shorter)))
    config = load_config(DecontaminateConfig, {"sets": [{"name": "s", "path": str(tmp_path / "short.jsonl")}]})
    setting.config, setting.index = config, build_index(config)
    outcome = setting.run([around(" ".join(short)), around(" ".join(short[:8])), around(" ".join(shorter))])
    assert set(outcome.drops) == {0}
    assert outcome.report["sets"][0] | {"items_found": 0} == {
        "set": "s", "items": 2, "too_short": 1, "found": 1, "share": 0.5, "documents": 1, "items_found": 0
    }  # fmt: skip


def test_common_runs_do_not_count_unless_the_item_is_there(tmp_path: Path) -> None:
    setting = Setting(tmp_path, max_documents=3)
    words = setting.items[2].split()
    phrase = [around(" ".join(words[:14]), n) for n in range(4)]
    assert not setting.run(phrase).drops and set(setting.run(phrase[:3]).drops) == {0, 1, 2}
    report = setting.run(phrase).report
    assert (report["runs"]["common"], report["runs"]["found"], report["documents"]["with_runs"]) == (2, 2, 4)
    assert report["runs"]["common_examples"][0] == {"text": " ".join(words[:13]), "documents": 4}
    whole = [around(setting.items[2], n) for n in range(5)]
    assert set(setting.run(whole).drops) == set(range(5)), "a test item copied often is no common phrase"
    assert not Setting(tmp_path, max_documents=3, sure_share=None).run(whole).drops
    assert set(Setting(tmp_path, max_documents=None).run(phrase).drops) == {0, 1, 2, 3}


def test_coverage_asks_for_half_of_a_text_in_one_document(tmp_path: Path) -> None:
    setting = Setting(tmp_path, method="coverage")
    words = setting.items[5].split()
    halves = f"{' '.join(words[:12])}, then {prose('between', 50)} {' '.join(words[28:])}"
    outcome = setting.run([around(" ".join(words[:20])), around(" ".join(words[:19])), around(halves)])
    assert {n: drop.value for n, drop in outcome.drops.items()} == {0: 0.5, 2: 0.6}
    assert outcome.drops[0].threshold == 0.5


def test_paragraphs_must_be_equal_and_long(tmp_path: Path) -> None:
    setting = Setting(tmp_path, method="paragraph")
    item = setting.items[6]
    documents = [around(item.title() + "!"), around(item + " more"), around(" ".join(item.split()[:30]))]
    assert set(setting.run(documents).drops) == {0}


def test_removal_takes_the_item_and_its_surroundings(tmp_path: Path) -> None:
    setting = Setting(tmp_path, action="remove", context_characters=50, min_piece_characters=100)
    document = " ".join(around(setting.items[7], words=200).split())
    outcome = setting.run([document, setting.items[8], around("clean")])
    assert set(outcome.drops) == {1} and "removal would leave nothing" in (outcome.drops[1].detail or "")
    edit = outcome.edits[0]
    before, after = edit.text.split("\n\n")
    assert document.startswith(before + " ") and document.endswith(" " + after)
    assert edit.removed == len(document) - len(edit.text) + 2
    assert len(setting.items[7]) + 100 <= edit.removed <= len(setting.items[7]) + 130
    assert not setting.run([edit.text]).report["documents"]["with_runs"]
    counts = outcome.report["documents"]
    assert (counts["contaminated"], counts["dropped"], counts["edited"]) == (2, 1, 1)
    assert counts["characters_removed"] == edit.removed


def test_a_document_in_too_many_pieces_is_dropped(tmp_path: Path) -> None:
    fields = {"action": "remove", "context_characters": 0, "min_piece_characters": 20}
    document = " ".join(around(item, n, 30) for n, item in enumerate(Setting(tmp_path).items))
    whole = Setting(tmp_path, max_pieces=11, **fields).run([document])
    assert whole.edits and not whole.drops
    outcome = Setting(tmp_path, max_pieces=10, **fields).run([document])
    assert "removal would leave 11 pieces, more than 10" in (outcome.drops[0].detail or "")


def test_cuts_fall_between_words() -> None:
    config = DecontaminateConfig(context_characters=3, min_piece_characters=0)
    assert remove_spans("one two three four five six", [(14, 18)], config) == ("one two\n\nsix", 2, 17)
    assert remove_spans("one two three", [(0, 13)], config) == ("", 0, 13)
    assert merge_spans([(5, 9), (0, 2), (8, 12), (2, 3)]) == [(0, 3), (5, 12)]


def test_the_report_counts_items_and_documents(tmp_path: Path) -> None:
    setting = Setting(tmp_path, examples=2)
    documents = [around(setting.items[1], n) for n in range(4)]
    documents += [around(f"{setting.items[1]} {setting.items[2]}", 9), around("clean")]
    report = setting.run(documents).report
    (row,) = report["sets"]
    assert (row["items"], row["found"], row["share"], row["documents"]) == (10, 2, 0.2, 5)
    first, second = row["items_found"]
    assert (first["item"], first["documents"], second["item"], second["documents"]) == ("1", 5, "2", 1)
    assert [example["document"] for example in first["examples"]] == ["d0", "d1"]
    assert report["documents"] == {
        "read": 6, "with_runs": 5, "contaminated": 5, "dropped": 5, "edited": 0, "characters_removed": 0
    }  # fmt: skip
    text = describe_report(report)
    assert "5 of 6 documents hold evaluation items: 5 dropped" in text and "quiz item 1: 5 documents" in text


def paraphrase(text: str, noise: float, seed: int) -> str:
    """`text` with a share of its words replaced by others."""
    draw = random.Random(seed)
    return " ".join(draw.choice(VOCABULARY) if draw.random() < noise else word for word in text.split())


@pytest.mark.parametrize(
    ("method", "noise", "recall"),
    [("ngram", 0.0, 1.0), ("ngram", 0.05, 0.95), ("ngram", 0.1, 0.6), ("coverage", 0.05, 0.9), ("paragraph", 0.0, 1.0)],
)
def test_planted_items_are_found_through_noise(tmp_path: Path, method: str, noise: float, recall: float) -> None:
    """80 documents with an item whose words were partly replaced, and 80 without: recall and precision."""
    setting = Setting(tmp_path, method=method, max_documents=None)
    planted = [around(paraphrase(setting.items[n % 10], noise, n), n) for n in range(80)]
    clean = [prose(f"clean {n}", 340) for n in range(80)]
    found = set(setting.run([*planted, *clean]).drops)
    assert len([n for n in found if n < 80]) / 80 >= recall
    assert not [n for n in found if n >= 80], "precision 1"


def test_real_items_planted_in_real_prose(real_data: Path) -> None:
    """GSM8K's questions in chapters of old books: all exact copies are found, and no chapter without one."""
    import gzip

    path = real_data / "evals/gsm8k/test.jsonl.gz"
    questions = [json.loads(line)["question"] for line in gzip.open(path, "rt", encoding="utf-8")][:200]
    with gzip.open(real_data / "text/classic_books_en.jsonl.gz", "rt", encoding="utf-8") as lines:
        books = [json.loads(next(lines))["text"] for _ in range(4)]
    prose_ = "".join(book[:300_000] for book in books)
    chapters = [prose_[start : start + 3000] for start in range(0, len(prose_) - 3000, 3000)]
    config = load_config(
        DecontaminateConfig, {"sets": [{"name": "gsm8k", "path": str(path), "fields": ["question", "answer"]}]}
    )
    index = build_index(config)
    documents = [c[:1500] + q + c[1500:] for c, q in zip(chapters, questions)] + chapters
    rows = [find_rows(index, config, text).tolist() or None for text in documents]
    outcome = decide(
        config,
        index,
        pa.array(rows, pa.list_(pa.int32())),
        list(map(str, range(len(documents)))),
        documents.__getitem__,
    )
    planted = min(len(chapters), len(questions))
    long = [n for n in range(planted) if len(questions[n].split()) >= 13]
    assert set(long) <= set(outcome.drops) and planted > 100
    assert not [n for n in outcome.drops if n >= planted]
    assert np.mean([outcome.drops[n].value for n in long]) > 0.95
