"""From scores and a corpus to the contaminated share and the clean score of each metric."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from evaluation.clean import clean_score
from evaluation.scores import Score, Scores, read_scores
from llmill.contamination.config import ContaminationConfig
from llmill.contamination.items import item_text
from millbase.artifacts import create_artifact, open_artifact
from millbase.atomic import atomic_write, write_json
from millbase.errors import ArtifactError

SCHEMA = 1


def measure(config: ContaminationConfig, out: str | Path) -> Path:
    """Write the `contamination` artifact: `contamination.json`.

    Raises ArtifactError for scores or a corpus that cannot be read, or scores whose items have no texts.
    """
    inputs = {"scores": config.scores, "corpus": config.corpus}
    with create_artifact(out, kind="contamination", config=config, inputs=dict(inputs)) as artifact:
        scores = read_scores(config.scores)
        by_items: dict[str, list[Score]] = {}
        for score in scores.scores:
            if score.items is not None:
                by_items.setdefault(score.items, []).append(score)
        sets = {name: _texts(scores, group[0]) for name, group in by_items.items()}
        sets = {name: texts for name, texts in sets.items() if texts}
        if not sets:
            raise ArtifactError(f"{config.scores!r}: no item has a text to look for in a corpus")
        report = _shared_runs(config, sets, artifact.scratch)
        found = {
            row["set"]: _flags(list(sets[row["set"]]), {item["item"] for item in row["items_found"]})
            for row in report["sets"]
        }
        if config.minhash_similarity is not None:
            _add_near(config, sets, found)
        rows = [
            clean.to_json()
            for name, flags in found.items()
            for score in by_items[name]
            if (clean := clean_score(score, scores.items(score), flags)) is not None
        ]
        flagged = {name: sorted(item for item, hit in flags.items() if hit) for name, flags in found.items()}
        others = {name: sorted(item for item, hit in flags.items() if not hit) for name, flags in found.items()}
        document = {
            "schema": SCHEMA,
            "scores": rows,
            "items_found": flagged,
            "items_clean": others,
            "report": report,
        }
        write_json(artifact.path / "contamination.json", document)
        artifact.stats.update(
            contaminated={f"{row['task']} {row['metric']}": row["contaminated"]["value"] for row in rows}
        )
    return Path(out)


def read_contamination(path: str | Path) -> dict[str, Any]:
    """`contamination.json` of a finished artifact."""
    manifest = open_artifact(path, kind="contamination")
    document: dict[str, Any] = json.loads((manifest.path / "contamination.json").read_text(encoding="utf-8"))
    return document


def _texts(scores: Scores, score: Score) -> dict[str, str]:
    texts = {str(item["id"]): item_text(item, score) for item in scores.items(score)}
    return {name: text for name, text in texts.items() if text}


def _flags(names: list[str], hits: set[str]) -> dict[str, bool]:
    return {name: name in hits for name in names}


def _shared_runs(config: ContaminationConfig, sets: dict[str, dict[str, str]], folder: Path) -> dict[str, Any]:
    """The pipeline's own report on the items as evaluation sets."""
    from data_pipeline.decontaminate import DecontaminateCorpusConfig, measure_contamination

    specifications = []
    for number, (name, texts) in enumerate(sets.items()):
        file = folder / f"set{number}.jsonl"
        with atomic_write(file) as out:
            out.writelines(json.dumps({"id": item, "text": text}) + "\n" for item, text in texts.items())
        specifications.append({"name": name, "path": str(file), "fields": ["text"], "id_field": "id"})
    return measure_contamination(
        DecontaminateCorpusConfig.model_validate(
            {
                "corpus": config.corpus,
                "sets": specifications,
                "method": config.method,
                "n": config.n,
                "min_share": config.min_share,
            }
        )
    )


def _add_near(config: ContaminationConfig, sets: dict[str, dict[str, str]], found: dict[str, dict[str, bool]]) -> None:
    from llmill.contamination.near import near_items

    places = [(name, item) for name, texts in sets.items() for item in texts]
    texts = [sets[name][item] for name, item in places]
    for index in near_items(texts, _documents(config.corpus), config.minhash_similarity or 1.0):
        name, item = places[index]
        found[name][item] = True


def _documents(corpus: str) -> Iterator[str]:
    from data_pipeline.texts import corpus_batches

    for _, batch in corpus_batches(open_artifact(corpus, kind="corpus", verify=False), ["text"]):
        yield from batch["text"].to_pylist()
