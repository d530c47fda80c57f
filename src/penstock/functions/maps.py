"""Functions on maps (sql-reference 2.12). A map is kept sorted by key, so KEYS and VALUES are so.

    MAP['x', 4]  m['x']          "MAP" and "[]" in the table
    MAP_KEYS MAP_VALUES MAP_CONTAINS_KEY MAP_CONCAT

Of equal keys in one map the last wins. CARDINALITY is with the arrays.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from penstock.data.batch import Column
from penstock.data.gather import concat_columns, take_column
from penstock.data.nested import build_map, explode, fields, implode
from penstock.data.types import (
    BINARIES,
    BOOLEAN,
    INTEGERS,
    STRINGS,
    Kind,
    SqlType,
    array_of,
)
from penstock.functions.arrays import picked
from penstock.functions.coercion import common_type
from penstock.functions.definition import Literals, Overload, Types, define_typed
from penstock.functions.ragged import aligned, joined, matches, offsets_of


def map_type(keys: Types, values: Types) -> SqlType | None:
    """The type of a map built from these; None where keys or values have no common type."""
    key = common_type(keys) if keys else SqlType(Kind.NULL)
    value = common_type(values) if values else SqlType(Kind.NULL)
    if key is None or value is None or key.kind is Kind.MAP or (keys and key.kind is Kind.NULL):
        return None
    return SqlType(Kind.MAP, children=(key, value.with_nullable(True)))


@define_typed("MAP", "MAP[key, value, …]")
def map_(types: Types, literals: Literals) -> Overload | None:
    if len(types) % 2:
        return None
    type = map_type(types[::2], types[1::2])
    if type is None:
        return None

    def kernel(args: Sequence[Column], n: int) -> Column:
        if not args:
            return Column(type, np.zeros((1, 2), np.uint64))
        columns = aligned(args)
        rows, k = len(columns[0]), len(columns) // 2
        order = np.ascontiguousarray(np.arange(rows * k).reshape(k, rows).T.reshape(-1))
        keys = take_column(concat_columns(columns[::2]), order)
        values = take_column(concat_columns(columns[1::2]), order)
        return build_map(type, np.arange(rows + 1) * k, keys, values)

    wanted = type.children * (len(types) // 2)
    return Overload(wanted, type, kernel, strict=False, nullable=False)


@define_typed("$MAP_OF", "array of (key, value)")
def map_of_entries(types: Types, literals: Literals) -> Overload | None:
    """MAP(SELECT key, value …) from its sorted entries, so that the largest value wins."""
    if len(types) != 1 or types[0].kind is not Kind.ARRAY:
        return None
    entry = types[0].children[0]
    type = map_type(entry.children[:1], entry.children[1:]) if len(entry.children) == 2 else None
    if type is None:
        return None

    def kernel(args: Sequence[Column], n: int) -> Column:
        x = explode(args[0])
        keys, values = fields(x.columns[0])
        return build_map(type, x.offsets, keys, values)

    return Overload(types, type, kernel)


def _with_key(map_: SqlType, given: SqlType) -> tuple[SqlType, SqlType] | None:
    """(map type, key type) in which a key is looked up: both hold the map's keys and the given
    one, which cut to the type of the others would be another key."""
    key, value = map_.children
    if key.kind is Kind.NULL:
        return map_, given
    common = common_type([key, given])
    family = next((f for f in (INTEGERS, STRINGS, BINARIES) if key.kind in f), {key.kind})
    if common is None or common.kind not in family:
        return None
    wide = common.with_nullable(key.nullable)
    return replace(map_, children=(wide, value)), common


@define_typed("[]", "map[key]")
def lookup(types: Types, literals: Literals) -> Overload | None:
    if len(types) != 2 or types[0].kind is not Kind.MAP:
        return None
    wanted_types = _with_key(*types)
    if wanted_types is None:
        return None

    def kernel(args: Sequence[Column], n: int) -> Column:
        m, wanted = aligned(args)
        x = explode(m)
        hits = np.flatnonzero(matches(x, wanted))
        at = np.full(len(m), -1, np.int64)
        rows = x.rows[hits]
        at[rows] = hits - x.offsets[rows]
        return picked(x, at, child=1)

    return Overload(wanted_types, types[0].children[1], kernel, nullable=True)


@define_typed("MAP_CONTAINS_KEY", "MAP_CONTAINS_KEY(map, key)")
def contains_key(types: Types, literals: Literals) -> Overload | None:
    if len(types) != 2 or types[0].kind is not Kind.MAP:
        return None
    wanted_types = _with_key(*types)
    if wanted_types is None:
        return None

    def kernel(args: Sequence[Column], n: int) -> Column:
        m, wanted = aligned(args)
        x = explode(m)
        counts = offsets_of(matches(x, wanted).astype(np.int64))[x.offsets]
        return Column(BOOLEAN, (np.diff(counts) > 0).view(np.uint8))

    return Overload(wanted_types, BOOLEAN, kernel)


def _side(name: str, child: int) -> None:
    @define_typed(name, f"{name}(map)")
    def resolver(types: Types, literals: Literals) -> Overload | None:
        if len(types) != 1 or types[0].kind is not Kind.MAP:
            return None
        result = array_of(types[0].children[child])

        def kernel(args: Sequence[Column], n: int) -> Column:
            x = explode(args[0])
            return implode(result, x.offsets, (x.columns[child],))

        return Overload(types, result, kernel)


_side("MAP_KEYS", 0)
_side("MAP_VALUES", 1)


@define_typed("MAP_CONCAT", "MAP_CONCAT(map, map)")
def map_concat(types: Types, literals: Literals) -> Overload | None:
    common = common_type(types) if len(types) == 2 else None
    if common is None or common.kind is not Kind.MAP:
        return None

    def kernel(args: Sequence[Column], n: int) -> Column:
        a, b = (explode(c) for c in aligned(args))
        sides = [[(x.columns[i], x.offsets[:-1], x.lengths) for x in (a, b)] for i in (0, 1)]
        offsets, keys = joined(sides[0])
        return build_map(common, offsets, keys, joined(sides[1])[1])

    return Overload((common, common), common, kernel)
