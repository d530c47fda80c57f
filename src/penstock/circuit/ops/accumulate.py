"""One aggregate call over all groups: what it keeps per group and how a delta changes it.

    Accumulator.add(delta)    take rows in, by group
    Accumulator.read(groups)  the call's current value for some groups

A row that the call does not count (a NULL argument, a filter that is not TRUE) arrives with
weight 0.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from penstock.circuit.dense import Ids, add_totals, grown, moved
from penstock.circuit.floating import SHIFT, Totals
from penstock.circuit.wide import add_narrow, add_wide, range_words, read_sums
from penstock.data.batch import Array, Column, Weights
from penstock.data.masks import all_set
from penstock.data.types import Kind, SqlType
from penstock.errors import RuntimeSqlError
from penstock.state.changes import Arrays
from penstock.state.parts import Part


@dataclass(frozen=True, slots=True)
class GroupedRows:
    """A delta seen by one call: for every row its group, its weight as the call counts it, and
    the call's arguments. `touched` are the distinct groups, `slots` each row's place there."""

    groups: Ids
    weights: Weights
    args: tuple[Column, ...]
    touched: Ids
    slots: Ids


class Accumulator(ABC):
    """State of one aggregate call, addressed by group."""

    @abstractmethod
    def reserve(self, groups: int) -> None:
        """Make room for group ids below `groups`; to be called before they are used."""

    @abstractmethod
    def add(self, rows: GroupedRows) -> None:
        """Take `rows` in."""

    @abstractmethod
    def read(self, groups: Ids) -> Column:
        """The values of `groups`. Raises RuntimeSqlError where one does not fit its type."""

    @abstractmethod
    def arrays(self) -> Arrays:
        """What is kept per group, by name: arrays whose index is the group."""

    @abstractmethod
    def load(self, arrays: Arrays) -> None:
        """Go on with `arrays`, which an accumulator of this kind had."""

    def parts(self) -> Mapping[str, Part]:
        """What is kept beyond arrays by group."""
        return {}

    @property
    def can_move(self) -> bool:
        """Whether groups may be renumbered (`in_use`, `move`)."""
        return False

    def in_use(self, groups: int) -> npt.NDArray[np.bool_]:
        """bool[groups]: which groups have anything but zeros."""
        raise NotImplementedError

    def move(self, old: Ids, new: Ids) -> None:
        """Renumber: group old[i] becomes new[i], all others are dropped."""
        raise NotImplementedError

    def state_rows(self) -> int:
        """Rows kept beyond one accumulator per group."""
        return 0


class Counts:
    """How many rows every group counts. One is the operator's and shared by all calls that count
    every row, so that the number is in memory, read and saved once."""

    def __init__(self) -> None:
        self.array = np.zeros(16, dtype=np.int64)

    def reserve(self, groups: int) -> None:
        self.array = grown(self.array, groups)

    def move(self, old: Ids, new: Ids) -> None:
        self.array = moved(self.array, old, new)


class Count(Accumulator):
    """COUNT.

    Reference:   the number of rows of the group that the call counts.
    Incremental: plus the weights of the delta.
    State: a number per group; that of `rows`, the operator's, for a call that counts every row.
    Cost:  O(|delta|).
    """

    def __init__(self, result: SqlType, rows: Counts | None = None) -> None:
        self.result = result
        self._is_own = rows is None
        self._counts = rows or Counts()

    def reserve(self, groups: int) -> None:
        if self._is_own:
            self._counts.reserve(groups)

    def arrays(self) -> Arrays:
        return {"counts": self._counts.array} if self._is_own else {}

    def load(self, arrays: Arrays) -> None:
        if self._is_own:
            self._counts.array = the_array(arrays["counts"])

    def add(self, rows: GroupedRows) -> None:
        if self._is_own:
            add_totals(rows.groups, rows.weights, self._counts.array)

    @property
    def can_move(self) -> bool:
        return True

    def in_use(self, groups: int) -> npt.NDArray[np.bool_]:
        used: npt.NDArray[np.bool_] = self._counts.array[:groups] != 0
        return used

    def move(self, old: Ids, new: Ids) -> None:
        if self._is_own:
            self._counts.move(old, new)

    def read(self, groups: Ids) -> Column:
        counts = self._counts.array.take(groups)
        return Column(self.result, counts.astype(self.result.dtype, copy=False))

    @property
    def own_counts(self) -> npt.NDArray[np.int64] | None:
        """By group; None if they are the operator's."""
        return self._counts.array if self._is_own else None


class ExactSum(Accumulator):
    """SUM and AVG of integers and decimals, in 192 bits (see `penstock.circuit.wide`).

    Reference:   Σ value · weight over the group, over Σ weight for AVG; NULL without a value.
    Incremental: plus the same of the delta; what does not fit the result is an error when read.
    State: a sum and a count per group; that of `rows`, the operator's, for a call that counts
           every row.
    Cost:  O(|delta|).
    """

    def __init__(self, result: SqlType, average: bool, rows: Counts | None = None) -> None:
        self.result = result
        self.is_average = average
        self.range = range_words(result)
        self.sums = np.zeros((16, 3), dtype=np.uint64)
        self._is_own = rows is None
        self._counts = rows or Counts()

    def reserve(self, groups: int) -> None:
        self.sums = grown(self.sums, groups)
        if self._is_own:
            self._counts.reserve(groups)

    def arrays(self) -> Arrays:
        return {"sums": self.sums, **({"counts": self._counts.array} if self._is_own else {})}

    def load(self, arrays: Arrays) -> None:
        self.sums = the_array(arrays["sums"])
        if self._is_own:
            self._counts.array = the_array(arrays["counts"])

    def add(self, rows: GroupedRows) -> None:
        values = self.addends(rows.args[0])
        counts = self._counts.array if self._is_own else _NO_COUNTS
        if values.ndim == 2:
            add_wide(rows.groups, rows.weights, values, self.sums, counts)
        else:
            add_narrow(rows.groups, rows.weights, values, self.sums, counts)

    @staticmethod
    def addends(column: Column) -> npt.NDArray[Any]:
        """The values of `column` as int64[n], or as uint64[n, 2] if they do not fit that."""
        values = column.values
        if column.type.kind is Kind.UINT64:
            return np.stack((values, np.zeros_like(values)), axis=1)
        return values if values.ndim == 2 else values.astype(np.int64, copy=False)

    @property
    def own_counts(self) -> npt.NDArray[np.int64] | None:
        """By group; None if they are the operator's."""
        return self._counts.array if self._is_own else None

    @property
    def can_move(self) -> bool:
        return True

    def in_use(self, groups: int) -> npt.NDArray[np.bool_]:
        used: npt.NDArray[np.bool_] = self._counts.array[:groups] != 0
        return used | _any(self.sums[:groups])

    def move(self, old: Ids, new: Ids) -> None:
        self.sums = moved(self.sums, old, new)
        if self._is_own:
            self._counts.move(old, new)

    def read(self, groups: Ids) -> Column:
        out = np.empty((len(groups), 2), dtype=np.uint64)
        valid = np.empty(len(groups), dtype=np.uint8)
        bad = read_sums(
            groups, self.sums, self._counts.array, self.is_average, *self.range, out, valid
        )
        if bad >= 0:
            raise too_large("AVG" if self.is_average else "SUM", self.result, bad)
        values = out if self.result.is_wide else out[:, 0].astype(self.result.dtype)
        return Column(self.result, values, None if all_set(valid) else valid)


class FloatSum(Accumulator):
    """SUM and AVG of REAL and DOUBLE.

    Reference:   Σ value · weight over the group, over Σ weight for AVG, rounded once; NULL without
                 a value.
    Incremental: plus the same of the delta, exactly (`penstock.circuit.floating`).
    State: a sum in parts and a count per group; `specials`: how many of its values are NaN, +∞ and
           -∞, which no sum would give back.
    Cost:  O(|delta|).
    """

    def __init__(self, result: SqlType, average: bool) -> None:
        self._result = result
        self._average = average
        self._totals = Totals()
        self._specials = np.zeros((16, 3), dtype=np.int64)
        self._counts = np.zeros(16, dtype=np.int64)

    def reserve(self, groups: int) -> None:
        self._totals.reserve(groups)
        self._specials = grown(self._specials, groups)
        self._counts = grown(self._counts, groups)

    def arrays(self) -> Arrays:
        return {
            "sums": self._totals.parts,
            "huge": self._totals.huge,
            "specials": self._specials,
            "counts": self._counts,
        }

    def load(self, arrays: Arrays) -> None:
        self._totals.parts = the_array(arrays["sums"])
        self._totals.huge = the_array(arrays["huge"])
        self._counts = the_array(arrays["counts"])
        self._specials = the_array(arrays["specials"])

    def add(self, rows: GroupedRows) -> None:
        values = rows.args[0].values.astype(np.float64, copy=False)
        groups, weights = rows.groups, rows.weights
        add_totals(groups, weights, self._counts)
        finite = np.isfinite(values)
        if not finite.all():
            at = np.flatnonzero(~finite)
            which = np.where(np.isnan(values[at]), 0, np.where(values[at] > 0, 1, 2))
            np.add.at(self._specials, (groups[at], which), weights[at])
            values = np.where(finite, values, 0.0)
        self._totals.add(groups, weights, values)

    @property
    def can_move(self) -> bool:
        return True

    def in_use(self, groups: int) -> npt.NDArray[np.bool_]:
        used = self._totals.in_use(groups)
        used |= (self._counts[:groups] != 0) | _any(self._specials[:groups])
        return used

    def move(self, old: Ids, new: Ids) -> None:
        self._totals.move(old, new)
        self._specials = moved(self._specials, old, new)
        self._counts = moved(self._counts, old, new)

    def read(self, groups: Ids) -> Column:
        total, scaled = self._totals.read(groups)
        counts = self._counts[groups]
        valid = counts > 0
        divisor = np.where(valid, counts, 1) if self._average else 1
        nan, more, less = (self._specials[groups] > 0).T
        with np.errstate(over="ignore"):  # a total beyond the type is infinite
            # a sum is rounded already: adding what is left would round it again, at a tie away
            out = total[:, 0]
            if self._average:
                out = out / divisor + total[:, 1] / divisor
            out = np.ldexp(out, np.where(scaled, SHIFT, 0))
            out[more] = np.inf
            out[less] = -np.inf
            out[nan | (more & less)] = np.nan
            out[~valid] = 0.0
            values = (out + 0.0).astype(self._result.dtype, copy=False)  # never -0.0
        return Column(self._result, values, None if valid.all() else valid.astype(np.uint8))


_NO_COUNTS = np.zeros(0, dtype=np.int64)


def too_large(kind: str, result: SqlType, row: int) -> RuntimeSqlError:
    """Of a SUM or AVG of group number `row` that does not fit its type."""
    return RuntimeSqlError(
        f"{kind} overflows: a group's total does not fit {result}; "
        "cast the argument to a wider type first",
        row=row,
    )


def the_array(entries: Array | Column) -> Array:
    """An entry of `Arrays` that is no column."""
    assert not isinstance(entries, Column)
    return entries


def _any(words: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """bool[n]: which rows of `words` have a word that is not zero."""
    found: npt.NDArray[np.bool_] = np.logical_or.reduce(words != 0, axis=1)
    return found
