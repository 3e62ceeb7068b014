"""Statistics of a corpus, and what differs between two."""

from __future__ import annotations

from typing import Any

from llmill.views.show import amount, print_table, share, words

_QUANTILES = ("p1", "p5", "p25", "p50", "p75", "p95", "p99")
_BAR = 40
_VALUES_SHOWN = 60


def print_stats(stats: dict[str, Any], histograms: bool) -> None:
    """All tables of `corpus_stats`."""
    documents, size = stats["documents"], stats["text_bytes"]
    print(f"{stats['corpus']}: {documents:,} of {stats['read']:,} pages kept, {amount(size)} of text\n")
    _print_funnel(stats["funnel"], stats["read"])
    for name in ("language", "source", "dump"):
        rows = stats[name]
        if len(rows) > 1 or rows[0][name]:
            cells = [
                [row[name] or "(none)", row["documents"], share(row["documents"], documents), amount(row["bytes"])]
                for row in rows
            ]
            print_table(f"by {name}", [name, "documents", "share", "text"], cells)
    _print_hosts(stats["hosts"])
    _print_distributions("lengths of documents", stats["lengths"], histograms)
    _print_distributions("scores", stats["scores"], histograms)
    rows = [
        [r["step"], r["reason"], r["pages"], r["threshold"], *(r["values"].get(name) for name in ("p5", "p50", "p95"))]
        for r in stats["dropped"]
        if r["values"]["count"]
    ]
    print_table(
        "values of dropped pages", ["step", "reason", "pages", "threshold", "p5", "p50", "p95"], rows[:_VALUES_SHOWN]
    )


def _print_funnel(funnel: list[dict[str, Any]], total: int) -> None:
    rows = [
        [row["step"], row["read"], row["dropped"], row["kept"], share(row["kept"], total), round(row["seconds"], 1)]
        for row in funnel
    ]
    print_table("funnel", ["step", "read", "dropped", "kept", "of all", "CPU s"], rows)


def _print_hosts(hosts: dict[str, Any]) -> None:
    rows = [
        [row["host"] or "(none)", row["read"], row["kept"], share(row["kept"], row["read"]), amount(row["bytes"])]
        for row in hosts["top"]
    ]
    missing = f"; pages may be too few by {hosts['at_most_missing']:,}" if hosts["at_most_missing"] else ""
    title = f"the largest of {hosts['distinct']:,} hosts{missing}"
    print_table(title, ["host", "pages", "kept", "share", "text"], rows)


def _print_distributions(title: str, found: dict[str, dict[str, Any]], histograms: bool) -> None:
    rows = [
        [name, d["count"], float(f"{d['mean']:.6g}"), *(d[quantile] for quantile in _QUANTILES)]
        for name, d in found.items()
        if d["count"]
    ]
    if rows:
        print_table(title, ["", "documents", "mean", *_QUANTILES], rows)
    for name, distribution in found.items() if histograms else ():
        bins = distribution.get("histogram", [])
        most = max((entry["count"] for entry in bins), default=0)
        cells = [
            [f"{words(b['from'])} to {words(b['to'])}", b["count"], "#" * round(_BAR * b["count"] / max(most, 1))]
            for b in bins
        ]
        print_table(name, ["", "documents", " "], cells)


def print_diff(diff: dict[str, Any]) -> None:
    """All tables of `compare_corpora`."""
    pages = diff["pages"]
    print(f"A: {diff['a']}\nB: {diff['b']}\n")
    print(
        f"pages read by both: {pages['both']:,}, of which {diff['same']:,} came out the same; "
        f"only by A: {pages['only_a']:,}, only by B: {pages['only_b']:,}\n"
    )
    rows = [[row["name"], words_of(row["a"]), words_of(row["b"])] for row in diff["config"]]
    print_table("configuration", ["field", "A", "B"], rows, left=["A", "B"])
    sides = [
        [
            row["step"],
            row["a"]["dropped"],
            row["b"]["dropped"],
            _change(row, "dropped"),
            row["a"]["kept"],
            row["b"]["kept"],
        ]
        for row in diff["funnel"]
    ]
    print_table("funnel", ["step", "dropped A", "dropped B", "B - A", "kept A", "kept B"], sides)
    cells: list[list[object]] = []
    for change in diff["changes"]:
        same = change["a"] == change["b"] == "kept"
        for index, example in enumerate(change["examples"] or [{"url": ""}]):
            first = index == 0
            names = (
                [change["a"], "kept, other text" if same else change["b"], change["pages"]] if first else ["", "", None]
            )
            cells.append([*names, example["url"]])
    print_table("changes", ["A", "B", "pages", "examples"], cells)


def words_of(value: object) -> str:
    """A configuration value in a cell."""
    return "null" if value is None else str(value)


def _change(row: dict[str, Any], name: str) -> str:
    if row["a"][name] is None or row["b"][name] is None:
        return ""
    difference = row["b"][name] - row["a"][name]
    return f"{difference:+,}" if difference else "0"
