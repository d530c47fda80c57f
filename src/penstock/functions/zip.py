"""$ZIP(a, b, …): collections side by side, for UNNEST of several (sql-reference 5.4).

    $ZIP([1, 2], ['a'])      [ROW(1, 'a'), ROW(2, NULL)]

Row i of the result has the i-th children of every collection (key and value of a map), NULL where
one is shorter; a NULL collection is an empty one. Never NULL.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from penstock.data.batch import Column
from penstock.data.gather import take_column
from penstock.data.nested import build_row, explode, implode
from penstock.data.types import Kind, array_of
from penstock.functions.definition import Literals, Overload, Types, define_typed
from penstock.functions.ragged import aligned, offsets_of
from penstock.functions.rows import row_type


@define_typed("$ZIP", "$ZIP(collection, …)")
def zip_(types: Types, literals: Literals) -> Overload | None:
    if not types or any(t.kind not in (Kind.ARRAY, Kind.MAP) for t in types):
        return None
    children = [c.with_nullable(True) for t in types for c in t.children]
    row = row_type([f"${i}" for i in range(len(children))], children)
    type = array_of(row)

    def kernel(args: Sequence[Column], n: int) -> Column:
        exploded = [explode(a) for a in aligned(args)]
        longest = np.max([x.lengths for x in exploded], axis=0)
        offsets = offsets_of(longest)
        owner = np.repeat(np.arange(len(longest)), longest)
        place = np.arange(len(owner)) - offsets[owner]
        columns = []
        for x in exploded:
            at = np.where(place < x.lengths[owner], x.offsets[owner] + place, -1)
            columns += [take_column(c, at, null_at_minus_one=True) for c in x.columns]
        return implode(type, offsets, (build_row(row, columns),))

    return Overload(types, type, kernel, strict=False, nullable=False)
