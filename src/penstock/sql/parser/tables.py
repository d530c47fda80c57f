"""FROM: tables, sub-queries, UNNEST, table functions, joins, PIVOT and UNPIVOT.

Joins associate to the left; a comma is the loosest of them. Conditions close the joins like
brackets: a JOIN b JOIN c ON p ON q is a JOIN (b JOIN c ON p) ON q.
"""

from __future__ import annotations

from dataclasses import replace

from penstock.sql import ast
from penstock.sql.parser.calls import CallParser
from penstock.sql.parser.expressions import _QUERY_CONTINUES, _QUERY_START

_NOT_SUPPORTED = {
    "TABLESAMPLE": "TABLESAMPLE is not supported",
    "MATCH_RECOGNIZE": "MATCH_RECOGNIZE is not supported",
}
#: what may have its alias behind parentheses, too
_ALIASED = (ast.DerivedTable, ast.Unnest, ast.TableFunction)
_JOIN_WORDS = frozenset(
    ("JOIN", "INNER", "LEFT", "RIGHT", "FULL", "CROSS", "NATURAL", "OUTER", "ASOF")
)


class TableParser(CallParser):
    def from_items(self) -> ast.TableRef:
        """Everything behind FROM."""
        start = self.starts[self.i]
        left = self.table_ref()
        while self.accept(","):
            right = self.table_ref()
            left = ast.Join(self.span_from(start), "COMMA", left, right)
        return left

    def table_ref(self) -> ast.TableRef:
        """One item of FROM with its joins."""
        start = self.starts[self.i]
        left = self._table()
        while self.key in _JOIN_WORDS:
            left = self._join(left, start)
        return left

    def _join(self, left: ast.TableRef, start: int, *, nested: bool = False) -> ast.TableRef:
        natural = self.accept("NATURAL")
        kind = self._join_kind()
        inner = self.starts[self.i]
        right = self._table()
        if not natural and "APPLY" not in kind and kind != "CROSS":
            while self.key in _JOIN_WORDS:  # b is joined first in a JOIN b JOIN c ON … ON …
                right = self._join(right, inner, nested=True)
        if kind in ("CROSS", "CROSS APPLY", "OUTER APPLY"):
            if natural:
                raise self.refuse(f"a {kind} is not NATURAL", start)
            if self.key in ("ON", "USING") and not nested:
                raise self.refuse(f"{kind} takes no {self.key} condition")
            return ast.Join(self.span_from(start), kind, left, right)
        match_condition: ast.Expr | None = None
        if kind.endswith("ASOF"):
            self.expect_words("MATCH_CONDITION", "(")
            match_condition = self.expression()
            self.expect(")")
        on: ast.Expr | None = None
        using: tuple[ast.Identifier, ...] = ()
        if natural:
            if self.key in ("ON", "USING") and not nested:
                raise self.refuse(f"a NATURAL JOIN takes no {self.key} condition")
        elif self.accept("USING"):
            using = self.identifiers()
        elif self.accept("ON"):
            on = self.expression()
        else:
            raise self.failure("ON", "USING")
        return ast.Join(
            self.span_from(start), kind, left, right, on, using, natural, match_condition
        )

    def _join_kind(self) -> str:
        kind = self.key
        if kind == "JOIN":
            self.advance()
            return "INNER"
        if kind not in _JOIN_WORDS or kind == "NATURAL":
            raise self.failure("JOIN")  # behind NATURAL anything may stand
        self.advance()
        if kind in ("CROSS", "OUTER") and self.accept("APPLY"):
            return f"{kind} APPLY"
        if kind in ("LEFT", "RIGHT", "FULL"):
            self.accept("OUTER")
        elif kind == "OUTER":
            raise self.failure("APPLY")
        if kind == "LEFT" and self.accept("ASOF"):
            kind = "LEFT ASOF"
        self.expect("JOIN")
        return kind

    def _table(self) -> ast.TableRef:
        """One table with PIVOT, UNPIVOT and alias."""
        start = self.starts[self.i]
        table = self._primary_table(start)
        while self.next_key == "(" or self.key == "UNPIVOT":
            if self.key == "PIVOT":
                table = self._pivot(table, start)
            elif self.key == "UNPIVOT":
                table = self._unpivot(table, start)
            else:
                break
        return table

    def _primary_table(self, start: int) -> ast.TableRef:
        if self.key == "(":
            return self._parenthesised_table(start)
        if self.key == "LATERAL":
            self.advance()
            return self._lateral(start)
        if self.key == "UNNEST":
            return self._unnest(start)
        if self.key == "TABLE":
            self.advance()
            if self.key == "(":
                return self._table_function(start, lateral=False)
        if self.key in _QUERY_START:
            raise self.refuse("a query in FROM is written in parentheses")
        return self._named_table(start)

    def _named_table(self, start: int) -> ast.TableRef:
        name = self.identifier("a table or view name")
        hint = self.tokens.hints.get(self.i)
        if self.key == "(":
            if name.name.upper() in ("GENERATE_SERIES", "RANGE", "GENERATE_ARRAY"):
                raise self.refuse(
                    "a series of numbers in FROM: write UNNEST(SEQUENCE(first, last))"
                )
            raise self.refuse(
                f"a function in FROM is written TABLE({name.name}(…)); "
                f"a column list needs an alias before it"
            )
        if self.key == ".":
            raise self.refuse("tables and views have plain names, without a schema before them")
        return ast.NamedTable(
            self.span_from(start), name, self._table_alias(), (hint,) if hint else ()
        )

    def _table_alias(self) -> ast.Alias | None:
        """`[AS] name [(column, …)]`."""
        if self.key in _NOT_SUPPORTED:
            raise self.refuse(_NOT_SUPPORTED[self.key])
        if self.key in ("PIVOT", "UNPIVOT") and self.next_key != "AS":
            return None
        if self.key in ("SEMI", "ANTI") and self.next_key == "JOIN":
            raise self.failure("JOIN")  # to take it for an alias would join what is not meant
        start = self.starts[self.i]
        name = self.alias()
        if name is None:
            if self.ahead("FOR", "SYSTEM_TIME"):
                raise self.refuse("FOR SYSTEM_TIME is not supported")
            return None
        columns = self.identifiers() if self.key == "(" else ()
        return ast.Alias(self.span_from(start), name, columns)

    def _parenthesised_table(self, start: int) -> ast.TableRef:
        """A sub-query, `(TABLE t)`, or joins in parentheses."""
        self.advance()
        if self.key in _QUERY_START:
            query = self.query()
            self.expect(")")
            return ast.DerivedTable(self.span_from(start), query, self._table_alias())
        inside = self.starts[self.i]
        table_word = self.key == "TABLE"
        inner = self.from_items()
        if isinstance(inner, ast.DerivedTable) and inner.alias is None and not inner.lateral:
            query = inner.query
            if self.key in _QUERY_CONTINUES:
                query = self.query_after(query, inside)
            self.expect(")")
            return ast.DerivedTable(self.span_from(start), query, self._table_alias())
        if self.key != ")":
            raise self.failure(")", ",", "JOIN")
        self.advance()
        if isinstance(inner, _ALIASED) and inner.alias is None:
            return replace(inner, span=self.span_from(start), alias=self._table_alias())
        if table_word and isinstance(inner, ast.NamedTable) and inner.alias is None:
            alias = self._table_alias()
            return ast.NamedTable(self.span_from(start), inner.name, alias, inner.hints)
        return inner

    def _lateral(self, start: int) -> ast.TableRef:
        if self.key == "TABLE":
            self.advance()
            return self._table_function(start, lateral=True)
        if self.key == "UNNEST":
            return self._unnest(start)
        self.expect("(")
        query = self.query()
        self.expect(")")
        return ast.DerivedTable(self.span_from(start), query, self._table_alias(), lateral=True)

    def _unnest(self, start: int) -> ast.TableRef:
        self.advance()
        operands = self.parenthesised_expressions()
        ordinality = self.accept_words("WITH", "ORDINALITY")
        return ast.Unnest(self.span_from(start), operands, ordinality, self._table_alias())

    def _table_function(self, start: int, *, lateral: bool) -> ast.TableRef:
        """`(f(…))` behind TABLE."""
        self.expect("(")
        call = self.expression()
        if not isinstance(call, ast.FunctionCall):
            raise self.refuse("TABLE(…) takes a table function such as TUMBLE(…)", start)
        self.expect(")")
        return ast.TableFunction(self.span_from(start), call, self._table_alias(), lateral)

    # -- PIVOT and UNPIVOT

    def _pivot(self, source: ast.TableRef, start: int) -> ast.TableRef:
        self.advance()
        self.expect("(")
        aggregates = [self._pivot_aggregate()]
        while self.accept(","):
            aggregates.append(self._pivot_aggregate())
        self.expect("FOR")
        axes = self._one_or_more()
        self.expect_words("IN", "(")
        values = [self._pivot_value(len(axes))]
        while self.accept(","):
            values.append(self._pivot_value(len(axes)))
        self.expect_words(")", ")")
        alias = self._table_alias()
        return ast.Pivot(
            self.span_from(start), source, tuple(aggregates), axes, tuple(values), alias
        )

    def _pivot_aggregate(self) -> ast.SelectItem:
        start = self.starts[self.i]
        expr = self.expression()
        alias = self.alias()
        return ast.SelectItem(self.span_from(start), expr, alias)

    def _pivot_value(self, arity: int) -> ast.PivotValue:
        start = self.starts[self.i]
        if self.key in _QUERY_START:
            raise self.refuse("the values of a PIVOT are literals: a query is not supported here")
        value = self.expression()
        values = value.items if isinstance(value, ast.RowConstructor) else (value,)
        if len(values) != arity:
            raise self.refuse(f"found {len(values)} values for {arity} PIVOT columns", start)
        alias = self.alias()
        return ast.PivotValue(self.span_from(start), values, alias)

    def _unpivot(self, source: ast.TableRef, start: int) -> ast.TableRef:
        self.advance()
        include = self.key in ("INCLUDING", "INCLUDE")
        if include or self.key in ("EXCLUDING", "EXCLUDE"):
            self.advance()
            self.expect("NULLS")
        self.expect("(")
        measures = self._one_or_more()
        self.expect("FOR")
        axes = self._one_or_more()
        self.expect_words("IN", "(")
        items = [self._unpivot_item()]
        while self.accept(","):
            items.append(self._unpivot_item())
        self.expect_words(")", ")")
        alias = self._table_alias()
        return ast.Unpivot(
            self.span_from(start), source, measures, axes, tuple(items), include, alias
        )

    def _unpivot_item(self) -> ast.UnpivotItem:
        start = self.starts[self.i]
        columns = self._one_or_more()
        labels: tuple[ast.Expr, ...] = ()
        if self.accept("AS"):
            label = self.expression()
            labels = label.items if isinstance(label, ast.RowConstructor) else (label,)
        return ast.UnpivotItem(self.span_from(start), columns, labels)

    def _one_or_more(self) -> tuple[ast.Identifier, ...]:
        """`name` or `(name, …)`."""
        return self.identifiers() if self.key == "(" else (self.identifier("a column name"),)
