"""Recursive views of random programs: one that reads itself once or twice, and two that read one
another.

DuckDB's recursion reads itself once, so that it is told the same least sets in other words: pairs
that double are pairs that follow one another, and two views are one with a number.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from tests.property.grammar_forms import Forms
from tests.property.grammar_values import KINDS, TYPES, Scope, spelt

TABLES = {
    "a": """CREATE TABLE a (id INT NOT NULL PRIMARY KEY, k INT, s VARCHAR, d DECIMAL(10, 2),
                f DOUBLE, b BOOLEAN, t DATE, m TIMESTAMP, h TIME)""",
    "b": "CREATE TABLE b (k INT, x BIGINT, s VARCHAR, t DATE⟦{late}¦⟧)",
    "c": "CREATE TABLE c (id INT, l INT ARRAY, w VARCHAR ARRAY)",
    "e": f"""CREATE TABLE e (d DECIMAL(10, 2) NOT NULL, m TIMESTAMP NOT NULL,
                u {TYPES["uint"]} NOT NULL, h TIME, p {TYPES["map"]}, r {TYPES["row"]},
                PRIMARY KEY (d, m, u))""",
}


@dataclass
class Program:
    """Queries by the name of their view; what is declared before it; the LOCAL ones. `late`: no
    row of `b` is more than two days behind the latest of earlier steps, and the program knows."""

    queries: dict[str, str] = field(default_factory=dict)
    declared: dict[str, str] = field(default_factory=dict)
    local: set[str] = field(default_factory=set)
    late: bool = False

    @property
    def tables(self) -> list[str]:
        late = " LATENESS INTERVAL '2' DAY" if self.late else ""
        return [t.replace("{late}", late) for t in TABLES.values()]

    @property
    def text(self) -> str:
        views = [
            f"{self.declared.get(n, '')}CREATE {'LOCAL' if n in self.local else 'MATERIALIZED'}"
            f" VIEW {n} AS {q};"
            for n, q in self.queries.items()
        ]
        return spelt(";\n".join(self.tables) + ";\n" + "\n".join(views), 0)


class Recursions(Forms):
    """Adds the views to a program; says their columns."""

    def recursive(self, p: Program, name: str, depth: int) -> dict[str, Scope]:
        make = self.pick([self._single, self._single, self._doubling, self._mutual])
        return make(p, name, depth)

    def _parts(self, p: Program, name: str, depth: int, *parts: str) -> Scope:
        """Views of pairs: no window function may stand within a recursion, so that where the pairs
        begin and what follows them are views of their own."""
        kind = self.pick(KINDS)
        columns = {"x": kind, "y": kind}
        of_kind = ", ".join(f"CAST({c} AS {TYPES[kind]}) AS {c}" for c in columns)
        for part in parts:
            p.queries[f"{name}_{part}"] = f"SELECT {of_kind} FROM ({self.listed(depth, columns)}) q"
        return columns

    def _declare(self, p: Program, before: str, *names: str, kind: str) -> None:
        of = f"(x {TYPES[kind]}, y {TYPES[kind]});\n"
        p.declared[before] = "".join(f"DECLARE RECURSIVE VIEW {n} {of}" for n in names)

    def _single(self, p: Program, name: str, depth: int) -> dict[str, Scope]:
        """Pairs that follow one another."""
        columns = self._parts(p, name, depth, "starts", "edges")
        test = self.test({f"{name}.x": columns["x"], "e.y": columns["x"]}, 0)
        both = (
            f"SELECT x, y FROM {name}_starts UNION SELECT {name}.x, e.y FROM {name}"
            f" JOIN {name}_edges e ON {name}.y = e.x WHERE {test}"
        )
        p.queries[name] = f"⟦{both}¦WITH RECURSIVE {name}(x, y) AS ({both}) SELECT * FROM {name}⟧"
        self._declare(p, name, name, kind=columns["x"])
        return {name: columns}

    def _doubling(self, p: Program, name: str, depth: int) -> dict[str, Scope]:
        """The same pairs, where a round joins what is there with itself."""
        columns = self._parts(p, name, depth, "edges")
        first = f"SELECT x, y FROM {name}_edges"
        ours = f"{first} UNION ALL SELECT l.x, r.y FROM {name} l JOIN {name} r ON l.y = r.x"
        theirs = f"{first} UNION SELECT {name}.x, e.y FROM {name} JOIN {name}_edges e"
        theirs += f" ON {name}.y = e.x"
        p.queries[name] = f"⟦{ours}¦WITH RECURSIVE {name}(x, y) AS ({theirs}) SELECT * FROM {name}⟧"
        self._declare(p, name, name, kind=columns["x"])
        return {name: columns}

    def _mutual(self, p: Program, name: str, depth: int) -> dict[str, Scope]:
        """Two views, each of which begins with rows of its own and goes on from the other's."""
        columns = self._parts(p, name, depth, "starts", "edges", "others")
        one, two = f"{name}_one", f"{name}_two"
        test = self.test({"o.x": columns["x"], "e.y": columns["x"]}, 0)

        def step(other: str, edges: str) -> str:
            return f"o.x, e.y FROM {other} o JOIN {edges} e ON o.y = e.x WHERE {test}"

        edges = (
            f"(SELECT 2 AS g, x, y FROM {name}_edges UNION ALL SELECT 1, x, y FROM {name}_others)"
        )
        both = (
            f"WITH RECURSIVE m(g, x, y) AS (SELECT 1, x, y FROM {name}_starts UNION"
            f" SELECT 3 - o.g, {step('m', edges)} AND o.g = e.g)"
            " SELECT x, y FROM m WHERE g ="
        )
        ours = f"SELECT x, y FROM {name}_starts UNION SELECT {step(two, f'{name}_edges')}"
        p.queries[one] = f"⟦{ours}¦{both} 1⟧"
        p.queries[two] = f"⟦SELECT {step(one, f'{name}_others')}¦{both} 2⟧"
        self._declare(p, one, one, two, kind=columns["x"])
        return {one: columns, two: columns}
