"""Random expressions and conditions of a wanted kind; see `tests/property/grammar.py`.

Values(random).value("int", {"t1.k": "int"}, depth)   "COALESCE(t1.k, (SELECT MAX(…) FROM …))"
Values(random).test({"t1.k": "int"}, depth)           "t1.k IN (SELECT …) AND …"
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")

#: kinds of values that are compared, ordered and grouped
KINDS = ("int", "big", "text", "dec", "float", "bool", "date", "stamp")
LITERALS = {
    "int": ["0", "1", "2", "-1", "3"],
    "big": ["CAST(0 AS BIGINT)", "CAST(2 AS BIGINT)"],
    "text": ["'a'", "'B'", "''", "'ab'"],
    "dec": ["0.50", "-1.25", "2.00"],
    "float": ["0.5e0", "-1.0e0", "0e0"],
    "bool": ["TRUE", "FALSE"],
    "date": ["DATE '2024-02-29'", "DATE '2024-03-01'"],
    "stamp": ["TIMESTAMP '2024-02-29 00:00:00'", "TIMESTAMP '1969-12-31 12:00:00.000001'"],
}
TYPES = {
    "int": "INT", "big": "BIGINT", "text": "VARCHAR", "dec": "DECIMAL(12, 2)", "float": "DOUBLE",
    "bool": "BOOLEAN", "date": "DATE", "stamp": "TIMESTAMP",
}  # fmt: skip
#: by kind, what makes one; {kind} is an expression, <kind> a literal
OPERATIONS = {
    "int": [
        "({int} + {int})", "({int} - {int})", "(- {int})", "ABS({int})", "({int} % 3)",
        "CAST(CHAR_LENGTH({text}) AS INT)", "CAST(EXTRACT(DAY FROM {date}) AS INT)",
        "(<int> * {int})", "POSITION('a' IN {text})",
    ],
    "big": [
        "CAST({int} AS BIGINT)", "({big} + {int})", "EXTRACT(YEAR FROM {date})", "({big} - {big})",
    ],
    "text": [
        "({text} || {text})", "UPPER({text})", "CAST({int} AS VARCHAR)", "TRIM({text})",
        "SUBSTRING({text} FROM 1 FOR 2)", "REPLACE({text}, 'a', 'xy')", "LEFT({text}, 2)",
        "CAST({date} AS VARCHAR)",
    ],
    "dec": ["({dec} + 1.50)", "(- {dec})", "CAST({int} AS DECIMAL(12, 2))", "ABS({dec})"],
    "float": ["({float} + {float})", "(- {float})", "CAST({int} AS DOUBLE)", "({float} * 2e0)"],
    "bool": ["({test})", "(({test}) IS TRUE)", "(({test}) IS NOT FALSE)"],
    "date": [
        "CAST({stamp} AS DATE)", "CAST(({date} + INTERVAL '1' DAY) AS DATE)",
        "CAST(({date} - INTERVAL '1' MONTH) AS DATE)",
    ],
    "stamp": ["CAST({date} AS TIMESTAMP)", "({stamp} + INTERVAL '90' MINUTE)"],
}  # fmt: skip
_HOLE = re.compile(r"\{(\w+)\}|<(\w+)>")

#: what an expression may mention, as it is written → its kind
Scope = dict[str, str]


class Values:
    """Expressions. Sub-queries need what `tests/property/grammar.py` adds: `from_clause` and
    `aggregate`."""

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

        form = self.pick(["case", "coalesce", "nullif", "operation", "operation"])
        if form == "case":
            return f"CASE WHEN {of('test')} THEN {of(kind)} ELSE {of(kind)} END"
        if form == "coalesce":
            return f"COALESCE({of(kind)}, {of(kind)})"
        if form == "nullif" and kind != "bool":
            return f"NULLIF({of(kind)}, {self.literal(kind)})"
        shape = self.pick(OPERATIONS[kind])
        return _HOLE.sub(lambda m: of(m[1]) if m[1] else self.literal(m[2]), shape)

    def _scalar(self, kind: str, scope: Scope, depth: int) -> str:
        """A sub-query of at most one row."""
        source, inner = self.from_clause(scope, depth)
        source += f" WHERE {self.tie(scope, inner, depth)}"
        if self.maybe(2):
            plain = {c: k for c, k in inner.items() if k in KINDS}
            return f"(SELECT {self.aggregate(kind, plain)} {source})" if plain else "NULL"
        c = self.name("c")
        value = self.value(kind, inner, 0)
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
            f"{text} {negated}LIKE '{pattern}'",
        ])  # fmt: skip

    def _sub_test(self, scope: Scope, depth: int) -> str:
        """EXISTS, IN or a quantified comparison."""
        negated = self.pick(["", "NOT "])
        source, inner = self.from_clause(scope, depth)
        if self.maybe(2):
            return f"{negated}EXISTS (SELECT 1 {source} WHERE {self.tie(scope, inner, depth)})"
        if self.maybe(2):
            source += f" WHERE {self.tie(scope, inner, 0)}"
        kind = self.pick(KINDS)
        query = f"SELECT {self.value(kind, inner, 0)} {source}"
        x = self.value(kind, scope, 0, 1)
        if self.maybe(4):
            op, which = self.pick(["=", "<>", "<", ">="]), self.pick(["ANY", "ALL"])
            return f"{x} {op} {which} ({query})"
        return f"{x} {negated}IN ({query})"


def pairs_of(left: Scope, right: Scope) -> list[tuple[str, str]]:
    """What of one side can be compared with what of the other."""
    return [(x, y) for x, k in left.items() for y, o in right.items() if k == o and k in KINDS]
