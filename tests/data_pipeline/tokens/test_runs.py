"""Rows of token tables, against Arrow's own `take`."""

import numpy as np
import pyarrow as pa
import pytest

from data_pipeline.tokens.runs import take_rows, tokens_schema


@pytest.mark.parametrize("rows", [[], [3], [2, 0, 2, 5], list(range(1, 7))])
def test_rows_are_taken_as_arrow_takes_them(rows: list[int]) -> None:
    schema = tokens_schema(np.dtype("uint16"))
    lists = [[1, 2, 3], [], [65535], list(range(50)), [7], [], [8, 9], [4]]
    columns = [[f"d{n}" for n in range(8)], ["web"] * 8, [len(item) for item in lists], lists]
    whole = pa.table([pa.array(values, field.type) for values, field in zip(columns, schema, strict=True)], schema)
    table = pa.concat_tables([whole.slice(0, 3), whole.slice(3)]).slice(1)  # chunks and offsets, as shards have them
    taken = take_rows(table, np.array(rows, dtype=np.int64))
    assert taken.schema == schema
    assert taken.to_pylist() == table.take(pa.array(rows, pa.int64())).to_pylist()
    assert taken["tokens"].combine_chunks().offsets[:1].to_pylist() == [0]
