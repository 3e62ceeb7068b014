"""Columns of corpus tables by name, and the changes that the global steps make to them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from millbase.config import suggest
from millbase.errors import ConfigError


class EditLike(Protocol):
    """What is left of a text: `data_pipeline.decontaminate.Edit`."""

    @property
    def text(self) -> str: ...
    @property
    def removed(self) -> int: ...


def column(table: pa.Table, name: str) -> pa.ChunkedArray:
    """A column by its name; a dot reaches into a struct. ConfigError, with the nearest name, when there is none."""
    first, *inner = name.split(".")
    if first not in table.schema.names:
        raise ConfigError(f"no column {name!r} in the corpus{suggest(first, table.schema.names)}")
    values = table[first]
    for part in inner:
        fields = [field.name for field in values.type] if pa.types.is_struct(values.type) else []
        if part not in fields:
            raise ConfigError(f"no column {name!r} in the corpus{suggest(part, fields)}")
        values = pc.struct_field(values, part)
    return values


def float_column(table: pa.Table, name: str) -> pa.ChunkedArray:
    """A column of numbers as float64, NaN for null. ConfigError when it holds something else."""
    values = column(table, name)
    if not (pa.types.is_floating(values.type) or pa.types.is_integer(values.type)):
        raise ConfigError(f"column {name!r} holds {values.type}, expected numbers; name a column with scores")
    return pc.fill_null(values.cast(pa.float64()), float("nan"))


def string_column(table: pa.Table, name: str) -> pa.ChunkedArray:
    """A column of strings, "" for null. ConfigError when it holds something else."""
    values = column(table, name)
    if not pa.types.is_string(values.type):
        raise ConfigError(f"column {name!r} holds {values.type}, expected strings; name a column such as 'source'")
    return pc.fill_null(values, "")


def replace_texts(table: pa.Table, edits: Mapping[int, EditLike], first: int = 0) -> pa.Table:
    """`table`, whose rows are numbered from `first`, with the texts of `edits` and what was removed from them."""
    here = {row: edits[row] for row in range(first, first + table.num_rows) if row in edits} if edits else {}
    if not here:
        return table
    texts = table["text"].to_pylist()
    removed = table["decontaminated_characters"].to_pylist()
    for row, edit in here.items():
        texts[row - first] = edit.text
        removed[row - first] = (removed[row - first] or 0) + edit.removed
    table = set_column(table, "text", texts)
    return set_column(table, "decontaminated_characters", removed)


def mark_copies(table: pa.Table, copies: np.ndarray) -> pa.Table:
    """`table` with `copies`, int32 [rows], multiplied with those it has."""
    before = pc.fill_null(table["copies"], 1).to_numpy()
    return set_column(table, "copies", before * copies)


def set_column(table: pa.Table, name: str, values: object) -> pa.Table:
    """`table` with other values in a column that it has."""
    place = table.schema.get_field_index(name)
    field = table.schema.field(name)
    return table.set_column(place, field, pa.array(values, field.type))
