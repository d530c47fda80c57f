"""Random expressions and conditions of a wanted kind; see `tests/property/grammar.py`.

Values(random).value("int", {"t1.k": "int"}, depth)   "COALESCE(t1.k, (SELECT MAX(…) FROM …))"
Values(random).test({"t1.k": "int"}, depth)           "t1.k IN (SELECT …) AND …"

What the dialects spell differently is written ⟦ours¦DuckDB's⟧, at any depth: `spelt` chooses.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")

#: kinds of values that are compared, ordered and grouped
KINDS = ("int", "big", "text", "dec", "float", "bool", "date", "stamp", "time", "uint")
#: the kind of the elements of an array
ELEMENT = {"ints": "int", "texts": "text"}
LITERALS = {
    "int": ["0", "1", "2", "-1", "3"],
    "big": ["CAST(0 AS BIGINT)", "CAST(2 AS BIGINT)"],
    "text": ["'a'", "'B'", "''", "'ab'"],
    "dec": ["0.50", "-1.25", "2.00"],
    "float": ["0.5e0", "-1.0e0", "0e0"],
    "bool": ["TRUE", "FALSE"],
    "date": ["DATE '2024-02-29'", "DATE '2024-03-01'"],
    "stamp": ["TIMESTAMP '2024-02-29 00:00:00'", "TIMESTAMP '1969-12-31 12:00:00.000001'"],
    "time": ["TIME '12:30:00'", "TIME '23:59:00'"],
    "uint": ["CAST(0 AS ⟦INT UNSIGNED¦UINTEGER⟧)", "CAST(2 AS ⟦INT UNSIGNED¦UINTEGER⟧)"],
    "ints": ["⟦ARRAY[1, NULL, 0]¦[1, NULL, 0]⟧", "⟦ARRAY[2]¦[2]⟧"],
    "texts": ["⟦ARRAY['a', 'B', NULL]¦['a', 'B', NULL]⟧"],
    "map": ["⟦MAP['a', 1, 'b', NULL]¦MAP {'a': 1, 'b': NULL}⟧"],
    "row": [
        "⟦CAST(ROW(1, 'a') AS ROW(p INT NULL, q VARCHAR NULL))¦{'p': 1, 'q': 'a'}⟧",
    ],
}
TYPES = {
    "int": "INT", "big": "BIGINT", "text": "VARCHAR", "dec": "DECIMAL(12, 2)", "float": "DOUBLE",
    "bool": "BOOLEAN", "date": "DATE", "stamp": "TIMESTAMP", "time": "TIME",
    "uint": "⟦INT UNSIGNED¦UINTEGER⟧", "ints": "⟦INT ARRAY¦INT[]⟧",
    "texts": "⟦VARCHAR ARRAY¦VARCHAR[]⟧", "map": "⟦MAP<VARCHAR, INT>¦MAP(VARCHAR, INT)⟧",
    "row": "⟦ROW(p INT NULL, q VARCHAR NULL)¦STRUCT(p INT, q VARCHAR)⟧",
}  # fmt: skip
#: by kind, what makes one; {kind} is an expression, <kind> a literal
OPERATIONS = {
    "int": [
        "({int} + {int})", "({int} - {int})", "(- {int})", "ABS({int})", "({int} % 3)",
        "CAST(CHAR_LENGTH({text}) AS INT)", "CAST(EXTRACT(DAY FROM {date}) AS INT)",
        "(<int> * {int})", "POSITION('a' IN {text})", "CAST({uint} AS INT)", "{map}['a']",
        "CAST(⟦CARDINALITY¦LEN⟧({ints}) AS INT)", "{ints}[2]", "({row}).p",
        "⟦IF({test}, {int}, {int})¦CASE WHEN {test} THEN {int} ELSE {int} END⟧",
        "CAST(CARDINALITY({map}) AS INT)",
    ],
    "big": [
        "CAST({int} AS BIGINT)", "({big} + {int})", "EXTRACT(YEAR FROM {date})", "({big} - {big})",
    ],
    "text": [
        "({text} || {text})", "UPPER({text})", "CAST({int} AS VARCHAR)", "TRIM({text})",
        "SUBSTRING({text} FROM 1 FOR 2)", "REPLACE({text}, 'a', 'xy')", "LEFT({text}, 2)",
        "CAST({date} AS VARCHAR)", "({row}).q", "{texts}[1]", "IFNULL({text}, {text})",
    ],
    "dec": ["({dec} + 1.50)", "(- {dec})", "CAST({int} AS DECIMAL(12, 2))", "ABS({dec})"],
    "float": ["({float} + {float})", "(- {float})", "CAST({int} AS DOUBLE)", "({float} * 2e0)"],
    "bool": [
        "({test})", "(({test}) IS TRUE)", "(({test}) IS NOT FALSE)",
        "⟦MAP_CONTAINS_KEY¦MAP_CONTAINS⟧({map}, 'b')", "(NOT ({test}))", "(({test}) IS UNKNOWN)",
        "⟦ARRAY_EXISTS({ints}, x -> x > 0)¦LIST_TRANSFORM([{ints}], LAMBDA l: CASE WHEN"
        " LEN(LIST_FILTER(l, LAMBDA x: x > 0)) > 0 THEN TRUE WHEN LEN(LIST_FILTER(l, LAMBDA x: x IS"
        " NULL)) > 0 THEN NULL WHEN l IS NOT NULL THEN FALSE END)[1]⟧",
    ],
    "date": [
        "CAST({stamp} AS DATE)", "CAST(({date} + INTERVAL '1' DAY) AS DATE)",
        "CAST(({date} - INTERVAL '1' MONTH) AS DATE)",
    ],
    "stamp": ["CAST({date} AS TIMESTAMP)", "({stamp} + INTERVAL '90' MINUTE)"],
    "time": ["CAST({stamp} AS TIME)", "({time} + INTERVAL '13' HOUR)"],
    "uint": [
        "({uint} + {uint})", "CAST(ABS({int}) AS ⟦INT UNSIGNED¦UINTEGER⟧)", "(<uint> * {uint})",
    ],
    "ints": [
        "⟦ARRAY[{int}, {int}]¦[{int}, {int}]⟧", "⟦ARRAY¦LIST⟧_REVERSE({ints})",
        "⟦TRANSFORM({ints}, x -> x + 1)¦LIST_TRANSFORM({ints}, LAMBDA x: x + 1)⟧",
    ],
    "texts": ["⟦MAP_KEYS({map})¦LIST_SORT(MAP_KEYS({map}))⟧", "⟦ARRAY[{text}]¦[{text}]⟧"],
    "map": ["⟦MAP['c', {int}]¦MAP {'c': {int}}⟧"],
    "row": [
        "⟦CAST(ROW({int}, {text}) AS ROW(p INT NULL, q VARCHAR NULL))¦{'p': {int}, 'q': {text}}⟧",
    ],
}  # fmt: skip
_HOLE = re.compile(r"\{(\w+)\}|<([a-z]+)>")
_PAIR = re.compile(r"⟦([^⟦⟧¦]*)¦([^⟦⟧¦]*)⟧")

#: what an expression may mention, as it is written → its kind
Scope = dict[str, str]


def spelt(text: str, dialect: int) -> str:
    """`text` as we write it (0) or as DuckDB does (1)."""
    while "⟦" in text:
        text = _PAIR.sub(lambda m: m[dialect + 1], text)
    return text


class Values:
    """Expressions. Sub-queries need what `tests/property/grammar.py` adds: `query`,
    `from_clause` and `aggregate`."""

    def __init__(self, r: random.Random) -> None:
        self.r = r
        self._names = 0

    def name(self, prefix: str) -> str:
        self._names += 1
        return f"{prefix}{self._names}"

    def pick(self, among: Sequence[T]) -> T:
        return self.r.choice(among)

    def maybe(self, one_in: int) -> bool:
        return self.r.randrange(one_in) == 0

    def direction(self) -> str:
        return f"{self.pick(['ASC', 'DESC'])} NULLS {self.pick(['FIRST', 'LAST'])}"

    def from_clause(self, outer: Scope, depth: int) -> tuple[str, Scope]:
        raise NotImplementedError

    def query(self, outer: Scope, depth: int, kinds: list[str] | None = None) -> tuple[str, Scope]:
        raise NotImplementedError

    def aggregate(self, kind: str, scope: Scope) -> str:
        raise NotImplementedError

    def literal(self, kind: str, *, null: bool = True) -> str:
        if null and self.maybe(8):
            return f"CAST(NULL AS {TYPES[kind]})"
        return self.pick(LITERALS[kind])

    def value(self, kind: str, scope: Scope, depth: int, nested: int = 2) -> str:
        """An expression of this kind; with a `depth` it may hold sub-queries."""
        own = [c for c, k in scope.items() if k == kind]
        if own and (nested == 0 or self.maybe(2)):
            return self.pick(own)
        if nested == 0 or self.maybe(5):
            return self.literal(kind)
        if depth > 0 and self.maybe(4):
            return self._scalar(kind, scope, depth - 1)

        def of(k: str) -> str:
            if k == "test":
                return self.test(scope, depth, nested - 1)
            return self.value(k, scope, depth, nested - 1)

        if kind == "ints" and depth > 0 and self.maybe(3):
            query, _ = self.query(scope, depth - 1, ["int"])
            return f"⟦SORT_ARRAY(ARRAY({query}))¦LIST_SORT(ARRAY({query}), 'ASC', 'NULLS FIRST')⟧"
        form = self.pick(["case", "coalesce", "nullif", "extreme", "operation", "operation"])
        if form == "case":
            return f"CASE WHEN {of('test')} THEN {of(kind)} ELSE {of(kind)} END"
        if form == "coalesce":
            return f"COALESCE({of(kind)}, {of(kind)})"
        if form == "nullif" and kind in KINDS and kind != "bool":
            return f"NULLIF({of(kind)}, {self.literal(kind)})"
        if form == "extreme" and kind in KINDS:
            x, y, most = of(kind), of(kind), self.pick(["GREATEST", "LEAST"])
            strict = f"CASE WHEN {x} IS NULL OR {y} IS NULL THEN NULL ELSE {most}({x}, {y}) END"
            return self.pick([
                f"⟦{most}({x}, {y})¦{strict}⟧", f"⟦{most}_IGNORE_NULLS({x}, {y})¦{most}({x}, {y})⟧",
            ])  # fmt: skip
        return self._filled(self.pick(OPERATIONS[kind]), of)

    def _filled(self, shape: str, of: Callable[[str], str]) -> str:
        """`shape` with values in its holes: the same ones in both spellings of a pair."""
        found: list[str] = []
        at = start = 0

        def fill(hole: re.Match[str]) -> str:
            nonlocal at
            if at == len(found):
                found.append(of(hole[1]) if hole[1] else self.literal(hole[2]))
            at += 1
            return found[at - 1]

        parts = []
        for part in re.split("([⟦¦⟧])", shape):
            start = at if part == "⟦" else start
            at = start if part == "¦" else at
            parts.append(_HOLE.sub(fill, part))
        return "".join(parts)

    def _scalar(self, kind: str, scope: Scope, depth: int) -> str:
        """A sub-query of at most one row."""
        if kind not in KINDS:
            return self.literal(kind)
        source, inner = self.from_clause(scope, depth)
        source += f" WHERE {self.tie(scope, inner, depth)}"
        if self.maybe(2):
            plain = {c: k for c, k in inner.items() if k in KINDS}
            return f"(SELECT {self.aggregate(kind, plain)} {source})" if plain else "NULL"
        c = self.name("c")
        value = self.value(kind, {**scope, **inner}, depth)
        return f"(SELECT {value} AS {c} {source} ORDER BY {c} {self.direction()} LIMIT 1)"

    def tie(self, outer: Scope, inner: Scope, depth: int) -> str:
        """A condition that as a rule ties the rows of `inner` to the row outside."""
        tests = []
        if (pairs := pairs_of(outer, inner)) and not self.maybe(6):
            x, y = self.pick(pairs)
            tests.append(f"{x} {self.pick(['=', '=', '=', '<', '<>', '>='])} {y}")
        if not tests or self.maybe(3):
            tests.append(self.test({**outer, **inner}, depth, 1))
        return " AND ".join(tests)

    def test(self, scope: Scope, depth: int, nested: int = 2) -> str:
        """A condition."""
        if nested > 0 and self.maybe(3):
            left, right = (self.test(scope, depth, nested - 1) for _ in range(2))
            both = f"({left} {self.pick(['AND', 'AND', 'OR'])} {right})"
            return f"NOT {both}" if self.maybe(5) else both
        if depth > 0 and self.maybe(3):
            return self._sub_test(scope, depth - 1)
        kind, n = self.pick(KINDS), min(nested, 1)
        x, y, z = (self.value(kind, scope, 0, k) for k in (n, n, 0))
        negated = self.pick(["", "NOT "])
        listed = ", ".join(self.literal(kind) for _ in range(self.pick([1, 2, 3])))
        text, pattern = self.value("text", scope, 0, n), self.pick(["%a%", "_", "a%", "%"])
        return self.pick([
            *(f"{x} {op} {y}" for op in ("=", "<>", "<", "<=", ">", ">=")),
            f"{x} IS {negated}NULL",
            f"{x} {negated}IN ({listed})",
            f"{x} {negated}BETWEEN {y} AND {z}",
            f"{x} IS {negated}DISTINCT FROM {y}",
            f"{x} ⟦<=>¦IS NOT DISTINCT FROM⟧ {y}",
            f"⟦{x} BETWEEN SYMMETRIC {y} AND {z}¦"
            f"({x} BETWEEN {y} AND {z} OR {x} BETWEEN {z} AND {y})⟧",
            f"{text} {negated}LIKE '{pattern}'",
        ])  # fmt: skip

    def _sub_test(self, scope: Scope, depth: int) -> str:
        """EXISTS, IN or a quantified comparison."""
        negated = self.pick(["", "NOT "])
        if self.maybe(8):
            return f"{negated}EXISTS ({self.query(scope, depth)[0]})"
        source, inner = self.from_clause(scope, depth)
        if self.maybe(2):
            return f"{negated}EXISTS (SELECT 1 {source} WHERE {self.tie(scope, inner, depth)})"
        if self.maybe(2):
            source += f" WHERE {self.tie(scope, inner, 0)}"
        kind = self.pick(KINDS)
        query = f"SELECT {self.value(kind, {**scope, **inner}, 0)} {source}"
        if self.maybe(4):
            query, _ = self.query(scope, depth, [kind])
        elif self.maybe(8):
            rows = (f"({self.literal(kind)})" for _ in range(self.pick([1, 2])))
            query = f"VALUES {', '.join(rows)}"
        x = self.value(kind, scope, 0, 1)
        if self.maybe(4):
            op, which = self.pick(["=", "<>", "<", ">="]), self.pick(["ANY", "ALL"])
            return f"{x} {op} {which} ({query})"
        return f"{x} {negated}IN ({query})"


def pairs_of(left: Scope, right: Scope) -> list[tuple[str, str]]:
    """What of one side can be compared with what of the other."""
    return [(x, y) for x, k in left.items() for y, o in right.items() if k == o and k in KINDS]
