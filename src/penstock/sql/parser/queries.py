"""Queries: WITH, SELECT, set operations, VALUES, ORDER BY, LIMIT.

query   := [WITH …] terms [ORDER BY …] [LIMIT …] [OFFSET …] [FETCH …]
terms   := term {UNION | EXCEPT | MINUS term}      left to right
term    := primary {INTERSECT primary}             binds tighter
primary := SELECT … | VALUES … | TABLE t | ( query )
"""

from __future__ import annotations

from penstock.sql import ast
from penstock.sql.parser.tables import TableParser


class QueryParser(TableParser):
    def query(self) -> ast.Query:
        start = self.starts[self.i]
        ctes: tuple[ast.Cte, ...] = ()
        recursive = False
        if self.accept("WITH"):
            recursive = self.accept("RECURSIVE")
            ctes = self._ctes()
            if self.key == "WITH":
                raise self.refuse("a query has one WITH: write WITH a AS (…), b AS (…) SELECT …")
        body = self._terms(start)
        return self._query_tail(start, body, ctes, recursive)

    def query_after(self, left: ast.Query, start: int) -> ast.Query:
        body = self._more_terms(self._more_factors(left, start), start)
        return self._query_tail(start, body, (), False)

    def _query_tail(
        self, start: int, body: ast.QueryBody, ctes: tuple[ast.Cte, ...], recursive: bool
    ) -> ast.Query:
        order_by: tuple[ast.OrderItem, ...] = ()
        if self.accept("ORDER"):
            self.expect("BY")
            order_by = self.order_items()
        limit, offset = self._limits()
        if isinstance(body, ast.Query) and not (ctes or order_by or limit or offset):
            return body
        return ast.Query(self.span_from(start), body, ctes, order_by, limit, offset, recursive)

    def _limits(self) -> tuple[ast.Expr | None, ast.Expr | None]:
        limit: ast.Expr | None = None
        offset: ast.Expr | None = None
        seen: set[str] = set()
        while self.key in ("LIMIT", "OFFSET", "FETCH"):
            what = "OFFSET" if self.key == "OFFSET" else "LIMIT"
            if what in seen:
                raise self.refuse(f"a second {self.key}")
            seen.add(what)
            if self.accept("LIMIT"):
                if self.accept("ALL"):
                    continue
                limit = self.expression()
                if self.accept(","):
                    if "OFFSET" in seen:
                        raise self.refuse("a second OFFSET")
                    seen.add("OFFSET")
                    limit, offset = self.expression(), limit
            elif self.accept("OFFSET"):
                offset = self.expression()
                if self.key in ("ROW", "ROWS"):
                    self.advance()
            else:
                limit = self._fetch()
        return limit, offset

    def _fetch(self) -> ast.Expr:
        start = self.starts[self.i]
        self.advance()
        if self.key not in ("FIRST", "NEXT"):
            raise self.failure("FIRST", "NEXT")
        self.advance()
        if self.key in ("ROW", "ROWS"):
            count: ast.Expr = ast.Literal(self.span_from(start), 1, "1")
        else:
            count = self.expression()
        if self.key not in ("ROW", "ROWS"):
            raise self.failure("ROW", "ROWS")
        self.advance()
        self.expect("ONLY")
        return count

    def _ctes(self) -> tuple[ast.Cte, ...]:
        ctes = [self._cte()]
        while self.accept(","):
            ctes.append(self._cte())
        return tuple(ctes)

    def _cte(self) -> ast.Cte:
        start = self.starts[self.i]
        name = self.identifier("a name for the query")
        columns = self.identifiers() if self.key == "(" else ()
        self.expect("AS")
        self.expect("(")
        query = self.query()
        if self.key != ")":
            raise self.failure(")", ",", "a clause of the query")
        self.advance()
        return ast.Cte(self.span_from(start), name, columns, query)

    # -- set operations

    def _terms(self, start: int) -> ast.QueryBody:
        return self._more_terms(self._factors(), start)

    def _more_terms(self, left: ast.QueryBody, start: int) -> ast.QueryBody:
        while self.key in ("UNION", "EXCEPT", "MINUS"):
            op = "UNION" if self.key == "UNION" else "EXCEPT"
            self.advance()
            all_ = self._all_or_distinct()
            right = self._factors()
            left = ast.SetOperation(self.span_from(start), op, all_, left, right)
        return left

    def _factors(self) -> ast.QueryBody:
        start = self.starts[self.i]
        return self._more_factors(self._primary(), start)

    def _more_factors(self, left: ast.QueryBody, start: int) -> ast.QueryBody:
        while self.accept("INTERSECT"):
            all_ = self._all_or_distinct()
            right = self._primary()
            left = ast.SetOperation(self.span_from(start), "INTERSECT", all_, left, right)
        return left

    def _all_or_distinct(self) -> bool:
        if self.accept("ALL"):
            return True
        self.accept("DISTINCT")
        return False

    def _primary(self) -> ast.QueryBody:
        start = self.starts[self.i]
        if self.accept("SELECT"):
            return self._select(start)
        if self.key in ("VALUES", "VALUE"):
            self.advance()
            return self._values(start)
        if self.accept("TABLE"):
            return self._table_query(start)
        if self.accept("("):
            query = self.query()
            self.expect(")")
            return query
        raise self.failure("SELECT", "VALUES", "WITH", "TABLE", "(")

    def _table_query(self, start: int) -> ast.QueryBody:
        table = ast.NamedTable(self.here(), self.identifier("a table or view name"))
        star = ast.SelectItem(table.span, ast.Star(table.span))
        return ast.Select(self.span_from(start), (star,), table)

    def _values(self, start: int) -> ast.QueryBody:
        rows = [self._values_row()]
        while self.accept(","):
            rows.append(self._values_row())
        return ast.Values(self.span_from(start), tuple(rows))

    def _values_row(self) -> tuple[ast.Expr, ...]:
        row = self.expression()
        return row.items if isinstance(row, ast.RowConstructor) else (row,)

    # -- SELECT

    def _select(self, start: int) -> ast.Select:
        hint = self.tokens.hints.get(self.i)
        distinct = self.accept("DISTINCT")
        distinct_on: tuple[ast.Expr, ...] = ()
        if distinct:
            if self.accept("ON"):
                distinct_on = self.parenthesised_expressions()
        else:
            self.accept("ALL")
        items = self._select_items()
        from_ = self.from_items() if self.accept("FROM") else None
        where = self.expression() if self.accept("WHERE") else None
        group_by = self._group_by() if self.key == "GROUP" else None
        having = self.expression() if self.accept("HAVING") else None
        windows, qualify = self._windows_and_qualify()
        return ast.Select(
            self.span_from(start),
            items,
            from_,
            where,
            group_by,
            having,
            windows,
            qualify,
            distinct,
            distinct_on,
            (hint,) if hint else (),
        )

    def _select_items(self) -> tuple[ast.SelectItem, ...]:
        items = [self._select_item()]
        while self.accept(","):
            items.append(self._select_item())
        return tuple(items)

    def _select_item(self) -> ast.SelectItem:
        start = self.starts[self.i]
        if self.key == "FROM":
            raise self.failure("a select item")
        expr = self.star_or_expression()
        alias = None if isinstance(expr, ast.Star) else self.alias()
        return ast.SelectItem(self.span_from(start), expr, alias)

    def _windows_and_qualify(
        self,
    ) -> tuple[tuple[ast.NamedWindow, ...], ast.Expr | None]:
        """WINDOW and QUALIFY, in either order."""
        windows: list[ast.NamedWindow] = []
        qualify: ast.Expr | None = None
        while True:
            if not windows and self.accept("WINDOW"):
                windows.append(self._named_window())
                while self.accept(","):
                    windows.append(self._named_window())
            elif qualify is None and self.accept("QUALIFY"):
                qualify = self.expression()
            else:
                return tuple(windows), qualify

    def _named_window(self) -> ast.NamedWindow:
        start = self.starts[self.i]
        name = self.identifier("a name for the window")
        self.expect("AS")
        spec = self.window_spec()
        return ast.NamedWindow(self.span_from(start), name, spec)

    # -- GROUP BY

    def _group_by(self) -> ast.GroupBy:
        start = self.starts[self.i]
        self.advance()
        self.expect("BY")
        all_ = self.accept("ALL")
        distinct = not all_ and self.accept("DISTINCT")
        items: list[ast.GroupingItem] = []
        if not all_ or self._at_grouping_item():
            items.append(self._grouping_item())
            while self.accept(","):
                items.append(self._grouping_item())
        return ast.GroupBy(self.span_from(start), tuple(items), all_, distinct)

    def _at_grouping_item(self) -> bool:
        return self.is_name or self.key in (
            "(", "CUBE", "ROLLUP", "GROUPING", "CASE", "CAST", "LEFT", "RIGHT", "-", "NOT",
        )  # fmt: skip

    def _grouping_item(self) -> ast.GroupingItem:
        start = self.starts[self.i]
        if self.key in ("ROLLUP", "CUBE"):
            kind = self.key
            self.advance()
            return self._grouping_sets(kind, start)
        if self.accept_words("GROUPING", "SETS"):
            return self._grouping_sets("GROUPING SETS", start)
        if self.accept_words("(", ")"):
            return ast.GroupingSet(self.span_from(start), ())
        expr = self.expression()
        if isinstance(expr, ast.RowConstructor) and not expr.explicit:
            return ast.GroupingSet(expr.span, expr.items)
        return expr

    def _grouping_sets(self, kind: str, start: int) -> ast.GroupingSets:
        self.expect("(")
        items = [self._grouping_item()]
        while self.accept(","):
            items.append(self._grouping_item())
        self.expect(")")
        return ast.GroupingSets(self.span_from(start), kind, tuple(items))
