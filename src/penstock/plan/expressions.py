"""Typed scalar expressions of a plan.

Every expression knows its type (with nullability) and the span of program text it came from.
Operators are ordinary functions: `a + b` is Call of the registry's function "+" (see
`penstock.functions`); the binder has inserted every Cast, so a Call's arguments have exactly the
types its function wants. Forms that must not evaluate all their operands (CASE, AND, OR,
COALESCE) are nodes of their own, so that a guarded division by zero does not happen.

Column references are positions into the input relation's schema.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from penstock.data.types import BOOLEAN, SqlType
from penstock.errors import Span
from penstock.functions.lambdas import LambdaFunction
from penstock.functions.registry import Function


@dataclass(frozen=True, slots=True)
class Expr:
    type: SqlType
    #: not part of an expression's identity: equal expressions share work wherever they came from
    span: Span | None = field(default=None, compare=False, kw_only=True)


@dataclass(frozen=True, slots=True)
class InputRef(Expr):
    """Column `index` of the input."""

    index: int
    name: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Literal(Expr):
    """A constant. `value` is a Python value: None, bool, int, float, str, bytes,
    decimal.Decimal (scale as the type says), datetime.date (DATE), int (TIME ns, TIMESTAMP µs,
    intervals in the type's unit), uuid.UUID."""

    value: Any


@dataclass(frozen=True, slots=True)
class Cast(Expr):
    """CAST(operand AS type); `safe` gives NULL where a cast would fail."""

    operand: Expr
    safe: bool = False


@dataclass(frozen=True, slots=True)
class Call(Expr):
    function: Function
    args: tuple[Expr, ...]


@dataclass(frozen=True, slots=True)
class And(Expr):
    """Three-valued AND, left to right: the right side is not evaluated where the left is FALSE."""

    args: tuple[Expr, ...]


@dataclass(frozen=True, slots=True)
class Or(Expr):
    args: tuple[Expr, ...]


@dataclass(frozen=True, slots=True)
class Not(Expr):
    operand: Expr


@dataclass(frozen=True, slots=True)
class IsNull(Expr):
    """operand IS NULL (IS NOT NULL when negated); never NULL itself."""

    operand: Expr
    negated: bool = False


@dataclass(frozen=True, slots=True)
class Case(Expr):
    """Searched CASE: the first branch whose condition is TRUE. `otherwise` may be a NULL literal.
    All results have the node's type."""

    branches: tuple[tuple[Expr, Expr], ...]
    otherwise: Expr


@dataclass(frozen=True, slots=True)
class Coalesce(Expr):
    args: tuple[Expr, ...]


@dataclass(frozen=True, slots=True)
class InList(Expr):
    """operand IN (items), items literals of operand's type; three-valued."""

    operand: Expr
    items: tuple[Expr, ...]
    negated: bool = False


@dataclass(frozen=True, slots=True)
class Fails(Expr):
    """Whether to compute one of `args` raises; never NULL, and never raises itself."""

    args: tuple[Expr, ...]


@dataclass(frozen=True, slots=True)
class LambdaVar(Expr):
    """Parameter `index` of the lambda at nesting depth `level` (0: the outermost)."""

    level: int
    index: int
    name: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class LambdaCall(Expr):
    """A function that evaluates `body` for parts of `operand`: TRANSFORM(operand, x -> body).

    `body` reads the columns of the same input as `operand`, and its parameters as LambdaVars of
    `level`; `params` are their names."""

    function: LambdaFunction
    operand: Expr
    body: Expr
    level: int
    params: tuple[str, ...] = field(default=(), compare=False)


def conjunction(args: list[Expr]) -> Expr | None:
    """AND of `args`, None when there are none."""
    if not args:
        return None
    if len(args) == 1:
        return args[0]
    nullable = any(a.type.nullable for a in args)
    return And(BOOLEAN.with_nullable(nullable), tuple(args))
