"""Forms of FROM beyond joins, each with what it means in words that DuckDB knows.

    Forms(random).form(depth)   "(SELECT * FROM TABLE(TUMBLE(…))) t5", {"t5.c7": "stamp", …}

NATURAL and USING, TUMBLE, HOP and SESSION, ASOF joins, PIVOT and UNPIVOT, frames of ROWS and other
functions of an order without ties, * EXCLUDE and REPLACE, GROUP BY ALL, WITHIN DISTINCT. Of rows
that tie for an ASOF join there is one.
"""

from __future__ import annotations

from tests.property.grammar_values import KINDS, Scope, Values

#: what frames and ASOF joins are ordered by
ORDERED = ("int", "big", "date", "dec", "stamp")


class Forms(Values):
    """What stands in FROM as a table; `query` makes what they read."""

    def form(self, depth: int) -> tuple[str, Scope]:
        make = self.pick([
            self._merged, self._merged, self._windows, self._session, self._asof, self._pivot,
            self._unpivot, self._rows, self._rows, self._starred, self._by_all,
            self._within_distinct,
        ])  # fmt: skip
        text, columns = make(depth)
        alias = self.name("t")
        return f"({text}) {alias}", {f"{alias}.{c}": k for c, k in columns.items()}

    def listed(self, depth: int, columns: Scope) -> str:
        """A query with columns of these names and kinds."""
        query, found = self.query({}, depth, list(columns.values()))
        z = self.name("z")
        items = ", ".join(f"{z}.{c} AS {n}" for c, n in zip(found, columns, strict=True))
        return f"SELECT {items} FROM ({query}) {z}"

    def fresh(self, *kinds: str) -> Scope:
        return {self.name("c"): k for k in kinds}

    def _any(self) -> str:
        return self.pick(KINDS)

    def _merged(self, depth: int) -> tuple[str, Scope]:
        """NATURAL and USING: the shared columns first, once."""
        shared = self.fresh(*(self._any() for _ in range(self.pick([1, 1, 2]))))
        left, right = self.fresh(self._any()), self.fresh(self._any())
        how = self.pick(["", "INNER ", "LEFT ", "RIGHT ", "FULL ", "FULL OUTER "])
        x = self.listed(depth, {**left, **shared})
        y = self.listed(depth, {**shared, **right})
        natural = self.maybe(2)
        join = f"NATURAL {how}JOIN" if natural else f"{how}JOIN"
        using = "" if natural else f" USING ({', '.join(shared)})"
        text = f"SELECT * FROM ({x}) {self.name('l')} {join} ({y}) {self.name('r')}{using}"
        return text, {**shared, **left, **right}

    def _windows(self, depth: int) -> tuple[str, Scope]:
        """TUMBLE and HOP."""
        columns = self.fresh("stamp", self._any())
        t, *_ = columns
        w, size, slide = self.name("w"), self.pick([6, 12, 36]), 6
        origin, offset = "TIMESTAMP '1970-01-01'", ""
        if self.maybe(3):
            origin, offset = "TIMESTAMP '1970-01-01 02:00:00'", ", INTERVAL '2' HOUR"
        hops = self.maybe(2)
        by = slide if hops else size
        start = f"TIME_BUCKET(INTERVAL '{by} hours', {w}.{t}, {origin})"
        if hops:
            start += f" - h.n * INTERVAL '{slide} hours'"
        theirs = (
            f"SELECT *, {start} AS window_start, {start} + INTERVAL '{size} hours' AS window_end"
            f" FROM {w}" + (f", GENERATE_SERIES(0, {size // slide - 1}) h(n)" if hops else "")
        )
        theirs = theirs.replace("SELECT *", f"SELECT {w}.*") + f" WHERE {t} IS NOT NULL"
        sizes = (
            f"INTERVAL {slide} HOURS, INTERVAL {size} HOURS" if hops else f"INTERVAL {size} HOURS"
        )
        function = "HOP" if hops else "TUMBLE"
        ours = f"SELECT * FROM TABLE({function}(TABLE {w}, DESCRIPTOR({t}), {sizes}{offset}))"
        text = f"WITH {w} AS ({self.listed(depth, columns)}) ⟦{ours}¦{theirs}⟧"
        return text, {**columns, "window_start": "stamp", "window_end": "stamp"}

    def _session(self, depth: int) -> tuple[str, Scope]:
        columns = self.fresh("stamp", self._any())
        (t, k), w = columns, self.name("w")
        gap = self.pick([13, 24, 30])
        key = self.maybe(2)
        part = f"PARTITION BY {k} " if key else ""
        begins = (
            f"SELECT *, CASE WHEN {t} < LAG({t}) OVER ({part}ORDER BY {t})"
            f" + INTERVAL '{gap} hours' THEN 0 ELSE 1 END AS b FROM {w} WHERE {t} IS NOT NULL"
        )
        numbered = f"SELECT *, SUM(b) OVER ({part}ORDER BY {t}) AS s FROM ({begins})"
        part = f"PARTITION BY {f'{k}, ' if key else ''}s"
        theirs = (
            f"SELECT {t}, {k}, MIN({t}) OVER ({part}) AS window_start, MAX({t}) OVER ({part})"
            f" + INTERVAL '{gap} hours' AS window_end FROM ({numbered})"
        )
        described = f", DESCRIPTOR({k})" if key else ""
        ours = (
            f"SELECT * FROM TABLE(SESSION(TABLE {w}, DESCRIPTOR({t}){described},"
            f" INTERVAL '{gap}' HOUR))"
        )
        text = f"WITH {w} AS ({self.listed(depth, columns)}) ⟦{ours}¦{theirs}⟧"
        return text, {**columns, "window_start": "stamp", "window_end": "stamp"}

    def _asof(self, depth: int) -> tuple[str, Scope]:
        kind, step, kept = self._any(), self.pick(ORDERED), self.pick(["int", "text", "date"])
        left, right = self.fresh(kind, step, self._any()), self.fresh(kind, step)
        (k, t, _), (rk, rt), x = left, right, self.name("c")
        found = self.listed(depth, {**right, "x": kept})
        single = f"SELECT {rk}, {rt}, MAX(x) AS {x} FROM ({found}) z GROUP BY {rk}, {rt}"
        joined = f"LEFT ASOF JOIN ({single}) r MATCH_CONDITION (l.{t} >= r.{rt}) ON l.{k} = r.{rk}"
        theirs = f"ASOF LEFT JOIN ({single}) r ON l.{k} = r.{rk} AND l.{t} >= r.{rt}"
        text = f"SELECT * FROM ({self.listed(depth, left)}) l ⟦{joined}¦{theirs}⟧"
        return text, {**left, **right, x: kept}

    def _pivot(self, depth: int) -> tuple[str, Scope]:
        by, kind = (
            self.pick(["int", "text", "date", "bool"]),
            self.pick(["int", "big", "text", "dec"]),
        )
        columns = self.fresh(self._any(), by, kind)
        group, axis, x = columns
        call, result = self.pick([(f"MAX({x})", kind), (f"MIN({x})", kind), (f"COUNT({x})", "big")])
        if kind == "big":
            call = self.pick([call, f"SUM({x})"])
        values = {self.literal(by, null=False): self.name("p") for _ in range(self.pick([1, 2, 3]))}
        inside = ", ".join(f"{v} AS {n}" for v, n in values.items())
        source = self.listed(depth, columns)
        alone = ", ".join(f"{call} FILTER (WHERE {axis} = {v}) AS {n}" for v, n in values.items())
        text = (
            f"⟦SELECT * FROM ({source}) z PIVOT ({call} FOR {axis} IN ({inside}))"
            f"¦SELECT {group}, {alone} FROM ({source}) z GROUP BY {group}⟧"
        )
        return text, {group: columns[group], **dict.fromkeys(values.values(), result)}

    def _unpivot(self, depth: int) -> tuple[str, Scope]:
        kind = self._any()
        columns = self.fresh(self._any(), kind, kind)
        (kept, x, y), (name, value) = columns, (self.name("c"), self.name("c"))
        nulls = self.pick(["", "EXCLUDING NULLS ", "INCLUDING NULLS "])
        source = self.listed(depth, columns)
        where = "" if nulls.startswith("INCL") else f" WHERE {value} IS NOT NULL"
        parts = " UNION ALL ".join(
            f"SELECT {kept}, '{n}' AS {name}, {c} AS {value} FROM s"
            for c, n in ((x, "x"), (y, "y"))
        )
        text = (
            f"⟦SELECT * FROM ({source}) z UNPIVOT {nulls}({value} FOR {name} IN ({x} AS 'x',"
            f" {y} AS 'y'))¦WITH s AS ({source}) SELECT * FROM ({parts}){where}⟧"
        )
        return text, {kept: columns[kept], name: "text", value: kind}

    def _rows(self, depth: int) -> tuple[str, Scope]:
        """Functions over an order without ties: a number that all columns make."""
        columns = self.fresh(self._any(), self._any(), "int")
        names, found = list(columns), self.name("c")
        c, part, n = self.pick(names), self.pick(names), names[2]
        total = ", ".join(f"{x} {self.direction()}" for x in self.r.sample(names, 3))
        placed = (
            f"SELECT *, ROW_NUMBER() OVER (ORDER BY {total}) AS place"
            f" FROM ({self.listed(depth, columns)}) z"
        )
        rows = ["UNBOUNDED PRECEDING", "2 PRECEDING", "1 PRECEDING", "CURRENT ROW", "1 FOLLOWING",
                "UNBOUNDED FOLLOWING"]  # fmt: skip
        first, last = sorted(self.r.sample(range(6), 2))
        frame = f"ROWS BETWEEN {rows[first]} AND {rows[last]}"
        window = f"{self.pick(['', f'PARTITION BY {part} '])}ORDER BY place"
        nulls, way = self.pick(["", " IGNORE NULLS"]), self.pick(["LAG", "LEAD"])
        # our functions write IGNORE NULLS behind the parentheses, DuckDB's within
        e, kind = self.pick([
            (f"COUNT({c}) OVER ({window} {frame})", "big"),
            (f"COUNT(*) OVER ({window} {frame})", "big"),
            (f"SUM(CAST({n} AS BIGINT)) OVER ({window} {frame})", "big"),
            (f"MAX({n}) OVER ({window} {frame})", "int"),
            (f"MIN({n}) OVER ({window} {frame})", "int"),
            (f"{way}({c}, {self.pick([0, 1, 2])}) OVER ({window})", columns[c]),
            (f"{way}({n}, 2, {n}) OVER ({window})", "int"),
            (f"⟦{way}({c}){nulls}¦{way}({c}{nulls})⟧ OVER ({window})", columns[c]),
            (f"⟦FIRST_VALUE({c}){nulls}¦FIRST_VALUE({c}{nulls})⟧ OVER ({window} ROWS BETWEEN"
             " UNBOUNDED PRECEDING AND CURRENT ROW)", columns[c]),
            (f"LAST_VALUE({c}) OVER ({window} ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING)",
             columns[c]),
        ])  # fmt: skip
        if self.maybe(4) and "ROWS" not in e:
            e = e.replace(f"OVER ({window})", "OVER w")
            placed += f") q WINDOW w AS ({window}"
            return f"SELECT {', '.join(names)}, {e} AS {found} FROM ({placed})", {
                **columns, found: kind,
            }  # fmt: skip
        return f"SELECT {', '.join(names)}, {e} AS {found} FROM ({placed}) q", {
            **columns, found: kind,
        }  # fmt: skip

    def _starred(self, depth: int) -> tuple[str, Scope]:
        """* EXCLUDE (…) and * REPLACE (…)."""
        columns = self.fresh(self._any(), self._any(), self._any())
        star, gone = self.pick(["*", "z.*"]), self.pick(list(columns))
        source = self.listed(depth, columns)
        if self.maybe(2):
            del columns[gone]
            without = self.pick(["EXCLUDE", "⟦EXCEPT¦EXCLUDE⟧"])
            return f"SELECT {star} {without} ({gone}) FROM ({source}) z", columns
        kind = self._any()
        value = self.value(kind, {f"z.{c}": k for c, k in columns.items()}, 0)
        columns[gone] = kind
        return f"SELECT {star} REPLACE ({value} AS {gone}) FROM ({source}) z", columns

    def _by_all(self, depth: int) -> tuple[str, Scope]:
        """GROUP BY ALL: by what is listed and no aggregate."""
        columns = self.fresh(self._any(), self._any(), "big")
        x, y, n = columns
        kind = self._any()
        value = self.value(kind, {x: columns[x]}, 0)
        found = {self.name("c"): kind, self.name("c"): columns[y], self.name("c"): "big"}
        call = self.pick([f"MAX({n})", "COUNT(*)", f"COUNT(DISTINCT {n})", f"SUM({n})"])
        items = [f"{e} AS {c}" for e, c in zip((value, y, call), found, strict=True)]
        source = self.listed(depth, columns)
        having = f" HAVING COUNT({x}) > 0" if self.maybe(4) else ""
        return f"SELECT {', '.join(items)} FROM ({source}) z GROUP BY ALL{having}", found

    def _within_distinct(self, depth: int) -> tuple[str, Scope]:
        """One of the rows that agree in a key, on which the values depend."""
        columns = self.fresh(self._any(), "int")
        (k, v), keyed = columns, self.fresh(self._any())
        (g,) = keyed
        group = self.listed(depth, keyed)
        z = f"SELECT {k}, CAST(MAX({v}) AS BIGINT) AS {v} FROM ({self.listed(depth, columns)}) z"
        rows = f"({z} GROUP BY {k}) z CROSS JOIN ({group}) o"
        call, n = self.pick([f"SUM({v})", f"COUNT({v})", "COUNT(*)", f"MAX({v})"]), self.name("c")
        only = ""
        if self.maybe(3):
            only = f" FILTER (WHERE {self.test({k: columns[k], v: 'big'}, 0)})"
        ours = f"SELECT {g}, {call} WITHIN DISTINCT ({k}){only} AS {n} FROM {rows}"
        distinct = f"SELECT DISTINCT {g}, {k}, {v} FROM {rows}"
        theirs = f"SELECT {g}, {call}{only} AS {n} FROM ({distinct})"
        return f"⟦{ours}¦{theirs}⟧ GROUP BY {g}", {**keyed, n: "big"}
