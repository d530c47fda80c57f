"""The table of aggregate functions: names, argument types, result types.

`AggregateFunction` is one resolved overload. How it is maintained under insertions and deletions
is the circuit's affair (`penstock.circuit.ops.aggregate`), which dispatches on `kind`.

The result type is the argument's type (sql-reference 3.2): SUM of INTEGER is INTEGER and may
overflow. It is nullable, for a group may hold only NULLs; COUNT never is.

To add one: an entry of `_TABLE`, and its maintenance in the circuit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from penstock.data.types import BIGINT, DOUBLE, NUMBERS, STRINGS, Kind, SqlType
from penstock.errors import UserError


@dataclass(frozen=True, slots=True)
class AggregateFunction:
    """`kind`: COUNT (rows where all args are non-NULL; no args: all rows), SUM, AVG, MIN, MAX, …"""

    kind: str
    arg_types: tuple[SqlType, ...]
    result: SqlType


@dataclass(frozen=True, slots=True)
class _Entry:
    signature: str
    resolve: Callable[[tuple[SqlType, ...]], SqlType | None]


def _count(types: tuple[SqlType, ...]) -> SqlType | None:
    return BIGINT.with_nullable(False)


def _number(types: tuple[SqlType, ...]) -> SqlType | None:
    if len(types) != 1:
        return None
    if types[0].kind in STRINGS:
        return DOUBLE
    return types[0] if types[0].kind in NUMBERS else None


def _any(types: tuple[SqlType, ...]) -> SqlType | None:
    return types[0] if len(types) == 1 and types[0].kind is not Kind.NULL else None


_TABLE: dict[str, _Entry] = {
    "COUNT": _Entry("COUNT(*), COUNT(value, …)", _count),
    "SUM": _Entry("SUM(number)", _number),
    "AVG": _Entry("AVG(number)", _number),
    "MIN": _Entry("MIN(value)", _any),
    "MAX": _Entry("MAX(value)", _any),
}


def aggregate_names() -> tuple[str, ...]:
    """Every aggregate function, sorted, in upper case."""
    return tuple(sorted(_TABLE))


def is_aggregate(name: str) -> bool:
    return name.upper() in _TABLE


def resolve_aggregate(name: str, arg_types: Sequence[SqlType]) -> AggregateFunction:
    """The overload of aggregate `name`; the caller casts arguments to its `arg_types`.

    Raises UserError, code UnknownFunction or NoOverload.
    """
    kind, given = name.upper(), tuple(arg_types)
    entry = _TABLE.get(kind)
    if entry is None:
        close = get_close_matches(kind, _TABLE, n=3)
        hint = f"; did you mean {', '.join(close)}?" if close else ""
        raise UserError(f"no aggregate function named {name}{hint}", code="UnknownFunction")
    result = entry.resolve(given)
    if result is None:
        listed = ", ".join(str(t.with_nullable(True)) for t in given)
        raise UserError(
            f"{kind} does not take arguments of types ({listed}); it takes: {entry.signature}",
            code="NoOverload",
        )
    if kind == "COUNT":
        return AggregateFunction(kind, given, result)
    args = (result.with_nullable(given[0].nullable),)
    return AggregateFunction(kind, args, result.with_nullable(True))
