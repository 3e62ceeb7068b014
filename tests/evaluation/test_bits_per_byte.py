"""Bits per byte against lm-eval's figure for the same texts, and against a loop written out by hand."""

from __future__ import annotations

import copy
import json
import math
import shutil
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest
import torch

from evaluation import statistics
from evaluation.bits_per_byte import run_bits_per_byte
from evaluation.config import BitsPerByteConfig, TasksConfig
from evaluation.task_files import prepare_tasks
from evaluation.tasks import run_tasks
from millbase.artifacts import artifact_digest, create_artifact
from millbase.errors import ConfigError, InputError, StageError
from millbase.hashing import file_digest
from training.load import LoadedModel

from .conftest import MadeByTests


def sign_again(artifact: Path, name: str) -> None:
    """Put the digest of a changed file into the manifest."""
    manifest = json.loads((artifact / "manifest.json").read_text())
    file = artifact / name
    manifest["files"][name] = {"bytes": file.stat().st_size, "digest": file_digest(file)}
    manifest["digest"] = artifact_digest("tokens", manifest["files"])
    (artifact / "manifest.json").write_text(json.dumps(manifest))


def test_equals_lm_evals_rolling_figure(loaded: LoadedModel, tokens: Path, web: Path, tmp_path: Path) -> None:
    ours = run_bits_per_byte(loaded, BitsPerByteConfig(tokens=str(tokens)), batch_size=4)
    tasks = TasksConfig.model_validate({"task_path": str(web / "tasks"), "run": [{"task": "prose"}]})
    prepared = prepare_tasks(tasks, cache=tmp_path, seed=0, maximum_bad_share=0)
    theirs = run_tasks(loaded, prepared, seed=0, batch_size=4)
    score = next(score for score in theirs.scores if score.metric == "bits_per_byte")
    assert ours.scores[0].value == pytest.approx(score.value, rel=1e-6)
    assert ours.scores[0].stderr == pytest.approx(score.stderr, rel=1e-6)
    assert ours.scores[0].n == score.n == 9  # the empty document counts nowhere


def test_by_hand(loaded: LoadedModel, tokens: Path, sentences: list[str]) -> None:
    text = sentences[2]
    ids = loaded.tokenizer(text, add_special_tokens=False)["input_ids"]
    start = loaded.tokenizer.convert_tokens_to_ids("<|endoftext|>")
    log_probs = loaded.logits(torch.tensor([[start, *ids]]))[0].log_softmax(-1)
    bits = -sum(log_probs[t, token].item() for t, token in enumerate(ids)) / math.log(2)
    counts = json.loads((tokens / "unigram.json").read_text())["counts"]
    total = sum(counts) + len(counts)
    unigram = -sum(math.log2((counts[token] + 1) / total) for token in ids)
    result = run_bits_per_byte(loaded, BitsPerByteConfig(tokens=str(tokens)), batch_size=64)
    item = result.items["items/bits_per_byte.jsonl"][2]
    assert item["scores"]["bits_per_byte"] == [pytest.approx(bits, rel=1e-5), len(text.encode())]
    assert item["unigram_bits"] == pytest.approx(unigram)
    assert item["tokens"] == len(ids)
    (ratio,) = result.comparisons
    rows = result.items["items/bits_per_byte.jsonl"]
    assert ratio.value == pytest.approx(
        sum(row["scores"]["bits_per_byte"][0] for row in rows) / sum(row["unigram_bits"] for row in rows)
    )
    assert ratio.null == 1.0 and ratio.verdict == "worse"  # a random model is worse than counting


def test_a_shorter_context_costs_bits_and_a_longer_one_is_refused(loaded: LoadedModel, tokens: Path) -> None:
    with pytest.raises(ConfigError, match="context 97"):
        run_bits_per_byte(loaded, BitsPerByteConfig(tokens=str(tokens), context=97), batch_size=4)
    short = run_bits_per_byte(loaded, BitsPerByteConfig(tokens=str(tokens), context=8), batch_size=4)
    assert short.scores[0].details["context"] == 8
    assert short.scores[0].details["tokens"] == sum(item["tokens"] for item in short.items["items/bits_per_byte.jsonl"])


def test_documents_are_limited(loaded: LoadedModel, tokens: Path) -> None:
    result = run_bits_per_byte(loaded, BitsPerByteConfig(tokens=str(tokens), max_documents=5), batch_size=4)
    assert [item["id"] for item in result.items["items/bits_per_byte.jsonl"]] == [f"doc-{i}" for i in range(5)]


def test_another_tokenizer_is_refused(loaded: LoadedModel, tokens: Path, tmp_path: Path) -> None:
    other = tmp_path / "tokens"
    shutil.copytree(tokens, other)
    file = other / "tokenizer" / "tokenizer.json"
    content = json.loads(file.read_text())
    content["model"]["merges"] = content["model"]["merges"][:-1]
    file.write_text(json.dumps(content))
    sign_again(other, "tokenizer/tokenizer.json")
    with pytest.raises(InputError, match="another tokenizer"):
        run_bits_per_byte(loaded, BitsPerByteConfig(tokens=str(other)), batch_size=4)


def test_nan_is_named(loaded: LoadedModel, tokens: Path) -> None:
    diverged = replace(loaded, model=copy.deepcopy(loaded.model))
    diverged.model.model.norm.weight.data.fill_(float("nan"))
    with pytest.raises(StageError, match="NaN"):
        run_bits_per_byte(diverged, BitsPerByteConfig(tokens=str(tokens)), batch_size=4)


def test_each_source_of_the_mix_has_its_own_figure(loaded: LoadedModel, tokens: Path, tmp_path: Path) -> None:
    mixed = tmp_path / "mixed"
    shutil.copytree(tokens, mixed)
    file = mixed / "heldout" / "part-00000.arrow"
    with pa.ipc.open_file(str(file)) as reader:
        table = reader.read_all()
    names = ["books" if i % 3 == 0 else "web" for i in range(table.num_rows)]
    table = table.set_column(1, "source", pa.array(names))
    with pa.ipc.new_file(str(file), table.schema) as writer:
        writer.write_table(table)
    sign_again(mixed, "heldout/part-00000.arrow")
    result = run_bits_per_byte(loaded, BitsPerByteConfig(tokens=str(mixed)), batch_size=8)
    whole, books, web = result.scores
    assert (books.name, web.name) == ("bits_per_byte of books", "bits_per_byte of web")
    rows = result.items["items/bits_per_byte.jsonl"]
    bits = {
        name: [row["scores"]["bits_per_byte"] for row in rows if row["source"] == name] for name in ("books", "web")
    }
    for score, name in ((books, "books"), (web, "web")):
        assert score.value == pytest.approx(sum(b for b, _ in bits[name]) / sum(n for _, n in bits[name]))
        assert score.n == len(bits[name]) and sum(f"of {name}" in row["scores"] for row in rows) == score.n
    assert min(books.value, web.value) < whole.value < max(books.value, web.value)
    alone = run_bits_per_byte(loaded, BitsPerByteConfig(tokens=str(mixed), by_source=False), batch_size=8)
    assert len(alone.scores) == 1


def write_corpus(out: Path, urls: list[str]) -> Path:
    """A corpus of the documents doc-0, doc-1 and on, in two shards."""
    table = pa.table({"id": [f"doc-{i}" for i in range(len(urls))], "url": urls, "language": ["en"] * len(urls)})
    with create_artifact(out, kind="corpus", config=MadeByTests(name="corpus")) as artifact:
        (artifact.path / "data").mkdir()
        for number, part in enumerate((table.slice(0, 4), table.slice(4))):
            with pa.ipc.new_file(str(artifact.path / "data" / f"{number:05d}.arrow"), table.schema) as writer:
                writer.write_table(part)
    return out


def test_each_domain_has_its_own_figure(loaded: LoadedModel, tokens: Path, tmp_path: Path) -> None:
    hosts = ["www.a.org", "b.org", "a.org", "b.org", "a.org", "c.org", "b.org", "d.org", "a.org", "e.org"]
    corpus = write_corpus(tmp_path / "corpus", [f"https://{host}/page/{i}" for i, host in enumerate(hosts)])
    domains = {"corpus": str(corpus), "minimum_documents": 2}
    config = BitsPerByteConfig.model_validate({"tokens": str(tokens), "domains": domains})
    result = run_bits_per_byte(loaded, config, batch_size=8)
    rows = result.items["items/bits_per_byte.jsonl"]
    found = {score.metric: score for score in result.scores[1:]}
    assert {name: score.n for name, score in found.items()} == {
        "of host a.org": 4,
        "of host b.org": 3,
        "of host other": 2,
    }
    mine = [row["scores"]["bits_per_byte"] for row in rows if row["id"] in ("doc-1", "doc-3", "doc-6")]
    bits, sizes = zip(*mine, strict=True)
    assert found["of host b.org"].value == pytest.approx(sum(bits) / sum(sizes))
    low, high = found["of host b.org"].details["bootstrap95"]
    assert (low, high) == statistics.ratio_bootstrap(bits, sizes, seed=0)[:2]
    assert low < found["of host b.org"].value < high
    assert sum("of host a.org" in row["scores"] for row in rows) == 4
    # all of one language: nothing to tell apart; the largest domain alone, the rest together
    for change, names in (({"by": "language"}, set()), ({"most": 1}, {"of host a.org", "of host other"})):
        config = BitsPerByteConfig.model_validate({"tokens": str(tokens), "domains": {**domains, **change}})
        assert {score.metric for score in run_bits_per_byte(loaded, config, batch_size=8).scores[1:]} == names


def test_the_corpus_behind_the_domains_is_named_when_it_is_wrong(
    loaded: LoadedModel, tokens: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=r"does not say which corpus it was made from; set domains\.corpus"):
        run_bits_per_byte(
            loaded, BitsPerByteConfig.model_validate({"tokens": str(tokens), "domains": {}}), batch_size=4
        )
    few = write_corpus(tmp_path / "few", [f"https://a.org/{i}" for i in range(7)])
    config = BitsPerByteConfig.model_validate({"tokens": str(tokens), "domains": {"corpus": str(few)}})
    with pytest.raises(InputError, match=r"lacks 2 of 9 documents .* the first of them 'doc-7'"):
        run_bits_per_byte(loaded, config, batch_size=4)
