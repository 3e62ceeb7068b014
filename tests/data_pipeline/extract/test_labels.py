"""Labels of blocks from a gold text: what an annotator would tick, block by block."""

from __future__ import annotations

import unicodedata

from data_pipeline.extract.labels import block_labels

RIVER = "The river rises in the northern hills and runs through three towns before it reaches the sea."
WATER = "Its water comes from snow that lies until May, so it is cold in every season of the year."
MAPS = "Old maps, drawn by hand, show four bridges, of which the floods have left only one standing."
MENU = ["Home", "About us", "Contact", "Read the newsletter that ten thousand people read every week"]


def labels(texts: list[str], gold: str) -> list[bool]:
    return [bool(label) for label in block_labels(texts, gold)]


def test_paragraphs_and_short_lines_of_the_gold_text() -> None:
    texts = [*MENU, "The river", RIVER, "Cold water", WATER, "Share", "About us"]
    wanted = [False] * 4 + [True] * 4 + [False] * 2
    assert labels(texts, f"The river\n\n{RIVER}\n\nCold water\n\n{WATER}") == wanted


def test_cells_of_a_table_are_found_together() -> None:
    """Each is a number or a name; the gold text has a line for a row."""
    rows = [[str(place), f"Driver{place}", str(5000 - 37 * place), str(place % 4)] for place in range(1, 21)]
    cells = [cell for row in rows for cell in row]
    gold = "\n".join([RIVER, *(" ".join(row) for row in rows), WATER])
    assert labels([*MENU, RIVER, *cells, WATER, "1", "2"], gold) == [False] * 4 + [True] * 82 + [False] * 2


def test_numbers_elsewhere_are_not_taken_for_the_table() -> None:
    pages = [str(number) for number in range(1, 9)]
    assert labels([RIVER, WATER, *pages, *MENU], f"{RIVER}\n{WATER}") == [True] * 2 + [False] * 12


def test_the_article_once_more_in_one_block_is_a_copy() -> None:
    gold = f"{RIVER}\n\n{WATER}\n\n{MAPS}"
    whole = f"{RIVER} {WATER} {MAPS}"
    assert labels([RIVER, WATER, MAPS, *MENU, whole], gold) == [True] * 3 + [False] * 5
    assert labels([whole, RIVER, WATER, MAPS], gold) == [False] + [True] * 3
    assert labels([*MENU, whole], gold) == [False] * 4 + [True]


def test_as_many_copies_as_the_gold_text_has() -> None:
    assert labels([RIVER, WATER, RIVER], f"{RIVER}\n{WATER}\n{RIVER}") == [True] * 3
    assert sum(labels([RIVER, WATER, *MENU, RIVER], f"{RIVER}\n{WATER}")) == 2


def test_accents_compare_whether_composed_or_not() -> None:
    text = "Le fleuve naît dans les collines, où la neige reste jusqu'à la fin du mois de mai."
    assert labels([text, *MENU], unicodedata.normalize("NFD", text)) == [True] + [False] * 4


def test_nothing_of_an_empty_gold_text_or_page() -> None:
    assert labels([RIVER, "7", ""], "") == [False] * 3
    assert labels([], RIVER) == []
