"""append_only: a record that takes a row away is an error of the input, and the others go on."""

from __future__ import annotations

import json

import numpy as np
import pytest

from penstock.data.batch import Batch
from penstock.data.build import batch_to_rows
from penstock.io.formats import make_parser
from penstock.sql.program import compile_program

FORMAT = {"name": "json", "config": {"update_format": "insert_delete"}}
EVENTS = b"""{"insert": {"a": 1, "s": "x"}}
{"delete": {"a": 1, "s": "x"}}
{"insert": {"a": 2, "s": null}}
"""


@pytest.mark.parametrize("value", ["true", "TRUE", "false"])
def test_only_insertions_come_through_where_the_table_says_so(value: str) -> None:
    (table,) = compile_program(
        f"CREATE TABLE t (a INT, s VARCHAR) WITH ('append_only' = '{value}');"
    ).tables
    is_strict = table.append_only
    assert is_strict == (value != "false")
    parser = make_parser(FORMAT, table.schema, append_only="t" if is_strict else None)
    parsed = [parser.feed(EVENTS[:40]), parser.feed(EVENTS[40:]), parser.finish()]
    batches = [b for p in parsed for b in p.batches]
    weights = [np.ones(len(b), np.int64) for b in batches]
    rows = [
        row
        for b, w in zip(batches, weights, strict=True)
        for row, _ in batch_to_rows(Batch(b.schema, b.columns, w))
    ]
    errors = [json.dumps(e.to_json()) for p in parsed for e in p.errors]
    if not is_strict:
        assert (len(rows), errors) == (3, [])
        return
    assert rows == [(1, "x"), (2, None)]
    assert len(errors) == 1 and "table t is append_only" in errors[0] and "deletes" in errors[0]
