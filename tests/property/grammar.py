"""Random programs over the whole grammar of queries, typed from the inside out.

    Writer(random).program() → Program: views over three tables and over one another

Each construct may stand wherever the grammar lets it: joins of every kind with any condition,
NATURAL, USING, ASOF, LATERAL, CROSS APPLY, UNNEST [WITH ORDINALITY], derived tables, VALUES, chains
of WITH; correlated sub-queries as values, tests and tables, at any depth, whole queries among them;
grouping sets; windows, over groups as well; TUMBLE, HOP, SESSION; PIVOT, UNPIVOT; set operations;
DISTINCT ON, QUALIFY, limits and other clauses (`grammar_clauses`); aliases that later items read;
views upon views, and whole queries that stand in several; recursive views, also two at once; a
table with LATENESS, whose rows come in time. Columns of every family, ARRAY, MAP and ROW among
them; keys of DECIMAL, TIMESTAMP and unsigned numbers.

DuckDB is asked the same text, but for what is written ⟦ours¦DuckDB's⟧ (`grammar_values.spelt`).
Where the dialects differ the writer keeps away, or says the rule in DuckDB's words; this is the
list:

* GREATEST and LEAST are NULL here where an argument is; no CONCAT (its NULLs differ);
* no division, no AVG of whole numbers (ours truncate);
* small numbers and few products, so that nothing overflows; SUM has the type of its argument here
  and is cast to a wide one;
* DOUBLEs are multiples of 0.25, which add exactly in any order; text is made of whole numbers only;
* text is not compared with numbers, nor a DATE with a TIMESTAMP;
* a scalar sub-query is an aggregate, or the first row of a total order: DuckDB may not look whether
  there are two;
* whatever has a first row orders by all columns, and says where NULLs are;
* a list of columns has one window function: equal rows are told apart by such functions only, and
  two may number them differently;
* a FULL JOIN has an equality and nothing else in ON (DuckDB knows no other).
"""

from __future__ import annotations

import random

from tests.property.grammar_clauses import Clauses
from tests.property.grammar_recursion import Program, Recursions
from tests.property.grammar_values import ELEMENT, KINDS, TYPES, Scope, pairs_of

#: by table, the places of its primary key
PRIMARY = {"a": [0], "e": [0, 1, 2]}
COLUMNS = {
    "a": {"id": "int", "k": "int", "s": "text", "d": "dec", "f": "float", "b": "bool", "t": "date",
          "m": "stamp", "h": "time"},
    "b": {"k": "int", "x": "big", "s": "text", "t": "date"},
    "c": {"id": "int", "l": "ints", "w": "texts"},
    "e": {"d": "dec", "m": "stamp", "u": "uint", "h": "time", "p": "map", "r": "row"},
}  # fmt: skip
#: offsets of a RANGE before and after the row, by kind of what orders it
RANGES = {
    "int": ("2", "1"), "big": ("2", "1"), "dec": ("1.50", "0.25"),
    "date": ("INTERVAL '1' DAY", "INTERVAL '2' DAY"),
    "stamp": ("INTERVAL '1' DAY", "INTERVAL '1' HOUR"),
}  # fmt: skip


class Writer(Clauses, Recursions):
    """`depth`: how many queries may stand inside one another."""

    def __init__(self, r: random.Random, depth: int = 2) -> None:
        super().__init__(r)
        self.depth = depth
        self.relations: dict[str, Scope] = dict(COLUMNS)
        #: queries of earlier views, which others may hold once more
        self.made: list[tuple[str, Scope]] = []

    def program(self) -> Program:
        p = Program(late=self.maybe(3))
        self.made = []
        stacked = self.maybe(4)
        for i in range(self.pick([3, 4, 5] if stacked else [1, 1, 2, 3])):
            name = f"v{i}"
            if self.maybe(10):
                self.relations |= self.recursive(p, name, self.depth - 1)
                continue
            if stacked and i:
                p.queries[name], columns = self._above(f"v{i - 1}")
                if self.maybe(2):
                    p.local.add(f"v{i - 1}")
            else:
                p.queries[name], columns = self.query({}, self.depth)
            self.relations[name] = columns
            self.made.append((p.queries[name], columns))
        return p

    def _above(self, below: str) -> tuple[str, Scope]:
        """A query of the view `below`."""
        kinds = [self.pick(KINDS) for _ in range(self.pick([1, 2, 3]))]
        first = below if below in self.relations else None
        return self._select({}, self.depth - 1, kinds, first=first)

    # queries

    def query(self, outer: Scope, depth: int, kinds: list[str] | None = None) -> tuple[str, Scope]:
        """A query whose columns have these kinds (any if None), and its columns."""
        if kinds is None:
            kinds = [self.pick(KINDS) for _ in range(self.pick([1, 2, 2, 3]))]
            if self.maybe(10):
                kinds.append(self.pick(["ints", "texts", "map", "row"]))
        if depth > 0 and self.maybe(6):
            return self._set_operation(outer, depth - 1, kinds)
        if depth > 0 and self.maybe(10):
            return self._with(outer, depth - 1, kinds)
        if self.maybe(25):
            return self._values(kinds)
        return self._select(outer, depth, kinds)

    def _set_operation(self, outer: Scope, depth: int, kinds: list[str]) -> tuple[str, Scope]:
        left, columns = self.query(outer, depth, kinds)
        right, _ = self.query(outer, depth, kinds)
        op = self.pick(["UNION ALL", "UNION", "EXCEPT", "INTERSECT", "⟦MINUS¦EXCEPT⟧"])
        all_ = " ALL" if op in ("EXCEPT", "INTERSECT") and self.maybe(2) else ""
        all_ = all_ or ("⟦ DISTINCT¦⟧" if op in ("UNION", "EXCEPT") and self.maybe(4) else "")
        alias = self.name("q")
        renamed = {n: self.name("c") for n in columns}
        listed = ", ".join(f"{alias}.{n} AS {new}" for n, new in renamed.items())
        third = ""
        if self.maybe(5):  # INTERSECT binds tighter, the others from left to right
            more, _ = self.query(outer, depth, kinds)
            third = f" {self.pick(['UNION ALL', 'UNION', 'EXCEPT', 'INTERSECT'])} ({more})"
        text = f"SELECT {listed} FROM (({left}) {op}{all_} ({right}){third}) {alias}"
        return text, {renamed[n]: k for n, k in columns.items()}

    def _with(self, outer: Scope, depth: int, kinds: list[str]) -> tuple[str, Scope]:
        """A chain of names, of which each may read those before it, and one may have the name of a
        table."""
        hidden, chain = self.relations, []
        for _ in range(self.pick([1, 1, 2, 3])):
            name = self.pick(["a", "b"]) if self.maybe(5) else self.name("w")
            if any(name == n for n, _ in chain):
                continue
            query, columns = self.query({}, depth)
            listed = ""
            if self.maybe(3):
                columns = {self.name("c"): k for k in columns.values()}
                listed = f" ({', '.join(columns)})"
            chain.append((name, f"{name}{listed} AS ({query})"))
            self.relations = {**self.relations, name: columns}
        body, found = self._select(outer, depth, kinds, first=chain[-1][0])
        self.relations = hidden
        return f"WITH {', '.join(text for _, text in chain)} {body}", found

    def _values(self, kinds: list[str]) -> tuple[str, Scope]:
        rows = [", ".join(map(self.literal, kinds)) for _ in range(self.pick([1, 2, 3]))]
        listed = ", ".join(f"({row})" for row in rows)
        names = [self.name("c") for _ in kinds]
        alias = f"{self.name('v')} ({', '.join(names)})"
        text = f"SELECT * FROM (VALUES {listed}) AS {alias}"
        return text, dict(zip(names, kinds, strict=True))

    def _select(
        self, outer: Scope, depth: int, kinds: list[str], first: str | None = None
    ) -> tuple[str, Scope]:
        source, scope = self.from_clause(outer, depth, first)
        visible = {**outer, **scope}
        if self.maybe(2):
            source += f" WHERE {self.test(visible, depth)}"
        if self.r.random() < 0.3:
            return self._grouped(source, scope, kinds)
        windows = self.maybe(5)
        columns = {self.name("c"): k for k in kinds}
        items = []
        aliases: Scope = {}
        for n, k in columns.items():
            if aliases and self.maybe(4):  # what stands to the left in the list
                items.append(f"{self.value(k, aliases, 0)} AS {n}")
                continue
            of_window = self._window(scope, k) if windows and self.maybe(2) else None
            windows = windows and of_window is None
            items.append(f"{of_window or self.value(k, visible, depth)} AS {n}")
            if of_window is None and "SELECT" not in items[-1] and "VALUES" not in items[-1]:
                aliases[n] = k
        listed = ", ".join(items)
        plain = [c for c, k in scope.items() if k in KINDS]
        # of rows that are equal in all columns it does not say which goes, nor does LAG's order
        one_of_equals = any("ROW_NUMBER" in i or "LAG" in i or "LEAD" in i for i in items)
        flat = all(k in KINDS for k in kinds)
        if self.maybe(12) and plain and not one_of_equals:
            rank = f"ROW_NUMBER() OVER (PARTITION BY {self.pick(plain)} {self._order(plain)})"
            return f"SELECT {listed} {source} QUALIFY {rank} <= {self.pick([1, 2])}", columns
        if self.maybe(14) and flat:
            on, *others = columns
            order = ", ".join(f"{c} {self.direction()}" for c in (on, *others))
            return f"SELECT DISTINCT ON ({on}) {listed} {source} ORDER BY {order}", columns
        text = f"SELECT {'DISTINCT ' if self.maybe(6) else ''}{listed} {source}"
        if self.maybe(8) and flat:
            text += f" {self.cut(list(columns))}"
        return text, columns

    def _order(self, columns: list[str]) -> str:
        shuffled = self.r.sample(columns, len(columns))
        return "ORDER BY " + ", ".join(f"{c} {self.direction()}" for c in shuffled)

    # groups

    def _grouped(self, source: str, scope: Scope, kinds: list[str]) -> tuple[str, Scope]:
        """GROUP BY some columns or expressions; items are keys and aggregates."""
        plain = [c for c, k in scope.items() if k in KINDS]
        keys: Scope = {}
        for _ in range(self.pick([0, 1, 1, 2, 2, 3])):
            if plain and self.maybe(2):
                c = self.pick(plain)
                keys[c] = scope[c]
            else:
                k = self.pick(KINDS)
                keys[self.value(k, scope, 0)] = k
        # a key without a column would be a literal, and a number one of the columns' positions
        keys = {e: k for e, k in keys.items() if any(c in e for c in scope)}
        columns: Scope = {}
        items = []
        for kind in kinds:
            same = [e for e, k in keys.items() if k == kind]
            e = self.pick(same) if same and self.maybe(2) else self._item(kind, scope, keys)
            columns[n := self.name("c")] = kind
            items.append(f"{e} AS {n}")
        text = f"SELECT {', '.join(items)} {source}"
        if keys:
            text += f" GROUP BY {self._grouping(list(keys))}"
            if self.maybe(4):
                text += f" HAVING {self._having(keys, scope)}"
        return text, columns

    def _item(self, kind: str, scope: Scope, keys: Scope) -> str:
        e = self.aggregate(kind, scope)
        if self.maybe(5):
            e = f"COALESCE({e}, {self.literal(kind, null=False)})"
        steps = self._stepped(keys)
        if steps and self.maybe(8) and kind in ("int", "big"):
            e = f"MAX({e}) OVER (ORDER BY {self.pick(steps)} {self.direction()})"
        return e

    def _stepped(self, scope: Scope) -> list[str]:
        """What a frame may be ordered by."""
        return [c for c, k in scope.items() if k in RANGES]

    def _grouping(self, keys: list[str]) -> str:
        listed = ", ".join(keys)
        sets = [
            f"ROLLUP({listed})",
            f"CUBE({listed})",
            f"GROUPING SETS (({listed}), ({keys[0]}), ())",
        ]
        return self.pick(sets) if self.maybe(3) else listed

    def _having(self, keys: Scope, scope: Scope) -> str:
        kind = self.pick(("int", "big", "text", "date"))
        op = self.pick(["<", ">", "=", "<>", "IS NOT DISTINCT FROM"])
        test = f"{self.aggregate(kind, scope)} {op} {self.literal(kind)}"
        if self.maybe(2):
            test = f"({test} {self.pick(['AND', 'OR'])} {self.pick(list(keys))} IS NOT NULL)"
        return test

    def aggregate(self, kind: str, scope: Scope) -> str:
        """An aggregate of this kind over the rows of `scope`."""
        scope = {c: k for c, k in scope.items() if k in KINDS}
        distinct = "DISTINCT " if self.maybe(4) else ""
        if kind in ELEMENT:
            x = f"CAST({self.value(ELEMENT[kind], scope, 0)} AS {TYPES[ELEMENT[kind]]})"
            return f"ARRAY_AGG({distinct}{x} ORDER BY {x} {self.direction()})"
        if kind not in KINDS:
            return self.literal(kind)
        x = self.value(kind, scope, 0)
        if kind in ("int", "big", "dec"):
            x = f"CAST({x} AS {TYPES[kind]})"
        forms = [f"MAX({x})", f"MIN({x})"]
        match kind:
            case "bool":
                forms = [f"BOOL_AND({x})", f"BOOL_OR({x})"]
            case "int":
                forms += [f"BIT_XOR({distinct}{x})", f"CAST(SUM({distinct}{x}) AS INT)"]
            case "big":
                counted = self.value(self.pick(KINDS), scope, 0)
                forms = [f"SUM({distinct}{x})", f"COUNT({distinct}{counted})", "COUNT(*)"]
                other, test = self.value(self.pick(KINDS), scope, 0), self.test(scope, 0)
                both = f"CASE WHEN {counted} IS NOT NULL AND {other} IS NOT NULL THEN 1 END"
                forms += [f"COUNT(⟦{counted}, {other}¦{both}⟧)"]
                return self.pick([*forms, f"⟦COUNTIF({test})¦COUNT(*) FILTER (WHERE {test})⟧"])
            case "float":
                forms += [f"SUM({x})", f"AVG({distinct}{x})"]
            case "dec":
                forms += [f"SUM({distinct}{x})"]
        e = self.pick(forms)
        if self.maybe(5) and not e.startswith("CAST"):
            e += f" FILTER (WHERE {self.test(scope, 0)})"
        return e

    # windows

    def _window(self, scope: Scope, kind: str) -> str | None:
        names = [c for c, k in scope.items() if k in KINDS]
        if not names:
            return None
        part = self.pick(["", f"PARTITION BY {self.pick(names)} "])
        total = self._order(names)
        same = [c for c in names if scope[c] == kind]
        forms = []
        if kind == "big":
            some = self._order(names[: self.pick([1, 2])])
            forms = [f"{f}() OVER ({part}{some})" for f in ("RANK", "DENSE_RANK")]
            forms += [f"ROW_NUMBER() OVER ({part}{total})", f"COUNT(*) OVER ({part})"]
        if same:
            c = self.pick(same)
            forms += [f"LAG({c}) OVER ({part}{total})", f"LEAD({c}, 2) OVER ({part}{total})",
                      f"FIRST_VALUE({c}) OVER ({part}{total})"]  # fmt: skip
            if kind != "bool":
                forms += [f"MIN({c}) OVER ({part})"]
            steps = self._stepped(scope)
            if kind != "bool" and steps:
                key = self.pick(steps)
                one = self._order([key])
                back, ahead = RANGES[scope[key]]
                frame = self.pick(["", "UNBOUNDED PRECEDING AND CURRENT ROW",
                                   "CURRENT ROW AND UNBOUNDED FOLLOWING",
                                   f"{back} PRECEDING AND {ahead} FOLLOWING",
                                   f"{back} PRECEDING AND CURRENT ROW",
                                   f"UNBOUNDED PRECEDING AND {ahead} FOLLOWING"])  # fmt: skip
                one += f" RANGE BETWEEN {frame}" if frame else ""
                forms += [f"MAX({c}) OVER ({part}{one})"] * 2
                if kind in ("big", "dec"):
                    wide = f"CAST({c} AS {TYPES[kind]})"
                    forms += [f"SUM({wide}) OVER ({part}{one})"]
        return self.pick(forms) if forms else None

    # FROM

    def from_clause(self, outer: Scope, depth: int, first: str | None = None) -> tuple[str, Scope]:
        """ "FROM …" and its columns; `first`: the relation that it begins with."""
        text, scope = self._table(depth, first)
        for _ in range(self.pick([0, 0, 0, 1, 1, 2] if depth > 0 else [0, 0, 1])):
            text, scope = self._join(text, scope, outer, depth)
        if self.maybe(6):  # last, for a comma binds looser than JOIN
            right, columns = self._table(depth)
            text, scope = f"{text}, {right}", {**scope, **columns}
        return f"FROM {text}", scope

    def _table(self, depth: int, name: str | None = None) -> tuple[str, Scope]:
        alias = self.name("t")
        if name is None and depth > 0 and self.maybe(4):
            query, columns = self.query({}, depth - 1)
            return f"({query}) {alias}", {f"{alias}.{c}": k for c, k in columns.items()}
        if name is None and depth > 0 and self.maybe(6):
            return self.form(depth - 1)
        seen = all(self.relations[n] is COLUMNS[n] for n in ("a", "b"))
        if name is None and seen and self.made and self.maybe(8):
            query, columns = self.pick(self.made)
            return f"({query}) {alias}", {f"{alias}.{c}": k for c, k in columns.items()}
        name = name or self.pick(sorted(self.relations))
        columns = self.relations[name]
        return f"{name} {alias}", {f"{alias}.{c}": k for c, k in columns.items()}

    def _join(self, text: str, scope: Scope, outer: Scope, depth: int) -> tuple[str, Scope]:
        lists = [c for c, k in scope.items() if k in ELEMENT]
        if lists and self.maybe(2):
            c, alias, x = self.pick(lists), self.name("u"), self.name("x")
            columns = {f"{alias}.{x}": ELEMENT[scope[c]]}
            if self.maybe(2):
                n = self.name("n")
                text += f" CROSS JOIN UNNEST({c}) WITH ORDINALITY AS {alias} ({x}, {n})"
                return text, {**scope, **columns, f"{alias}.{n}": "big"}
            return f"{text} CROSS JOIN UNNEST({c}) AS {alias} ({x})", {**scope, **columns}
        maps = [c for c, k in scope.items() if k == "map"]
        if maps and self.maybe(3):
            c, alias = self.pick(maps), self.name("u")
            theirs = f"SELECT e.key, e.value FROM (SELECT UNNEST(MAP_ENTRIES({c})) AS e)"
            text += f" CROSS JOIN ⟦UNNEST({c})¦LATERAL ({theirs})⟧ AS {alias} (k, v)"
            return text, {**scope, f"{alias}.k": "text", f"{alias}.v": "int"}
        if depth > 0 and self.maybe(6):
            query, found = self.query({**outer, **scope}, depth - 1)
            alias = self.name("l")
            columns = {f"{alias}.{c}": k for c, k in found.items()}
            how, on = self.pick([
                ("LEFT JOIN LATERAL", " ON TRUE"), ("CROSS JOIN LATERAL", ""),
                ("⟦CROSS APPLY¦CROSS JOIN LATERAL⟧", ""),
            ])  # fmt: skip
            return f"{text} {how} ({query}) {alias}{on}", {**scope, **columns}
        right, columns = self._table(depth)
        both = {**scope, **columns}
        kind = self.pick(["JOIN", "JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN", "CROSS JOIN"])
        pairs = pairs_of(scope, columns)
        if kind == "CROSS JOIN" or (kind == "FULL JOIN" and not pairs):
            return f"{text} CROSS JOIN {right}", both
        chosen = self.r.sample(pairs, min(len(pairs), self.pick([1, 1, 2])))
        on = [f"{x} {self.pick(['=', '=', 'IS NOT DISTINCT FROM'])} {y}" for x, y in chosen]
        if kind != "FULL JOIN" and (not on or self.maybe(3)):
            on.append(self.test(both, 0))
        return f"{text} {kind} {right} ON {' AND '.join(on)}", both
