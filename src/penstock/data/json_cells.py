"""JSON records → cells: which bytes of a text hold which column of which row, by one kernel.

    {"insert": {"id": 7, "name": "a"}}      row 0  insert   id    INTEGER 7      name  STRING a
    {"delete": {"id": 8}}                   row 1  delete   id    INTEGER 8      name  MISSING

The grammar is RFC 8259's, strictly, UTF-8 included. A record that is whole but not plainly right
(a field lacks, a key comes twice, half a surrogate pair, …) is marked `doubtful` and gives no rows;
whoever can read it exactly decides. At a record that is not JSON, or not all there, the kernel
stops. So it may be as narrow as it likes, but must never pass what the exact reading refuses.

What a cell's bytes mean is the caller's (`cell_values`).

Source of the records' shapes: contract section 3.
Cost: 1 to 2 ns a byte.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from penstock.data import json_grammar, json_rows
from penstock.data.batch import DELETE, INSERT, UPDATE
from penstock.data.json_grammar import space
from penstock.data.json_rows import IGNORED, MAY_LACK, NULLABLE, event, row
from penstock.data.kernel import kernel

#: how a scan ended: at the end of the text, at a record that does not fit the room, behind the
#: array's bracket, at a record that is not JSON, at one that is not all there
END, FULL, CLOSED, NOT_JSON, UNFINISHED = range(5)
#: update formats
RAW, INSERT_DELETE, DEBEZIUM = range(3)

Ints = npt.NDArray[np.int64]
Bytes = npt.NDArray[np.uint8]


@kernel(
    "void(uint8[::1], int64[::1], int64[::1], uint8[::1], int64[::1], uint8[::1], uint8[:, ::1], "
    "uint8[:, ::1], int64[:, ::1], int64[:, ::1], uint8[::1], int64[::1], int64[:, ::1])",
    helpers=(json_grammar, json_rows),
)
def _scan(
    data: Any, asked: Any, found: Any, names: Any, edges: Any, folds: Any, rules: Any,
    kinds: Any, starts: Any, stops: Any, ops: Any, record_of: Any, records: Any,
) -> None:  # fmt: skip
    """asked = from, end, update format, one value a line, within an array, at its first record.
    found = rows, records, behind the last record, how it ended. records[r] = first byte, behind
    the last, doubtful."""
    at, end, form = asked[0], asked[1], asked[2]
    table, room = (names, edges, folds, rules), (kinds, starts, stops, ops)
    line_wise, in_array, first = asked[3] != 0, asked[4] != 0, asked[5] != 0
    rows, count = 0, 0
    status = 0
    while True:
        before = at
        at = space(data, at, end)
        if at >= end:
            status = 4 if in_array else 0
            break
        if in_array:
            if data[at] == 93:
                at += 1
                status = 2
                break
            if not first:
                if data[at] != 44:
                    status = 3
                    break
                at = space(data, at + 1, end)
                if at >= end:
                    at = before
                    status = 4
                    break
                if data[at] == 93:
                    status = 3
                    break
        if rows + 2 >= ops.shape[0] or count >= records.shape[0]:
            at = before
            status = 1
            break
        start = at
        more = 0
        if data[at] != 123 and data[at] != 91 and not in_array:
            # a bare word or number: only the exact reading can tell where it ends
            status = 3
            break
        if form == 0:
            at, code = row(data, at, end, 1, rows, table, room)
            ops[rows] = 1
            more = 1
        else:
            at, code, more = event(data, at, end, form, rows, table, room)
        if line_wise and code < 2:
            for j in range(start, at):
                if data[j] == 10:
                    code = 2
            j = at
            while j < end and data[j] != 10:
                if data[j] != 32 and data[j] != 9 and data[j] != 13:
                    code = 2
                j += 1
        if code >= 2:
            status = code + 1
            at = start
            break
        records[count, 0], records[count, 1], records[count, 2] = start, at, code
        if code == 0:
            for j in range(more):
                record_of[rows + j] = count
            rows += more
        count += 1
        first = False
    found[0], found[1], found[2], found[3] = rows, count, at, status


@dataclass(frozen=True, slots=True, eq=False)
class Cells:
    """What one scan found. Cell (c, r): `kinds[c, r]` and data[starts[c, r]:stops[c, r]].

    `record_of[r]` is the row's record; `records[k]` = first byte, behind the last, doubtful.
    `stopped` says how the scan ended and `at` behind which byte."""

    data: Bytes
    kinds: Bytes
    starts: Ints
    stops: Ints
    ops: Bytes
    record_of: Ints
    records: Ints
    at: int
    stopped: int

    def __len__(self) -> int:
        return len(self.ops)


class CellReader:
    """Scans for the rows of one table.

    `names`: the columns; a lower-case one matches a key in any case (contract section 3).
    `ignores`, `may_lack`: per operation and column; `can`: per operation.
    """

    def __init__(
        self,
        update_format: int,
        names: Sequence[str],
        nullable: Sequence[bool],
        *,
        ignores: Sequence[Sequence[bool]],
        may_lack: Sequence[Sequence[bool]],
        can: Sequence[bool],
        line_wise: bool = False,
    ) -> None:
        assert (DELETE, INSERT, UPDATE) == (0, 1, 2), "events apply in this order"
        self._form, self._line_wise = update_format, line_wise
        raw = [name.encode() for name in names]
        self._names = np.frombuffer(bytearray(b"".join(raw)), np.uint8)
        self._edges = np.zeros(len(raw) + 1, np.int64)
        np.cumsum([len(r) for r in raw], out=self._edges[1:])
        self._folds = np.array([n == n.lower() for n in names], np.uint8)
        self._rules = np.zeros((3, len(names)), np.uint8)
        for op in range(3):
            for c in range(len(names)):
                rule = (
                    IGNORED * ignores[op][c] + MAY_LACK * may_lack[op][c] + NULLABLE * nullable[c]
                )
                self._rules[op, c] = rule
        # a table without columns has no cell that could say that an operation is refused
        self.is_usable = len(names) > 0 and len({n.lower() for n in names}) == len(names)
        self._refused = tuple(op for op in range(3) if not can[op])

    def scan(
        self, data: Bytes, at: int, end: int, room: int, *, in_array: bool = False, first: bool
    ) -> Cells:
        """The records of data[at:end], as many as `room` rows hold. `in_array`: they stand behind
        an array's opening bracket (`first`) or behind a record of it."""
        n = len(self._folds)
        kinds = np.empty((n, room + 2), np.uint8)
        starts, stops = np.empty((n, room + 2), np.int64), np.empty((n, room + 2), np.int64)
        ops, record_of = np.empty(room + 2, np.uint8), np.empty(room + 2, np.int64)
        records = np.empty((room, 3), np.int64)
        asked = np.array([at, end, self._form, self._line_wise, in_array, first], np.int64)
        found = np.zeros(4, np.int64)
        _scan(data, asked, found, self._names, self._edges, self._folds, self._rules,
              kinds, starts, stops, ops, record_of, records)  # fmt: skip
        rows, count, stopped_at, status = found.tolist()
        records = records[:count]
        for op in self._refused:
            records[record_of[:rows][ops[:rows] == op], 2] = 1
        return Cells(data, kinds[:, :rows], starts[:, :rows], stops[:, :rows], ops[:rows],
                     record_of[:rows], records, stopped_at, status)  # fmt: skip
