"""ORDER BY items and window specifications.

a DESC NULLS LAST                                     OrderItem
([base] PARTITION BY … ORDER BY … ROWS BETWEEN …)     WindowSpec
"""

from __future__ import annotations

from penstock.sql import ast
from penstock.sql.parser.expressions import _PREDICATE, ExpressionParser


class WindowParser(ExpressionParser):
    def order_items(self) -> tuple[ast.OrderItem, ...]:
        items = [self._order_item()]
        while self.accept(","):
            items.append(self._order_item())
        return tuple(items)

    def _order_item(self) -> ast.OrderItem:
        start = self.starts[self.i]
        expr = None if self.accept("ALL") else self.expression()
        descending = self.accept("DESC")
        if not descending and self.key == "ASC":
            self.advance()
        nulls_first: bool | None = None
        if self.accept("NULLS"):
            nulls_first = self.key == "FIRST"
            if self.key not in ("FIRST", "LAST"):
                raise self.failure("FIRST", "LAST")
            self.advance()
        return ast.OrderItem(self.span_from(start), expr, descending, nulls_first)

    def window_spec(self) -> ast.WindowSpec:
        """`([base] [PARTITION BY …] [ORDER BY …] [frame])`."""
        start = self.starts[self.i]
        self.expect("(")
        base: ast.Identifier | None = None
        if self.is_name and self.key not in ("RANGE", "GROUPS"):
            base = self.any_identifier()
        partition_by: tuple[ast.Expr, ...] = ()
        if self.accept("PARTITION"):
            self.expect("BY")
            partition_by = self.expressions()
        order_by: tuple[ast.OrderItem, ...] = ()
        if self.accept("ORDER"):
            self.expect("BY")
            order_by = self.order_items()
        frame = self._frame() if self.key in ("ROWS", "RANGE", "GROUPS") else None
        if self.key != ")":
            raise self.failure("PARTITION BY", "ORDER BY", "ROWS", "RANGE", ")")
        self.advance()
        return ast.WindowSpec(self.span_from(start), base, partition_by, order_by, frame)

    def _frame(self) -> ast.Frame:
        start, unit = self.starts[self.i], self.key
        self.advance()
        if self.accept("BETWEEN"):
            first = self._bound()
            self.expect("AND")
            last = self._bound()
        else:
            first = self._bound()
            last = ast.FrameBound(first.span, "CURRENT ROW")
        exclude: str | None = None
        if self.accept("EXCLUDE"):
            words = next((w for w in _EXCLUSIONS if self.accept_words(*w)), None)
            if words is None:
                raise self.failure("CURRENT ROW", "GROUP", "TIES", "NO OTHERS")
            exclude = " ".join(words)
        return ast.Frame(self.span_from(start), unit, first, last, exclude)

    def _bound(self) -> ast.FrameBound:
        start = self.starts[self.i]
        if self.accept_words("CURRENT", "ROW"):
            return ast.FrameBound(self.span_from(start), "CURRENT ROW")
        unbounded = self.accept("UNBOUNDED")
        offset = None if unbounded else self.expression(_PREDICATE + 1)
        side = self.key
        if side not in ("PRECEDING", "FOLLOWING"):
            raise self.failure("PRECEDING", "FOLLOWING")
        self.advance()
        kind = f"UNBOUNDED {side}" if unbounded else side
        return ast.FrameBound(self.span_from(start), kind, offset)


_EXCLUSIONS = (("CURRENT", "ROW"), ("GROUP",), ("TIES",), ("NO", "OTHERS"))
