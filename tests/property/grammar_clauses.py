"""Clauses that a query may have, and what they mean in words that DuckDB knows.

    Clauses(random).form(depth)             "(SELECT …, GROUPING_ID(…) … GROUP BY DISTINCT …) t5", …
    Clauses(random).cut(["c1", "c2"])       "ORDER BY ALL DESC NULLS LAST LIMIT 1, 2"
    Clauses(random).qualified(…)            "QUALIFY r <= (SELECT …)"

GROUPING, GROUP BY DISTINCT, aliases and numbers in GROUP BY and HAVING, SELECT without FROM, UNNEST
of several collections and of rows, MAP(query), rows in IN, windows that are made of others, named
arguments of table functions, aggregates of every name; QUALIFY with sub-queries, limits in each
spelling.
"""

from __future__ import annotations

from tests.property.grammar_forms import Forms
from tests.property.grammar_values import KINDS, Scope


class Clauses(Forms):
    """More of what stands in FROM as a table, and the ends of a SELECT."""

    def form(self, depth: int) -> tuple[str, Scope]:
        if self.maybe(2):
            return super().form(depth)
        make = self.pick([
            self._by_sets, self._by_alias, self._without_from, self._side_by_side, self._rows_of,
            self._map_of, self._rows_in, self._named_windows, self._named_arguments,
            self._aggregates, self._qualified,
        ])  # fmt: skip
        text, columns = make(depth)
        alias = self.name("t")
        return f"({text}) {alias}", {f"{alias}.{c}": k for c, k in columns.items()}

    def _flat(self) -> str:
        return self.pick(KINDS)

    # the end of a SELECT

    def cut(self, columns: list[str]) -> str:
        """ORDER BY all of `columns` and a limit, in some spelling."""
        count, first = self.pick([1, 2, 3]), self.pick([0, 0, 1, 2])
        limit = [f"LIMIT {count} OFFSET {first}", f"⟦LIMIT {first}, {count}¦LIMIT {count} OFFSET"
                 f" {first}⟧", f"OFFSET {first} ROWS FETCH NEXT {count} ROWS ONLY"]  # fmt: skip
        if not first:
            limit += [f"LIMIT {count}", f"FETCH FIRST {count} ROWS ONLY"]
        return f"{self.ordered(columns)} {self.pick(limit)}"

    def ordered(self, columns: list[str]) -> str:
        """ORDER BY all of `columns`: by name, by number, or as ALL."""
        if self.maybe(6):
            return f"ORDER BY ALL {self.direction()}"
        named = [*columns] if self.maybe(2) else [str(i) for i in range(1, len(columns) + 1)]
        shuffled = self.r.sample(named, len(named))
        return "ORDER BY " + ", ".join(f"{c} {self.direction()}" for c in shuffled)

    def _qualified(self, depth: int) -> tuple[str, Scope]:
        """QUALIFY: a window, its alias, sub-queries of the row and of the window."""
        columns = self.fresh(self._flat(), self._flat())
        (x, y), rank = columns, self.name("c")
        source, z = self.listed(depth, columns), self.name("z")
        part = self.pick(["", f"PARTITION BY {z}.{y} "])
        window = f"OVER ({part}ORDER BY {z}.{x} {self.direction()})"
        function = self.pick(["RANK()", "DENSE_RANK()", f"COUNT({z}.{x})"])
        if function.startswith("COUNT") and columns[x] in ("text", "float", "bool"):
            function = "RANK()"
        call = f"{function} {window}"
        bound = self.pick(["1", "2", f"({self._least(depth, z, y, columns[y])})"])
        terms = [f"{self.pick([rank, call])} {self.pick(['<=', '<', '=', '>'])} {bound}"]
        scope = {f"{z}.{c}": k for c, k in columns.items()}
        if self.maybe(2):
            terms.append(self.test(scope, depth))
        self.r.shuffle(terms)
        text = f"SELECT {z}.{x}, {z}.{y}, {call} AS {rank} FROM ({source}) {z}"
        both = f" {self.pick(['AND', 'AND', 'OR'])} "
        return f"{text} QUALIFY {both.join(terms)}", {**columns, rank: "big"}

    def _least(self, depth: int, outer: str, column: str, kind: str) -> str:
        """A query of one number, of the row of `outer` or not."""
        inner = self.fresh(kind)
        (c,), q = inner, self.name("q")
        where = f" WHERE {q}.{c} = {outer}.{column}" if self.maybe(2) else ""
        return f"SELECT COUNT(*) FROM ({self.listed(max(depth - 1, 0), inner)}) {q}{where}"

    # groups

    def _by_sets(self, depth: int) -> tuple[str, Scope]:
        """GROUPING of sets, in which each stands as often as it is listed, or once."""
        columns = self.fresh(self._flat(), self._flat(), "int")
        a, b, n = columns
        told, count = self.name("c"), self.name("c")
        listed = self.pick([f"{a}, {b}", f"{b}, {a}", a, b])
        of = f"{self.pick(['GROUPING', '⟦GROUPING_ID¦GROUPING⟧'])}({listed})"
        sets = self.pick([
            f"CUBE({a}, {b})", f"ROLLUP({a}, {b})", f"{a}, ROLLUP({b})", f"CUBE({a}, {b}), {a}",
            f"CUBE({a}, {b}), ROLLUP({a})", f"GROUPING SETS (({a}, {b}), {b}, (), ())",
            f"⟦DISTINCT CUBE({a}, {b}), ROLLUP({a})¦CUBE({a}, {b})⟧",
            f"⟦DISTINCT GROUPING SETS ({a}, {b}, {a})¦GROUPING SETS (({a}), ({b}))⟧",
            f"⟦DISTINCT ROLLUP({a}), {b}¦GROUPING SETS (({a}, {b}), ({b}))⟧",
        ])  # fmt: skip
        having = self.pick(["", "", f" HAVING GROUPING({a}) = {self.pick([0, 1])}",
                            f" HAVING COUNT(*) > 1 OR GROUPING({b}) = 1"])  # fmt: skip
        text = (
            f"SELECT {a}, {b}, CAST({of} AS BIGINT) AS {told}, COUNT({n}) AS {count}"
            f" FROM ({self.listed(depth, columns)}) z GROUP BY {sets}{having}"
        )
        return text, {a: columns[a], b: columns[b], told: "big", count: "big"}

    def _by_alias(self, depth: int) -> tuple[str, Scope]:
        """GROUP BY and HAVING that say an item by its alias, or its number."""
        columns = self.fresh(self._flat(), self._flat())
        kinds = self._flat(), self._flat()
        found = self.fresh(*kinds, "big")
        x, y, n = found
        scope: Scope = dict(columns)
        items = [f"{self.value(k, scope, 0)} AS {c}" for c, k in zip((x, y), kinds, strict=True)]
        (counted, _), having = columns, ""
        if self.maybe(2):
            having = f" HAVING {self.pick([f'{n} > 1', f'{x} IS NOT NULL OR {n} = 1'])}"
        by = self.pick([f"{x}, {y}", f"{y}, {x}", "1, 2", "2, 1", f"1, {y}"])
        text = (
            f"SELECT {', '.join(items)}, COUNT({counted}) AS {n}"
            f" FROM ({self.listed(depth, columns)}) z GROUP BY {by}{having}"
        )
        return text, found

    def _aggregates(self, depth: int) -> tuple[str, Scope]:
        """Aggregates that have other names, or none, elsewhere."""
        columns = self.fresh(self._flat(), self._flat(), "int", "int", "bool")
        g, v, x, y, b = columns
        by = self.pick([c for c in columns if columns[c] != "float"])
        most = self.pick(["ARG_MAX", "ARG_MIN"])
        way = "DESC" if most == "ARG_MAX" else "ASC"
        first = f"(LIST({v} ORDER BY {by} {way}, {v} ASC NULLS FIRST)"
        both = f"CASE WHEN {x} IS NOT NULL AND {y} IS NOT NULL THEN 1 END"
        all_of, some_of = self.pick(["EVERY", "LOGICAL_AND"]), self.pick(["SOME", "LOGICAL_OR"])
        way = self.direction()
        e, kind = self.pick([
            (f"⟦{most}({v}, {by})¦{first} FILTER (WHERE {by} IS NOT NULL))[1]⟧", columns[v]),
            (f"⟦{all_of}({b})¦BOOL_AND({b})⟧", "bool"), (f"⟦{some_of}({b})¦BOOL_OR({b})⟧", "bool"),
            (f"⟦REGR_COUNT({x}, {y})¦COUNT({both})⟧", "big"), (f"BIT_AND({x})", "int"),
            (f"BIT_OR({x})", "int"), (f"BIT_XOR(DISTINCT {x})", "int"),
            (f"⟦ARRAY_AGG({x} IGNORE NULLS ORDER BY {x} {way})¦LIST({x} ORDER BY {x} {way})"
             f" FILTER (WHERE {x} IS NOT NULL)⟧", "ints"),
            (f"COUNT(DISTINCT {v}) FILTER (WHERE {b})", "big"), ("COUNT(*)", "big"),
        ])  # fmt: skip
        n = self.name("c")
        group = self.pick([f" GROUP BY {g}", f" GROUP BY {g}", ""])
        key, keyed = (f"{g}, ", {g: columns[g]}) if group else ("", {})
        text = f"SELECT {key}{e} AS {n} FROM ({self.listed(depth, columns)}) z{group}"
        return text, {**keyed, n: kind}

    # what a query reads

    def _without_from(self, depth: int) -> tuple[str, Scope]:
        columns = self.fresh(self._flat(), self._flat())
        items = ", ".join(f"{self.value(k, {}, depth)} AS {c}" for c, k in columns.items())
        where = f" WHERE {self.test({}, depth)}" if self.maybe(2) else ""
        return f"SELECT {items}{where}", columns

    def _side_by_side(self, depth: int) -> tuple[str, Scope]:
        """UNNEST of two arrays, the shorter padded."""
        columns = self.fresh(self._flat(), "ints", "texts")
        (kept, one, two), found = columns, self.fresh("int", "text")
        x, y = found
        theirs = f"LATERAL (SELECT UNNEST({one}) AS {x}, UNNEST({two}) AS {y})"
        text = (
            f"SELECT {kept}, u.{x}, u.{y} FROM ({self.listed(depth, columns)}) z"
            f" CROSS JOIN ⟦UNNEST({one}, {two})¦{theirs}⟧ AS u ({x}, {y})"
        )
        return text, {kept: columns[kept], **found}

    def _rows_of(self, depth: int) -> tuple[str, Scope]:
        """UNNEST of an array of rows, whose fields become columns."""
        kind = self._flat()
        columns = self.fresh(kind, kind, "int")
        (a, b, n), found = columns, self.fresh(kind, "int")
        x, y = found
        theirs = f"LATERAL (SELECT {a}, {n} UNION ALL SELECT {b}, {n})"
        text = (
            f"SELECT {n}, u.{x}, u.{y} FROM ({self.listed(depth, columns)}) z"
            f" CROSS JOIN ⟦UNNEST(ARRAY[ROW({a}, {n}), ROW({b}, {n})])¦{theirs}⟧ AS u ({x}, {y})"
        )
        return text, {n: "int", **found}

    def _map_of(self, depth: int) -> tuple[str, Scope]:
        """MAP(query), correlated or not; of a key's values the largest."""
        outer, columns, m = self.fresh("int"), self.fresh("text", "int"), self.name("c")
        (o,), (k, v) = outer, columns
        where = f" WHERE {v} IS NOT DISTINCT FROM z.{o}" if self.maybe(2) else ""
        rows = f"SELECT COALESCE({k}, 'none') AS k, {v} AS v FROM ({self.listed(depth, columns)}) q"
        rows += where
        best = f"SELECT k, MAX(v) AS v FROM ({rows}) GROUP BY k"
        theirs = f"(SELECT COALESCE(MAP_FROM_ENTRIES(LIST(ROW(k, v))), MAP {{}}) FROM ({best}))"
        text = f"SELECT {o}, ⟦MAP({rows})¦{theirs}⟧ AS {m} FROM ({self.listed(depth, outer)}) z"
        return text, {o: "int", m: "map"}

    def _rows_in(self, depth: int) -> tuple[str, Scope]:
        """(x, y) [NOT] IN (query), as a condition or as a value."""
        kinds = self._flat(), self._flat()
        columns, others = self.fresh(*kinds), self.fresh(*kinds)
        (x, y), (a, b), e = columns, others, self.name("c")
        query = self.listed(depth, others)
        if self.maybe(3):  # correlated
            query = f"SELECT {a}, {b} FROM ({query}) q WHERE q.{b} = z.{y}"
        equal = f"z.{x} = o.{a} AND z.{y} = o.{b}"
        some = f"EXISTS (SELECT 1 FROM ({query}) o WHERE "
        theirs = (
            f"CASE WHEN {some}{equal}) THEN TRUE WHEN {some}({equal}) IS NULL) THEN NULL"
            " ELSE FALSE END"
        )
        negated = self.pick(["", "NOT "])
        test = f"⟦(z.{x}, z.{y}) {negated}IN ({query})¦({negated}{theirs})⟧"
        source = f"FROM ({self.listed(depth, columns)}) z"
        if self.maybe(2):
            return f"SELECT {x}, {y} {source} WHERE {test}", columns
        return f"SELECT {x}, {y}, {test} AS {e} {source}", {**columns, e: "bool"}

    def _named_windows(self, depth: int) -> tuple[str, Scope]:
        """WINDOW: windows that are made of others."""
        columns = self.fresh(self._flat(), "date", "big")
        (p, t, n), found = columns, self.fresh("big", "big", "big")
        one, two, three = found
        text = (
            f"SELECT {p}, {t}, SUM({n}) OVER v AS {one}, COUNT({n}) OVER (w) AS {two}, MAX({n})"
            f" OVER (w ORDER BY {t} RANGE BETWEEN INTERVAL '1' DAY PRECEDING AND CURRENT ROW)"
            f" AS {three} FROM ({self.listed(depth, columns)}) z"
            f" WINDOW w AS (PARTITION BY {p}), v AS (w ORDER BY {t} {self.direction()})"
        )
        return text, {p: columns[p], t: "date", **found}

    def _named_arguments(self, depth: int) -> tuple[str, Scope]:
        """TUMBLE and HOP whose arguments have names, in any order behind the first."""
        columns = self.fresh("stamp", self._flat())
        (t, _), w, hours = columns, self.name("w"), self.pick([6, 12])
        named = [f"TIMECOL => DESCRIPTOR({t})", f"SIZE => INTERVAL '{hours}' HOUR"]
        function = "TUMBLE"
        if self.maybe(2):
            named.append(f"{self.pick(['SLIDE', 'slide'])} => INTERVAL {hours} HOURS")
            function = "HOP"
        self.r.shuffle(named)
        ours = f"SELECT * FROM TABLE({function}(DATA => TABLE {w}, {', '.join(named)}))"
        start = f"TIME_BUCKET(INTERVAL '{hours} hours', {w}.{t}, TIMESTAMP '1970-01-01')"
        theirs = (
            f"SELECT {w}.*, {start} AS window_start, {start} + INTERVAL '{hours} hours' AS"
            f" window_end FROM {w} WHERE {t} IS NOT NULL"
        )
        text = f"WITH {w} AS ({self.listed(depth, columns)}) ⟦{ours}¦{theirs}⟧"
        return text, {**columns, "window_start": "stamp", "window_end": "stamp"}
