"""BIT_AND, BIT_OR and BIT_XOR of binary strings, over the array of a group's values.

    "$BIT_OR"([x'0f', x'f0'])  →  x'ff'

Such an aggregate is collected and computed anew (sql-reference 3.3). All strings of a group have
one length; others are an error, which is our choice.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from penstock.data.batch import Column
from penstock.data.nested import explode
from penstock.data.types import BINARIES, Kind
from penstock.data.views import lengths_of, make_views
from penstock.errors import RuntimeSqlError
from penstock.functions.definition import Literals, Overload, Types, define_typed
from penstock.functions.ragged import ragged
from penstock.functions.text_kernels import flat

OPERATIONS = {"BIT_AND": np.bitwise_and, "BIT_OR": np.bitwise_or, "BIT_XOR": np.bitwise_xor}


def _combined(name: str, args: Sequence[Column], n: int) -> Column:
    (arrays,) = args
    exploded = explode(arrays)
    (values,) = exploded.columns
    element = arrays.type.children[0]
    lengths = lengths_of(values.values)
    full = np.flatnonzero(exploded.lengths)
    starts = exploded.offsets[full]
    sizes = np.zeros(len(arrays), np.int64)
    sizes[full] = lengths[starts]
    if (lengths != sizes[exploded.rows]).any():
        raise RuntimeSqlError(f"{name} of binary strings of different lengths")
    data, at = flat(values)
    offsets = np.concatenate((np.zeros(1, np.int64), np.cumsum(sizes)))
    out = np.empty(int(offsets[-1]), np.uint8)
    for size in np.unique(sizes[full]):
        groups = full[sizes[full] == size]
        counts = exploded.lengths[groups]
        members = ragged(exploded.offsets[groups], counts)
        rows = data[at[members][:, None] + np.arange(size)]
        firsts = np.concatenate((np.zeros(1, np.int64), np.cumsum(counts)[:-1]))
        whole = OPERATIONS[name].reduceat(rows, firsts, axis=0)
        out[offsets[groups][:, None] + np.arange(size)] = whole
    views, heaps = make_views(out, offsets, None)
    valid = (exploded.lengths > 0).astype(np.uint8)
    return Column(element.with_nullable(True), views, None if valid.all() else valid, heaps)


def _declare(name: str) -> None:
    @define_typed(f"${name}")
    def resolve(types: Types, literals: Literals) -> Overload | None:
        if len(types) != 1 or types[0].kind is not Kind.ARRAY:
            return None
        element = types[0].children[0]
        if element.kind not in BINARIES:
            return None
        return Overload(types, element, partial(_combined, name), can_fail=True, nullable=True)


for _name in OPERATIONS:
    _declare(_name)
