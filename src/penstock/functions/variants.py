"""Functions on VARIANTs and JSON (sql-reference 2.15), but for those with a lambda.

    PARSE_JSON TO_JSON VARIANTNULL TYPEOF          values
    v[1]  v['k']                                   looking inside ("[]"); NULL where nothing is
    JSON_OBJECT_KEYS JSON_KEYS JSON_EACH_BIGINT …  the text keys of objects
    VARIANT_MERGE

Each works on one run-time type after the other, whole columns at a time, and on nested values a
level at a time. A path is `a.b`, with a key in double quotes if it has other characters than
letters, digits and `_`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from penstock.data.batch import Array, Column
from penstock.data.build import null_column
from penstock.data.gather import concat_columns, take_column
from penstock.data.nested import Offsets, build_map, explode, implode
from penstock.data.types import (
    BIGINT,
    BOOLEAN,
    DATE,
    FLOATS,
    INTEGERS,
    TIME,
    TIMESTAMP,
    VARCHAR,
    VARIANT,
    Kind,
    SqlType,
    array_of,
    decimal,
    map_of,
)
from penstock.data.variant import (
    TAGS,
    VARIANT_MAP,
    assemble,
    can_wrap,
    container,
    groups,
    tags,
    variant_null,
    wrap,
)
from penstock.data.variant_json import parse_json, to_json
from penstock.functions import text
from penstock.functions.arrays import picked
from penstock.functions.casts import safe_cast
from penstock.functions.definition import (
    Function,
    Literals,
    Overload,
    Param,
    Types,
    define,
    define_typed,
)
from penstock.functions.params import ANY_TEXT
from penstock.functions.ragged import aligned, offsets_of
from penstock.functions.ragged import groups as equal_groups
from penstock.functions.variant_casts import from_variant, look_up

ANY_VARIANT = Param("variant", frozenset((Kind.VARIANT,)), VARIANT)


@define("PARSE_JSON", [ANY_TEXT], VARIANT, nullable=True)
def parse(s: Column, n: int) -> Column:
    return parse_json(s)


@define("TO_JSON", [ANY_VARIANT], VARCHAR, nullable=True)
def to_json_(v: Column, n: int) -> Column:
    return to_json(v)


@define("VARIANTNULL", [], VARIANT, nullable=False)
def variantnull(n: int) -> Column:
    return variant_null(1)


def json_struct(result: SqlType) -> Function:
    """jsonstring_as_T(text): the struct T from the JSON of a text, NULL where it is none."""

    def kernel(args: Sequence[Column], n: int) -> Column:
        return from_variant(parse_json(args[0]), result, safe_cast, folded=True)

    nullable = result.with_nullable(True)
    return Function("JSONSTRING_AS", (VARCHAR,), nullable, kernel)


_NAMES = ["", "VARIANT", *(str(SqlType(k)) if k not in (Kind.DECIMAL, Kind.ARRAY, Kind.MAP)
                           else k.value for k in list(TAGS)[1:])]  # fmt: skip


@define("TYPEOF", [ANY_VARIANT], VARCHAR)
def typeof(v: Column, n: int) -> Column:
    return text.from_arrow(pa.array(_NAMES).take(pa.array(tags(v))))


@define_typed("[]", "variant[value]")
def index(types: Types, literals: Literals) -> Overload | None:
    if len(types) != 2 or types[0].kind is not Kind.VARIANT or not can_wrap(types[1]):
        return None
    is_number = types[1].kind in INTEGERS

    def kernel(args: Sequence[Column], n: int) -> Column:
        v, at = aligned(args)
        pieces = []
        for group in groups(v):
            if group.kind is Kind.ARRAY and is_number:
                where = at.values[group.rows].astype(np.int64) - 1
                pieces.append((group.rows, picked(explode(group.values), where)))
            elif group.kind is Kind.MAP:
                keys = take_column(wrap(at), group.rows)
                pieces.append((group.rows, look_up(take_column(v, group.rows), keys)))
        return assemble(VARIANT, len(v), pieces)

    return Overload(types, VARIANT, kernel, nullable=True)


# entries of objects --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class Entries:
    """The entries of the maps among VARIANTs, in order of rows and keys: row, key, value each."""

    rows: Offsets
    keys: Column
    values: Column

    def where(self, mask: Array) -> Entries:
        at = np.flatnonzero(mask)
        return Entries(self.rows[at], take_column(self.keys, at), take_column(self.values, at))


def entries(column: Column) -> Entries:
    for group in groups(column):
        if group.kind is Kind.MAP:
            x = explode(group.values)
            return Entries(group.rows[x.rows], x.columns[0], x.columns[1])
    return Entries(np.zeros(0, np.int64), null_column(VARIANT, 0), null_column(VARIANT, 0))


def text_entries(column: Column) -> Entries:
    """Those with text keys, which are VARCHARs then."""
    found = entries(column)
    found = found.where(tags(found.keys) == TAGS[Kind.VARCHAR])
    return Entries(found.rows, from_variant(found.keys, VARCHAR, safe_cast), found.values)


def _counts(rows: Offsets, n: int) -> Offsets:
    return offsets_of(np.bincount(rows, minlength=n))


@define("JSON_OBJECT_KEYS", [ANY_VARIANT], array_of(VARCHAR))
def json_object_keys(v: Column, n: int) -> Column:
    found = text_entries(v)
    return implode(array_of(VARCHAR), _counts(found.rows, len(v)), (found.keys,))


def quoted_keys(keys: Column) -> pa.Array:
    """Keys as a path has them."""
    words = text.to_arrow(keys)
    plain = pc.match_substring_regex(words, "^[A-Za-z0-9_]+$")
    escaped = pc.replace_substring(pc.replace_substring(words, "\\", "\\\\"), '"', '\\"')
    return pc.if_else(plain, words, pc.binary_join_element_wise('"', escaped, '"', ""))


@define("JSON_KEYS", [ANY_VARIANT], array_of(VARCHAR))
def json_keys(v: Column, n: int) -> Column:
    rows, values = np.arange(len(v)), v
    prefix: pa.Array | None = None
    found: list[tuple[Offsets, Column]] = []
    while True:
        level = text_entries(values)
        if not len(level.rows):
            break
        paths = quoted_keys(level.keys)
        if prefix is not None:
            paths = pc.binary_join_element_wise(prefix.take(pa.array(level.rows)), paths, ".")
        rows, prefix, values = rows[level.rows], paths, level.values
        found.append((rows, text.from_arrow(paths)))
    if not found:
        return implode(array_of(VARCHAR), _counts(np.zeros(0, np.int64), len(v)),
                       (null_column(VARCHAR, 0),))  # fmt: skip
    owner, child = np.concatenate([r for r, _ in found]), concat_columns([c for _, c in found])
    sorted_ = equal_groups(owner, child)
    first = np.flatnonzero(sorted_.is_first)
    words = take_column(child, sorted_.order[first])
    return implode(array_of(VARCHAR), _counts(sorted_.owner[first], len(v)), (words,))


def _whole(values: Column) -> Array:
    """Numbers without a fraction."""
    ok = np.zeros(len(values), np.bool_)
    for group in groups(values):
        if group.kind in FLOATS:
            ok[group.rows] = np.trunc(group.values.values) == group.values.values
        elif group.kind is Kind.DECIMAL:
            type = group.values.type
            cut = safe_cast(type, decimal(38, 0), group.values)
            same = safe_cast(cut.type, type, cut).values == group.values.values
            ok[group.rows] = same.all(axis=1)
        elif group.kind in INTEGERS:
            ok[group.rows] = True
    return ok


def _of_kinds(*kinds: Kind) -> Callable[[Column], Array]:
    wanted = np.array([TAGS[k] for k in kinds], np.uint8)
    return lambda values: np.isin(tags(values), wanted)


def _each(name: str, type: SqlType, fits: Callable[[Column], Array]) -> None:
    result = map_of(VARCHAR, type)

    @define(f"JSON_EACH_{name}", [ANY_VARIANT], result)
    def json_each(v: Column, n: int) -> Column:
        found = text_entries(v)
        found = found.where(fits(found.values))
        values = from_variant(found.values, type, safe_cast)
        if values.valid is not None:
            good = values.valid == 1
            found, values = found.where(good), take_column(values, np.flatnonzero(good))
        return implode(result, _counts(found.rows, len(v)), (found.keys, values))


_each("BIGINT", BIGINT, _whole)
_each("STRING", VARCHAR, _of_kinds(Kind.VARCHAR))
_each("BOOLEAN", BOOLEAN, _of_kinds(Kind.BOOLEAN))
_each("DATE", DATE, _of_kinds(Kind.DATE, Kind.VARCHAR))
_each("TIME", TIME, _of_kinds(Kind.TIME, Kind.VARCHAR))
_each("TIMESTAMP", TIMESTAMP, _of_kinds(Kind.TIMESTAMP, Kind.VARCHAR))


# merging -------------------------------------------------------------------------------------


@define("VARIANT_MERGE", [ANY_VARIANT, ANY_VARIANT], VARIANT)
def variant_merge(a: Column, b: Column, n: int) -> Column:
    x, y = aligned((a, b))
    return merged(x, y)


def merged(a: Column, b: Column) -> Column:
    """Maps united, with maps under one key merged in turn; anything else is b's."""
    both = (tags(a) == TAGS[Kind.MAP]) & (tags(b) == TAGS[Kind.MAP])
    rows = np.flatnonzero(both)
    if not len(rows):
        return b
    left, right = entries(take_column(a, rows)), entries(take_column(b, rows))
    keys = concat_columns([left.keys, right.keys])
    values = concat_columns([left.values, right.values])
    # a key of both maps is a group of two, a's first
    found = equal_groups(np.concatenate((left.rows, right.rows)), keys)
    first = np.flatnonzero(found.is_first)
    size = np.diff(np.append(first, len(found.order)))
    united = take_column(values, found.order[first])
    twice = np.flatnonzero(size == 2)
    if len(twice):
        other = take_column(values, found.order[first[twice] + 1])
        once = np.flatnonzero(size == 1)
        pieces = [
            (once, take_column(united, once)),
            (twice, merged(take_column(united, twice), other)),
        ]
        united = assemble(VARIANT, len(first), pieces)
    offsets = _counts(found.owner[first], len(rows))
    maps = build_map(VARIANT_MAP, offsets, take_column(keys, found.order[first]), united)
    others = np.flatnonzero(~both)
    return assemble(VARIANT, len(a), [(rows, container(maps)), (others, take_column(b, others))])
