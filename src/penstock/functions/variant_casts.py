"""CAST to VARIANT and from it (sql-reference 1.5).

    CAST(1 AS VARIANT)              keeps INTEGER as run-time type
    CAST(v AS BIGINT)               any number that fits, whatever its run-time type; else NULL
    CAST(v AS DATE)                 also from text in the literal grammar
    CAST(v AS ROW(i INT, s …))      from a map, field by field, by exact name

A cast from VARIANT never fails: what does not convert is NULL, inside a container the element is.
Conversions are those between numbers, between text and binary types of other lengths, among dates
and timestamps, and from text to dates, times, timestamps and UUIDs. A map whose keys do not all
convert is NULL, and so is a row that lacks a field which is NOT NULL.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow.compute as pc

from penstock.data.arrow import column_from_arrow, column_to_arrow
from penstock.data.batch import Array, Column
from penstock.data.build import constant_column, null_column
from penstock.data.gather import take_column
from penstock.data.nested import Exploded, Mask, build_map, build_row, explode, implode
from penstock.data.types import BINARIES, NUMBERS, STRINGS, VARCHAR, VARIANT, Kind, SqlType
from penstock.data.variant import Group, assemble, groups, wrap
from penstock.functions.ragged import matches

#: converts a typed column; bad rows are NULL
SafeCast = Callable[[SqlType, SqlType, Column], Column]

_DATED = frozenset((Kind.DATE, Kind.TIMESTAMP, Kind.TIMESTAMP_TZ))
_FROM_TEXT = _DATED | {Kind.TIME, Kind.UUID}


def _converts(source: Kind, target: Kind) -> bool:
    """Whether a scalar of run-time type `source` may become a `target`."""
    if source is target or (source in NUMBERS and target in NUMBERS):
        return True
    if source in STRINGS:
        return target in STRINGS or target in _FROM_TEXT
    if source in BINARIES:
        return target in BINARIES
    return source in _DATED and target in _DATED


def from_variant(
    column: Column, target: SqlType, cast: SafeCast, *, folded: bool = False
) -> Column:
    """A VARIANT column as `target`; NULL where a value does not convert. `folded`: fields are
    found under their names in any case."""
    nullable = target.with_nullable(True)
    if target.kind is Kind.VARIANT:
        return column
    if target.kind is Kind.ROW:
        return _row(column, target, cast, folded)
    pieces = []
    for group in groups(column):
        converted = _group(group, nullable, cast, folded)
        if converted is not None:
            pieces.append((group.rows, converted))
    return assemble(nullable, len(column), pieces)


def _group(group: Group, target: SqlType, cast: SafeCast, folded: bool) -> Column | None:
    kind = group.kind
    if kind is not target.kind and not _converts(kind, target.kind):
        return None
    if kind is Kind.ARRAY:
        x = explode(group.values)
        child = from_variant(x.columns[0], target.children[0], cast, folded=folded)
        return implode(target, x.offsets, (child,))
    if kind is Kind.MAP:
        return _map(group.values, target, cast, folded)
    return cast(group.values.type, target, group.values)


def _map(column: Column, target: SqlType, cast: SafeCast, folded: bool) -> Column:
    x = explode(column)
    keys = from_variant(x.columns[0], target.children[0], cast)
    values = from_variant(x.columns[1], target.children[1], cast, folded=folded)
    valid: Mask | None = None
    if keys.valid is not None and len(column):
        wrong = np.bincount(x.rows, keys.valid == 0, len(column)) > 0
        valid = (~wrong).astype(np.uint8)
    return build_map(target, x.offsets, keys, values, valid)


def _row(column: Column, target: SqlType, cast: SafeCast, folded: bool) -> Column:
    """A field is what the map has under its name."""
    n = len(column)
    is_map: Array = np.zeros(n, np.bool_)
    for group in groups(column):
        if group.kind is Kind.MAP:
            is_map[group.rows] = True
    parts = []
    valid = is_map.astype(np.uint8)
    for name, type in zip(target.names, target.children, strict=True):
        key = wrap(constant_column(VARCHAR, name.lower() if folded else name, n))
        part = from_variant(look_up(column, key, folded=folded), type, cast, folded=folded)
        if not type.nullable and part.valid is not None:
            valid = valid & part.valid
        parts.append(part)
    made = build_row(target, parts, None if valid.all() else valid)
    return made.with_type(target.with_nullable(True))


def look_up(column: Column, keys: Column, *, folded: bool = False) -> Column:
    """What each map has under the VARIANT key of its row (`folded`: that key in lower case);
    NULL for anything else."""
    for group in groups(column):
        if group.kind is not Kind.MAP:
            continue
        x = explode(group.values)
        if folded:
            x = Exploded(x.offsets, (_folded(x.columns[0]), x.columns[1]))
        hits = np.flatnonzero(matches(x, take_column(keys, group.rows)))
        at = np.full(len(group.rows), -1, np.int64)
        at[x.rows[hits]] = hits
        values = take_column(x.columns[1], at, null_at_minus_one=True)
        return assemble(VARIANT, len(column), [(group.rows, values)])
    return null_column(VARIANT, len(column))


def _folded(keys: Column) -> Column:
    """Text keys in lower case."""
    pieces = []
    for group in groups(keys):
        if group.kind is Kind.VARCHAR:
            lower = pc.utf8_lower(column_to_arrow(group.values))
            pieces.append((group.rows, wrap(column_from_arrow(VARCHAR, lower))))
    return assemble(VARIANT, len(keys), pieces)
