"""The cluster of copies that a page belongs to, with the exact similarity of each pair."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from data_pipeline.inspect.crawl import Crawl
from data_pipeline.inspect.tables import find_rows
from data_pipeline.minhash import MinHasher

_ROUNDS = 20
_STEPS = ("url_dedup", "exact_dedup", "minhash_dedup")


@dataclass
class Member:
    """Another document of the cluster, compared with the page."""

    id: str
    url: str
    status: str
    """`kept`, or the step that dropped it."""
    jaccard: float | None
    """Exact Jaccard similarity of the two texts' shingle sets; None where a text could not be made again."""
    estimate: float | None
    """Share of equal entries of the two MinHash signatures, which is what the build looked at."""
    characters: int | None
    """Length of its text."""


@dataclass
class DuplicateStory:
    """The cluster of one page."""

    kept: str | None
    """Id of the document that stands for the cluster; None when a later step dropped it too."""
    size: int
    """Documents in the cluster."""
    shingle: str
    """What is compared."""
    members: list[Member]
    """The others: first the kept one, then those dropped, as many as were asked for."""


def duplicate_story(
    crawl: Crawl, status: str, row: dict[str, Any], text: str | None, members: int
) -> DuplicateStory | None:
    """The cluster of `row`; None when the corpus found no copy of it. `text` is the page's own."""
    cluster = find_cluster(crawl, status, row)
    if len(cluster) < 2:
        return None
    kept = next((name for name, (state, _) in cluster.items() if state == "kept"), None)
    others = sorted(
        ((name, *found) for name, found in cluster.items() if name != row["id"]),
        key=lambda member: (member[1] != "kept", member[0]),
    )
    hasher = MinHasher(crawl.config.dedup.minhash)
    compared = [_compare(crawl, hasher, text, *other) for other in others[:members]]
    shingle = f"{crawl.config.dedup.minhash.shingle_words}-word shingles"
    return DuplicateStory(kept, len(cluster), shingle, compared)


def find_cluster(crawl: Crawl, status: str, row: dict[str, Any]) -> dict[str, tuple[str, dict[str, Any]]]:
    """id -> (`kept` or the step that dropped it, row) of every document tied to `row` by a recorded decision."""
    cluster = {row["id"]: (status if status == "kept" else row["step"], row)}
    if status == "dropped" and keeper_of(row) is None:
        return cluster
    # upwards: an exact copy of a document that is itself a near copy of another
    current: dict[str, Any] | None = row
    while current is not None and (keeper := keeper_of(current)) is not None and keeper not in cluster:
        current = _find(crawl, keeper, cluster)
    # downwards, a level a round: everything that was dropped for one that is in the cluster
    fresh = list(cluster)
    for _ in range(_ROUNDS):
        details = [text for name in fresh for text in (f"of {name}", name)]
        found = [r for r in find_rows(crawl.path / "dropped", "detail", details) if keeper_of(r) is not None]
        fresh = [str(r["id"]) for r in found if r["id"] not in cluster]
        cluster.update({str(r["id"]): (str(r["step"]), r) for r in found if r["id"] in fresh})
        if not fresh:
            break
    return cluster


def _find(crawl: Crawl, name: str, cluster: dict[str, tuple[str, dict[str, Any]]]) -> dict[str, Any] | None:
    """Add the document `name` to the cluster; its row when it was itself dropped as a copy."""
    for found in find_rows(crawl.path / "data", "id", [name]):
        cluster[name] = ("kept", found)
        return None
    for found in find_rows(crawl.path / "dropped", "id", [name]):
        cluster[name] = (str(found["step"]), found)
        return found
    return None


def keeper_of(row: dict[str, Any]) -> str | None:
    """Id of the document that a dropped row says was kept instead of it."""
    if row.get("step") not in _STEPS or not row.get("detail"):
        return None
    return str(row["detail"]).removeprefix("of ").split()[0]


def _compare(crawl: Crawl, hasher: MinHasher, text: str | None, name: str, state: str, row: dict[str, Any]) -> Member:
    other = crawl.text(row)
    jaccard = estimate = None
    if text is not None and other is not None:
        one, two = hasher.shingles(text), hasher.shingles(other)
        jaccard = len(one & two) / len(one | two) if one | two else 1.0
        signatures = hasher.signatures([text, other])
        estimate = float((signatures[0] == signatures[1]).mean())
    return Member(name, row["url"], state, jaccard, estimate, None if other is None else len(other))
