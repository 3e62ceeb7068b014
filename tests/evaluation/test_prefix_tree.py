"""Plans of shared prefixes: every row can be read off its pack again, and what is shared is there once."""

from __future__ import annotations

import random

import numpy as np
import pytest

from evaluation.prefix_tree import HEAD_ROWS, Family, Pack, Row, plan


def read_back(family: Family) -> dict[int, tuple[list[int], list[int]]]:
    """Row to `(what its last scored node sees, in order; the scored positions)`, by walking the masks."""
    found = {}
    for pack in family.packs:
        seen = pack.visible(len(pack.tokens))
        for row, nodes in pack.scored:
            visible = sorted(np.flatnonzero(seen[nodes[-1]]), key=lambda node: pack.positions[node])
            assert [pack.positions[node] for node in visible] == list(
                range(len(family.head), len(family.head) + len(visible))
            )
            tokens = [*family.head, *(pack.tokens[node] for node in visible)]
            found[row] = (tokens, [pack.positions[node] for node in nodes])
    return found


def check(rows: list[Row], families: list[Family]) -> None:
    found: dict[int, tuple[list[int], list[int]]] = {}
    for family in families:
        found |= read_back(family)
    assert sorted(found) == list(range(len(rows)))
    for index, row in enumerate(rows):
        assert found[index] == (list(row.inputs), list(range(row.first, len(row.inputs))))


def nodes(families: list[Family]) -> int:
    return sum(len(family.head) + sum(len(pack.tokens) for pack in family.packs) for family in families)


@pytest.mark.parametrize("seed", range(30))
def test_every_row_is_in_the_plan_whatever_the_rows(seed: int) -> None:
    rng = random.Random(seed)
    alphabet, shots = rng.choice([2, 5, 300]), [[rng.randrange(300) for _ in range(rng.choice([0, 30, 80]))]]
    shots.append([*shots[0][:20], *(rng.randrange(300) for _ in range(25))])
    rows = []
    for _ in range(rng.randrange(1, 60)):
        question = [*rng.choice(shots), *(rng.randrange(alphabet) for _ in range(rng.randrange(1, 12)))]
        for _ in range(rng.randrange(1, 5)):
            answer = [rng.randrange(alphabet) for _ in range(rng.randrange(1, 6))]
            rows.append(Row((*question, *answer), rng.randrange(1, len(answer) + 1)))
    rng.shuffle(rows)
    check(rows, plan(rows, keys_per_token=rng.choice([0, 100, 1e6])))


def test_choices_share_their_question_and_questions_their_examples() -> None:
    examples, questions = list(range(1000, 1100)), [[i, i + 1, i + 2] for i in range(0, 300, 10)]
    rows = [Row((*examples, *question, 500 + c, 600 + c), 2) for question in questions for c in range(4)]
    families = plan(rows, keys_per_token=1e6)
    check(rows, families)
    (family,) = families
    assert list(family.head) == examples
    assert nodes(families) == 100 + 30 * (3 + 4 * 2)


def test_letters_cost_one_position() -> None:
    rows = [Row((1, 2, 3, 4), 1)] * 4
    (family,) = plan(rows, keys_per_token=100)
    assert [pack.tokens for pack in family.packs] == [[1, 2, 3, 4]]
    assert [where for _, where in family.packs[0].scored] == [[3]] * 4


def test_two_sets_of_examples_make_two_heads() -> None:
    heads = [[1] * 40, [1] * 10 + [2] * 40]
    rows = [Row((*head, i, j), 1) for head in heads for i in range(100, 110) for j in range(200, 202)]
    families = plan(rows, keys_per_token=1e6)
    check(rows, families)
    assert sorted(len(family.head) for family in families) == [40, 50]


def test_a_head_holds_nothing_that_is_scored() -> None:
    rows = [Row((*range(50), i), 31) for i in range(100, 100 + HEAD_ROWS)]
    (family,) = plan(rows, keys_per_token=1e6)
    assert len(family.head) == 20
    check(rows, [family])


def test_rows_that_are_prefixes_of_one_another() -> None:
    rows = [Row(tuple(range(n)), 1) for n in range(1, 200)]
    check(rows, plan(rows, keys_per_token=1e6))


def test_a_branch_that_shares_little_stays_alone() -> None:
    rows = [Row((1, *range(10, 200)), 1), Row((1, *range(300, 500)), 1)]
    (family,) = plan(rows, keys_per_token=100)
    assert len(family.packs) == 2 and all(pack.is_chain for pack in family.packs)


def test_padding_sees_itself_alone() -> None:
    """A row of a mask without any entry gives NaN in a softmax."""
    pack = Pack([1, 2], [0, 1], [(0, 2, np.empty(0, dtype=np.int64))])
    assert pack.visible(4).tolist() == [
        [True, False, False, False],
        [True, True, False, False],
        [False, False, True, False],
        [False, False, False, True],
    ]
