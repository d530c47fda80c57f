"""Scalar syntax → typed expressions, over the columns that a scope offers.

    a + 1.5     a INTEGER     →     Call "+"(CAST(a AS DECIMAL(10, 0)), 1.5)

Aggregates, sub-queries and window functions become placeholders (`forms`). Everything of the
dialect that this version does not compile is refused by name, at the word.

Not here: implicit casts and result types (`build`), names (`scope`), relations (`query`).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import replace
from decimal import Decimal

from penstock.data.types import (
    BOOLEAN,
    DOUBLE,
    VARCHAR,
    Kind,
    SqlType,
    char,
)
from penstock.plan.expressions import Expr, LambdaVar, Literal
from penstock.plan.nodes import Node
from penstock.sql import ast
from penstock.sql.bind import build, calls, literals, names, nested, periods, windows
from penstock.sql.bind.catalog import Catalog, Folded, Inlined, inside
from penstock.sql.bind.report import BindError, unsupported
from penstock.sql.bind.scope import Entry, Scope, excluded
from penstock.sql.bind.types import UserTypes, bind_type

_TEXT = VARCHAR.with_nullable(False)
#: as deep as an expression may be: a dozen passes recurse over it within Python's stack
MAX_DEPTH = 100


class ExpressionBinder:
    """Binds expressions over `scope`.

    `aggregates`: None if they are allowed, else the name of the place where they are not.
    `aliases` are lateral: used where no column has the name. `catalog`: for sub-queries and the
    queries around this one; None where there can be none.
    `grouped`: every group has a row, so an aggregate of something NOT NULL is NOT NULL.
    `windows`: the WINDOW clause; None where there are no window functions. `functions`: those of
    the program, the catalog's unless given. `types`: those of CREATE TYPE, likewise.
    `variables`: the parameters of the lambdas around.
    """

    def __init__(
        self,
        scope: Scope,
        *,
        aggregates: str | None = None,
        aliases: Mapping[str, Expr] | None = None,
        catalog: Catalog | None = None,
        grouped: bool = False,
        windows: Mapping[str, ast.WindowSpec] | None = None,
        functions: Mapping[str, Inlined | Folded | None] | None = None,
        types: UserTypes | None = None,
    ) -> None:
        self.scope = scope
        self.place = aggregates
        self.aliases: Mapping[str, Expr] = {} if aliases is None else aliases
        self.outer = catalog.outer if catalog else ()
        self.catalog = catalog
        self.grouped = grouped
        self.windows = windows
        self.functions = functions or (catalog.functions if catalog else {})
        self.types: UserTypes = types or (catalog.types if catalog else {})
        self.variables: Mapping[str, LambdaVar] = {}
        self._depth = 0

    def bind(self, e: ast.Expr) -> Expr:
        """The typed expression; raises BindError."""
        rule = _RULES.get(type(e))
        if rule is None:
            raise unsupported(e.span, _NAMES.get(type(e), type(e).__name__))
        if self._depth == MAX_DEPTH:
            raise BindError(
                e.span,
                f"this expression is more than {MAX_DEPTH} levels deep; split it over several "
                "views",
            )
        self._depth += 1
        try:
            return rule(self, e)
        finally:
            self._depth -= 1

    def arguments_of(self, place: str) -> ExpressionBinder:
        """The binder of what is inside of an aggregate."""
        scope = replace(self.scope, groups=False)
        return ExpressionBinder(scope, aggregates=place, aliases=self.aliases, catalog=self.catalog)

    def condition(self, e: ast.Expr, where: str) -> Expr:
        return build.condition(self.bind(e), where)

    # constants

    def _literal(self, e: ast.Literal) -> Expr:
        value = e.value
        if value is None:
            return build.null(e.span)
        if isinstance(value, bool):
            return Literal(BOOLEAN.with_nullable(False), value, span=e.span)
        try:
            if isinstance(value, int):
                return literals.integer(value, e.span)
            if isinstance(value, Decimal):
                return literals.number(format(value, "f"), e.span)
        except ValueError as error:
            raise BindError(e.span, str(error)) from None
        if isinstance(value, float):
            return Literal(DOUBLE.with_nullable(False), value, span=e.span)
        if isinstance(value, str):
            type = char(len(value)).with_nullable(False) if value else _TEXT
            return Literal(type, value, span=e.span)
        return Literal(SqlType(Kind.BINARY, False, max(1, len(value))), value, span=e.span)

    def _typed_literal(self, e: ast.TypedLiteral) -> Expr:
        target = bind_type(e.type, self.types).with_nullable(False)
        try:
            found = literals.typed(target.kind, e.text, e.span)
        except ValueError as error:
            raise BindError(e.span, str(error)) from None
        if found is not None:
            return found
        text = Literal(_TEXT, e.text, span=e.span)
        build.check_literal(text, target, e.span)
        return build.cast(text, target, e.span)

    def _interval(self, e: ast.IntervalLiteral) -> Expr:
        q = e.qualifier
        try:
            found = literals.interval(e.text, q.unit, q.to_unit, e.span)
        except ValueError as error:
            raise BindError(e.span, str(error)) from None
        return replace(found, value=-found.value) if e.negative else found

    # operators

    def _unary(self, e: ast.Unary) -> Expr:
        operand = self.bind(e.operand)
        if e.op == "NOT":
            return build.not_(build.condition(operand, "the operand of NOT"), e.span)
        if e.op == "-" and isinstance(operand, Literal) and isinstance(e.operand, ast.Literal):
            folded = literals.negated(operand, e.span)
            if folded is not None:
                return folded
        return build.call("unary-" if e.op == "-" else "unary+", [operand], e.span)

    def _binary(self, e: ast.Binary) -> Expr:
        if e.op in ("AND", "OR"):
            sides = [self.condition(x, f"an operand of {e.op}") for x in logic_terms(e, e.op)]
            return (build.and_ if e.op == "AND" else build.or_)(sides, e.span)
        if e.op not in _OPERATORS:
            return periods.predicate(e, self.bind)
        name = "is_not_distinct" if e.op == "<=>" else e.op
        return build.call(name, [self.bind(e.left), self.bind(e.right)], e.span)

    def _difference(self, e: ast.IntervalDifference) -> Expr:
        q = e.qualifier
        unit = q.unit if q.to_unit is None else f"{q.unit}_{q.to_unit}"
        args = [self.bind(e.left), self.bind(e.right), calls.unit(unit, e.span)]
        return build.call("-", args, e.span)

    def _is(self, e: ast.IsTest) -> Expr:
        operand = self.bind(e.operand)
        if e.what in ("NULL", "UNKNOWN"):
            if e.what == "UNKNOWN":
                operand = build.condition(operand, "the operand of IS UNKNOWN")
            return build.is_null(operand, e.span, negated=e.negated)
        operand = build.condition(operand, f"the operand of IS {e.what}")
        return build.is_truth(operand, e.what == "TRUE", e.span, negated=e.negated)

    def _is_distinct(self, e: ast.IsDistinct) -> Expr:
        name = "is_not_distinct" if e.negated else "is_distinct"
        return build.call(name, [self.bind(e.left), self.bind(e.right)], e.span)

    def _between(self, e: ast.Between) -> Expr:
        value, low, high = self.bind(e.operand), self.bind(e.low), self.bind(e.high)

        def within(a: Expr, b: Expr) -> Expr:
            sides = [build.call("<=", [a, value], e.span), build.call("<=", [value, b], e.span)]
            return build.and_(sides, e.span)

        test = within(low, high)
        if e.symmetric:
            test = build.or_([test, within(high, low)], e.span)
        return build.not_(test, e.span) if e.negated else test

    def _in_list(self, e: ast.InList) -> Expr:
        items = [self.bind(item) for item in e.items]
        return build.in_list(self.bind(e.operand), items, e.negated, e.span)

    def _like(self, e: ast.Like) -> Expr:
        args = [self.bind(e.operand), self.bind(e.pattern)]
        if e.escape is not None and e.kind != "LIKE":
            raise BindError(e.escape.span, f"{e.kind} has no ESCAPE; only LIKE has")
        if e.escape is not None:
            args.append(self.bind(e.escape))
            escape = args[-1].value if isinstance(args[-1], Literal) else None
            if isinstance(escape, str) and (len(escape) != 1 or escape in "%_"):
                text = f"ESCAPE takes one character other than % and _, not '{escape}'"
                raise BindError(e.escape.span, text)
        test = build.call(e.kind.lower(), args, e.span)
        return build.not_(test, e.span) if e.negated else test

    def _case(self, e: ast.Case) -> Expr:
        operand = None if e.operand is None else self.bind(e.operand)
        branches: list[tuple[Expr, Expr]] = []
        for when in e.branches:
            tests = []
            for c in when.conditions:
                if operand is None:
                    tests.append(self.condition(c, "a condition of CASE"))
                else:
                    tests.append(build.equals("CASE … WHEN", operand, self.bind(c), c.span))
            branches.append((build.or_(tests), self.bind(when.result)))
        otherwise = None if e.otherwise is None else self.bind(e.otherwise)
        return build.case(branches, otherwise, e.span)

    def _cast(self, e: ast.Cast) -> Expr:
        target = bind_type(e.type, self.types)
        if e.safe and target.kind is Kind.ROW:
            raise BindError(e.span, "SAFE_CAST to a ROW is not supported; cast the fields")
        return build.cast(self.bind(e.operand), target, e.span, safe=e.safe)

    # functions

    def _extract(self, e: ast.Extract) -> Expr:
        return build.call("EXTRACT", [calls.unit(e.unit, e.span), self.bind(e.operand)], e.span)

    def _round_to(self, e: ast.RoundTo) -> Expr:
        return build.call(e.function, [self.bind(e.operand), calls.unit(e.unit, e.span)], e.span)

    def _trim(self, e: ast.Trim) -> Expr:
        name = "TRIM" if e.side == "BOTH" else f"TRIM_{e.side}"
        args = [self.bind(e.operand)]
        if e.chars is not None:
            args.append(self.bind(e.chars))
        return build.call(name, args, e.span)

    def query(self, query: ast.Query) -> Node:
        """A sub-query, for its columns and for what it must not be."""
        if self.catalog is None:
            raise unsupported(query.span, "a sub-query in this place")
        return self.catalog.bind_query(query, inside(self.catalog, self.scope))

    def star(self, e: ast.Star) -> list[Entry]:
        """The columns that a `*` inside ROW(…) stands for."""
        qualifier = e.qualifier[0].name if e.qualifier else None
        entries = self.scope.star(qualifier)
        names = [x.name for x in entries]
        if not entries or e.replace:
            raise BindError(e.span, "* here stands for no columns")
        gone = excluded(e, names)
        return [x for x in entries if x.name not in gone]

    def window(self, e: ast.FunctionCall, over: ast.WindowSpec | ast.Identifier) -> Expr:
        if self.windows is None:
            raise BindError(
                e.span, f"{e.name.name.upper()} OVER cannot be used here; QUALIFY filters by it"
            )
        inside = copy.copy(self)
        inside.windows = None
        return windows.bind_call(inside, e, over, self.windows)

    # sub-queries

    def _subquery(self, e: ast.Expr) -> Expr:
        if self.catalog is None:
            raise unsupported(e.span, "a sub-query in this place")
        binder, scope = self.catalog.subqueries, self.scope
        if isinstance(e, ast.Exists):
            return binder.exists(e, scope, self.catalog)
        if isinstance(e, ast.InQuery):
            operands = [self.bind(x) for x in row_items(e.operand)]
            test = binder.is_in(e, operands, scope, self.catalog)
            return build.not_(test, e.span) if e.negated else test
        if isinstance(e, ast.Quantified):
            operands = [self.bind(x) for x in row_items(e.left)]
            return binder.quantified(e, operands, scope, self.catalog)
        assert isinstance(e, ast.ScalarSubquery)
        return binder.scalar(e, scope, self.catalog)

    def _quantified(self, e: ast.Quantified) -> Expr:
        if e.query is not None:
            return self._subquery(e)
        items = [self.bind(x) for x in e.items]
        if len(items) == 1 and items[0].type.kind is Kind.ARRAY:
            return self._of_array(e)
        if e.op not in _OPERATORS:
            return self.bind(_compared(e, e.items[0]))
        left = self.bind(e.left)
        tests = [build.call(e.op, [left, item], e.span) for item in items]
        return (build.and_ if e.quantifier == "ALL" else build.or_)(tests, e.span)

    def _of_array(self, e: ast.Quantified) -> Expr:
        """left op ANY (array): ARRAY_EXISTS(array, x -> left op x); op ALL: no x for which NOT."""
        x = ast.Identifier(e.span, "$x")
        test = _compared(e, ast.ColumnRef(e.span, (x,)))
        is_all = e.quantifier == "ALL"
        if is_all:
            test = ast.Unary(e.span, "NOT", test)
        args = (e.items[0], ast.Lambda(e.span, (x,), test))
        name = ast.Identifier(e.span, "array_exists")
        found = self.bind(ast.FunctionCall(e.span, name, args))
        return build.not_(found, e.span) if is_all else found


def _compared(e: ast.Quantified, item: ast.Expr) -> ast.Expr:
    """`left op item`."""
    if e.op in _OPERATORS:
        return ast.Binary(e.span, e.op, e.left, item)
    negation, _, kind = e.op.rpartition(" ")
    return ast.Like(e.span, kind, e.left, item, None, bool(negation))


def row_items(e: ast.Expr) -> tuple[ast.Expr, ...]:
    """The columns of `(a, b)` beside IN; what is no such list is one column."""
    is_list = isinstance(e, ast.RowConstructor) and not e.explicit
    return e.items if isinstance(e, ast.RowConstructor) and is_list else (e,)


def logic_terms(e: ast.Expr, op: str) -> list[ast.Expr]:
    """The operands of a chain of AND (or OR), left to right, however long it is."""
    found: list[ast.Expr] = []
    left = [e]
    while left:
        e = left.pop()
        if isinstance(e, ast.Binary) and e.op == op:
            left += [e.right, e.left]
        else:
            found.append(e)
    return found


_OPERATORS = frozenset(("+", "-", "*", "/", "%", "||", "=", "<>", "<", "<=", ">", ">=", "<=>"))
_NAMES: dict[type, str] = {
    ast.Lambda: "a lambda in this place",
    ast.Star: "* in this place",
    ast.NamedArgument: "a named argument",
}
_B = ExpressionBinder
_RULES: dict[type, Callable[..., Expr]] = {
    **nested.RULES,
    ast.ColumnRef: names.column,
    ast.Literal: _B._literal,
    ast.TypedLiteral: _B._typed_literal,
    ast.IntervalLiteral: _B._interval,
    ast.IntervalDifference: _B._difference,
    ast.Unary: _B._unary,
    ast.Binary: _B._binary,
    ast.IsTest: _B._is,
    ast.IsDistinct: _B._is_distinct,
    ast.Between: _B._between,
    ast.InList: _B._in_list,
    ast.Like: _B._like,
    ast.Case: _B._case,
    ast.Cast: _B._cast,
    ast.Extract: _B._extract,
    ast.RoundTo: _B._round_to,
    ast.Trim: _B._trim,
    ast.FunctionCall: calls.call,
    ast.ScalarSubquery: _B._subquery,
    ast.InQuery: _B._subquery,
    ast.Exists: _B._subquery,
    ast.Quantified: _B._quantified,
}
