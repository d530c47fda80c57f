"""Arrays as sets and in order: what compares elements with each other (sql-reference 2.11).

    ARRAY_UNION [1, 2], [3, 1]  →  [1, 2, 3]        sorted ascending, no duplicates, NULL first
    ARRAY_DISTINCT [2, 1, 2]    →  [2, 1]           first occurrences in place
    SORT_ARRAY, ARRAY_MAX, ARRAY_MIN

Elements are equal as they are for GROUP BY: NULL to NULL, NaN to NaN. Only ARRAYS_OVERLAP, which
asks for a common *value*, lets NULL match nothing.

Cost: one stable sort of all elements of the column.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from penstock.data.batch import Array, Column
from penstock.data.gather import concat_columns, take_column
from penstock.data.nested import Exploded, explode, implode
from penstock.data.types import BOOLEAN, Kind
from penstock.functions.arrays import is_array
from penstock.functions.coercion import common_type
from penstock.functions.definition import Literals, Overload, Types, define_typed
from penstock.functions.ragged import aligned, groups, kept, offsets_of


def _both(args: Sequence[Column]) -> tuple[Column, Array, Array]:
    """The elements of both arrays, the rows they belong to, and which side they are from."""
    x, y = (explode(a) for a in aligned(args))
    side = np.repeat([0, 1], [len(x.rows), len(y.rows)])
    child = concat_columns([x.columns[0], y.columns[0]])
    return child, np.concatenate((x.rows, y.rows)), side


def _set_operation(name: str, keep: Callable[[Array, Array], Array]) -> None:
    """`keep` decides by whether an element is in the left and in the right array."""

    @define_typed(name, f"{name}(array, array)")
    def resolver(types: Types, literals: Literals) -> Overload | None:
        common = common_type(types) if len(types) == 2 else None
        if common is None or not is_array(common):
            return None

        def kernel(args: Sequence[Column], n: int) -> Column:
            rows = max(map(len, args))
            child, owner, side = _both(args)
            found = groups(owner, child)
            first = np.flatnonzero(found.is_first)
            sides = side[found.order]
            in_left = np.bincount(found.group, sides == 0, len(first)) > 0
            in_right = np.bincount(found.group, sides == 1, len(first)) > 0
            first = first[keep(in_left, in_right)]
            counts = np.bincount(found.owner[first], minlength=rows)
            picked = take_column(child, found.order[first])
            return implode(common, offsets_of(counts), (picked,))

        return Overload((common, common), common, kernel)


_set_operation("ARRAY_UNION", lambda left, right: left | right)
_set_operation("ARRAY_INTERSECT", lambda left, right: left & right)
_set_operation("ARRAY_EXCEPT", lambda left, right: left & ~right)


@define_typed("ARRAYS_OVERLAP", "ARRAYS_OVERLAP(array, array)")
def arrays_overlap(types: Types, literals: Literals) -> Overload | None:
    common = common_type(types) if len(types) == 2 else None
    if common is None or not is_array(common):
        return None
    element = common.children[0].kind
    arrays = [t for t in types if is_array(t)]
    if not all(t.children[0].kind in (Kind.NULL, element) for t in arrays):
        return None

    def kernel(args: Sequence[Column], n: int) -> Column:
        rows = max(map(len, args))
        child, owner, side = _both(args)
        found = groups(owner, child)
        total = len(child)
        sides = side[found.order]
        both = (np.bincount(found.group, sides == 0, total) > 0) & (
            np.bincount(found.group, sides == 1, total) > 0
        )
        hit = both[found.group]
        if child.valid is not None:
            hit &= child.valid[found.order] == 1
        return Column(BOOLEAN, (np.bincount(found.owner, hit, rows) > 0).view(np.uint8))

    return Overload((common, common), BOOLEAN, kernel)


@define_typed("ARRAY_DISTINCT", "ARRAY_DISTINCT(array)")
def array_distinct(types: Types, literals: Literals) -> Overload | None:
    if len(types) != 1 or not is_array(types[0]):
        return None

    def kernel(args: Sequence[Column], n: int) -> Column:
        x = explode(args[0])
        found = groups(x.rows, x.columns[0])
        mask = np.zeros(len(x.rows), np.bool_)
        # the sort is stable, so the first of a group is its first occurrence
        mask[found.order[found.is_first]] = True
        left = kept(x, mask)
        return implode(types[0], left.offsets, left.columns)

    return Overload(types, types[0], kernel)


def _sorted(x: Exploded, *, descending: bool) -> Column:
    found = groups(x.rows, x.columns[0], descending=descending)
    return take_column(x.columns[0], found.order)


@define_typed("SORT_ARRAY", "SORT_ARRAY(array[, ascending])")
def sort_array(types: Types, literals: Literals) -> Overload | None:
    if len(types) not in (1, 2) or not is_array(types[0]):
        return None
    if len(types) == 2 and types[1].kind not in (Kind.BOOLEAN, Kind.NULL):
        return None

    def kernel(args: Sequence[Column], n: int) -> Column:
        a, *rest = aligned(args)
        x = explode(a)
        up = _sorted(x, descending=False)
        if rest and not rest[0].values.all():
            down = _sorted(x, descending=True)
            ascending = np.repeat(rest[0].values, x.lengths) == 1
            here = np.arange(len(up))
            mixed = np.where(ascending, here, here + len(up))
            up = take_column(concat_columns([up, down]), mixed)
        return implode(types[0], x.offsets, (up,))

    return Overload((types[0], *(BOOLEAN for _ in types[1:])), types[0], kernel)


def _extreme(name: str, *, largest: bool) -> None:
    @define_typed(name, f"{name}(array)")
    def resolver(types: Types, literals: Literals) -> Overload | None:
        if len(types) != 1 or not is_array(types[0]):
            return None

        def kernel(args: Sequence[Column], n: int) -> Column:
            x = explode(args[0])
            child = x.columns[0]
            if child.valid is not None:
                x = kept(x, child.valid == 1)
            ordered = _sorted(x, descending=largest)
            at = np.where(x.lengths > 0, x.offsets[:-1], -1)
            return take_column(ordered, at, null_at_minus_one=True)

        return Overload(types, types[0].children[0], kernel, nullable=True)


_extreme("ARRAY_MAX", largest=True)
_extreme("ARRAY_MIN", largest=False)
