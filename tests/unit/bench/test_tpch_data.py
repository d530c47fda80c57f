"""The generator's rows are TPC-H's: as many as they should be, and they refer to each other."""

from __future__ import annotations

import numpy as np
import pytest

from bench.feed import from_table
from bench.tpch import QUERIES, STATEMENTS
from bench.tpch_data import Tpch
from penstock.sql.program import compile_program
from tests.property.test_tpch import TEXT


@pytest.fixture(scope="module")
def data() -> Tpch:
    return Tpch(0.002)


def test_there_are_eight_tables_and_22_queries() -> None:
    assert len(STATEMENTS) == 8
    assert len(QUERIES) == 22


def test_rows_have_the_types_that_the_program_declares(data: Tpch) -> None:
    schemas = {t.name: t.schema for t in compile_program(TEXT).tables}
    orders, items = data.new_orders(0, 100)

    for name, rows in {**data.fixed, "orders": orders, "lineitem": items}.items():
        assert rows.column_names == [f.name for f in schemas[name].fields]
        assert from_table(schemas[name], rows.combine_chunks()).columns[0].values.size


def test_an_order_has_one_to_seven_lines_of_parts_that_their_supplier_has(data: Tpch) -> None:
    orders, items = data.new_orders(10, 500)

    keys, lines = np.unique(items["l_orderkey"].to_numpy(), return_counts=True)
    assert keys.tolist() == orders["o_orderkey"].to_pylist() == list(range(10, 510))
    assert lines.min() == 1 and lines.max() == 7
    offered = data.fixed["partsupp"]
    pairs = set(zip(*(offered[c].to_pylist() for c in ("ps_partkey", "ps_suppkey")), strict=True))
    assert len(pairs) == 4 * data.parts
    assert pairs.issuperset(
        zip(*(items[c].to_pylist() for c in ("l_partkey", "l_suppkey")), strict=True)
    )
