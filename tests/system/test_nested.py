"""Nested values through a whole pipeline: JSON in, views, JSON out, ad-hoc queries."""

from __future__ import annotations

from typing import Any

from tests.system.conftest import System

PROGRAM = """
CREATE TYPE part AS (name VARCHAR NOT NULL, tags VARCHAR ARRAY);
CREATE TABLE t (id INT NOT NULL PRIMARY KEY, a INT ARRAY, m MAP<VARCHAR, INT>, p part, v VARIANT);
CREATE MATERIALIZED VIEW whole AS SELECT * FROM t;
CREATE MATERIALIZED VIEW looked AS
SELECT id, a[1] AS head, m['k'] AS k, t.p.name AS name, CARDINALITY(a) AS n,
       CAST(t.v.b[2] AS DOUBLE) AS d FROM t;
CREATE MATERIALIZED VIEW tags AS
SELECT tag, COUNT(*) AS n FROM t, UNNEST(t.p.tags) AS u(tag) GROUP BY tag;
"""
ROWS: list[dict[str, Any]] = [
    {
        "id": 1,
        "a": [5, None],
        "m": {"k": 1},
        "p": {"name": "bolt", "tags": ["x", "y"]},
        "v": {"b": [1, 2.5], "a": None},
    },
    {"id": 2, "a": [], "m": None, "p": {"name": "nut", "tags": ["x"]}, "v": "text"},
]


def test_nested_values_live_in_a_pipeline(system: System) -> None:
    p = system.pipeline(PROGRAM)
    p.send("t", *ROWS)
    # an ad-hoc query shows a VARIANT as its JSON text
    texts = ['{"a":null,"b":[1,2.5]}', '"text"']
    shown = [{**row, "v": text} for row, text in zip(ROWS, texts, strict=True)]
    assert p.query("SELECT * FROM whole ORDER BY id") == shown
    assert p.query("SELECT * FROM looked ORDER BY id") == [
        {"id": 1, "head": 5, "k": 1, "name": "bolt", "n": 2, "d": 2.5},
        {"id": 2, "head": None, "k": None, "name": "nut", "n": 0, "d": None},
    ]
    assert p.query("SELECT p.tags[1] AS t, len(a) AS n FROM whole ORDER BY id") == [
        {"t": "x", "n": 2},
        {"t": "x", "n": 0},
    ]
    p.send("t", {**ROWS[0], "p": {"name": "bolt", "tags": ["y"]}})
    assert p.query("SELECT * FROM tags ORDER BY tag") == [
        {"tag": "x", "n": 1},
        {"tag": "y", "n": 1},
    ]
    p.stop()
