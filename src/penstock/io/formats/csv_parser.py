"""The csv parser: lines → inserts into one table, columns in table order.

    bytes ─► whole records ─► arrays of text ─► columns
             csv_frames       pyarrow.csv       columns.quick_text

As with JSON there are two readings: the quick one works on whole blocks, the exact one (Python's
csv module and `scalars`) on blocks the quick one is unsure of, and only that one reports errors.

NULL: an empty field or NULL/null of a nullable column; for strings an empty field is the empty
string. Missing trailing fields count as empty, extra ones are ignored (unless flexible=false).
`event_number` counts records from 1, without the header.

Source: contract sections 3 (CSV bodies) and 7.5.
Cost: about 0.1 µs a field when clean, 1 µs in a block with a bad record.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from penstock.data.batch import INSERT, Column, InputBatch
from penstock.data.types import BINARIES, FLOATS, INTEGERS, STRINGS, Kind, Schema, SqlType
from penstock.io.contracts import Parsed, ParseError, Parser, ParserState
from penstock.io.formats import flavors, scalars
from penstock.io.formats.columns import from_canonical, quick_text
from penstock.io.formats.csv_frames import Framer, is_plain
from penstock.io.formats.json_scan import loads_exact
from penstock.io.formats.options import PARSER_ERROR, Options
from penstock.io.formats.rows import input_batch, table
from penstock.io.formats.scalars import Invalid

_NULLS = ("", "NULL", "null")

# the module's default of 128 kB a field would refuse long documents; there is no per-reader limit
csv.field_size_limit(1 << 30)


class CsvParser(Parser):
    def __init__(
        self,
        config: Mapping[str, Any] | None,
        schema: Schema,
        key: tuple[int, ...] = (),
        defaults: Sequence[Column | None] = (),
    ) -> None:
        o = Options.of("csv parser", PARSER_ERROR, config)
        self._delimiter = o.character("delimiter", ",") or ","
        self._has_header = o.boolean("headers", False)
        quote = o.character("quote", '"') or '"'
        escape = o.character("escape", None)
        double_quote = o.boolean("double_quote", True)
        self._quote = quote if o.boolean("quoting", True) else None
        comment = o.character("comment", None)
        self._comment = comment.encode() if comment else None
        self._is_flexible = o.boolean("flexible", True)
        trim = o.choice("trim", "none", ("none", "headers", "fields", "all"))
        o.done()
        if self._delimiter in (quote, "\n", "\r"):
            raise o.fail("delimiter", "must not be the quote or a line break")
        self._trims = trim in ("fields", "all")
        self._table = table(schema, key, defaults, "csv")
        self._readers = [_text_reader(t) for t in schema.types]
        self._dialect: dict[str, Any] = {
            "delimiter": self._delimiter,
            "quotechar": self._quote,
            "escapechar": escape,
            "doublequote": double_quote,
            "quoting": csv.QUOTE_MINIMAL if self._quote else csv.QUOTE_NONE,
        }
        self._is_simple = not (escape or self._comment or self._trims) and double_quote
        self._framer_args = (self._delimiter, self._quote, escape)
        self._reset()

    def _reset(self) -> None:
        self._framer = Framer(*self._framer_args)
        self._records = 0
        self._awaits_header = self._has_header
        self._width: int | None = None

    def feed(self, data: bytes) -> Parsed:
        return self._read(self._framer.feed(data))

    def finish(self) -> Parsed:
        parsed = self._read(self._framer.finish())
        self._reset()
        return parsed

    def state(self) -> ParserState:
        facts = {
            "records": self._records,
            "width": self._width,
            "awaits_header": self._awaits_header,
        }
        return ParserState(self._framer.unread, facts)

    def restore(self, facts: Mapping[str, Any]) -> None:
        self._records, self._width = facts["records"], facts["width"]
        self._awaits_header = facts["awaits_header"]

    def _read(self, blocks: list[bytes]) -> Parsed:
        batches: list[InputBatch] = []
        errors: list[ParseError] = []
        for block in blocks:
            text = block
            if self._awaits_header:
                text = self._after_header(block, errors)
            if not text or text.isspace():
                continue
            batch = self._quick(text)
            if batch is None:
                batch = self._exact(text, errors)
            if len(batch):
                batches.append(batch)
        return Parsed(tuple(batches), tuple(errors), sum(map(len, batches)))

    def _after_header(self, block: bytes, errors: list[ParseError]) -> bytes:
        """The block without its first record that is neither blank nor a comment."""
        at = 0
        while at < len(block):
            end = self._framer.record_end(block, at)
            line = block[at:end]
            at = end
            if line.strip() and not (self._comment and line.startswith(self._comment)):
                self._awaits_header = False
                self._check_header(line, errors)
                break
        return block[at:]

    def _check_header(self, line: bytes, errors: list[ParseError]) -> None:
        """Fields are taken by their place; a header that has our columns elsewhere is told."""
        names = self._table.schema.names
        header: list[str] = next(self._rows(line.decode("utf-8", "replace")), [])
        for i, (given, name) in enumerate(zip(map(str.strip, header), names, strict=False)):
            if given.lower() != name.lower() and given.lower() in map(str.lower, names):
                errors.append(
                    ParseError(
                        f"the header has '{given}' as field {i + 1}, which is read as column "
                        f"'{name}': fields come in the order of the table's columns",
                        field=name,
                        invalid_text=line.decode("utf-8", "replace").strip(),
                        suggestion=f"write them as {self._delimiter.join(names)}, or declare the "
                        "table's columns in the header's order",
                    )
                )
                return

    # the quick reading

    def _quick(self, block: bytes) -> InputBatch | None:
        if not self._is_simple or not is_plain(block, self._delimiter, self._quote):
            return None
        n = len(self._table.schema)
        try:
            first = next(self._rows(block[: self._framer.record_end(block, 0)].decode()))
            width = max(n, len(first))
            if len(first) < n or (not self._is_flexible and self._width not in (None, len(first))):
                return None
            read = pacsv.read_csv(
                pa.BufferReader(block),
                read_options=pacsv.ReadOptions(
                    use_threads=False,
                    block_size=max(len(block) + 1, 1 << 16),
                    column_names=[str(i) for i in range(width)],
                ),
                parse_options=pacsv.ParseOptions(
                    delimiter=self._delimiter,
                    quote_char=self._quote or False,
                    newlines_in_values=self._quote is not None,
                ),
                convert_options=pacsv.ConvertOptions(
                    include_columns=[str(i) for i in range(n)],
                    column_types={str(i): pa.string() for i in range(n)},
                    strings_can_be_null=False,
                ),
            )
        except (StopIteration, UnicodeDecodeError, csv.Error, pa.ArrowInvalid, pa.ArrowKeyError):
            return None
        columns: list[Column] = []
        for i, type_ in enumerate(self._table.schema.types):
            text = _with_nulls(type_, read.column(i).combine_chunks())
            column = quick_text(type_, text)
            if column is None or (column.valid is not None and not type_.nullable):
                return None
            columns.append(column)
        self._width = self._width or len(first)
        self._records += read.num_rows
        return self._inserts(columns, read.num_rows)

    # the exact reading

    def _rows(self, text: str) -> Any:
        return csv.reader(io.StringIO(text, newline=""), **self._dialect)

    def _exact(self, block: bytes, errors: list[ParseError]) -> InputBatch:
        good: list[list[Any]] = []
        for cells in self._cells(block, errors):
            try:
                good.append(self._exact_row(cells))
            except _FieldError as e:
                errors.append(self._error(e, cells))
        schema = self._table.schema
        columns = [from_canonical(t, [row[i] for row in good]) for i, t in enumerate(schema.types)]
        return self._inserts(columns, len(good))

    def _cells(self, block: bytes, errors: list[ParseError]) -> Any:
        """The records' fields as text; counts them."""
        if self._comment:
            kept = [x for x in block.splitlines(keepends=True) if not x.startswith(self._comment)]
            block = b"".join(kept)
        rows = self._rows(block.decode("utf-8", "surrogateescape"))
        while True:
            try:
                cells = next(rows)
            except StopIteration:
                return
            except csv.Error as e:
                self._records += 1
                errors.append(
                    ParseError(f"record {self._records}: not valid CSV: {e}", self._records)
                )
                continue
            if not cells:
                continue
            self._records += 1
            yield [c.strip() for c in cells] if self._trims else cells

    def _exact_row(self, cells: list[str]) -> list[Any]:
        schema = self._table.schema
        if self._width is None:
            self._width = len(cells)
        if not self._is_flexible and len(cells) != self._width:
            problem = f"{len(cells)} fields where the first record has {self._width}"
            raise _FieldError(None, Invalid(problem, None, "or set flexible=true"))
        cells = cells + [""] * (len(schema) - len(cells))
        out: list[Any] = []
        for field, read, cell in zip(schema.fields, self._readers, cells, strict=False):
            try:
                out.append(_exact_cell(field.type, read, cell))
            except Invalid as e:
                raise _FieldError(field.name, e) from None
        return out

    def _inserts(self, columns: list[Column], n: int) -> InputBatch:
        ops = np.full(n, INSERT, np.uint8)
        return input_batch(self._table, columns, [None] * len(columns), ops)

    def _error(self, e: _FieldError, cells: list[str]) -> ParseError:
        where = f", column '{e.field}'" if e.field else ""
        record = self._delimiter.join(cells)
        text = (record if e.text is None else e.text)[:1000]
        return ParseError(
            description=f"record {self._records}{where}: {e.description}",
            event_number=self._records,
            field=e.field,
            invalid_text=text,
            suggestion=e.hint or self._other_dialect(cells),
        )

    def _other_dialect(self, cells: list[str]) -> str | None:
        """What to set, if a bad record looks as if it were spelt by other options."""
        names = self._table.schema.names
        if self._records == 1 and [c.lower() for c in cells] == [n.lower() for n in names]:
            return "set headers=true"
        if self._records == 1 and cells[0].lstrip()[:1] in ("{", "["):
            return "set format to json, if that is what it is"
        others = [d for d in ",;\t|" if d != self._delimiter and d in cells[0]]
        if len(cells) == 1 < len(names) and others:
            return f"set delimiter to {others[0]!r}"
        return None


class _FieldError(Invalid):
    def __init__(self, field: str | None, problem: Invalid) -> None:
        super().__init__(problem.description, problem.text, problem.hint)
        self.field = field


def _with_nulls(type_: SqlType, text: pa.Array) -> pa.Array:
    if not type_.nullable:
        return text
    nulls = _NULLS[1:] if type_.kind in STRINGS else _NULLS
    is_null = pc.is_in(text, value_set=pa.array(nulls, pa.string()))
    if not pc.any(is_null).as_py():
        return text
    return pc.if_else(is_null, pa.scalar(None, pa.string()), text)


def _exact_cell(type_: SqlType, read: Callable[[str], Any], cell: str) -> Any:
    if type_.nullable and cell in _NULLS and not (cell == "" and type_.kind in STRINGS):
        return None
    if cell == "" and type_.kind not in STRINGS:
        raise Invalid(f"an empty field in a column of type {type_}", "")
    return read(cell)


def _text_reader(type_: SqlType) -> Callable[[str], Any]:
    kind = type_.kind
    if kind in INTEGERS:
        return lambda s: scalars.integer(s, type_)
    if kind in FLOATS:
        return lambda s: scalars.floating(s, type_, special=True)
    if kind is Kind.DECIMAL:
        return lambda s: scalars.decimal(s, type_)
    if kind in BINARIES or type_.children or kind is Kind.VARIANT:
        return lambda s: _json_value(s, type_)
    readers: dict[Kind, Callable[[str], Any]] = {
        Kind.BOOLEAN: scalars.boolean,
        Kind.DATE: scalars.date,
        Kind.TIME: scalars.time,
        Kind.TIMESTAMP: scalars.timestamp,
        Kind.TIMESTAMP_TZ: scalars.timestamp,
        Kind.UUID: scalars.uuid,
    }
    return readers.get(kind, flavors.reader(type_, flavors.FLAVORS["default"]))


def _json_value(text: str, type_: SqlType) -> Any:
    try:
        value = loads_exact(text.encode())
    except (ValueError, ArithmeticError, RecursionError):
        expected = "a JSON array of integers" if type_.kind in BINARIES else "a JSON value"
        raise Invalid(f"{type_.with_nullable(True)} must be {expected}", text) from None
    return flavors.reader(type_, flavors.FLAVORS["default"])(value)
