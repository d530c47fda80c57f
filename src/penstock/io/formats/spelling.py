"""Columns → lists of values as JSON or CSV spells them.

    json_values(column, flavor)   what orjson dumps: int, float, str, bool, None, exact fragments
    text_array(column, flavor)    the same as an Arrow array, where JSON has plain text or digits
    csv_values(column)            what csv.writer writes: str, int, float

TIMESTAMP is `YYYY-MM-DD HH:MM:SS[.f]` with no trailing zeros in the fraction, DECIMAL has all
digits of its scale, a REAL the shortest text that reads back as the same REAL, NaN and the
infinities are null in JSON. In CSV a NULL string is `NULL` and any other NULL an empty field,
which is how the csv parser tells them apart.

Source: contract section 3 (value encodings and flavors), 7.5.
Cost: 50 to 300 ns a value; DECIMAL and REAL are the slow ones.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from penstock.data.arrow import column_to_arrow
from penstock.data.batch import Column
from penstock.data.types import (
    BINARIES,
    FLOATS,
    INTEGERS,
    STRINGS,
    TIMESTAMP,
    Kind,
    Schema,
    has_kind,
)
from penstock.data.variant_json import json_texts
from penstock.errors import UserError
from penstock.io.formats.flavors import FLAVORS, Flavor
from penstock.io.formats.nested_values import json_nested

_NANOS = {"us": 1000, "ms": 1_000_000}


def check_columns(schema: Schema, format: str) -> None:
    """Raises UserError for columns whose type the encoders cannot write."""
    for f in schema.fields:
        if has_kind(f.type, Kind.INTERVAL_LONG, Kind.INTERVAL_SHORT):
            raise UserError(
                f"column '{f.name}': the {format} format cannot carry values of type {f.type} yet",
                code="ConfigError.InvalidEncoderConfig",
                details={"column": f.name},
            )


def json_values(column: Column, flavor: Flavor) -> list[Any]:
    kind = column.type.kind
    if column.type.children:
        return json_nested(column, lambda c: json_values(c, flavor), csv_values)
    if kind is Kind.VARIANT:
        texts = _texts(json_texts(column))
        if flavor.name != "default":
            return texts
        return [None if t is None else orjson.Fragment(t) for t in texts]
    if kind is Kind.DECIMAL:
        texts = _texts(decimal_array(column))
        if flavor.decimal_text:
            return texts
        return [None if t is None else orjson.Fragment(t) for t in texts]
    if kind is Kind.REAL:
        return _masked(list(column.values), column)  # orjson spells numpy.float32 in full
    if kind in BINARIES:
        spell = _BINARY[flavor.binary]
        values = column_to_arrow(column).to_pylist()
        return [None if v is None else spell(v) for v in values]
    if kind is Kind.DATE and flavor.date == "days":
        return _masked(column.values.tolist(), column)
    if kind is Kind.TIME and flavor.time != "text":
        return _masked((column.values // _NANOS[flavor.time]).tolist(), column)
    if kind in (Kind.TIMESTAMP, Kind.TIMESTAMP_TZ) and flavor.timestamp == "ms":
        return _masked((column.values // 1000).tolist(), column)
    found = text_array(column, flavor)
    return _plain(column) if found is None else _texts(found)


def text_array(column: Column, flavor: Flavor) -> pa.Array | None:
    """The texts of a DECIMAL, or of a date or time that `flavor` writes as a string; NULLs are
    NULL. None for everything else."""
    kind = column.type.kind
    if kind is Kind.DECIMAL:
        return decimal_array(column)
    if kind is Kind.DATE and flavor.date != "days":
        return column_to_arrow(column).cast(pa.string())
    if kind is Kind.TIME and flavor.time == "text":
        return _without_zeros(column_to_arrow(column).cast(pa.string()))
    if kind in (Kind.TIMESTAMP, Kind.TIMESTAMP_TZ) and flavor.timestamp == "text":
        suffix = "+00:00" if kind is Kind.TIMESTAMP_TZ else flavor.timestamp_suffix
        moments = _moments(column)
        return pc.binary_join_element_wise(moments, suffix, "") if suffix else moments
    return None


def csv_values(column: Column) -> list[Any]:
    kind = column.type.kind
    if column.type.children:
        return _json_texts(json_values(column, FLAVORS["default"]))
    if kind is Kind.VARIANT:
        return _texts(json_texts(column))
    if kind is Kind.DECIMAL:
        values: list[Any] = _texts(decimal_array(column))
    elif kind is Kind.REAL:
        values = _masked([str(v) for v in column.values], column)
    elif kind is Kind.BOOLEAN:
        values = _masked([("false", "true")[v] for v in column.values.tolist()], column)
    elif kind in BINARIES:
        values = [None if v is None else str(list(v)) for v in column_to_arrow(column).to_pylist()]
    else:
        values = _plain(column)
    if kind in STRINGS and column.valid is not None:
        return ["NULL" if v is None else v for v in values]
    return values


def _json_texts(values: list[Any]) -> list[Any]:
    option = orjson.OPT_SERIALIZE_NUMPY
    return [None if v is None else orjson.dumps(v, option=option).decode() for v in values]


def decimal_array(column: Column) -> pa.Array:
    """Plain decimal notation with all digits of the scale."""
    texts = column_to_arrow(column).cast(pa.string())
    if (column.type.scale or 0) < 6:
        return texts
    # Arrow turns to exponents for small values of large scale
    small = pc.match_substring(texts, "E")
    if not pc.any(small).as_py():
        return texts
    plain = [format(Decimal(t), "f") for t in texts.filter(small).to_pylist()]
    return pc.replace_with_mask(texts, small.fill_null(False), pa.array(plain, pa.string()))


def _plain(column: Column) -> list[Any]:
    kind = column.type.kind
    if kind in INTEGERS or kind in FLOATS:
        return _masked(column.values.tolist(), column)
    if kind is Kind.BOOLEAN:
        return _masked(column.values.astype(bool).tolist(), column)
    found = text_array(column, FLAVORS["default"])
    if found is not None:
        return _texts(found)
    if kind is Kind.NULL:
        return [None] * len(column)
    return _texts(column_to_arrow(column))


def _moments(column: Column) -> pa.Array:
    naive = column.with_type(TIMESTAMP)
    return _without_zeros(column_to_arrow(naive).cast(pa.string()))


def _without_zeros(texts: pa.Array) -> pa.Array:
    """The fraction without trailing zeros, and without the point if nothing is left of it."""
    return pc.utf8_rtrim(pc.utf8_rtrim(texts, "0"), ".")


def _texts(array: pa.Array) -> list[Any]:
    values: list[Any] = array.to_pylist()
    return values


def _masked(values: list[Any], column: Column) -> list[Any]:
    if column.valid is None:
        return values
    valid: npt.NDArray[np.uint8] = column.valid
    return [v if ok else None for v, ok in zip(values, valid.tolist(), strict=True)]


_BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"


def _to_base58(value: bytes) -> str:
    number = int.from_bytes(value, "big")
    digits = ""
    while number:
        number, digit = divmod(number, 58)
        digits = _BASE58[digit] + digits
    return "1" * (len(value) - len(value.lstrip(b"\0"))) + digits


_BINARY: dict[str, Callable[[bytes], Any]] = {
    "bytes": list,
    "hex": lambda v: "0x" + v.hex(),
    "base58": _to_base58,
}
