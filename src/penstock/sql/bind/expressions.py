"""Scalar syntax → typed expressions, over the columns that a scope offers.

    a + 1.5     a INTEGER     →     Call "+"(CAST(a AS DECIMAL(10, 0)), 1.5)

Aggregates, sub-queries and window functions become placeholders (`forms`). Everything of the
dialect that this version does not compile is refused by name, at the word.

Not here: implicit casts and result types (`build`), names (`scope`), relations (`query`).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal

from penstock.data.types import (
    BINARIES,
    BOOLEAN,
    DOUBLE,
    VARCHAR,
    Kind,
    Schema,
    SqlType,
    char,
)
from penstock.errors import Span, UserError
from penstock.functions.aggregates import is_aggregate, resolve_aggregate, takes_distinct
from penstock.functions.bit_strings import OPERATIONS
from penstock.functions.connector_metadata import METADATA
from penstock.functions.definition import DEFINITIONS
from penstock.functions.lambdas import LAMBDA_FUNCTIONS
from penstock.plan.expressions import Expr, LambdaVar, Literal
from penstock.sql import ast
from penstock.sql.bind import build, later, literals, nested, periods, windows
from penstock.sql.bind.catalog import Catalog, Folded, Inlined, inside
from penstock.sql.bind.clock import NOW
from penstock.sql.bind.forms import Aggregated, Now, Outer, Windowed, has
from penstock.sql.bind.grouping import grouping_call
from penstock.sql.bind.report import BindError, Poisoned, did_you_mean, unsupported
from penstock.sql.bind.scope import Entry, Scope
from penstock.sql.bind.types import UserTypes, bind_type

_TEXT = VARCHAR.with_nullable(False)
#: functions whose argument at this position is a unit of time written as a bare word
_UNIT_AT = {
    "DATE_TRUNC": 1, "TIMESTAMP_TRUNC": 1, "TIME_TRUNC": 1, "TIMESTAMPADD": 0, "TIMESTAMPDIFF": 0,
    "DATEDIFF": 0, "DATE_PART": 0,
}  # fmt: skip
#: as deep as an expression may be: a dozen passes recurse over it within Python's stack
MAX_DEPTH = 100
_SHORT_NAMES = {"IFNULL", "COALESCE"}


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
        self._scope = scope
        self._no_aggregates = aggregates
        self._aliases: Mapping[str, Expr] = {} if aliases is None else aliases
        self._outer = catalog.outer if catalog else ()
        self._catalog = catalog
        self._grouped = grouped
        self._windows = windows
        self._functions = functions or (catalog.functions if catalog else {})
        self._types: UserTypes = types or (catalog.types if catalog else {})
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

    def condition(self, e: ast.Expr, where: str) -> Expr:
        return build.condition(self.bind(e), where)

    # names and constants

    def _column(self, e: ast.ColumnRef) -> Expr:
        head, rest = self._head(e)
        found = self._variable(head) or self._named(head)
        for part in rest:
            found = nested.field(found, part, e.span)
        return found

    def _head(self, e: ast.ColumnRef) -> tuple[ast.ColumnRef, tuple[ast.Identifier, ...]]:
        """The parts that name a column, and the fields of it that follow."""
        first, n = e.parts[0].name, len(e.parts)
        width = 1
        if n > 1 and first not in self.variables:
            scopes = (self._scope, *self._outer)
            is_table = any(first in s.tables for s in scopes)
            is_column = first in self._aliases or any(
                any(x.name == first for x in s.entries) for s in scopes
            )
            names = [x.name for s in scopes for x in s.star(first)] if is_table else []
            width = 2 if e.parts[1].name in names or not is_column else 1
        if width == n:
            return e, ()
        span = Span(e.span.start, e.parts[width - 1].span.end)
        return replace(e, parts=e.parts[:width], span=span), e.parts[width:]

    def _variable(self, e: ast.ColumnRef) -> Expr | None:
        found = self.variables.get(e.parts[0].name) if len(e.parts) == 1 else None
        return None if found is None else replace(found, span=e.span)

    def _named(self, e: ast.ColumnRef) -> Expr:
        qualifier = e.parts[0].name if len(e.parts) == 2 else None
        name = e.parts[-1].name
        found = self._scope.find(qualifier, name, e.span)
        if found is not None:
            return found
        if qualifier is None and name in self._aliases:
            return self._alias(e, name)
        for level, scope in enumerate(self._outer):
            found = scope.find(qualifier, name, e.span)
            if found is not None:
                for _ in range(level + 1):
                    found = Outer(found.type, found, span=e.span)
                return found
        if qualifier is None and name == "pi":
            return build.call("PI", [], e.span)
        if qualifier is None and name == "unknown":  # the third truth value, unless a column
            return Literal(BOOLEAN, None, span=e.span)
        for scope in self._outer:
            if qualifier in scope.tables and qualifier not in self._scope.tables:
                raise scope.unknown(qualifier, name, e.span)
        if qualifier is None and name in later.CLOCKS:
            raise unsupported(e.span, name.upper())
        raise self._scope.unknown(qualifier, name, e.span)

    def _alias(self, e: ast.ColumnRef, name: str) -> Expr:
        """What an item of the same SELECT stands for, where such a thing may stand."""
        found = self._aliases[name]
        if self._no_aggregates is not None and has(found, Aggregated):
            raise BindError(
                e.span, f"{name} is an aggregate, which cannot be used in {self._no_aggregates}"
            )
        if self._windows is None and has(found, Windowed):
            raise BindError(e.span, f"{name} is a window function, which cannot be used here")
        return replace(found, span=e.span)

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
        target = bind_type(e.type, self._types).with_nullable(False)
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
        args = [self.bind(e.left), self.bind(e.right), _unit(unit, e.span)]
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
                    tests.append(build.call("=", [operand, self.bind(c)], c.span))
            branches.append((build.or_(tests), build.string_of(self.bind(when.result))))
        otherwise = None if e.otherwise is None else build.string_of(self.bind(e.otherwise))
        return build.case(branches, otherwise, e.span)

    def _cast(self, e: ast.Cast) -> Expr:
        target = bind_type(e.type, self._types)
        if e.safe and target.kind is Kind.ROW:
            raise BindError(e.span, "SAFE_CAST to a ROW is not supported; cast the fields")
        return build.cast(self.bind(e.operand), target, e.span, safe=e.safe)

    # functions

    def _extract(self, e: ast.Extract) -> Expr:
        return build.call("EXTRACT", [_unit(e.unit, e.span), self.bind(e.operand)], e.span)

    def _round_to(self, e: ast.RoundTo) -> Expr:
        return build.call(e.function, [self.bind(e.operand), _unit(e.unit, e.span)], e.span)

    def _trim(self, e: ast.Trim) -> Expr:
        name = "TRIM" if e.side == "BOTH" else f"TRIM_{e.side}"
        args = [self.bind(e.operand)]
        if e.chars is not None:
            args.append(self.bind(e.chars))
        return build.call(name, args, e.span)

    def _call(self, e: ast.FunctionCall) -> Expr:
        name = e.name.name.upper()
        if e.over is not None:
            return self._window(e, e.over)
        if is_aggregate(name):
            return self._aggregate(e, name)
        user = self._functions.get(e.name.name)
        if isinstance(user, Folded):
            return user.finished(self._aggregate(e, user.collect, user))
        if name in ("GROUPING", "GROUPING_ID"):
            if self._no_aggregates is not None:
                raise BindError(e.span, f"{name} cannot be used in {self._no_aggregates}")
            return grouping_call([build.string_of(self.bind(a)) for a in e.args], e.span)
        if name in LAMBDA_FUNCTIONS:
            return nested.lambda_call(self, name, e)
        if name == "NOW":
            return self._now(e)
        if name == METADATA and self._no_aggregates != "DEFAULT":
            raise BindError(e.span, f"{METADATA}() has a value in DEFAULT expressions only")
        if e.name.name in self._types:
            return self._struct(e)
        if name in later.REFUSED and e.name.name not in self._functions:
            raise BindError(e.span, f"{name}: {later.REFUSED[name]}")
        if name in windows.NAMES and e.name.name not in self._functions:
            raise BindError(e.span, f"{name} is a window function: it needs OVER (…)")
        for given, what in (
            (e.distinct, "DISTINCT"), (e.filter, "FILTER"), (e.order_by, "ORDER BY"),
            (e.nulls, "IGNORE NULLS"), (e.within_distinct, "WITHIN DISTINCT"),
        ):  # fmt: skip
            if given:
                raise BindError(e.span, f"{name} is not an aggregate, so it takes no {what}")
        args = [
            self._time_unit(a) if _UNIT_AT.get(name) == i else self.bind(a)
            for i, a in enumerate(e.args)
        ]
        if e.name.name in self._functions:
            if user is None:
                raise Poisoned
            return replace(user.inline(args, e.span), span=e.span)
        if name in _SHORT_NAMES:
            if not args or (name == "IFNULL" and len(args) != 2):
                raise BindError(e.span, f"{name} takes {'2' if name == 'IFNULL' else 'at least 1'} "
                                        f"arguments, not {len(args)}")  # fmt: skip
            return build.coalesce([build.string_of(a) for a in args], e.span, name)
        if name == "IF":
            if len(args) != 3:
                raise BindError(e.span, f"IF takes 3 arguments, not {len(args)}")
            test = build.condition(args[0], "the first argument of IF")
            return build.case([(test, build.string_of(args[1]))], build.string_of(args[2]), e.span)
        if name not in DEFINITIONS:
            hint = did_you_mean(name, DEFINITIONS) or did_you_mean(e.name.name, self._functions)
            raise BindError(
                e.span,
                f"no function named {e.name.name}"
                f"{hint or '; those of the program are declared before they are called'}",
            )
        return build.call(name, args, e.span)

    def _struct(self, e: ast.FunctionCall) -> Expr:
        type = self._types[e.name.name]
        if type is None:
            raise Poisoned
        if type.kind is not Kind.ROW:
            raise BindError(e.span, f"{e.name.name} is not a struct; write CAST(… AS {type})")
        return nested.struct(e.name.name, type, [self.bind(a) for a in e.args], e.span)

    def query_schema(self, query: ast.Query) -> Schema:
        """The columns of a sub-query."""
        if self._catalog is None:
            raise unsupported(query.span, "a sub-query in this place")
        return self._catalog.bind_query(query, inside(self._catalog, self._scope)).schema

    def star(self, e: ast.Star) -> list[Entry]:
        """The columns that a `*` inside ROW(…) stands for."""
        qualifier = e.qualifier[0].name if e.qualifier else None
        entries = self._scope.star(qualifier)
        names = [x.name for x in entries]
        if not entries or e.replace:
            raise BindError(e.span, "* here stands for no columns")
        for x in e.exclude:
            if x.name not in names:
                raise BindError(x.span, f"* has no column {x.name}{did_you_mean(x.name, names)}")
        gone = {x.name for x in e.exclude}
        return [x for x in entries if x.name not in gone]

    def _now(self, e: ast.FunctionCall) -> Expr:
        if e.args:
            raise BindError(e.span, "NOW takes no arguments")
        if self._catalog is None:
            raise BindError(e.span, "NOW() cannot be used here; it has a value in queries only")
        return Now(NOW, span=e.span)

    def _time_unit(self, e: ast.Expr) -> Expr:
        if isinstance(e, ast.ColumnRef) and len(e.parts) == 1:
            return _unit(e.parts[0].name.upper().removeprefix("SQL_TSI_"), e.span)
        if isinstance(e, ast.Literal) and isinstance(e.value, str):
            return _unit(e.value.upper(), e.span)
        raise BindError(e.span, "expected a unit of time, such as DAY or HOUR")

    def _aggregate(self, e: ast.FunctionCall, name: str, user: Folded | None = None) -> Expr:
        """The call of an aggregate; `user`: whose rows the built-in one `name` collects."""
        if self._no_aggregates is not None:
            called = e.name.name if user else name
            raise BindError(
                e.span, f"the aggregate {called} cannot be used in {self._no_aggregates}"
            )
        is_array, null_free = name == "ARRAY_AGG", e.nulls == "IGNORE"
        for given, what in (
            (e.order_by and not is_array, "ORDER BY"),
            (e.nulls and not is_array, "IGNORE NULLS"),
            (e.within_group, "WITHIN GROUP"),
            (e.within_distinct and (e.distinct or is_array), "WITHIN DISTINCT"),
        ):  # fmt: skip
            if given:
                raise unsupported(e.span, f"{what} in {name}")
        inner = ExpressionBinder(
            self._scope, aggregates=f"an argument of {name}", aliases=self._aliases,
            catalog=self._catalog,
        )  # fmt: skip
        args = [build.string_of(inner.bind(a)) for a in e.args if not isinstance(a, ast.Star)]
        if user is not None:
            if len(args) != len(e.args):
                raise BindError(e.span, f"{e.name.name}(*) makes no sense; only COUNT takes *")
            args = [user.collected(args, e.span)]
        elif len(args) != len(e.args) and (name != "COUNT" or args):
            raise BindError(e.span, f"{name}(*) makes no sense; only COUNT takes *")
        if not e.args and name == "COUNT":
            raise BindError(e.span, "COUNT needs an argument: write COUNT(*) to count rows")
        bits = f"${name}" if _takes_bytes(name, args) else None
        if bits is not None:  # computed over all values of the group
            name, null_free = "ARRAY_AGG", True
        if is_array and len(args) != 1:
            raise BindError(e.span, "ARRAY_AGG takes one value")
        order = [windows.order_item(inner, item) for item in e.order_by]
        if e.distinct and any(key != args[0] for key, _, _ in order):
            raise BindError(e.span, "ARRAY_AGG(DISTINCT …) can be ordered by its value only")
        args += [key for key, _, _ in order]
        try:
            function = resolve_aggregate(name, [a.type for a in args])
        except UserError as error:
            raise BindError(e.span, error.message) from None
        function = replace(function, order=tuple((down, first) for _, down, first in order))
        wanted = tuple(build.coerce(a, t) for a, t in zip(args, function.arg_types, strict=True))
        keep = None if e.filter is None else inner.condition(e.filter, "FILTER (WHERE …)")
        if null_free:
            is_there = build.is_null(args[0], e.span, negated=True)
            keep = is_there if keep is None else build.and_([keep, is_there])
        if e.distinct and not takes_distinct(name):
            raise BindError(e.span, f"{name} takes no DISTINCT")
        is_full = not function.needs_two and not any(a.type.nullable for a in args)
        if self._grouped and keep is None and is_full:
            function = replace(function, result=function.result.with_nullable(False))
        within = tuple(build.string_of(inner.bind(x)) for x in e.within_distinct)
        found = Aggregated(function.result, function, wanted, e.distinct, keep, within, span=e.span)
        return found if bits is None else build.call(bits, [found], e.span)

    def _window(self, e: ast.FunctionCall, over: ast.WindowSpec | ast.Identifier) -> Expr:
        if self._windows is None:
            raise BindError(
                e.span, f"{e.name.name.upper()} OVER cannot be used here; QUALIFY filters by it"
            )
        inside = copy.copy(self)
        inside._windows = None
        return windows.bind_call(inside, e, over, self._windows)

    # sub-queries

    def _subquery(self, e: ast.Expr) -> Expr:
        if self._catalog is None:
            raise unsupported(e.span, "a sub-query in this place")
        binder, scope = self._catalog.subqueries, self._scope
        if isinstance(e, ast.Exists):
            return binder.exists(e, scope, self._catalog)
        if isinstance(e, ast.InQuery):
            operands = [self.bind(x) for x in row_items(e.operand)]
            test = binder.is_in(e, operands, scope, self._catalog)
            return build.not_(test, e.span) if e.negated else test
        if isinstance(e, ast.Quantified):
            return binder.quantified(e, self.bind(e.left), scope, self._catalog)
        assert isinstance(e, ast.ScalarSubquery)
        return binder.scalar(e, scope, self._catalog)

    def _quantified(self, e: ast.Quantified) -> Expr:
        if e.query is not None:
            return self._subquery(e)
        left = self.bind(e.left)
        tests = [build.call(e.op, [left, self.bind(x)], e.span) for x in e.items]
        return (build.and_ if e.quantifier == "ALL" else build.or_)(tests, e.span)


def _takes_bytes(name: str, args: Sequence[Expr]) -> bool:
    """Whether an aggregate works on the bits of binary strings."""
    return name in OPERATIONS and len(args) == 1 and args[0].type.kind in BINARIES


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


def _unit(unit: str, span: Span | None) -> Literal:
    return Literal(_TEXT, unit, span=span)


_OPERATORS = frozenset(("+", "-", "*", "/", "%", "||", "=", "<>", "<", "<=", ">", ">=", "<=>"))
_NAMES: dict[type, str] = {
    ast.Lambda: "a lambda in this place",
    ast.Star: "* in this place",
    ast.NamedArgument: "a named argument",
}
_B = ExpressionBinder
_RULES: dict[type, Callable[..., Expr]] = {
    **nested.RULES,
    ast.ColumnRef: _B._column,
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
    ast.FunctionCall: _B._call,
    ast.ScalarSubquery: _B._subquery,
    ast.InQuery: _B._subquery,
    ast.Exists: _B._subquery,
    ast.Quantified: _B._quantified,
}
