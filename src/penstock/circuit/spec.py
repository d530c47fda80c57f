"""What an aggregate or an order asks for, in column positions and types.

The circuit's own vocabulary: `penstock.compile` translates plan nodes into it, so that operators
depend on nothing above `data` and `state`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from penstock.data.batch import Batch
from penstock.data.types import SqlType
from penstock.errors import RuntimeSqlError

#: (error, number of the call, rows that `error.row` counts in) → the error as the user sees it
Told = Callable[[RuntimeSqlError, int, Batch], Exception]


@dataclass(frozen=True, slots=True)
class AggregateSpec:
    """One aggregate call over columns of the input.

    `kind` as in `penstock.circuit.ops.accumulators`. Only rows where all `args` are non-NULL
    count, but for those that `takes_nulls` excepts, and (if `filter` is given) whose BOOLEAN
    column `filter` is TRUE; `distinct` counts equal argument values once per group. COUNT may
    have any number of `args`.
    """

    kind: str
    args: tuple[int, ...]
    arg_types: tuple[SqlType, ...]
    result: SqlType
    distinct: bool = False
    filter: int | None = None
    #: per argument; empty: none does
    takes_nulls: tuple[bool, ...] = ()
    #: ARRAY_AGG: (descending, nulls first) of each argument behind the first
    order: tuple[tuple[bool, bool], ...] = ()
    #: columns; of the rows that agree in them one counts, and none may differ in `args`
    within: tuple[int, ...] = ()
    within_types: tuple[SqlType, ...] = ()

    def strict_args(self) -> tuple[int, ...]:
        """The columns in which a NULL keeps a row from counting."""
        if not self.takes_nulls:
            return self.args
        pairs = zip(self.args, self.takes_nulls, strict=True)
        return tuple(a for a, takes in pairs if not takes)

    def counts_every_row(self) -> bool:
        """Whether no row is left out, whatever its values."""
        if self.distinct or self.within or self.filter is not None or self.kind == "COUNTIF":
            return False
        takes_nulls = self.takes_nulls or (False,) * len(self.args)
        pairs = zip(self.arg_types, takes_nulls, strict=True)
        return all(takes or not t.nullable for t, takes in pairs)


@dataclass(frozen=True, slots=True)
class Order:
    """One sort key: a column position, its direction and where its NULLs go."""

    column: int
    descending: bool = False
    nulls_first: bool = True


@dataclass(frozen=True, slots=True)
class Bound:
    """Of a pair of rows: left column `left` + `shift` ≤ right column `right` (`left_is_low`), or ≥.
    Both are whole numbers, dates or timestamps; `shift` is in their units."""

    left: int
    right: int
    shift: int
    left_is_low: bool


@dataclass(frozen=True, slots=True)
class Frame:
    """Which elements a window function looks at, relative to the element's own. `unit`: ROWS
    (copies of a row are rows) or RANGE (in units of the order column's values, peers included).
    Bounds count forward in the order; None: unbounded."""

    unit: str
    start: int | None
    end: int | None

    @property
    def is_bounded(self) -> bool:
        return self.start is not None and self.end is not None


@dataclass(frozen=True, slots=True)
class WindowSpec:
    """One window function over columns of the input.

    `kind`: ROW_NUMBER, RANK, DENSE_RANK; COPY and COPIES LEFT, how many copies of the row come
    before the element's and after it; LAG and LEAD (args: value and perhaps default; `offset`
    rows away), FIRST_VALUE, LAST_VALUE; COUNT, SUM, AVG, MIN, MAX over `frame`.
    """

    kind: str
    args: tuple[int, ...]
    result: SqlType
    frame: Frame | None = None
    offset: int = 1
    ignore_nulls: bool = False
