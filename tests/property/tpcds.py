"""TPC-DS programs, one query each, with tiny tables made for the query and changed at random.

The text is `tests/unit/sql/programs/tpcds.sql`. A generator that knew nothing of a query would only
show that it is empty: here the values of a column are mostly the constants that the query compares
it with, keys are small, and a table holds a dozen rows (a fact table some hundred).

Both engines get the same text, adapted where a meaning differs by design:

* CONCAT with a NULL is NULL, as `||` is (DuckDB's is not), so it is written as that;
* AVG and STDDEV_SAMP have the type of their argument here, so that is made a DOUBLE;
* a quotient of DECIMALs or whole numbers is none here, so its dividend is made a DOUBLE;
* a LIMIT is left off: which of two equal rows it keeps is for each engine to say;
* a NULL is the smallest value (DuckDB has a setting for this).
"""

from __future__ import annotations

import dataclasses
import datetime
import math
import random
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from penstock.sql import ast
from penstock.sql.parser import parse_program
from tests.property.tpcds_fitted import FITTED
from tests.property.tpcds_fitted import SIZES as FITTED_SIZES

TEXT = (Path(__file__).parents[1] / "unit/sql/programs/tpcds.sql").read_text()
_HEAD, *_PARTS = TEXT.split("CREATE VIEW ")
_VIEWS = (part.split(" AS\n", 1) for part in _PARTS)
QUERIES = {name: body.strip().rstrip(";") for name, body in _VIEWS}
TABLES = {m[1]: m[0] for m in re.finditer(r"CREATE TABLE (\w+) \(.*?\n\);", _HEAD, re.S)}
COLUMNS = {
    table: {m[1]: m[2] for m in re.finditer(r"(\w+_\w+) (\w+)", text.split("(", 1)[1])}
    for table, text in TABLES.items()
}
FACTS = {n for n in TABLES if n.endswith(("_sales", "_returns"))} | {"inventory"}
#: rows that a table has at most, 9 where nothing is said
SIZES = dict.fromkeys(FACTS, 120) | {"date_dim": 30, "time_dim": 15, "customer": 40}
Row = tuple[Any, ...]
#: what to add to the other side to meet a comparison
_BEYOND = {"<": -1, ">": 1}


def adapted(query: str) -> str:
    query = re.sub(r"(?i)\b(avg|stddev_samp)\s*\(", r"\1(1e0 * ", query)
    query = re.sub(r"(?i)\bconcat\(('\w+'), (\w+)\)", r"(\1 || \2)", query)
    query = re.sub(r"\s/", " * 1e0 /", re.sub(r"(?<=[\w)])/", " /", query))
    return re.sub(r"(?i)\s+LIMIT \d+\s*$", "", query)


def tables_of(query: str) -> list[str]:
    return [t for t in TABLES if re.search(rf"\b{t}\b", query)]


def program(name: str) -> str:
    tables = "\n".join(TABLES[t] for t in tables_of(QUERIES[name]))
    return f"{tables}\nCREATE VIEW v AS {adapted(QUERIES[name])};"


# data


def _nodes(node: object) -> Iterator[object]:
    if isinstance(node, tuple):
        for part in node:
            yield from _nodes(part)
    elif dataclasses.is_dataclass(node):
        yield node
        for f in dataclasses.fields(node):
            yield from _nodes(getattr(node, f.name))


def _constants(node: object) -> list[Any]:
    """The literals in a piece of syntax, the sum of two whole numbers as well, and -x for x."""
    found = [x.value for x in _nodes(node) if isinstance(x, ast.Literal)]
    for x in _nodes(node):
        if isinstance(x, ast.Unary) and x.op == "-":
            found += [-v for v in _constants(x.operand) if isinstance(v, int | Decimal)]
    for x in _nodes(node):
        if isinstance(x, ast.Binary) and x.op in "+-":
            a, b = _constants(x.left), _constants(x.right)
            if len(a) == len(b) == 1 and isinstance(a[0], int) and isinstance(b[0], int):
                found.append(a[0] + b[0] if x.op == "+" else a[0] - b[0])
    return found


def pools(query: str) -> dict[str, list[Any]]:
    """column → the constants that it is compared with somewhere."""
    (view,) = parse_program(f"CREATE VIEW v AS {query};")
    found = _met(view)
    for item in _nodes(view):
        if isinstance(item, ast.SelectItem) and item.alias and isinstance(item.expr, ast.ColumnRef):
            found[item.expr.parts[-1].name] += found.get(item.alias.name, [])
    return found


def scenarios(query: str) -> list[dict[str, list[Any]]]:
    """The same for each condition of several ANDs alone: values that meet it together."""
    (view,) = parse_program(f"CREATE VIEW v AS {query};")
    ands = [x for x in _nodes(view) if isinstance(x, ast.Binary) and x.op == "AND"]
    parts = {id(side) for x in ands for side in (x.left, x.right)}
    met = (_met(x) for x in ands if id(x) not in parts)
    return [{c: pool for c, pool in found.items() if pool} for found in met]


def _met(view: object) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = defaultdict(list)

    def meet(left: object, right: object, beyond: int = 0) -> None:
        constants = _constants(right)
        if beyond:
            constants += [v + beyond for v in constants if isinstance(v, int)]
        for x in _nodes(left):
            if isinstance(x, ast.ColumnRef):
                found[x.parts[-1].name] += constants

    for node in _nodes(view):
        match node:
            case ast.Binary(op=op, left=left, right=right) if op not in ("AND", "OR"):
                meet(left, right, beyond=_BEYOND.get(op, 0))
                meet(right, left, beyond=-_BEYOND.get(op, 0))
            case ast.Between(operand=operand, low=low, high=high):
                meet(operand, (low, high))
            case ast.InList(operand=operand, items=items):
                meet(operand, items)
            case ast.Like(operand=operand, pattern=pattern):
                meet(operand, pattern)
            case ast.Case(operand=operand, branches=branches):
                meet(operand, tuple(b.conditions for b in branches))
            case _:
                pass
    return found


class History:
    """Random changes of the tables of a query, and what they hold afterwards.

    A dimension has one row a key, and a date knows its week and its month: some queries look for
    the one number of a day or a month and would fail if there were two.
    """

    def __init__(self, name: str, seed: int, sizes: dict[str, int] | None = None) -> None:
        self._fitted = FITTED.get(name, {})
        self._sizes = SIZES | (sizes or {}) | dict(FITTED_SIZES.get(name, {}))
        self._r = random.Random(f"{name}/{seed}")
        self._pools = pools(QUERIES[name])
        self._scenarios = [s for s in scenarios(QUERIES[name]) if s]
        self.tables: dict[str, Counter[Row]] = {t: Counter() for t in tables_of(QUERIES[name])}
        days = [v for pool in self._pools.values() for v in pool if _is_day(v)]
        self._days = [datetime.date.fromisoformat(d) for d in days] or [datetime.date(2000, 2, 28)]
        weeks = [
            v
            for c, pool in self._pools.items()
            if "week_seq" in c
            for v in pool
            if isinstance(v, int)
        ]
        self._days += [d + datetime.timedelta(7 * w) for d in self._days[:1] for w in weeks]
        later = (
            d + datetime.timedelta(k) for k in range(self._sizes["date_dim"]) for d in self._days
        )
        self._calendar = list(dict.fromkeys(later))

    def step(self, share: float) -> dict[str, list[tuple[Row, int]]]:
        """Delete some rows, then insert `share` of what a table may hold: (row, +1 or -1)."""
        changes: dict[str, list[tuple[Row, int]]] = {}
        for table, held in self.tables.items():
            events = [(row, -1) for row in sorted(held, key=repr) if self._r.random() < 0.25]
            kept = {row[0] for row in held} - {row[0] for row, _ in events}
            for i in range(self._sizes.get(table, 9)):
                if self._r.random() < share and (table in FACTS or i not in kept):
                    events.append((self._row(table, i), 1))
            for row, weight in events:
                held[row] += weight
            self.tables[table] = +held
            changes[table] = events
        return changes

    def _row(self, table: str, number: int) -> Row:
        fitting = [s for s in self._scenarios if s.keys() & COLUMNS[table].keys()]
        some = self._r.choice(fitting) if fitting and self._r.random() < 0.7 else {}
        values = {
            c: self._value(c, t, some.get(c) or self._pools.get(c, []))
            for c, t in COLUMNS[table].items()
        }
        if table not in FACTS:
            values[next(iter(values))] = number
        if table == "date_dim":
            values["d_date"] = day = self._calendar[number]
            values["d_week_seq"] = day.toordinal() // 7
            months = [v for v in self._pools.get("d_month_seq", []) if isinstance(v, int)] or [1]
            month = (values["d_year"] or 0) * 12 + (values["d_moy"] or 0)
            fits = "d_month_seq" in self._fitted
            values["d_month_seq"] = month if fits else months[month % len(months)]
        return tuple(values.values())

    def _value(self, column: str, type_: str, pool: list[Any]) -> Any:
        r = self._r
        if r.random() < 0.04:
            return None
        if self._fitted.get(column):
            return r.choice(self._fitted[column])
        match type_:
            case "DATE":
                return r.choice(self._days) + datetime.timedelta(r.choice([0, 0, 1, 5, 20, -1]))
            case "DECIMAL":
                numbers = [v for v in pool if isinstance(v, int | Decimal)]
                base = Decimal(r.choice(numbers)) if numbers else Decimal(r.randrange(60))
                return base + (Decimal(r.randrange(-200, 200)) / 100 if r.random() < 0.5 else 0)
            case "VARCHAR":
                texts = [v.strip("%") for v in pool if isinstance(v, str)]
                return r.choice(texts) if texts and r.random() < 0.9 else r.choice("ABC")
        whole = [v for v in pool if isinstance(v, int)]
        if whole and not column.endswith("_sk"):
            return r.choice(whole) if r.random() < 0.9 else r.choice(whole) + r.choice([1, -1])
        return r.randrange(self._sizes["customer"] if column.endswith("customer_sk") else 9)


def _is_day(v: object) -> bool:
    return isinstance(v, str) and re.fullmatch(r"\d{4}-\d\d-\d\d", v) is not None


# the other engine, and equality


def answer(name: str, tables: dict[str, Counter[Row]]) -> list[Row]:
    """The rows of the query over these tables by DuckDB."""
    with duckdb.connect(config={"threads": 1}) as db:
        db.execute("SET default_null_order = 'nulls_first_on_asc_last_on_desc'")
        for table, rows in tables.items():
            db.execute(TABLES[table])
            if rows:
                columns = list(zip(*rows.elements(), strict=True))
                given = pa.table([pa.array(c) for c in columns], list(COLUMNS[table]))
                db.register("given", given)
                db.execute(f"INSERT INTO {table} SELECT * FROM given")
        return db.execute(adapted(QUERIES[name])).fetchall()


def plain(row: Row) -> Row:
    """One spelling of equal values for both engines, and NaN equal to itself."""
    return tuple(map(_plain, row))


def _plain(v: Any) -> Any:
    if isinstance(v, float) and not math.isfinite(v):
        return str(v)
    if isinstance(v, int | float | Decimal) and not isinstance(v, bool):
        return float(v)
    return None if v is None else str(v).rstrip()


def is_same(a: list[Row], b: list[Row]) -> bool:
    """Whether the rows are equal in any order, numbers to nine digits."""

    def key(row: Row) -> str:
        return repr([f"{v:.6g}" if isinstance(v, float) else v for v in row])

    ours, theirs = (sorted(map(plain, rows), key=key) for rows in (a, b))
    return len(ours) == len(theirs) and all(
        _is_near(x, y)
        for row, other in zip(ours, theirs, strict=True)
        for x, y in zip(row, other, strict=True)
    )


def _is_near(x: Any, y: Any) -> bool:
    if isinstance(x, float) and isinstance(y, float):
        return math.isclose(x, y, rel_tol=1e-9, abs_tol=1e-9)
    return bool(x == y)
