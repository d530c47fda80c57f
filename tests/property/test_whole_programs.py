"""Whole programs as people write them equal DuckDB's views after every step of random changes.

`whole/*.sql`: what is written ⟦ours¦DuckDB's⟧ differs (`grammar_values.spelt`). Comments say what
columns hold, `-- status: 'new', 'paid'`; `-- ts: 60` is a time that goes on by 60 minutes a step.
"""

from __future__ import annotations

import ast
import datetime
import random
import re
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest

from penstock.compile.program import compile_circuit
from penstock.data.batch import DELETE, INSERT, InputBatch
from penstock.data.build import batch_from_rows, batch_to_rows
from penstock.data.types import FLOATS, INTEGERS, Kind, SqlType
from penstock.plan.nodes import TablePlan
from penstock.sql.program import compile_program
from tests.property.grammar_values import spelt
from tests.property.programs import plain
from tests.property.test_grammar import literal

Row = tuple[Any, ...]
PROGRAMS = sorted((Path(__file__).parent / "whole").glob("*.sql"))
START = datetime.datetime(2024, 1, 30)
HOLDS = re.compile(r"^-- (\w+): (.*)$", re.M)
VIEW = re.compile(
    r"CREATE (LOCAL |MATERIALIZED )?VIEW (\w+) (?:WITH \(.*?\) )?AS\s(.*?);$", re.M | re.S
)


def minutes(n: int) -> datetime.timedelta:
    return datetime.timedelta(minutes=n)


class Table:
    """Its rows, and random changes of them: upserts by key, or rows that come and go. Of a table
    with LATENESS only rows of the last step go."""

    def __init__(self, plan: TablePlan, r: random.Random, holds: dict[str, Any]) -> None:
        self.plan, self._r, self._holds = plan, r, holds
        self.rows: list[Row] = []
        self._fresh: list[Row] = []

    def change(self, step: int) -> list[tuple[Row, bool]]:
        old, self._fresh = (self._fresh if self.plan.lateness else self.rows), []
        events = []
        for _ in range(self._r.randrange(9)):
            goes = self._r.random() < 0.3
            if goes and not self.plan.append_only and (left := [x for x in old if x in self.rows]):
                row = self._r.choice(left)
                self.rows.remove(row)
            else:
                types = zip(self.plan.schema.names, self.plan.schema.types, strict=True)
                row, goes = tuple(self._value(n, t, step) for n, t in types), False
                same = [x for x in self.rows if self._key(x) == self._key(row)]
                self.rows = [x for x in self.rows if not (self.plan.key and x in same)] + [row]
                self._fresh.append(row)
            events.append((row, not goes))
        return events

    def _key(self, row: Row) -> Row:
        return tuple(row[i] for i in self.plan.key)

    def _value(self, name: str, type: SqlType, step: int) -> Any:
        held, r = self._holds.get(name), self._r
        if isinstance(held, int):
            return START + minutes(held * step + r.randrange(held))
        if held is not None:
            return r.choice(held)
        if type.nullable and r.random() < 0.12:
            return None
        if type.kind in INTEGERS:
            return r.randrange(8)
        if type.kind in FLOATS:
            return r.randrange(-8, 40) / 4
        match type.kind:
            case Kind.DECIMAL:
                return Decimal(r.randrange(-200, 2000)) / 100
            case Kind.BOOLEAN:
                return r.random() < 0.5
            case Kind.DATE:
                return (START + datetime.timedelta(r.randrange(40))).date()
            case Kind.TIMESTAMP:
                return START + minutes(7 * r.randrange(700))
        return r.choice(["", "a", "b", "a name longer than twelve bytes"])


class Oracle:
    def __init__(self, text: str, tables: list[Table]) -> None:
        self.db = duckdb.connect(config={"threads": 1})
        self.db.execute("SET default_null_order = 'nulls_first_on_asc_last_on_desc'")
        for table in tables:
            schema = table.plan.schema
            listed = [f"{f.name} {_duck(f.type)}" for f in schema.fields]
            self.db.execute(f"CREATE TABLE {table.plan.name} ({', '.join(listed)})")
        for _, name, query in VIEW.findall(spelt(text, 1)):
            self.db.execute(f"CREATE VIEW {name} AS {query}")

    def fill(self, table: Table) -> None:
        self.db.execute(f"DELETE FROM {table.plan.name}")
        if table.rows:
            rows = ", ".join(map(literal, table.rows))
            self.db.execute(f"INSERT INTO {table.plan.name} VALUES {rows}")

    def answer(self, view: str) -> Counter[Row]:
        return Counter(map(plain, self.db.execute(f"SELECT * FROM {view}").fetchall()))


def _duck(type: SqlType) -> str:
    digits = f"({type.precision}, {type.scale})" if type.kind is Kind.DECIMAL else ""
    return ("VARCHAR" if type.kind is Kind.CHAR else type.kind.value) + digits


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda p: p.stem)
def test_a_whole_program_equals_duckdb_after_every_step(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    holds = {n: ast.literal_eval(v if v.isdigit() else f"({v},)") for n, v in HOLDS.findall(text)}
    plan = compile_program(spelt(text, 0))
    shown = [name for kind, name, _ in VIEW.findall(spelt(text, 1)) if kind != "LOCAL "]
    assert len(shown) >= 5
    tables = [Table(t, random.Random(len(text)), holds) for t in plan.tables]
    circuit, oracle = compile_circuit(plan), Oracle(text, tables)
    totals: dict[str, Counter[Row]] = {name: Counter() for name in shown}
    for step in range(8):
        inputs = {}
        for table in tables:
            events = table.change(step)
            batch = batch_from_rows(table.plan.schema, [row for row, _ in events])
            ops = np.array([INSERT if comes else DELETE for _, comes in events], np.uint8)
            inputs[table.plan.name] = [InputBatch(batch.schema, batch.columns, ops)]
            oracle.fill(table)
        deltas = circuit.step(inputs)
        for name, total in totals.items():
            for row, weight in batch_to_rows(deltas[name]):
                total[plain(row)] += weight
            found = Counter({row: n for row, n in total.items() if n})
            assert found == oracle.answer(name), f"{name} at step {step}"
    assert sum(any(total.values()) for total in totals.values()) > len(shown) // 2
