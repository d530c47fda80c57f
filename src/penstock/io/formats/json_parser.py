"""The json parser: a stream of records → rows of one table.

    bytes ─► records ─► (operation, row) ─► a tuple per row ─► columns
             orjson     json_events         by key shape       columns.quick_json

Two readings of the same rules. The quick one takes a block of lines at a time and works a whole
column at a time; whenever it is unsure of anything, the block is read again exactly, record by
record, and only that reading reports errors. A property test holds the two together.

Bad records never take good ones along; with `array=true` one bad element drops its array.
Source: contract sections 3 and 7.5.
Cost: about 1 µs and 100 ns a column for a clean row; ten times that in a block with a bad one.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import Any

import numpy as np
import orjson

from penstock.data.batch import INSERT, Column, InputBatch
from penstock.data.types import Kind, Schema, has_kind
from penstock.errors import UserError
from penstock.io.contracts import Parsed, ParseError, Parser, ParserState
from penstock.io.formats import json_events
from penstock.io.formats.columns import MISSING, Missing, from_canonical, quick_json
from penstock.io.formats.flavors import FLAVORS, match_keys, reader, spell
from penstock.io.formats.json_scan import Scanner, loads_exact, open_brackets
from penstock.io.formats.options import PARSER_ERROR, Options
from penstock.io.formats.rows import input_batch, merged, table, values_and_holes
from penstock.io.formats.scalars import Invalid

#: lines read at once by the quick reading: few enough to stay in the cache (four times as many
#: run at half the speed), and one bad line makes so many be read exactly
BLOCK_LINES = 1024
#: an unfinished value longer than this is not parsed again until its brackets may be closed
RESCAN_BYTES = 64 * 1024
#: number literals with more digits may not survive a double; found by making all digits equal,
#: which is five times as fast as a regular expression
_LONG_NUMBER = b"0" * 16
_DIGITS_TO_ZERO = bytes(ord("0") if chr(b) in "0123456789." else ord(" ") for b in range(256))
_MAX_SHAPES = 1024

Row = Any
#: a key shape's getter: row → values in column order, MISSING where absent
Getter = Callable[[Row], Sequence[Any]]


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
        self._split = json_events.split(self._update_format)
        self._readers = [reader(t, self._flavor) for t in schema.types]
        self._has_decimals = any(has_kind(t, Kind.DECIMAL, Kind.VARIANT) for t in schema.types)
        self._getters: dict[tuple[int, tuple[str, ...]], Getter] = {}
        self._reset()

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
        cut = len(data) if final else data.rfind(b"\n") + 1
        lines = data[:cut].split(b"\n") if cut else []
        if lines and not lines[-1]:
            lines.pop()
        rest = b""
        at = 0
        while at < len(lines):
            is_fresh = not rest and not self._scanner.is_skipping
            # after half a value, all at once: a value of many lines must not be scanned per block
            end = at + BLOCK_LINES if is_fresh else len(lines)
            block = lines[at:end]
            at = end
            # Invariant: what is left over is a suffix of the data, byte by byte (`state`); so blank
            # lines are passed over here and not dropped from `lines`
            if is_fresh and self._quick_block(list(filter(None, block)), out):
                continue
            text = rest + b"\n".join(block) + b"\n"
            rest = self._read_exactly(text, out, final=final and at >= len(lines))
        rest += data[cut:]
        if not final and data[cut:] and not self._is_line_wise:
            rest = self._read_exactly(rest, out, final=False)
        return rest

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
        if data.rstrip().endswith(b"]"):
            try:
                records = self._loads(data)(data)
            except (ValueError, ArithmeticError, RecursionError):
                records = None
            if isinstance(records, list) and self._quick_records(records, out):
                return b""
        values, rest = self._scanner.scan(data, final=final)
        for value in values:
            self._exact_array(value, out)
        return rest

    # the quick reading

    def _loads(self, text: bytes) -> Callable[[bytes], Any]:
        """orjson, unless a number may have digits that a double would lose."""
        if self._has_decimals and _LONG_NUMBER in text.translate(_DIGITS_TO_ZERO):
            return loads_exact
        return orjson.loads

    def _quick_block(self, lines: list[bytes], out: _Output) -> bool:
        try:
            if self._has_decimals and self._loads(b"\n".join(lines)) is loads_exact:
                records = [loads_exact(line) for line in lines]
            else:
                records = list(map(orjson.loads, lines))
        except (ValueError, ArithmeticError, RecursionError):
            return False
        return self._quick_records(records, out)

    def _quick_records(self, records: list[Any], out: _Output) -> bool:
        """Read all records or none; False leaves everything as it was."""
        try:
            ops, rows = json_events.split_all(self._update_format, records)
            batch = self._quick_batch(ops, rows) if rows else None
        except (KeyError, TypeError, AttributeError, Invalid):
            return False
        if rows:
            if batch is None:
                return False
            out.batches.append(batch)
        self._records += len(records)
        return True

    def _quick_batch(self, ops: list[int] | None, rows: list[Row]) -> InputBatch | None:
        columns_of = self._tuples(ops, rows)
        if columns_of is None:
            return None
        columns: list[Column] = []
        missing: list[Any] = []
        for type_, values in zip(self._table.schema.types, columns_of, strict=True):
            column = quick_json(type_, self._flavor, values)
            if column is None:
                return None
            columns.append(column)
            has_holes = column.valid is not None and MISSING in values
            missing.append(np.array([v is MISSING for v in values]) if has_holes else None)
        kinds = np.full(len(rows), INSERT, np.uint8) if ops is None else np.array(ops, np.uint8)
        return input_batch(self._table, columns, missing, kinds)

    def _tuples(self, ops: list[int] | None, rows: list[Row]) -> list[tuple[Any, ...]] | None:
        """The rows' values, column by column; None when rows are of several kinds."""
        kinds = set(map(type, rows))
        if kinds == {list} and ops is None:
            if set(map(len, rows)) != {len(self._table.schema)}:
                return None
            return list(zip(*rows, strict=True))
        if kinds != {dict}:
            return None
        if ops is None:
            first = tuple(rows[0])
            n = len(self._table.schema)
            getter = self._getter(INSERT, first)
            is_full = len(first) == n and isinstance(getter, itemgetter)
            if is_full and set(map(len, rows)) == {n}:
                # so many keys, and all those of the columns, else KeyError: one shape
                with contextlib.suppress(KeyError):
                    return list(zip(*map(getter, rows), strict=True))
            shapes = set(map(tuple, rows))
            if len(shapes) == 1:
                getter = self._getter(INSERT, shapes.pop())
                return list(zip(*map(getter, rows), strict=True))
            ops = [INSERT] * len(rows)
        getters = {p: self._getter(*p) for p in set(zip(ops, map(tuple, rows), strict=True))}
        pairs = zip(ops, rows, strict=True)
        return list(zip(*[getters[op, tuple(row)](row) for op, row in pairs], strict=True))

    def _getter(self, op: int, shape: tuple[str, ...]) -> Getter:
        """Values in column order of rows with the keys `shape`. Raises Invalid."""
        getter = self._getters.get((op, shape))
        if getter is None:
            self._table.check_operation(op)
            getter = self._make_getter(op, shape)
            if len(self._getters) >= _MAX_SHAPES:
                self._getters.clear()
            self._getters[op, shape] = getter
        return getter

    def _make_getter(self, op: int, shape: tuple[str, ...]) -> Getter:
        schema, table_ = self._table.schema, self._table
        keys = [
            None if table_.ignores(op, c) else key
            for c, key in enumerate(match_keys(shape, schema.names))
        ]
        for c, key in enumerate(keys):
            if key is None and not table_.may_lack(op, c):
                raise _FieldError(
                    schema.names[c], Invalid(f"missing field '{schema.names[c]}'", hint=_HINT_LACK)
                )
        if None not in keys and len(keys) > 1:
            return itemgetter(*keys)
        return lambda row: tuple([MISSING if k is None else row[k] for k in keys])

    # the exact reading

    def _exact_records(self, values: list[Any], out: _Output) -> None:
        ops: list[int] = []
        rows: list[list[Any]] = []
        for value in values:
            self._records += 1
            try:
                read = self._exact_record(value)
            except Invalid as e:
                out.errors.append(self._error(e, value))
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
            out.errors.append(self._error(error, value))
            return
        ops: list[int] = []
        rows: list[list[Any]] = []
        bad = 0
        for record in value:
            self._records += 1
            try:
                for op, row in self._exact_record(record):
                    ops.append(op)
                    rows.append(row)
            except Invalid as e:
                bad += 1
                out.errors.append(self._error(e, record))
        if not bad:
            self._emit(ops, rows, out)

    def _exact_record(self, value: Any) -> list[tuple[int, list[Any]]]:
        if isinstance(value, Invalid):
            raise value
        return [(op, self._exact_row(op, row)) for op, row in self._split(value)]

    def _exact_row(self, op: int, row: Row) -> list[Any]:
        """Canonical values in column order, None for null, MISSING for absent."""
        self._table.check_operation(op)
        schema = self._table.schema
        if isinstance(row, list):
            if len(row) != len(schema):
                raise Invalid(
                    f"a row of {len(row)} values for a table of {len(schema)} columns", spell(row)
                )
            values = [MISSING if self._table.ignores(op, c) else v for c, v in enumerate(row)]
        elif isinstance(row, dict):
            values = list(self._getter(op, tuple(row))(row))
        else:
            raise Invalid("a row must be an object or an array", spell(row))
        if len(schema) == 1 and not isinstance(values, list):
            values = [values]
        for c, (field, read) in enumerate(zip(schema.fields, self._readers, strict=True)):
            value = values[c]
            if value is None:
                if not field.type.nullable:
                    problem = Invalid(f"null in a column of type {field.type}", "null")
                    raise _FieldError(field.name, problem)
            elif type(value) is not Missing:
                try:
                    values[c] = read(value)
                except Invalid as e:
                    text = spell(value) if e.text is None else e.text
                    raise _FieldError(field.name, Invalid(e.description, text, e.hint)) from None
        return values

    def _emit(self, ops: list[int], rows: list[list[Any]], out: _Output) -> None:
        if not rows:
            return
        columns: list[Column] = []
        missing: list[Any] = []
        for c, type_ in enumerate(self._table.schema.types):
            values, holes = values_and_holes([row[c] for row in rows], MISSING)
            columns.append(from_canonical(type_, values))
            missing.append(holes)
        out.batches.append(input_batch(self._table, columns, missing, np.array(ops, np.uint8)))

    def _error(self, e: Invalid, value: Any) -> ParseError:
        name = e.field if isinstance(e, _FieldError) else None
        where = f", column '{name}'" if name else ""
        text = e.text
        if text is None and not isinstance(value, Invalid):
            text = spell(value)
        return ParseError(
            description=f"record {self._records}{where}: {e.description}",
            event_number=self._records,
            field=name,
            invalid_text=text,
            suggestion=e.hint,
        )


_HINT_LACK = "give the field a value, or declare the column with DEFAULT or nullable"


class _FieldError(Invalid):
    def __init__(self, field: str, problem: Invalid) -> None:
        super().__init__(problem.description, problem.text, problem.hint)
        self.field = field


class _Output:
    """What one call has read so far."""

    def __init__(self) -> None:
        self.batches: list[InputBatch] = []
        self.errors: list[ParseError] = []

    def parsed(self) -> Parsed:
        records = sum(map(len, self.batches))
        return Parsed(merged(self.batches), tuple(self.errors), records)


def _update_format(options: Options) -> str:
    known = ("insert_delete", "raw", "debezium", "weighted", "snowflake", "redis")
    chosen = options.choice("update_format", "insert_delete", known)
    if chosen not in known[:3]:
        raise UserError(
            f"json parser: update_format '{chosen}' is not supported for input; "
            f"use one of {', '.join(known[:3])}",
            code="ConfigError.InputFormatNotSupported",
            details={"option": "update_format", "value": chosen},
        )
    return chosen
