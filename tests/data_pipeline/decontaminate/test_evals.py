"""Evaluation sets from every kind of file, and the errors of those that are none."""

from __future__ import annotations

import csv
import gzip
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_pipeline.decontaminate import DecontaminateConfig, EvaluationSet
from data_pipeline.decontaminate.evals import Item, item_texts, read_items
from data_pipeline.decontaminate.index import ContaminationIndex, build_index
from millbase.config import load_config
from millbase.errors import ConfigError, InputError

ROWS = [
    {"id": "q1", "question": "Which river is longest?", "choices": {"text": ["Nile", "Rhine"], "label": ["A", "B"]}},
    {"id": "q2", "question": "Who wrote it?", "choices": {"text": ["Ada", "Bo"], "label": ["A", "B"]}},
]


def write(folder: Path, kind: str) -> str:
    path = folder / f"set.{kind}"
    if kind == "jsonl.gz":
        path.write_bytes(gzip.compress("".join(json.dumps(row) + "\n" for row in ROWS).encode()))
    elif kind == "parquet":
        pq.write_table(pa.Table.from_pylist(ROWS), path)
    else:
        with open(path, "w", newline="") as file:
            writer = csv.DictWriter(file, ["id", "question", "choices"])
            writer.writeheader()
            writer.writerows({**row, "choices": "\n".join(row["choices"]["text"])} for row in ROWS)
    return str(path)


@pytest.mark.parametrize("kind", ["jsonl.gz", "parquet", "csv"])
def test_kinds_of_files(tmp_path: Path, kind: str) -> None:
    field = "choices" if kind == "csv" else "choices.text"
    evaluation = EvaluationSet(name="e", path=write(tmp_path, kind), fields=["question", field], id_field="id")
    assert list(read_items(evaluation)) == [
        Item("q1", ["Which river is longest?", "Nile\nRhine"]),
        Item("q2", ["Who wrote it?", "Ada\nBo"]),
    ]


def test_every_string_without_fields_and_numbers_without_ids(tmp_path: Path) -> None:
    evaluation = EvaluationSet(name="e", path=write(tmp_path, "jsonl.gz"))
    items = list(read_items(evaluation))
    assert items[1] == Item("1", ["q2", "Who wrote it?", "Ada", "Bo", "A", "B"])
    assert item_texts({"turns": [{"content": "one"}, {"content": "two"}]}, ["turns.content"]) == ["one\ntwo"]


def test_items_of_several_files_are_told_apart(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.txt").write_text(f"text {name}")
    assert [item.name for item in read_items(EvaluationSet(name="e", path=str(tmp_path / "*.txt")))] == [
        "a.txt:0",
        "b.txt:0",
    ]


def test_mistakes_are_named(tmp_path: Path) -> None:
    path = write(tmp_path, "jsonl.gz")

    def index(**fields: object) -> ContaminationIndex:
        return build_index(load_config(DecontaminateConfig, {"sets": [{"name": "mine", "path": path, **fields}]}))

    with pytest.raises(InputError, match=r"'mine'.*no field 'questions': found 'id', 'question', 'choices'"):
        index(fields=["questions"])
    with pytest.raises(InputError, match=r"'mine': no text in .* has 8 words or more"):
        index(fields=["question"])
    with pytest.raises(InputError, match="evaluation set 'mine': nothing matches"):
        index(path=str(tmp_path / "none.jsonl"))
    (tmp_path / "empty.jsonl").write_text("")
    with pytest.raises(InputError, match=r"'mine'.*empty.jsonl' holds no record"):
        index(path=str(tmp_path / "empty.jsonl"))
    (tmp_path / "cut.jsonl.gz").write_bytes(Path(path).read_bytes()[:-9])
    with pytest.raises(InputError, match=r"cut.jsonl.gz' cannot be read"):
        index(path=str(tmp_path / "cut.jsonl.gz"))
    with pytest.raises(ConfigError, match="names of evaluation sets must differ, found a, a"):
        load_config(DecontaminateConfig, {"sets": [{"name": "a", "path": "x"}, {"name": "a", "path": "y"}]})


def test_the_index_survives_its_file(tmp_path: Path) -> None:
    path = tmp_path / "items.jsonl"
    path.write_text(
        "".join(json.dumps({"q": " ".join(f"w{(n + k) % 40}" for k in range(20))}) + "\n" for n in range(9))
    )
    config = DecontaminateConfig(sets=[EvaluationSet(name="e", path=str(path))])
    index = build_index(config)
    index.save(tmp_path / "index.npz")
    again = ContaminationIndex.load(tmp_path / "index.npz")
    assert again.item_names == [str(n) for n in range(9)] and again.set_names == ["e"]
    for name in ("keys", "lengths", "offsets", "texts", "places", "text_items", "text_words", "item_sets"):
        assert (getattr(again, name) == getattr(index, name)).all(), name
    assert index.occurrences(index.texts[:0]).tolist() == []
    assert sorted(index.occurrences(np.arange(len(index.keys))).tolist()) == list(range(len(index.texts)))
