"""The table of scalar functions and operators, by name.

    resolve("+", [INTEGER, BIGINT])  →  Function("+", (BIGINT, BIGINT), BIGINT, kernel)

Operators are functions named  + - * / % || = <> < <= > >= unary- unary+ is_distinct
is_not_distinct like ilike rlike.  NOT LIKE and the like are Not(Call).  Forms that must not
evaluate all operands (AND, OR, CASE, COALESCE, IF …) are plan nodes, not functions.

Units (EXTRACT, FLOOR … TO, TIMESTAMPDIFF, DATE_TRUNC) are ordinary arguments of type VARCHAR
with a literal: `resolve("EXTRACT", [VARCHAR, DATE], ["YEAR", None])`,
`resolve("FLOOR", [TIMESTAMP, VARCHAR], [None, "MONTH"])`, and `(a - b) DAYS` is
`resolve("-", [DATE, DATE, VARCHAR], [None, None, "DAY"])`.

To add a function: write its kernel in the file of its family (or a new file, listed in the
import below) under one decorator, and one line of examples in tests/unit/functions:

    @define("REVERSE", [STRING], VARCHAR)
    def reverse(s: Column, n: int) -> Column:
        return ...

`definition.py` says what a kernel may assume. Source: sql-reference sections 1.3 and 2.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from itertools import zip_longest
from typing import Any

from penstock.data.types import (
    INTEGER,
    STRINGS,
    VARCHAR,
    Kind,
    SqlType,
    array_of,
    decimal,
    map_of,
)
from penstock.errors import UserError
from penstock.functions import (
    arithmetic,
    array_sets,
    arrays,
    beside,
    binary,
    bit_strings,
    choices,
    comparison,
    connector_metadata,
    dates,
    digests,
    floats,
    formatting,
    intervals,
    maps,
    parsing,
    parts,
    patterns,
    rounding,
    strings,
    variant_lambdas,
    variants,
    zip,
    zones,
)
from penstock.functions.definition import DEFINITIONS, Function, Kernel, Overload, Types

#: the modules that declare functions; importing them fills the table
FAMILIES = (
    arithmetic, rounding, floats, comparison, choices, beside, strings, parts, patterns, binary,
    bit_strings, digests, dates, intervals, zones, formatting, parsing, arrays, array_sets, maps,
    variants, variant_lambdas, connector_metadata, zip,
)  # fmt: skip

_DAYS = SqlType(Kind.INTERVAL_SHORT, unit="DAY")
#: functions for which an untyped NULL is wrong: the key of a map is never NULL
_EXACT = frozenset(("MAP",))
#: the number that text is read as where any number would do (the base library's choice)
_NUMBER = decimal(38, 19)

__all__ = ["FAMILIES", "Function", "Kernel", "Overload", "names", "resolve"]


def names() -> tuple[str, ...]:
    """Every function and operator, sorted, in upper case."""
    return tuple(sorted(DEFINITIONS))


def resolve(
    name: str, arg_types: Sequence[SqlType], literals: Sequence[Any] | None = None
) -> Function:
    """The overload of `name` for arguments of these types (names are case-insensitive).

    `literals`: per argument the value of a literal, None for anything else.
    Raises UserError, code UnknownFunction or NoOverload; the message lists the candidates.
    """
    given = tuple(arg_types)
    constants = tuple(literals) if literals is not None else (None,) * len(given)
    entries = DEFINITIONS.get(name.upper())
    if entries is None:
        close = get_close_matches(name.upper(), DEFINITIONS, n=3)
        hint = f"; did you mean {', '.join(close)}?" if close else ""
        raise UserError(f"no function named {name}{hint}", code="UnknownFunction")
    for types in (given, *_stand_ins(name, given)):
        for entry in entries:
            overload = entry.resolve(types, constants)
            if overload is not None:
                return overload.function(entry.name, given)
    forms = "; ".join(dict.fromkeys(s for entry in entries for s in entry.signatures))
    units = constants if "unit" in forms else ()
    shown = [
        u if isinstance(u, str) else str(t.with_nullable(True))
        for t, u in zip_longest(given, units)
    ]
    listed = ", ".join(shown)
    raise UserError(
        f"{name} does not take arguments of types ({listed}); it takes: {forms}",
        code="NoOverload",
    )


def _stand_ins(name: str, given: Types) -> Iterator[Types]:
    """What the arguments are taken for where no overload takes them as they are: an untyped NULL
    for another argument's type or a number, text, a span of days, an array or a map of such; then
    text for a number, except beside a collection of text or numbers."""
    kinds = {t.kind for t in given}
    if Kind.NULL in kinds and name.upper() not in _EXACT:
        others = [t for t in given if t.kind is not Kind.NULL]
        collections = (
            *(array_of(t) for t in (*others, INTEGER)),
            *(map_of(t, INTEGER) for t in (*others, VARCHAR)),
        )
        for candidate in (*others, INTEGER, VARCHAR, _DAYS, *collections):
            yield tuple(candidate if t.kind is Kind.NULL else t for t in given)
    if kinds & STRINGS and name.isidentifier() and not kinds & {Kind.ARRAY, Kind.MAP}:
        yield tuple(_NUMBER if t.kind in STRINGS else t for t in given)
