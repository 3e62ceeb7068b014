from collections import Counter

import pytest

from data_pipeline.corpus.funnel import funnel_rows


def test_every_step_reads_what_the_one_before_kept():
    rows = funnel_rows(["read", "url", "language"], 10, {"read": Counter(pdf=1, redirect=2), "language": Counter(de=3)})
    assert [(row["step"], row["read"], row["dropped"], row["kept"]) for row in rows] == [
        ("read", 10, 3, 7),
        ("url", 7, 0, 7),
        ("language", 7, 3, 4),
    ]
    assert list(rows[0]["reasons"]) == ["redirect", "pdf"]


@pytest.mark.parametrize("steps", [["read"], ["read", "mixture"]])
def test_failed_fingerprints_are_counted_where_near_duplicates_are_kept(steps):
    rows = funnel_rows(steps, 5, {"minhash_dedup": Counter({"error: ValueError": 1})})
    assert [row["step"] for row in rows] == ["read", "minhash_dedup", *steps[1:]]
    assert rows[-1]["kept"] == 4


def test_a_drop_by_an_unknown_step_is_a_bug():
    with pytest.raises(AssertionError, match="mystery"):
        funnel_rows(["read"], 5, {"mystery": Counter(x=1)})
