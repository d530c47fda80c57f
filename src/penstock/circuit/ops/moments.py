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

Reference:   n·Σab - Σa·Σb over the group, divided as the table says; NULL where that is by zero.
Incremental: the sums, from which what a touched group shows is read anew.
State: Σa, Σb, Σa·b and a count per group (`penstock.circuit.moments`, `.float_moments`).
Cost:  O(|delta|).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from penstock.circuit.dense import Ids, add_totals, grown, moved
from penstock.circuit.float_moments import products, read_float_moments
from penstock.circuit.floating import Totals
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
    """Over REAL and DOUBLE: the three sums exactly (`penstock.circuit.floating`).

    `specials`: how many rows of each group have a value that is not finite; the result is NaN
    until they are gone."""

    def __init__(self, spec: AggregateSpec) -> None:
        self._result = spec.result
        self._a, self._b, self._divisor = _FORMS[spec.kind]
        self._root = spec.kind.startswith("STDDEV")
        self._sums = {"a": Totals(), "ab": Totals(twice=True)}
        if self._a != self._b:
            self._sums["b"] = Totals()
        self._specials = np.zeros(16, dtype=np.int64)
        self._counts = np.zeros(16, dtype=np.int64)

    def reserve(self, groups: int) -> None:
        for totals in self._sums.values():
            totals.reserve(groups)
        self._specials = grown(self._specials, groups)
        self._counts = grown(self._counts, groups)

    def arrays(self) -> Arrays:
        sums = {f"sum {n}": t.parts for n, t in self._sums.items()}
        huge = {f"huge {n}": t.huge for n, t in self._sums.items()}
        return {**sums, **huge, "specials": self._specials, "counts": self._counts}

    def load(self, arrays: Arrays) -> None:
        for name, totals in self._sums.items():
            totals.parts = the_array(arrays[f"sum {name}"])
            totals.huge = the_array(arrays[f"huge {name}"])
        self._counts = the_array(arrays["counts"])
        self._specials = the_array(arrays["specials"])

    def add(self, rows: GroupedRows) -> None:
        a = rows.args[self._a].values.astype(np.float64, copy=False)
        b = rows.args[self._b].values.astype(np.float64, copy=False)
        groups, weights = rows.groups, rows.weights
        add_totals(groups, weights, self._counts)
        finite = np.isfinite(a) & np.isfinite(b)
        if not finite.all():
            add_totals(groups, np.where(finite, 0, weights), self._specials)
            a, b = np.where(finite, a, 0.0), np.where(finite, b, 0.0)
        self._sums["a"].add(groups, weights, a)
        if self._a != self._b:
            self._sums["b"].add(groups, weights, b)
        values, errors, is_huge = products(a, b)
        total = self._sums["ab"]
        if is_huge.any():
            total.add_huge(groups, weights, values, is_huge)
            total.add_huge(groups, weights, errors, is_huge)
            values, errors = np.where(is_huge, 0.0, values), np.where(is_huge, 0.0, errors)
        total.add_small(groups, weights, values)
        total.add_small(groups, weights, errors)

    @property
    def can_move(self) -> bool:
        return True

    def in_use(self, groups: int) -> npt.NDArray[np.bool_]:
        used: npt.NDArray[np.bool_] = self._counts[:groups] != 0
        used |= self._specials[:groups] != 0
        for totals in self._sums.values():
            used |= totals.in_use(groups)
        return used

    def move(self, old: Ids, new: Ids) -> None:
        for totals in self._sums.values():
            totals.move(old, new)
        self._specials = moved(self._specials, old, new)
        self._counts = moved(self._counts, old, new)

    def read(self, groups: Ids) -> Column:
        out = np.empty(len(groups), dtype=np.float64)
        valid = np.empty(len(groups), dtype=np.uint8)
        a = self._sums["a"].read(groups)
        b = a if self._a == self._b else self._sums["b"].read(groups)
        of_a, of_ab = self._sums["a"], self._sums["ab"]
        of_b = self._sums.get("b", of_a)
        are_all = not any(t.huge.shape[1] for t in self._sums.values())
        read_float_moments(
            *a, *b, *of_ab.read(groups), self._counts[groups], self._specials[groups], groups,
            of_a.parts, of_b.parts, of_ab.parts, are_all, self._divisor, self._a == self._b,
            self._root, out, valid,
        )  # fmt: skip
        with np.errstate(over="ignore"):  # a result beyond REAL is infinite
            values = out.astype(self._result.dtype, copy=False)
        return Column(self._result, values, None if valid.all() else valid)
