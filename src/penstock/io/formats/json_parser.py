"""The json parser: a stream of records → rows of one table.

    bytes ─► cells ──────────────────────► columns        quick: a kernel, many records at a time
             penstock.data.json_cells      cell_columns
    bytes ─► records ─► (operation, row) ─► columns       exact: one record at a time
             json_scan  json_events         flavors

Two readings of the same rules. The quick one leaves every record that it is not sure of to the
exact one, which alone reports errors; their rows come out in the order of the records. Where the
text is no JSON, a stretch of it is read exactly, and the quick reading goes on behind. A property
test holds the two together.

Bad records never take good ones along; with `array=true` one bad element drops its array.
Source: contract sections 3 and 7.5.
Cost: 1 to 2 ns a byte and 10 to 30 ns a value; about 100 µs for a record that is read exactly.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from penstock.data import json_cells
from penstock.data.batch import DELETE, INSERT, UPDATE, Column, InputBatch
from penstock.data.json_cells import Bytes, CellReader, Cells
from penstock.data.json_grammar import MISSING as MISSING_CELL
from penstock.data.types import Schema
from penstock.errors import UserError
from penstock.io.contracts import Parsed, ParseError, Parser, ParserState
from penstock.io.formats.cell_columns import cell_column
from penstock.io.formats.flavors import FLAVORS, spell
from penstock.io.formats.json_exact import ExactReader
from penstock.io.formats.json_scan import Scanner, open_brackets
from penstock.io.formats.options import PARSER_ERROR, Options
from penstock.io.formats.rows import Mask, Rows, input_batch, merged, spliced, table
from penstock.io.formats.scalars import Invalid

#: rows of one scan: what its arrays hold stays in the cache
ROWS_AT_ONCE = 8192
#: bytes, to the end of the line, that are read exactly where the text is no JSON: at first, at most
LINE_BYTES, EXACT_BYTES = 64, 4096
#: an unfinished value longer than this is not parsed again until its brackets may be closed
RESCAN_BYTES = 64 * 1024
_FORMS = {
    "raw": json_cells.RAW,
    "insert_delete": json_cells.INSERT_DELETE,
    "debezium": json_cells.DEBEZIUM,
}


class JsonParser(Parser):
    def __init__(
        self,
        config: Mapping[str, Any] | None,
        schema: Schema,
        key: tuple[int, ...] = (),
        defaults: Sequence[Column | None] = (),
    ) -> None:
        options = Options.of("json parser", PARSER_ERROR, config)
        self._update_format = _update_format(options)
        self._flavor = FLAVORS[options.choice("json_flavor", "default", tuple(FLAVORS))]
        self._is_array = options.boolean("array", False)
        self._is_line_wise = options.choice("lines", "multiple", ("multiple", "single")) == "single"
        options.done()
        self._table = table(schema, key, defaults, "json")
        self._exact = ExactReader(self._table, self._flavor, self._update_format)
        self._cells = self._cell_reader()
        self._reset()

    def _cell_reader(self) -> CellReader:
        t = self._table
        every = range(len(t.schema))
        return CellReader(
            _FORMS[self._update_format],
            t.schema.names,
            [f.nullable for f in t.schema.types],
            ignores=[[t.ignores(op, c) for c in every] for op in (DELETE, INSERT, UPDATE)],
            may_lack=[[t.may_lack(op, c) for c in every] for op in (DELETE, INSERT, UPDATE)],
            can=[op != UPDATE or bool(t.key) for op in (DELETE, INSERT, UPDATE)],
            line_wise=self._is_line_wise,
        )

    def _reset(self) -> None:
        self._pending = b""
        self._scanner = Scanner()
        self._records = 0
        self._depth = 0
        self._rescan_at = 0

    def feed(self, data: bytes) -> Parsed:
        if self._rescan_at:
            self._depth += open_brackets(data)
            self._pending += data
            if self._depth > 0 and len(self._pending) < self._rescan_at:
                return Parsed(())
            self._rescan_at = 0
        else:
            self._pending += data
        out = _Output()
        self._pending = self._read(self._pending, out, final=False)
        if len(self._pending) > RESCAN_BYTES:
            self._depth = open_brackets(self._pending)
            self._rescan_at = 2 * len(self._pending)
        return out.parsed()

    def finish(self) -> Parsed:
        out = _Output()
        self._read(self._pending, out, final=True)
        self._reset()
        return out.parsed()

    def state(self) -> ParserState:
        facts = {"records": self._records, "skipping": self._scanner.is_skipping}
        return ParserState(len(self._pending), facts)

    def restore(self, facts: Mapping[str, Any]) -> None:
        self._records = facts["records"]
        self._scanner = Scanner(is_skipping=facts["skipping"])

    # framing

    def _read(self, data: bytes, out: _Output, *, final: bool) -> bytes:
        if self._records == 0 and data.startswith(b"\xef\xbb\xbf"):
            data = data[3:]
        if not data or data.isspace():
            return b""
        if self._is_array:
            return self._read_arrays(data, out, final=final)
        cut = data.rfind(b"\n") + 1 if self._is_line_wise and not final else len(data)
        at, size = 0, LINE_BYTES
        buffer = np.frombuffer(bytearray(data), np.uint8)
        while at < cut:
            if not self._scanner.is_skipping:
                before = at
                at, stopped = self._quick(buffer, at, cut, out)
                if stopped == json_cells.END:
                    break
                if stopped == json_cells.UNFINISHED and not final and not self._is_line_wise:
                    return data[at:]
                if at > before:
                    size = LINE_BYTES
            # Invariant: what is left over is a suffix of the data, byte by byte (`state`)
            end = data.find(b"\n", min(at + size, cut), cut) + 1 or cut
            rest = self._read_exactly(data[at:end], out, final=final and end == cut)
            # where much is bad, longer stretches; a value of many lines must not be scanned
            # once for each of them, so what does not get on is doubled without end
            size = 2 * size if len(rest) == end - at else min(2 * size, EXACT_BYTES)
            at = end - len(rest)
            if end == cut:
                return data[at:]
        return data[cut:]

    def _read_exactly(self, text: bytes, out: _Output, *, final: bool) -> bytes:
        if not self._is_line_wise:
            values, rest = self._scanner.scan(text, final=final)
            self._exact_records(values, out)
            return rest
        for line in text.split(b"\n"):
            values, _ = Scanner().scan(line, final=True)
            if len(values) > 1:
                shown = line[:1000].decode("utf-8", "replace")
                values = [Invalid("more than one value in a line (lines=single)", shown)]
            self._exact_records(values, out)
        return b""

    def _read_arrays(self, data: bytes, out: _Output, *, final: bool) -> bytes:
        # an array is read once it may be whole
        if not self._scanner.is_skipping and data.rstrip().endswith(b"]"):
            while (end := self._quick_array(data, out)) is not None:
                data = data[end:]
        values, rest = self._scanner.scan(data, final=final)
        for value in values:
            self._exact_array(value, out)
        return rest

    # the quick reading

    def _quick(self, data: Bytes, at: int, end: int, out: _Output) -> tuple[int, int]:
        """Read records of data[at:end] until the end or something that is none; where, and how it
        stopped (`json_cells`)."""
        if not self._cells.is_usable:
            return at, json_cells.NOT_JSON
        while True:
            cells = self._cells.scan(data, at, end, _room(end - at), first=True)
            at = cells.at
            rows, errors = self._rows_of(cells)
            self._records += len(cells.records)
            out.errors += errors
            if len(rows.ops):
                out.batches.append(self._finished(rows))
            if cells.stopped != json_cells.FULL:
                return at, cells.stopped

    def _quick_array(self, data: bytes, out: _Output) -> int | None:
        """Read the array that `data` begins with, all of it or nothing; behind which byte it ends,
        None if it is not there or no JSON."""
        opening = len(data) - len(data.lstrip())
        if not self._cells.is_usable or data[opening : opening + 1] != b"[":
            return None
        buffer = np.frombuffer(bytearray(data), np.uint8)
        found: list[Cells] = []
        at = opening + 1
        while not found or found[-1].stopped == json_cells.FULL:
            room = _room(len(data) - at)
            cells = self._cells.scan(buffer, at, len(data), room, in_array=True, first=not found)
            found.append(cells)
            at = cells.at
        if found[-1].stopped != json_cells.CLOSED:
            return None
        parts: list[Rows] = []
        errors: list[ParseError] = []
        for cells in found:
            rows, wrong = self._rows_of(cells)
            parts.append(rows)
            errors += wrong
            self._records += len(cells.records)
        out.errors += errors
        if not errors:
            out.batches += [self._finished(p) for p in parts if len(p.ops)]
        return at

    def _rows_of(self, cells: Cells) -> tuple[Rows, list[ParseError]]:
        """The rows of a scan in their order, those of doubtful records read exactly."""
        odd = np.zeros(len(cells), np.uint8)
        types = self._table.schema.types
        columns = [cell_column(t, self._flavor, cells, c, odd) for c, t in enumerate(types)]
        missing = [_or_none(kinds == MISSING_CELL) for kinds in cells.kinds]
        read = Rows(columns, missing, cells.ops)
        cells.records[cells.record_of[odd != 0], 2] = 1
        doubtful = np.flatnonzero(cells.records[:, 2])
        if not len(doubtful):
            return read, []
        errors: list[ParseError] = []
        ops: list[int] = []
        rows: list[list[Any]] = []
        record_of: list[int] = []
        for record in doubtful.tolist():
            start, end, _ = cells.records[record].tolist()
            (value,), _ = Scanner().scan(cells.data[start:end].tobytes(), final=True)
            try:
                operations = self._exact.operations(value)
            except Invalid as e:
                errors.append(self._exact.error(e, value, self._records + record + 1))
                continue
            for op, row in operations:
                ops.append(op)
                rows.append(row)
                record_of.append(record)
        kept = np.flatnonzero(cells.records[cells.record_of, 2] == 0)
        exact = self._exact.rows(ops, rows)
        order = np.argsort(
            np.concatenate([cells.record_of[kept], np.array(record_of, np.int64)]), kind="stable"
        )
        return spliced(read, kept, exact, order), errors

    def _finished(self, rows: Rows) -> InputBatch:
        return input_batch(self._table, rows.columns, rows.missing, rows.ops)

    def _exact_records(self, values: list[Any], out: _Output) -> None:
        ops: list[int] = []
        rows: list[list[Any]] = []
        for value in values:
            self._records += 1
            try:
                read = self._exact.operations(value)
            except Invalid as e:
                out.errors.append(self._exact.error(e, value, self._records))
                continue
            for op, row in read:
                ops.append(op)
                rows.append(row)
        self._emit(ops, rows, out)

    def _exact_array(self, value: Any, out: _Output) -> None:
        """One array of records: all of it or nothing."""
        if value is None:
            return
        if not isinstance(value, list):
            error = value
            if not isinstance(value, Invalid):
                error = Invalid(
                    "an array of records is expected", spell(value), "send [record, …] (array=true)"
                )
            self._records += 1
            out.errors.append(self._exact.error(error, value, self._records))
            return
        ops: list[int] = []
        rows: list[list[Any]] = []
        bad = 0
        for record in value:
            self._records += 1
            try:
                for op, row in self._exact.operations(record):
                    ops.append(op)
                    rows.append(row)
            except Invalid as e:
                bad += 1
                out.errors.append(self._exact.error(e, record, self._records))
        if not bad:
            self._emit(ops, rows, out)

    def _emit(self, ops: list[int], rows: list[list[Any]], out: _Output) -> None:
        if rows:
            out.batches.append(self._finished(self._exact.rows(ops, rows)))


def _or_none(mask: Mask) -> Mask | None:
    return mask if mask.any() else None


def _room(size: int) -> int:
    """Rows to make room for in `size` bytes: few enough to stay in the cache."""
    return min(max(size // 24, 16), ROWS_AT_ONCE)


class _Output:
    """What one call has read so far."""

    def __init__(self) -> None:
        self.batches: list[InputBatch] = []
        self.errors: list[ParseError] = []

    def parsed(self) -> Parsed:
        records = sum(map(len, self.batches))
        return Parsed(merged(self.batches), tuple(self.errors), records)


def _update_format(options: Options) -> str:
    known = ("insert_delete", "raw", "debezium")
    chosen = options.text("update_format", "insert_delete")
    if chosen in ("weighted", "snowflake", "redis"):
        raise UserError(
            f"json parser: update_format '{chosen}' is not supported for input; "
            f"use one of {', '.join(known)}",
            code="ConfigError.InputFormatNotSupported",
            details={"option": "update_format", "value": chosen},
        )
    return options.choice("update_format", "insert_delete", known)
