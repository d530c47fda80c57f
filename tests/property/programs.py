"""Random programs of the SQL subset, random histories of their tables, and DuckDB's answer.

A program is a chain of views over two tables; each view may read the tables and earlier views.
Expressions stay where the two dialects mean the same:

* no GREATEST and LEAST, which are NULL here where an argument is;
* no integer division and no AVG of integers (ours truncate, DuckDB's are DOUBLE);
* small numbers, so that nothing overflows (ours is an error, DuckDB widens);
* ORDER BY names every column and the place of NULLs (the defaults differ);
* AVG and SUM of DOUBLE over multiples of 0.25, which add exactly in any order.

Rows of `a` are upserts by primary key; `b` is a multiset, whose rows may be deleted before they
are inserted (the weight is negative in between).
"""

from __future__ import annotations

import datetime
from collections import Counter
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import duckdb
from hypothesis import strategies as st

TABLES = """
CREATE TABLE a (id INT NOT NULL PRIMARY KEY, k INT, s VARCHAR, d DECIMAL(10, 2), f DOUBLE,
                b BOOLEAN, t DATE, n SMALLINT, m TIMESTAMP, h TIME);
CREATE TABLE b (k INT, x BIGINT, s VARCHAR);
"""
A = {"id": "int", "k": "int", "s": "text", "d": "dec", "f": "float", "b": "bool", "t": "date",
     "n": "short", "m": "stamp", "h": "time"}  # fmt: skip
B = {"k": "int", "x": "big", "s": "text"}
NUMERIC = ("int", "big", "dec", "float")

small = st.one_of(st.none(), st.integers(-3, 3))
texts = st.sampled_from([None, "", "a", "B", "a string longer than twelve bytes", "žluťoučký kůň"])
decimals = st.one_of(st.none(), st.integers(-300, 300).map(lambda i: Decimal(i) / 100))
floats = st.one_of(st.none(), st.integers(-8, 8).map(lambda i: i / 4))
dates = st.one_of(
    st.none(), st.integers(0, 3).map(lambda i: datetime.date(2024, 2, 28) + datetime.timedelta(i))
)
#: one microsecond apart, before 1970, and the same instant twice
stamps = st.sampled_from([
    None, datetime.datetime(2024, 2, 29, 23, 59, 59, 999_999), datetime.datetime(2024, 3, 1),
    datetime.datetime(1969, 12, 31, 12, 0, 0, 1), datetime.datetime(2024, 2, 29),
])  # fmt: skip
times = st.sampled_from(
    [None, datetime.time(0), datetime.time(12, 30, 0, 5), datetime.time(23, 59)]
)
rows_a = st.tuples(
    st.integers(0, 6), small, texts, decimals, floats, st.sampled_from([None, True, False]), dates,
    small, stamps, times,
)  # fmt: skip
rows_b = st.tuples(small, small, texts)


@dataclass
class History:
    """Steps of (table, row, is_insert)."""

    steps: list[list[tuple[str, tuple[Any, ...], bool]]]

    def contents(self) -> tuple[list[Any], list[Any]]:
        """What the tables hold in the end."""
        a: dict[int, Any] = {}
        b: Counter[Any] = Counter()
        for step in self.steps:
            for table, row, is_insert in step:
                if table == "b":
                    b[row] += 1 if is_insert else -1
                elif is_insert:
                    a[row[0]] = row
                else:
                    a.pop(row[0], None)
        assert all(n >= 0 for n in b.values())
        return list(a.values()), list(b.elements())


@st.composite
def histories(draw: st.DrawFn) -> History:
    steps: list[list[tuple[str, tuple[Any, ...], bool]]] = []
    owed: list[tuple[Any, ...]] = []
    held: list[tuple[Any, ...]] = []
    for _ in range(draw(st.integers(0, 5))):
        step: list[tuple[str, tuple[Any, ...], bool]] = []
        for _ in range(draw(st.integers(0, 6))):
            kind = draw(st.sampled_from(["a", "a", "a-", "b", "b", "b-", "early"]))
            if kind == "a":
                step.append(("a", draw(rows_a), True))
            elif kind == "a-":
                step.append(("a", draw(rows_a), False))
            elif kind == "b":
                held.append(draw(rows_b))
                step.append(("b", held[-1], True))
            elif kind == "b-" and held:
                step.append(("b", held.pop(draw(st.integers(0, len(held) - 1))), False))
            elif kind == "early":
                owed.append(draw(rows_b))
                step.append(("b", owed[-1], False))
        steps.append(step)
    steps.append([("b", row, True) for row in owed])
    return History(steps)


@dataclass
class Program:
    """CREATE VIEW statements in order, with each view's columns and their kinds."""

    views: dict[str, dict[str, str]] = field(default_factory=dict)
    queries: dict[str, str] = field(default_factory=dict)

    @property
    def text(self) -> str:
        views = [f"CREATE MATERIALIZED VIEW {n} AS {q};" for n, q in self.queries.items()]
        return TABLES + "\n".join(views)


@st.composite
def programs(draw: st.DrawFn) -> Program:
    p = Program()
    for i in range(draw(st.integers(1, 4))):
        build = draw(st.sampled_from(_FORMS))
        query, columns = build(draw, {"a": A, "b": B, **p.views})
        if draw(st.integers(0, 4)) == 0:
            query = f"WITH q AS ({query}) SELECT * FROM q"
        p.queries[f"v{i}"], p.views[f"v{i}"] = query, columns
    return p


@st.composite
def edited(draw: st.DrawFn, program: Program) -> Program:
    """`program` with its last views dropped and others added."""
    names = list(program.queries)[: draw(st.integers(0, len(program.queries)))]
    p = Program({n: program.views[n] for n in names}, {n: program.queries[n] for n in names})
    for i in range(draw(st.integers(0, 2))):
        build = draw(st.sampled_from(_FORMS))
        p.queries[f"n{i}"], p.views[f"n{i}"] = build(draw, {"a": A, "b": B, **p.views})
    return p


Relations = dict[str, dict[str, str]]


def _relation(draw: st.DrawFn, relations: Relations) -> tuple[str, dict[str, str]]:
    name = draw(st.sampled_from(sorted(relations)))
    return name, relations[name]


def _select(draw: st.DrawFn, relations: Relations) -> tuple[str, dict[str, str]]:
    name, columns = _relation(draw, relations)
    kept = {f"c{i}": _expression(draw, columns) for i in range(draw(st.integers(1, 4)))}
    listed = ", ".join(f"{sql} AS {n}" for n, (sql, _) in kept.items())
    where = f" WHERE {_predicate(draw, columns)}" if draw(st.booleans()) else ""
    if draw(st.integers(0, 3)) == 0:
        found = _membership(draw, columns, relations)
        where = f"{where} AND {found}" if where else f" WHERE {found}"
    return f"SELECT {listed} FROM {name}{where}", {n: kind for n, (_, kind) in kept.items()}


def _membership(draw: st.DrawFn, columns: dict[str, str], relations: Relations) -> str:
    """x [NOT] IN (SELECT y FROM …), or whether there is an equal row."""
    other, theirs = _relation(draw, relations)
    pairs = [(x, y) for x, a in columns.items() for y, b in theirs.items() if a == b != "float"]
    if not pairs:
        return "TRUE"
    x, y = draw(st.sampled_from(pairs))
    return draw(st.sampled_from([
        f"{x} IN (SELECT {y} FROM {other})",
        f"{x} NOT IN (SELECT {y} FROM {other})",
        f"EXISTS (SELECT 1 FROM {other} o WHERE o.{y} = {x})" if x not in theirs else "TRUE",
    ]))  # fmt: skip


def _join(draw: st.DrawFn, relations: Relations) -> tuple[str, dict[str, str]]:
    (left, lc), (right, rc) = _relation(draw, relations), _relation(draw, relations)
    kinds = sorted(set(lc.values()) & set(rc.values()) - {"float"})
    if not kinds:
        return _select(draw, relations)
    kind = draw(st.sampled_from(kinds))
    on_left = draw(st.sampled_from([c for c, k in lc.items() if k == kind]))
    on_right = draw(st.sampled_from([c for c, k in rc.items() if k == kind]))
    how = draw(st.sampled_from(["JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN"]))
    picked = [("l", c, k) for c, k in lc.items()][:3] + [("r", c, k) for c, k in rc.items()][:3]
    listed = ", ".join(f"{t}.{c} AS j{i}" for i, (t, c, _) in enumerate(picked))
    query = f"SELECT {listed} FROM {left} l {how} {right} r ON l.{on_left} = r.{on_right}"
    if draw(st.integers(0, 3)) == 0:
        numbers = [c for c, k in rc.items() if k in ("int", "big")]
        if numbers:
            query += f" AND r.{numbers[0]} > {draw(st.integers(-2, 2))}"
    return query, {f"j{i}": k for i, (_, _, k) in enumerate(picked)}


def _three(draw: st.DrawFn, relations: Relations) -> tuple[str, dict[str, str]]:
    """A table, and two relations that are joined to it by what they have in common."""
    columns = {f"a.{c}": k for c, k in A.items()}
    query = "FROM a"
    for alias in ("p", "q"):
        name, theirs = _relation(draw, {"b": relations["b"], "a": relations["a"]})
        pairs = [(x, y) for x, k in columns.items() for y, o in theirs.items() if k == o != "float"]
        x, y = draw(st.sampled_from(pairs))
        how = draw(st.sampled_from(["JOIN", "JOIN", "LEFT JOIN", "FULL JOIN"]))
        query += f" {how} {name} {alias} ON {x} = {alias}.{y}"
        columns |= {f"{alias}.{c}": k for c, k in theirs.items()}
    where = f" WHERE {_predicate(draw, columns)}" if draw(st.booleans()) else ""
    kept = draw(st.lists(st.sampled_from(sorted(columns)), min_size=1, max_size=4, unique=True))
    listed = ", ".join(f"{c} AS w{i}" for i, c in enumerate(kept))
    return f"SELECT {listed} {query}{where}", {f"w{i}": columns[c] for i, c in enumerate(kept)}


def _looked_up(draw: st.DrawFn, relations: Relations) -> tuple[str, dict[str, str]]:
    """Rows with a value, or a truth, that a correlated sub-query finds for them."""
    (left, lc), (right, rc) = _relation(draw, relations), _relation(draw, relations)
    pairs = [(x, y) for x, k in lc.items() for y, o in rc.items() if k == o != "float"]
    if not pairs:
        return _select(draw, relations)
    x, y = draw(st.sampled_from(pairs))
    column = draw(st.sampled_from([c for c, k in rc.items() if k != "bool"] or [y]))
    call, kind = draw(st.sampled_from([
        ("COUNT(*)", "big"), (f"COUNT(o.{column})", "big"), (f"MAX(o.{column})", rc[column]),
    ]))  # fmt: skip
    if rc[column] == "bool":
        call, kind = "COUNT(*)", "big"
    where = f"o.{y} = r.{x}"
    if draw(st.booleans()):
        where += f" AND o.{column} IS NOT NULL"
    value = draw(st.sampled_from([
        f"(SELECT {call} FROM {right} o WHERE {where})",
        f"EXISTS (SELECT 1 FROM {right} o WHERE {where})",
        f"NOT EXISTS (SELECT o.{y} FROM {right} o WHERE {where})",
        f"r.{x} IN (SELECT o.{y} FROM {right} o WHERE o.{y} IS NOT NULL AND {where})",
        f"r.{x} NOT IN (SELECT o.{y} FROM {right} o WHERE {where})",
    ]))  # fmt: skip
    kind = kind if value.startswith("(") else "bool"
    if " IN " in value or (kind == "bool" and draw(st.booleans())):
        return f"SELECT r.{x} AS e FROM {left} r WHERE {value}", {"e": lc[x]}
    return f"SELECT r.{x} AS e, {value} AS f FROM {left} r", {"e": lc[x], "f": kind}


def _aggregates(draw: st.DrawFn, columns: dict[str, str], tag: int) -> dict[str, tuple[str, str]]:
    found: dict[str, tuple[str, str]] = {}
    for i in range(draw(st.integers(1, 3))):
        column = draw(st.sampled_from(sorted(columns)))
        kind = columns[column]
        options = [("COUNT(*)", "big"), (f"COUNT({column})", "big"),
                   (f"COUNT(DISTINCT {column})", "big")]  # fmt: skip
        if kind != "bool":
            options += [(f"MIN({column})", kind), (f"MAX({column})", kind)]
        if kind in NUMERIC:
            options += [(f"SUM({column})", kind)]
        if kind == "float":
            options += [(f"{call}({column})", "avg") for call in ("AVG", "VAR_POP", "STDDEV_SAMP")]
        if kind == "bool":
            # not COUNTIF, which of no row is NULL in DuckDB
            options += [(f"COUNT(NULLIF({column}, FALSE))", "big"), (f"MAX({column})", "bool")]
            options += [(f"{call}({column})", "bool") for call in ("BOOL_AND", "BOOL_OR")]
        if kind in ("int", "big", "short"):
            options += [(f"BIT_{op}({column})", kind) for op in ("AND", "OR", "XOR")]
            other = draw(st.sampled_from(sorted(c for c in columns if columns[c] in NUMERIC)
                                         or [column]))  # fmt: skip
            options += [(f"REGR_COUNT({column}, {other})", "big")]
        sql, result = draw(st.sampled_from(options))
        if draw(st.integers(0, 3)) == 0:
            sql += f" FILTER (WHERE {_predicate(draw, columns)})"
        found[f"g{tag}_{i}"] = (sql, result)
    return found


def _group(draw: st.DrawFn, relations: Relations) -> tuple[str, dict[str, str]]:
    name, columns = _relation(draw, relations)
    keys = draw(st.lists(st.sampled_from(sorted(columns)), min_size=1, max_size=2, unique=True))
    calls = _aggregates(draw, columns, len(relations))
    listed = ", ".join([*keys, *(f"{sql} AS {n}" for n, (sql, _) in calls.items())])
    having = " HAVING COUNT(*) > 1" if draw(st.integers(0, 4)) == 0 else ""
    out = {k: columns[k] for k in keys} | {n: k for n, (_, k) in calls.items()}
    return f"SELECT {listed} FROM {name} GROUP BY {', '.join(keys)}{having}", out


def _grouping_sets(draw: st.DrawFn, relations: Relations) -> tuple[str, dict[str, str]]:
    name, columns = _relation(draw, relations)
    keys = draw(st.lists(st.sampled_from(sorted(columns)), min_size=1, max_size=3, unique=True))
    first, rest = keys[0], ", ".join(keys[1:])
    whole = ", ".join(keys)
    how = draw(st.sampled_from([
        f"ROLLUP ({whole})", f"CUBE ({whole})", f"GROUPING SETS (({whole}), ({first}), ())",
        f"GROUPING SETS (ROLLUP ({whole}), ({first}))",
        f"{first}, ROLLUP ({rest})" if rest else f"ROLLUP ({whole})",
    ]))  # fmt: skip
    calls = _aggregates(draw, columns, len(relations))
    calls[f"h{len(relations)}"] = (f"GROUPING({whole})", "big")
    listed = ", ".join([*keys, *(f"{sql} AS {n}" for n, (sql, _) in calls.items())])
    having = " HAVING COUNT(*) > 1" if draw(st.integers(0, 4)) == 0 else ""
    out = {k: columns[k] for k in keys} | {n: k for n, (_, k) in calls.items()}
    return f"SELECT {listed} FROM {name} GROUP BY {how}{having}", out


def _arrays(draw: st.DrawFn, relations: Relations) -> tuple[str, dict[str, str]]:
    """Arrays of groups; later views do not look at them."""
    name, columns = _relation(draw, relations)
    key, column, by = (draw(st.sampled_from(sorted(columns))) for _ in range(3))
    distinct = draw(st.booleans())
    order = _order(draw, [column] if distinct or by == column else [by, column])
    call = f"ARRAY_AGG({'DISTINCT ' * distinct}{column} {order})"
    if draw(st.integers(0, 2)) == 0:
        call += f" FILTER (WHERE {_predicate(draw, columns)})"
    query = f"SELECT {key}, {call} AS l{len(relations)} FROM {name} GROUP BY {key}"
    return query, {key: columns[key]}


def _global(draw: st.DrawFn, relations: Relations) -> tuple[str, dict[str, str]]:
    name, columns = _relation(draw, relations)
    calls = _aggregates(draw, columns, len(relations))
    listed = ", ".join(f"{sql} AS {n}" for n, (sql, _) in calls.items())
    return f"SELECT {listed} FROM {name}", {n: k for n, (_, k) in calls.items()}


def _distinct(draw: st.DrawFn, relations: Relations) -> tuple[str, dict[str, str]]:
    name, columns = _relation(draw, relations)
    kept = draw(st.lists(st.sampled_from(sorted(columns)), min_size=1, max_size=3, unique=True))
    return f"SELECT DISTINCT {', '.join(kept)} FROM {name}", {c: columns[c] for c in kept}


def _union(draw: st.DrawFn, relations: Relations) -> tuple[str, dict[str, str]]:
    (left, lc), (right, rc) = _relation(draw, relations), _relation(draw, relations)
    kinds = sorted(set(lc.values()) & set(rc.values()))
    if not kinds:
        return _select(draw, relations)
    kind = draw(st.sampled_from(kinds))
    x = draw(st.sampled_from([c for c, k in lc.items() if k == kind]))
    y = draw(st.sampled_from([c for c, k in rc.items() if k == kind]))
    how = draw(st.sampled_from(["UNION ALL", "UNION ALL", "UNION", "EXCEPT", "INTERSECT"]))
    return f"SELECT {x} AS u FROM {left} {how} SELECT {y} AS u FROM {right}", {"u": kind}


def _top(draw: st.DrawFn, relations: Relations) -> tuple[str, dict[str, str]]:
    name, columns = _relation(draw, relations)
    order = []
    for c in draw(st.permutations(sorted(columns))):
        direction = draw(st.sampled_from(["ASC", "DESC"]))
        order.append(f"{c} {direction} NULLS {draw(st.sampled_from(['FIRST', 'LAST']))}")
    limit = draw(st.integers(1, 4))
    return f"SELECT * FROM {name} ORDER BY {', '.join(order)} LIMIT {limit}", dict(columns)


def _order(draw: st.DrawFn, columns: list[str]) -> str:
    """ORDER BY `columns`, the place of NULLs said (the defaults differ)."""
    items = [
        f"{c} {draw(st.sampled_from(['ASC', 'DESC']))} "
        f"NULLS {draw(st.sampled_from(['FIRST', 'LAST']))}"
        for c in columns
    ]
    return f"ORDER BY {', '.join(items)}"


def _windowed(draw: st.DrawFn, columns: dict[str, str], total: str) -> tuple[str, str]:
    """A window function and the kind of its result. Where functions count rows all columns order
    them (`total`), or for aggregates the number `place` in that order. It is one order for all of a
    query, so that there is one answer: of equal rows none is the first, but who is first in one
    order is the last in its opposite."""
    names = sorted(columns)
    partition = draw(st.sampled_from(["", *(f"PARTITION BY {c} " for c in names)]))
    column = draw(st.sampled_from(names))
    kind = columns[column]
    some = _order(draw, draw(st.lists(st.sampled_from(names), min_size=1, max_size=2, unique=True)))
    aggregates = [("COUNT(*)", "big"), (f"COUNT({column})", "big")]
    if kind != "bool":
        aggregates += [(f"MIN({column})", kind), (f"MAX({column})", kind)]
    if kind in NUMERIC:
        aggregates += [(f"SUM({column})", kind)]
    call, result = draw(st.sampled_from(aggregates))
    offset = draw(st.integers(0, 2))
    shifts = [f"({column})", f"({column}, {offset})", f"({column}, {offset}, {column})"]
    rows = ["UNBOUNDED PRECEDING", "2 PRECEDING", "CURRENT ROW", "1 FOLLOWING",
            "UNBOUNDED FOLLOWING"]  # fmt: skip
    first, last = sorted(draw(st.tuples(st.integers(0, 4), st.integers(0, 4))))
    first, last = min(first, 3), max(last, 1)
    between = f"BETWEEN {rows[first]} AND {rows[last]}"
    numbers = [c for c, k in columns.items() if k in _RANGES]
    forms = [
        (f"{draw(st.sampled_from(['RANK()', 'DENSE_RANK()']))} OVER ({partition}{some})", "big"),
        (f"ROW_NUMBER() OVER ({partition}{total})", "big"),
        (f"{draw(st.sampled_from(['LAG', 'LEAD']))}{draw(st.sampled_from(shifts))} "
         f"OVER ({partition}{total})", kind),
        (f"{call} OVER ({partition.strip()})", result),
        (f"{call} OVER ({partition}ORDER BY place ROWS {between})", result),
        (f"FIRST_VALUE({column}) OVER ({partition}{total})", kind),
        (f"LAST_VALUE({column}) OVER ({partition}{total} ROWS BETWEEN CURRENT ROW AND "
         "UNBOUNDED FOLLOWING)", kind),
    ]  # fmt: skip
    if numbers:
        key = draw(st.sampled_from(numbers))
        back, ahead = _RANGES[columns[key]]
        rows[1], rows[3] = f"{back} PRECEDING", f"{ahead} FOLLOWING"
        between = f"BETWEEN {rows[first]} AND {rows[last]}"
        one = _order(draw, [key])
        forms += [(f"{call} OVER ({partition}{one} RANGE {between})", result)] * 3
        forms += [(f"{call} OVER ({partition}{one})", result)]
    return draw(st.sampled_from(forms))


#: offsets before and after the row, by kind of the order column
_RANGES = {
    "int": ("2", "1"), "big": ("2", "1"), "short": ("2", "1"), "dec": ("1.50", "0.25"),
    "date": ("INTERVAL '1' DAY", "INTERVAL '2' DAY"),
    "stamp": ("INTERVAL '1' DAY", "INTERVAL '1' HOUR"),
}  # fmt: skip


def _window(draw: st.DrawFn, relations: Relations) -> tuple[str, dict[str, str]]:
    name, columns = _relation(draw, relations)
    kept = draw(st.lists(st.sampled_from(sorted(columns)), min_size=1, max_size=2, unique=True))
    total = _order(draw, draw(st.permutations(sorted(columns))))
    calls = {f"w{len(relations)}_{i}": _windowed(draw, columns, total)
             for i in range(draw(st.integers(1, 3)))}  # fmt: skip
    listed = ", ".join([*kept, *(f"{sql} AS {n}" for n, (sql, _) in calls.items())])
    out = {c: columns[c] for c in kept} | {n: kind for n, (_, kind) in calls.items()}
    if " place " in listed:
        name = f"(SELECT *, ROW_NUMBER() OVER ({total}) AS place FROM {name}) AS placed"
    return f"SELECT {listed} FROM {name}", out


def _ranked(draw: st.DrawFn, relations: Relations) -> tuple[str, dict[str, str]]:
    """The first of every partition, with or without their ranks."""
    name, columns = _relation(draw, relations)
    names = sorted(columns)
    partition = draw(st.sampled_from(["", *(f"PARTITION BY {c} " for c in names)]))
    rank = draw(st.sampled_from(["ROW_NUMBER", "RANK", "DENSE_RANK"]))
    keys = draw(st.permutations(names)) if rank == "ROW_NUMBER" else [draw(st.sampled_from(names))]
    call = f"{rank}() OVER ({partition}{_order(draw, keys)})"
    test = draw(st.sampled_from(["<= 2", "< 2", "= 1", "= 2", "IN (1, 3)"]))
    if draw(st.booleans()):
        return f"SELECT * FROM {name} QUALIFY {call} {test}", dict(columns)
    found = f"r{len(relations)}"
    inner = f"SELECT *, {call} AS {found} FROM {name}"
    return f"SELECT * FROM ({inner}) WHERE {found} {test}", dict(columns) | {found: "big"}


def _expression(draw: st.DrawFn, columns: dict[str, str]) -> tuple[str, str]:
    column = draw(st.sampled_from(sorted(columns)))
    kind = columns[column]
    forms = [column]
    if kind == "int":
        forms += [f"{column} + 1", f"-{column}", f"COALESCE({column}, 7)", f"{column} * 2"]
        forms += [f"CASE WHEN {_predicate(draw, columns)} THEN {column} ELSE 0 END"]
        forms += [f"ABS({column})", f"NULLIF({column}, 1)"]
    if kind in ("dec", "date", "stamp", "time", "short", "bool", "big"):
        test = _predicate(draw, columns)
        forms += [f"CASE WHEN {test} THEN {column} END", f"COALESCE({column}, {column})"]
    if kind == "text":
        forms += [f"UPPER({column})", f"{column} || '!'", f"COALESCE({column}, 'none')"]
    return draw(st.sampled_from(forms)), kind


LITERALS = {
    "int": ["0", "1", "-2"],
    "big": ["0", "2"],
    "dec": ["0.50", "-1.25"],
    "float": ["0.5e0", "-1.0e0"],
    "text": ["'a'", "'B'", "''"],
    "date": ["DATE '2024-02-29'"],
    "short": ["1", "-1"],
    "stamp": ["TIMESTAMP '2024-02-29 00:00:00'", "TIMESTAMP '1969-12-31 12:00:00.000001'"],
    "time": ["TIME '12:30:00'", "TIME '23:59:00'"],
}


def _predicate(draw: st.DrawFn, columns: dict[str, str], depth: int = 0) -> str:
    if depth < 2 and draw(st.integers(0, 2)) == 0:
        left, right = _predicate(draw, columns, depth + 1), _predicate(draw, columns, depth + 1)
        how = draw(st.sampled_from(["AND", "OR"]))
        return f"({left} {how} {right})" if draw(st.booleans()) else f"NOT ({left} {how} {right})"
    column = draw(st.sampled_from(sorted(columns)))
    kind = columns[column]
    if kind not in LITERALS:
        return draw(st.sampled_from([f"{column} IS NULL", f"{column} IS NOT NULL"]))
    literal = draw(st.sampled_from(LITERALS[kind]))
    forms = [
        *(f"{column} {op} {literal}" for op in ("=", "<>", "<", "<=", ">", ">=")),
        f"{column} IS NULL",
        f"{column} IN ({literal}, {LITERALS[kind][0]})",
        f"{column} BETWEEN {literal} AND {literal}",
        f"{column} IS NOT DISTINCT FROM {literal}",
    ]
    return draw(st.sampled_from(forms))


_FORMS = [
    _select, _select, _join, _three, _looked_up, _group, _global, _distinct, _union, _top,
    _window, _window, _ranked, _grouping_sets, _arrays,
]  # fmt: skip


def answers(program: Program, history: History) -> dict[str, Counter[Any]]:
    """What each view holds in the end: DuckDB, from scratch."""
    a, b = history.contents()
    with duckdb.connect(config={"threads": 1}) as db:
        for statement in TABLES.split(";"):
            if statement.strip():
                db.execute(statement)
        if a:
            db.executemany(f"INSERT INTO a VALUES ({', '.join('?' * len(A))})", a)
        if b:
            db.executemany("INSERT INTO b VALUES (?, ?, ?)", b)
        found: dict[str, Counter[Any]] = {}
        for name, query in program.queries.items():
            db.execute(f"CREATE VIEW {name} AS {query}")
            found[name] = Counter(map(plain, db.execute(f"SELECT * FROM {name}").fetchall()))
    return found


def plain(row: Any) -> tuple[Any, ...]:
    """One spelling of equal values for both sides."""
    return tuple(_plain(v) for v in row)


def _plain(v: Any) -> Any:
    if isinstance(v, bool) or v is None:
        return v
    if isinstance(v, dict):  # of DuckDB: ROW (p, q), or a MAP, ours are pairs in order of keys
        v = list(v.values()) if list(v) == ["p", "q"] else sorted(v.items())
    if isinstance(v, list | tuple):
        return tuple(_plain(x) for x in v)
    if isinstance(v, datetime.datetime):  # ours is a number of microseconds
        v = (v - datetime.datetime(1970, 1, 1)) // datetime.timedelta(microseconds=1)
    if isinstance(v, datetime.time):  # and this of nanoseconds
        seconds = v.hour * 3600 + v.minute * 60 + v.second
        v = seconds * 10**9 + v.microsecond * 1000
    if isinstance(v, float):  # variances are computed in another order
        v = float(f"{v:.12g}")
    if isinstance(v, int | float | Decimal):
        return format(Decimal(v).normalize() + 0, "f")
    return str(v)
