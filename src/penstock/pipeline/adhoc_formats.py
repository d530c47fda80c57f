"""Answers of ad-hoc queries as bytes, in the formats of contract section 5.

    Arrow table ─► text | json | arrow_ipc | parquet | hash

Columns of one name stay apart: where a format finds values by name, the later ones are numbered
(`x`, `x_1`).
"""

from __future__ import annotations

import datetime
import decimal
import hashlib
import io
from collections.abc import Callable, Iterator
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.ipc
import pyarrow.parquet

ROWS_PER_CHUNK = 10_000
#: 0001-01-01 and 9999-12-31 as days since 1970
_FIRST_DAY, _LAST_DAY = -719_162, 2_932_896

CONTENT_TYPES = {
    "text": "text/plain",
    "json": "application/json",
    "arrow_ipc": "application/octet-stream",
    "parquet": "application/octet-stream",
    "hash": "text/plain",
}


def _named_apart(table: pa.Table) -> pa.Table:
    """The table under names that are all different."""
    taken = set(table.column_names)
    if len(taken) == table.num_columns:
        return table
    names: list[str] = []
    for name in table.column_names:
        number, free = 0, name
        while free in names or (number and free in taken):
            number += 1
            free = f"{name}_{number}"
        names.append(free)
    return table.rename_columns(names)


def _rows(table: pa.Table) -> Iterator[tuple[object, ...]]:
    return zip(*(c.to_pylist() for c in table.columns), strict=True)


def _read_as(t: pa.DataType, leaf: Callable[[pa.DataType], pa.DataType]) -> pa.DataType:
    """Type `t` with `leaf` of the types inside it."""
    if pa.types.is_list(t):
        return pa.list_(_read_as(t.value_type, leaf))
    if pa.types.is_map(t):
        number = pa.types.is_decimal(t.key_type)  # no key of a JSON object
        key = pa.string() if number else _read_as(t.key_type, leaf)
        return pa.map_(key, _read_as(t.item_type, leaf))
    if pa.types.is_struct(t):
        return pa.struct([f.with_type(_read_as(f.type, leaf)) for f in t])
    return leaf(t)


def _as_text_type(t: pa.DataType) -> pa.DataType:
    return pa.string() if pa.types.is_float32(t) or t == pa.time64("ns") else t


def _day_as_text(t: pa.DataType) -> pa.DataType:
    return pa.string() if pa.types.is_timestamp(t) or pa.types.is_date(t) else t


def _is_far(array: pa.Array) -> bool:
    """Whether there is a day outside the years 1 to 9999, which are all that Python knows."""
    t = array.type
    if pa.types.is_map(t):
        return _is_far(array.keys) or _is_far(array.items)
    if pa.types.is_list(t):
        return _is_far(array.flatten())
    if pa.types.is_struct(t):
        return any(map(_is_far, array.flatten()))
    if _day_as_text(t) == t:
        return False
    ends = pc.min_max(array.cast(pa.date32(), safe=False).cast(pa.int32()))
    least, most = (ends[name].as_py() for name in ("min", "max"))
    return least is not None and not (least >= _FIRST_DAY and most <= _LAST_DAY)


def _shown(table: pa.Table) -> pa.Table:
    """`table` with what Python has no type for: a REAL is the double that is written like it
    (1.1, not 1.100000023841858), nanoseconds of a TIME are text, and so are days that are far
    away."""
    columns = []
    for column in table.columns:
        if any(map(_is_far, column.chunks)):
            column = column.cast(_read_as(column.type, _day_as_text))
        text = _read_as(column.type, _as_text_type)
        if text == column.type:
            columns.append(column)
            continue
        short = column.cast(text)
        if column.type == pa.time64("ns"):
            columns.append(pc.utf8_rtrim(pc.utf8_rtrim(short, "0"), "."))
            continue
        double = _read_as(column.type, lambda t: pa.float64() if pa.types.is_float32(t) else t)
        columns.append(short.cast(_read_as(double, _as_text_type)))
    return pa.table(columns, names=table.column_names)


def _as_json(table: pa.Table) -> Iterator[bytes]:
    table = _shown(_named_apart(table))
    for batch in table.to_batches(max_chunksize=ROWS_PER_CHUNK):
        rows = batch.to_pylist(maps_as_pydicts="strict")
        lines = (orjson.dumps(row, _plain, orjson.OPT_NON_STR_KEYS) for row in rows)
        yield b"".join(line + b"\n" for line in lines)


def _plain(value: object) -> object:
    if isinstance(value, decimal.Decimal):
        return orjson.Fragment(format(value, "f"))
    if isinstance(value, bytes):
        return list(value)
    if isinstance(value, datetime.timedelta):
        return str(value)
    if isinstance(value, pa.MonthDayNano):
        return _interval(value)
    if isinstance(value, int):  # wider than 64 bits
        return orjson.Fragment(str(value))
    return str(value)


def _interval(value: pa.MonthDayNano) -> str:
    """As DuckDB writes it, with all months in one number: `14 months 3 days 04:05:06.5`."""
    micros = abs(value.nanoseconds) // 1000
    seconds, fraction = divmod(micros, 1_000_000)
    parts = [f"{n} {unit}" for n, unit in ((value.months, "months"), (value.days, "days")) if n]
    if micros or not parts:
        sign = "-" if value.nanoseconds < 0 else ""
        clock = f"{sign}{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"
        parts.append(f"{clock}.{fraction:06}".rstrip("0") if fraction else clock)
    return " ".join(parts)


def _as_text(table: pa.Table) -> Iterator[bytes]:
    """A grid as psql draws it; widths come from the whole result, which is read twice so that
    its texts are never all in memory."""
    header = list(table.column_names)
    batches = _shown(table).to_batches(max_chunksize=ROWS_PER_CHUNK)
    widths = [len(name) for name in header]
    for batch in batches:
        for i, column in enumerate(batch.columns):
            widths[i] = max(widths[i], pc.max(pc.utf8_length(_texts(column))).as_py() or 0)
    rule = "+" + "+".join("-" * (w + 2) for w in widths) + "+\n"
    names = " | ".join(f"{name:<{w}}" for name, w in zip(header, widths, strict=True))
    yield f"{rule}| {names} |\n{rule}".encode()
    for batch in batches:
        columns = zip(batch.columns, widths, strict=True)
        cells = [pc.utf8_rpad(_texts(column), w) for column, w in columns]
        lines = pc.binary_join_element_wise(*cells, " | ").to_pylist()
        yield "".join(f"| {line} |\n" for line in lines).encode()
    yield rule.encode()


def _texts(column: pa.Array) -> pa.Array:
    """`_text` of each value, without Python where Arrow writes the same."""
    t = column.type
    if pa.types.is_integer(t) or pa.types.is_boolean(t) or pa.types.is_string(t):
        return pc.fill_null(column.cast(pa.string()), "")
    return pa.array([_text(v, t) for v in column.to_pylist()], pa.string())


def _text(value: Any, t: pa.DataType) -> str:
    """One cell: NULL is empty, bytes are hex digits, a nested value is [1, 2] or {a: 1}."""
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case float():
            return "NaN" if value != value else str(value)
        case decimal.Decimal():
            return format(value, "f")
        case bytes():
            return value.hex()
        case pa.MonthDayNano():
            return _interval(value)
        case list() if pa.types.is_map(t):
            entries = ((_text(k, t.key_type), _text(v, t.item_type)) for k, v in value)
            return "{" + ", ".join(f"{k}: {v}" for k, v in entries) + "}"
        case list():
            return "[" + ", ".join(_text(v, t.value_type) for v in value) + "]"
        case dict():
            return "{" + ", ".join(f"{f.name}: {_text(value[f.name], f.type)}" for f in t) + "}"
    return str(value)


def _as_arrow(table: pa.Table) -> Iterator[bytes]:
    table, sink = _named_apart(table), io.BytesIO()
    with pyarrow.ipc.new_stream(sink, table.schema) as writer:
        for batch in table.to_batches(max_chunksize=ROWS_PER_CHUNK):
            writer.write_batch(batch)
            yield sink.getvalue()
            sink.seek(0)
            sink.truncate()
    yield sink.getvalue()


def _as_parquet(table: pa.Table) -> Iterator[bytes]:
    sink = io.BytesIO()
    pyarrow.parquet.write_table(_named_apart(table), sink, compression="snappy")
    yield sink.getvalue()


def _as_hash(table: pa.Table) -> Iterator[bytes]:
    """SHA-256 over the sorted rows, so that order does not matter."""
    rows = sorted(orjson.dumps(list(r), default=_plain) for r in _rows(_shown(table)))
    yield hashlib.sha256(b"\n".join(rows)).hexdigest().upper().encode()


FORMATS: dict[str, Callable[[pa.Table], Iterator[bytes]]] = {
    "text": _as_text,
    "json": _as_json,
    "arrow_ipc": _as_arrow,
    "parquet": _as_parquet,
    "hash": _as_hash,
}
