"""Mixing finished corpora."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from data_pipeline.corpus import document_location, explain, read_corpus, read_funnel
from data_pipeline.mixture import MixConfig, mix_corpora
from millbase.artifacts import open_artifact
from millbase.config import load_config
from millbase.errors import ArtifactError, ConfigError, InputError

Make = Callable[..., Path]


def rows(name: str, count: int, **columns: Any) -> list[dict[str, Any]]:
    return [{"id": f"{name}{n}", "text": f"{name} {n:04d} text", **columns} for n in range(count)]


def contents(corpus: Path) -> dict[str, bytes]:
    files = [f for f in corpus.rglob("*") if f.is_file() and f.name not in ("manifest.json", "timings.json")]
    return {file.relative_to(corpus).as_posix(): file.read_bytes() for file in files}


@pytest.fixture
def corpora(corpus_from: Make, tmp_path: Path) -> dict[str, str]:
    web = corpus_from(tmp_path / "web", rows("w", 300, language="en"), warc_root="/data/crawl/cc/")
    code = corpus_from(tmp_path / "code", rows("c", 40, language="de"), warc_root="/data/crawl/code/x/")
    return {"web": str(web), "code": str(code)}


def mix(corpora: dict[str, str], out: Path, **mixture: Any) -> Path:
    return mix_corpora(load_config(MixConfig, {"corpora": corpora, "mixture": mixture, "shard_bytes": 900}), out)


def test_corpora_are_mixed_in_their_shares(corpora: dict[str, str], tmp_path: Path) -> None:
    out = mix(corpora, tmp_path / "mix", weights={"web": 1, "code": 1}, max_epochs=2.5)
    documents = list(read_corpus(out))
    read = {name: sum(d["copies"] for d in documents if d["source"] == name) for name in ("web", "code")}
    assert read == {"web": 100, "code": 100}
    assert {d["copies"] for d in documents if d["source"] == "code"} == {2, 3}
    manifest = open_artifact(out, kind="corpus")
    assert manifest.stats["read"] == 340 == len(documents) + 200 and manifest.stats["dropped"] == 200
    assert manifest.stats["sources"]["code"]["epochs"] == 2.5
    assert sorted(manifest.inputs) == ["corpus.code", "corpus.web"]
    assert [(row["step"], row["read"], row["kept"]) for row in read_funnel(out)] == [
        ("read", 340, 340),
        ("mixture", 340, 140),
    ]


def test_every_document_can_be_traced(corpora: dict[str, str], tmp_path: Path) -> None:
    out = mix(corpora, tmp_path / "mix", weights={"web": 1, "code": 1})
    assert document_location(out, "c7")["warc_file"] == "/data/crawl/code/x/a.warc.gz"
    gone = json.loads((out / "funnel.json").read_text())[1]
    assert gone["reasons"] == {"over_weight": 260}
    kept = {document["id"] for document in read_corpus(out)}
    (row,) = explain(out, next(f"w{n}" for n in range(300) if f"w{n}" not in kept))
    assert (row["step"], row["reason"], row["source"]) == ("mixture", "over_weight", "web")


def test_the_bytes_do_not_depend_on_the_order_of_corpora_within_a_source(
    corpora: dict[str, str], tmp_path: Path
) -> None:
    one = mix(corpora, tmp_path / "one", weights={"web": 1, "code": 1})
    again = mix(corpora, tmp_path / "two", weights={"code": 1, "web": 1})
    assert contents(one) == contents(again)


def test_one_corpus_by_another_column_and_budget(corpus_from: Make, tmp_path: Path) -> None:
    made = corpus_from(tmp_path / "corpus", rows("a", 200, language="en") + rows("b", 50, language="fr"))
    mixture = {"column": "language", "temperature": 2, "total_bytes": 1500, "max_epochs": 2}
    out = mix_corpora(load_config(MixConfig, {"corpus": str(made), "mixture": mixture}), tmp_path / "out")
    shares = open_artifact(out).stats["sources"]
    assert shares["en"]["share"] / shares["fr"]["share"] == pytest.approx(2)
    copies = {name: sum(d["copies"] for d in read_corpus(out) if d["language"] == name) for name in ("en", "fr")}
    assert sum(copies.values()) == pytest.approx(1500 / 11, abs=2) and copies["en"] == pytest.approx(
        2 * copies["fr"], abs=2
    )


def test_copies_multiply(corpora: dict[str, str], tmp_path: Path) -> None:
    once = mix(corpora, tmp_path / "once", epochs={"web": 0, "code": 2})
    twice = mix({"mixed": str(once)}, tmp_path / "twice", epochs={"mixed": 3})
    assert {document["copies"] for document in read_corpus(twice)} == {6}


def test_ids_of_two_corpora_stay_apart(corpus_from: Make, tmp_path: Path) -> None:
    paths = {name: str(corpus_from(tmp_path / name, rows("x", 3))) for name in ("one", "two")}
    out = mix(paths, tmp_path / "mix")
    assert [d["id"] for d in read_corpus(out)] == ["x0", "x1", "x2", "x0#2", "x1#2", "x2#2"]
    assert {d["copies"] for d in read_corpus(out)} == {None}


def test_older_corpora_are_accepted(corpora: dict[str, str], tmp_path: Path) -> None:
    """Without the columns that came later."""
    file = Path(corpora["code"]) / "data" / "00000.arrow"
    table = pa.ipc.open_file(str(file)).read_all().drop_columns(["copies", "decontaminated_characters", "title"])
    scores = pa.array([{"score": 0.5}] * table.num_rows, pa.struct([("score", pa.float32())]))
    table = table.set_column(table.schema.get_field_index("quality"), "quality", scores)
    from data_pipeline.write.derived import as_corpus

    assert as_corpus(table, "x").schema.names[:3] == ["id", "text", "title"]
    assert as_corpus(table, "x")["quality"][0].as_py()["score"] == 0.5
    with pytest.raises(ArtifactError, match="'x' has no column 'url'"):
        as_corpus(table.drop_columns(["url"]), "x")


def test_mistakes_are_named(corpora: dict[str, str], corpus_from: Make, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(InputError, match="source 'cod' has weight 1 and no document"):
        mix(corpora, out, weights={"web": 1, "cod": 1})
    with pytest.raises(ConfigError, match="no column 'lang' in the corpus; did you mean 'language'"):
        mix(corpora, out, column="lang", temperature=1)
    with pytest.raises(InputError, match=r"340 of 340 documents have no 'quality\.score'"):
        mix(corpora, out, quality={"buckets": [{"above": 0.5, "repeat": 1}]})
    with pytest.raises(ConfigError, match="either corpora"):
        load_config(MixConfig, {})
    with pytest.raises(ArtifactError, match="does not exist"):
        mix({"a": str(tmp_path / "none")}, out)
    with pytest.raises(InputError, match="holds no documents"):
        mix({"a": str(corpus_from(tmp_path / "empty", []))}, out)
    assert not out.exists()
