"""What casts are made of: a converter answers a new column and which of its rows are bad.

    Converter: column of the source type ──► (column of the target type, bad rows or None)

A bad row is one that cannot be converted: CAST fails for it, SAFE_CAST makes it NULL. Under NULL a
row may be bad or hold anything.
"""

from __future__ import annotations

from collections.abc import Callable

from penstock.data.batch import Array, Column
from penstock.data.types import SqlType

Bad = Array | None
Converter = Callable[[Column], tuple[Column, Bad]]


def fixed(dst: SqlType, convert: Callable[[Array], Array]) -> Converter:
    """A conversion of fixed-width values that cannot fail."""
    return lambda column: (Column(dst, convert(column.values)), None)


def retype(dst: SqlType) -> Converter:
    """The same bytes mean the same."""
    return lambda column: (column.with_type(dst), None)


def then(first: Converter, second: Converter) -> Converter:
    """One conversion after the other; bad rows of either are bad."""

    def convert(column: Column) -> tuple[Column, Bad]:
        middle, bad = first(column)
        out, worse = second(middle)
        if bad is None:
            return out, worse
        return out, bad if worse is None else bad | worse

    return convert
