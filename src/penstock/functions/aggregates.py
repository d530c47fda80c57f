"""The table of aggregate functions: names, argument types, result types.

`AggregateFunction` is one resolved overload. How it is maintained under insertions and deletions
is the circuit's affair (`penstock.circuit.ops.aggregate`), which dispatches on `kind`.

The result type is the argument's type (sql-reference 3.2): SUM of INTEGER is INTEGER and may
overflow, STDDEV of INTEGER is cut to one. It is nullable, for a group may hold only NULLs; a
count never is.

    "VAR_POP": _Entry("VAR_POP(number)", _one(NUMBERS)),          a name, and how it is resolved
    "VARIANCE": _Entry("VARIANCE(number)", …, kind="VAR_SAMP"),   another name of VAR_SAMP

To add one: an entry of `_TABLE`, and its maintenance in the circuit.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from penstock.data.types import (
    BIGINT,
    BOOLEAN,
    DOUBLE,
    FLOATS,
    INTEGER,
    INTEGERS,
    NUMBERS,
    Kind,
    SqlType,
)
from penstock.errors import UserError
from penstock.functions.coercion import INTERVALS

Types = tuple[SqlType, ...]


@dataclass(frozen=True, slots=True)
class AggregateFunction:
    """`kind`: COUNT (rows where all args are non-NULL; no args: all rows), COUNTIF, SUM, AVG,
    MIN, MAX, ARG_MIN, ARG_MAX, MODE, ARRAY_AGG, EVERY, SOME, BIT_AND, BIT_OR, BIT_XOR,
    {VAR,STDDEV,COVAR}_POP and _SAMP, REGR_SXX, REGR_SYY."""

    kind: str
    arg_types: Types
    result: SqlType
    #: ARRAY_AGG: (descending, nulls first) of each argument behind the first, which order it
    order: tuple[tuple[bool, bool], ...] = ()

    @property
    def is_count(self) -> bool:
        """Whether it is 0 over no rows, rather than NULL."""
        return self.kind in ("COUNT", "COUNTIF")

    @property
    def needs_two(self) -> bool:
        """Whether it is NULL over a single row."""
        return self.kind.endswith("_SAMP")

    @property
    def takes_nulls(self) -> tuple[bool, ...]:
        """Per argument, whether a row counts although it is NULL."""
        if self.kind in ("ARG_MIN", "ARG_MAX"):
            return (True, False)
        if self.kind == "ARRAY_AGG":
            return (True,) * len(self.arg_types)
        return (False,) * len(self.arg_types)


@dataclass(frozen=True, slots=True)
class _Entry:
    """`resolve`: (the types to cast the arguments to, the result's), None if there are none.
    `kind`: the aggregate this is another name of."""

    signature: str
    resolve: Callable[[Types], tuple[Types, SqlType] | None]
    kind: str | None = None
    #: whether DISTINCT means anything the dialect allows
    distinct: bool = True


_COUNT = BIGINT.with_nullable(False)


def _count(types: Types) -> tuple[Types, SqlType]:
    return types, _COUNT


def _countif(types: Types) -> tuple[Types, SqlType] | None:
    return (types, _COUNT) if _are(types, {Kind.BOOLEAN}, 1) else None


def _number(types: Types) -> tuple[Types, SqlType] | None:
    return (types, types[0]) if _are(types, NUMBERS, 1) else None


def _addend(types: Types) -> tuple[Types, SqlType] | None:
    return (types, types[0]) if _are(types, NUMBERS | INTERVALS, 1) else None


def _pair(types: Types) -> tuple[Types, SqlType] | None:
    """Two numbers; where one is a float both are computed with as DOUBLE."""
    if not _are(types, NUMBERS, 2):
        return None
    y = types[0]
    if any(t.kind in FLOATS for t in types):
        types = tuple(DOUBLE.with_nullable(t.nullable) for t in types)
        return types, y if y.kind in FLOATS else DOUBLE
    return types, y


def _pairs(types: Types) -> tuple[Types, SqlType] | None:
    return (types, _COUNT) if _are(types, NUMBERS, 2) else None


def _one(kinds: Collection[Kind]) -> Callable[[Types], tuple[Types, SqlType] | None]:
    return lambda types: (types, types[0]) if _are(types, kinds, 1) else None


def _value_by_key(types: Types) -> tuple[Types, SqlType] | None:
    return (types, types[0]) if _are(types, _VALUES, 2) else None


def _array(types: Types) -> tuple[Types, SqlType] | None:
    if not types or any(t.kind is Kind.NULL for t in types):
        return None
    return types, SqlType(Kind.ARRAY, children=(types[0].with_nullable(True),))


def _are(types: Types, kinds: Collection[Kind], count: int) -> bool:
    return len(types) == count and all(t.kind in kinds for t in types)


_VALUES = frozenset(Kind) - {Kind.NULL}
_BOOLEAN = _one({Kind.BOOLEAN})

_TABLE: dict[str, _Entry] = {
    "COUNT": _Entry("COUNT(*), COUNT(value, …)", _count),
    "COUNTIF": _Entry("COUNTIF(condition)", _countif),
    "SUM": _Entry("SUM(number), SUM(interval)", _addend),
    "AVG": _Entry("AVG(number), AVG(interval)", _addend),
    "MIN": _Entry("MIN(value)", _one(_VALUES)),
    "MAX": _Entry("MAX(value)", _one(_VALUES)),
    "ARG_MIN": _Entry("ARG_MIN(value, key)", _value_by_key),
    "ARG_MAX": _Entry("ARG_MAX(value, key)", _value_by_key),
    "MODE": _Entry("MODE(value)", _one(_VALUES), distinct=False),
    "ARRAY_AGG": _Entry("ARRAY_AGG(value)", _array),
    "EVERY": _Entry("EVERY(condition)", _BOOLEAN),
    "BOOL_AND": _Entry("BOOL_AND(condition)", _BOOLEAN, kind="EVERY"),
    "LOGICAL_AND": _Entry("LOGICAL_AND(condition)", _BOOLEAN, kind="EVERY"),
    "SOME": _Entry("SOME(condition)", _BOOLEAN),
    "BOOL_OR": _Entry("BOOL_OR(condition)", _BOOLEAN, kind="SOME"),
    "LOGICAL_OR": _Entry("LOGICAL_OR(condition)", _BOOLEAN, kind="SOME"),
    "BIT_AND": _Entry("BIT_AND(integer), BIT_AND(binary)", _one(INTEGERS)),
    "BIT_OR": _Entry("BIT_OR(integer), BIT_OR(binary)", _one(INTEGERS)),
    "BIT_XOR": _Entry("BIT_XOR(integer), BIT_XOR(binary)", _one(INTEGERS)),
    "VAR_POP": _Entry("VAR_POP(number)", _number),
    "VAR_SAMP": _Entry("VAR_SAMP(number)", _number),
    "VARIANCE": _Entry("VARIANCE(number)", _number, kind="VAR_SAMP"),
    "STDDEV_POP": _Entry("STDDEV_POP(number)", _number),
    "STDDEV_SAMP": _Entry("STDDEV_SAMP(number)", _number),
    "STDDEV": _Entry("STDDEV(number)", _number, kind="STDDEV_SAMP"),
    "COVAR_POP": _Entry("COVAR_POP(y, x)", _pair),
    "COVAR_SAMP": _Entry("COVAR_SAMP(y, x)", _pair),
    "REGR_COUNT": _Entry("REGR_COUNT(y, x)", _pairs, kind="COUNT"),
    "REGR_SXX": _Entry("REGR_SXX(y, x)", _pair),
    "REGR_SYY": _Entry("REGR_SYY(y, x)", _pair),
}


def aggregate_names() -> tuple[str, ...]:
    """Every aggregate function, sorted, in upper case."""
    return tuple(sorted(_TABLE))


def is_aggregate(name: str) -> bool:
    return name.upper() in _TABLE


def takes_distinct(name: str) -> bool:
    """Whether aggregate `name` may be asked for DISTINCT values."""
    return _TABLE[name.upper()].distinct


def _typed_nulls(given: Types) -> Iterator[Types]:
    """`given` with a type for each untyped NULL: a number, or a truth value."""
    if any(t.kind is Kind.NULL for t in given):
        for stand_in in (INTEGER, BOOLEAN):
            yield tuple(stand_in if t.kind is Kind.NULL else t for t in given)


def resolve_aggregate(name: str, arg_types: Sequence[SqlType]) -> AggregateFunction:
    """The overload of aggregate `name`; the caller casts arguments to its `arg_types`.

    Raises UserError, code UnknownFunction or NoOverload.
    """
    given = tuple(arg_types)
    entry = _TABLE.get(name.upper())
    if entry is None:
        close = get_close_matches(name.upper(), _TABLE, n=3)
        hint = f"; did you mean {', '.join(close)}?" if close else ""
        raise UserError(f"no aggregate function named {name}{hint}", code="UnknownFunction")
    found = next(filter(None, map(entry.resolve, (given, *_typed_nulls(given)))), None)
    if found is None:
        listed = ", ".join(str(t.with_nullable(True)) for t in given)
        raise UserError(
            f"{name.upper()} does not take arguments of types ({listed}); "
            f"it takes: {entry.signature}",
            code="NoOverload",
        )
    wanted, result = found
    function = AggregateFunction(entry.kind or name.upper(), wanted, result)
    if function.is_count:
        return function
    return AggregateFunction(function.kind, wanted, result.with_nullable(True))
