"""soft_delete: a deletion becomes a row, and CONNECTOR_METADATA() tells (sql-reference 4.8)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from penstock.data.batch import INSERT
from penstock.errors import SqlError
from penstock.pipeline.connectors import make_input
from penstock.sql.program import compile_program
from tests.unit.io.conftest import KeepingIntake

COLUMNS = """id INT, name VARCHAR DEFAULT 'none',
    gone BOOLEAN DEFAULT CAST(CONNECTOR_METADATA()['is_delete'] AS BOOLEAN),
    said VARIANT DEFAULT CONNECTOR_METADATA()"""
EVENTS = b"""{"insert": {"id": 1, "name": "a"}}
{"delete": {"id": 1, "name": "a"}}
{"delete": {"id": 2, "gone": false}}
{"insert": {"id": 3, "said": 7}}
"""


def taken(path: Path, soft_delete: bool) -> KeepingIntake:
    path.write_bytes(EVENTS)
    connector = {
        "name": "c",
        "transport": {"name": "file_input", "config": {"path": str(path)}},
        "format": {"name": "json", "config": {"update_format": "insert_delete"}},
        "soft_delete": soft_delete,
    }
    plan = compile_program(
        f"CREATE TABLE t ({COLUMNS}) WITH ('connectors' = '{json.dumps([connector])}');"
    )
    (given,) = [c for c in plan.inputs if c.relation == "t"]
    _, source = make_input(plan, given, is_running=lambda: True, wake=lambda: None)
    intake = KeepingIntake()
    source.run(intake)
    assert not intake.parse_errors
    return intake


def operations(intake: KeepingIntake) -> list[Any]:
    return [int(op) for p in intake.parsed for b in p.batches for op in b.ops]


def test_a_deletion_is_taken_in_as_a_row_that_says_so(tmp_path: Path) -> None:
    intake = taken(tmp_path / "e.json", soft_delete=True)

    assert operations(intake) == [INSERT] * 4
    said = '{"is_delete":true}'
    # what a record brings itself stays
    assert intake.rows == [
        (1, "a", None, None),
        (1, "a", True, said),
        (2, "none", False, said),
        (3, "none", None, "7"),
    ]


def test_without_it_a_deletion_is_a_deletion_and_nothing_is_said(tmp_path: Path) -> None:
    intake = taken(tmp_path / "e.json", soft_delete=False)

    assert [op == INSERT for op in operations(intake)] == [True, False, False, True]
    assert [row[2:] for row in intake.rows] == [
        (None, None), (None, None), (False, None), (None, "7"),
    ]  # fmt: skip


def test_it_has_no_value_in_a_query() -> None:
    with pytest.raises(SqlError, match=r"CONNECTOR_METADATA\(\) has a value in DEFAULT"):
        compile_program("CREATE VIEW v AS SELECT CONNECTOR_METADATA() AS m")
