"""Which rows of an operator's state nothing will ask for again, by lines that only rise.

    GROUP BY window_start     line 12:00     groups of windows before 12:00: no row comes or goes
    l.t <= r.t                line of l.t    rows of r before it: no row of l can match them

What has expired may be dropped at any time, or not at all: the outputs are the same. So nobody
looks for it; it is left out when state is rewritten anyway (a merge of runs, a sweep of groups).

A line is taken over between two steps, and holds for all later ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from penstock.circuit.waterline import Value, behind, largest
from penstock.data.batch import Batch, Column

Mask = npt.NDArray[np.bool_]


class Expiry:
    """Rows are over where any of some columns is behind the line of that column."""

    def __init__(self) -> None:
        # replaced, never changed: merges look at it from their own thread
        self._lines: Mapping[int, Value] = {}

    def advance(self, column: int, line: Batch, shift: int = 0) -> None:
        """Take over the newest value of a line, from the change of its one row."""
        value = largest(line.columns[0], line.weights > 0)
        if value is None:
            return
        before = self._lines.get(column)
        if before is None or value + shift > before:
            self._lines = {**self._lines, column: value + shift}

    @property
    def is_known(self) -> bool:
        """Whether there is a line yet."""
        return bool(self._lines)

    def mask(self, columns: Mapping[int, Column]) -> Mask | None:
        """Which rows are over, judged by some of their columns; None: nothing is known."""
        found: Mask | None = None
        for i, value in self._lines.items():
            if i in columns:
                over = behind(columns[i], value)
                found = over if found is None else found | over
        return found


def over_for_all(expiries: Sequence[Expiry], columns: Mapping[int, Column]) -> Mask | None:
    """Which rows are over for each of several readers; None: none is."""
    found: Mask | None = None
    for expiry in expiries:
        mask = expiry.mask(columns)
        if mask is None:
            return None
        found = mask if found is None else found & mask
    return found if found is not None and found.any() else None
