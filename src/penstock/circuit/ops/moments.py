"""VAR, STDDEV, COVAR, REGR_SXX and REGR_SYY under retractions.

All are the same few sums over the rows where every argument is non-NULL, read differently:

    kind        a  b   divided by       then
    VAR_POP     x  x   n²
    VAR_SAMP    x  x   n·(n-1)
    STDDEV_…    x  x   as VAR_…         square root
    COVAR_POP   y  x   n²
    COVAR_SAMP  y  x   n·(n-1)
    REGR_SXX    x  x   n
    REGR_SYY    y  y   n

State: Σa, Σb, Σa·b and a count per group (`penstock.circuit.moments`, `.float_moments`).
Cost:  O(|delta|).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from penstock.circuit.dense import Ids, grown, moved
from penstock.circuit.float_moments import add_float_moments, read_float_moments
from penstock.circuit.moments import (
    BY_N,
    BY_N_AND_ONE_LESS,
    BY_N_SQUARED,
    add_moments,
    power_of_ten,
    read_moments,
    wide_values,
)
from penstock.circuit.ops.accumulate import Accumulator, GroupedRows, the_array
from penstock.circuit.spec import AggregateSpec
from penstock.circuit.wide import range_words
from penstock.data.batch import Column
from penstock.data.types import FLOATS
from penstock.errors import RuntimeSqlError
from penstock.state.changes import Arrays

#: kind → the arguments that are a and b, and the divisor
_FORMS = {
    "VAR_POP": (0, 0, BY_N_SQUARED),
    "VAR_SAMP": (0, 0, BY_N_AND_ONE_LESS),
    "STDDEV_POP": (0, 0, BY_N_SQUARED),
    "STDDEV_SAMP": (0, 0, BY_N_AND_ONE_LESS),
    "COVAR_POP": (0, 1, BY_N_SQUARED),
    "COVAR_SAMP": (0, 1, BY_N_AND_ONE_LESS),
    "REGR_SXX": (1, 1, BY_N),
    "REGR_SYY": (0, 0, BY_N),
}
KINDS = frozenset(_FORMS)


def moments(spec: AggregateSpec) -> Accumulator:
    """The accumulator of one of `KINDS`."""
    is_float = any(t.kind in FLOATS for t in spec.arg_types)
    return FloatMoments(spec) if is_float else ExactMoments(spec)


class ExactMoments(Accumulator):
    """Over integers and decimals."""

    def __init__(self, spec: AggregateSpec) -> None:
        self._kind = spec.kind
        self._result = spec.result
        self._a, self._b, self._divisor = _FORMS[spec.kind]
        self._root = spec.kind.startswith("STDDEV")
        scales = [t.scale or 0 for t in spec.arg_types]
        # the root of a number of scale 2s has scale s
        given = scales[self._a] if self._root else scales[self._a] + scales[self._b]
        excess = given - (spec.result.scale or 0)
        self._cut, self._factor = power_of_ten(max(0, excess)), power_of_ten(max(0, -excess))
        self._range = range_words(spec.result)
        same = self._a == self._b
        self._sum_a = np.zeros((16, 3), dtype=np.uint64)
        self._sum_b = self._sum_a if same else np.zeros((16, 3), dtype=np.uint64)
        self._sum_ab = np.zeros((16, 6), dtype=np.uint64)
        self._counts = np.zeros(16, dtype=np.int64)

    def reserve(self, groups: int) -> None:
        self._sum_a = grown(self._sum_a, groups)
        self._sum_b = self._sum_a if self._a == self._b else grown(self._sum_b, groups)
        self._sum_ab = grown(self._sum_ab, groups)
        self._counts = grown(self._counts, groups)

    def arrays(self) -> Arrays:
        other = {} if self._a == self._b else {"sum_b": self._sum_b}
        return {"sum_a": self._sum_a, "sum_ab": self._sum_ab, "counts": self._counts, **other}

    def load(self, arrays: Arrays) -> None:
        self._sum_a, self._sum_ab = the_array(arrays["sum_a"]), the_array(arrays["sum_ab"])
        self._sum_b = self._sum_a if self._a == self._b else the_array(arrays["sum_b"])
        self._counts = the_array(arrays["counts"])

    def add(self, rows: GroupedRows) -> None:
        a = wide_values(rows.args[self._a])
        b = a if self._a == self._b else wide_values(rows.args[self._b])
        add_moments(
            rows.groups, rows.weights, a, b, self._a == self._b, self._sum_a, self._sum_b,
            self._sum_ab, self._counts,
        )  # fmt: skip

    @property
    def can_move(self) -> bool:
        return True

    def in_use(self, groups: int) -> npt.NDArray[np.bool_]:
        used: npt.NDArray[np.bool_] = self._counts[:groups] != 0
        for sums in (self._sum_a, self._sum_b, self._sum_ab):
            used = used | np.logical_or.reduce(sums[:groups] != 0, axis=1)
        return used

    def move(self, old: Ids, new: Ids) -> None:
        self._sum_a = moved(self._sum_a, old, new)
        self._sum_b = self._sum_a if self._a == self._b else moved(self._sum_b, old, new)
        self._sum_ab = moved(self._sum_ab, old, new)
        self._counts = moved(self._counts, old, new)

    def read(self, groups: Ids) -> Column:
        out = np.empty((len(groups), 2), dtype=np.uint64)
        valid = np.empty(len(groups), dtype=np.uint8)
        bad = read_moments(
            groups, self._sum_a, self._sum_b, self._sum_ab, self._counts, self._divisor,
            self._factor, self._cut, self._root, self._a == self._b, *self._range, out, valid,
        )  # fmt: skip
        if bad >= 0:
            raise RuntimeSqlError(
                f"{self._kind} overflows: a group's result does not fit {self._result}; "
                "cast the argument to a wider type first",
                row=bad,
            )
        values = out if self._result.is_wide else out[:, 0].astype(self._result.dtype)
        return Column(self._result, values, None if valid.all() else valid)


class FloatMoments(Accumulator):
    """Over REAL and DOUBLE."""

    def __init__(self, spec: AggregateSpec) -> None:
        self._result = spec.result
        self._a, self._b, self._divisor = _FORMS[spec.kind]
        self._root = spec.kind.startswith("STDDEV")
        self._sums = np.zeros((16, 6), dtype=np.float64)
        self._specials = np.zeros(16, dtype=np.int64)
        self._counts = np.zeros(16, dtype=np.int64)

    def reserve(self, groups: int) -> None:
        self._sums = grown(self._sums, groups)
        self._specials = grown(self._specials, groups)
        self._counts = grown(self._counts, groups)

    def arrays(self) -> Arrays:
        return {"sums": self._sums, "specials": self._specials, "counts": self._counts}

    def load(self, arrays: Arrays) -> None:
        self._sums, self._counts = the_array(arrays["sums"]), the_array(arrays["counts"])
        self._specials = the_array(arrays["specials"])

    def add(self, rows: GroupedRows) -> None:
        a = rows.args[self._a].values.astype(np.float64, copy=False)
        b = rows.args[self._b].values.astype(np.float64, copy=False)
        add_float_moments(rows.groups, rows.weights, a, b, self._sums, self._specials, self._counts)

    @property
    def can_move(self) -> bool:
        return True

    def in_use(self, groups: int) -> npt.NDArray[np.bool_]:
        used: npt.NDArray[np.bool_] = np.logical_or.reduce(self._sums[:groups] != 0, axis=1)
        used |= (self._counts[:groups] != 0) | (self._specials[:groups] != 0)
        return used

    def move(self, old: Ids, new: Ids) -> None:
        self._sums = moved(self._sums, old, new)
        self._specials = moved(self._specials, old, new)
        self._counts = moved(self._counts, old, new)

    def read(self, groups: Ids) -> Column:
        out = np.empty(len(groups), dtype=np.float64)
        valid = np.empty(len(groups), dtype=np.uint8)
        read_float_moments(
            groups, self._sums, self._specials, self._counts, self._divisor, self._a == self._b,
            self._root, out, valid,
        )  # fmt: skip
        values = out.astype(self._result.dtype, copy=False)
        return Column(self._result, values, None if valid.all() else valid)
