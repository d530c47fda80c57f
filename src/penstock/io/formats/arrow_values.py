"""Arrow arrays from outside → columns: as other writers spell values, and within our bounds.

    REAL, DOUBLE   any integer, too (the nearest float)
    DATE           the years 0001 to 9999
    TIME           time64, time32 or u64 nanoseconds; within a day
    TIMESTAMP      of any unit, cut to microseconds; the years 0001 to 9999
    ARRAY, MAP, ROW   the same inside

What is not said here is cast as `data.arrow` does. A value that does not fit is an error of the
whole array: who wants the other rows halves it. Cost: a few ns a value.
"""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from penstock.data.arrow import arrow_type, column_from_arrow
from penstock.data.batch import Column
from penstock.data.nested_arrow import nested_from_arrow
from penstock.data.types import FLOATS, Kind, SqlType
from penstock.io.formats import scalars
from penstock.io.formats.scalars import Invalid

_YEARS = "is outside the years 0001 to 9999"
#: least and greatest legal value as a number, and what is wrong with others
_BOUNDS: dict[Kind, tuple[int, int, str]] = {
    Kind.DATE: (scalars.MIN_DAY, scalars.MAX_DAY, _YEARS),
    Kind.TIME: (0, scalars.US_PER_DAY * 1000 - 1, "is not within a day"),
    Kind.TIMESTAMP: (scalars.MIN_US, scalars.MAX_US, _YEARS),
    Kind.TIMESTAMP_TZ: (scalars.MIN_US, scalars.MAX_US, _YEARS),
}
_TIMES = (Kind.TIMESTAMP, Kind.TIMESTAMP_TZ)


def column_of(type_: SqlType, array: pa.Array) -> Column:
    """Raises UserError, Invalid or ArrowException for values that do not fit."""
    if array.null_count and not type_.nullable:
        raise Invalid("NULL in a column that is NOT NULL")
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    if isinstance(array.type, pa.BaseExtensionType):  # Parquet's UUID
        array = array.storage
    if type_.children:
        return nested_from_arrow(type_, array, column_of)
    if type_.kind is Kind.TIME and pa.types.is_uint64(array.type):
        array = array.cast(pa.int64()).cast(pa.time64("ns"))
    if type_.kind in _TIMES and pa.types.is_timestamp(array.type):
        array = _microseconds(array)
    if type_.kind in FLOATS and pa.types.is_integer(array.type):
        array = array.cast(arrow_type(type_), safe=False)
    column = column_from_arrow(type_, array)
    _check_bounds(column)
    return column


def _microseconds(array: pa.Array) -> pa.Array:
    """Toward the past, as the digits of a text are cut."""
    if array.type.unit == "ns":
        array = pc.floor_temporal(array, unit="microsecond")
    return array.cast(pa.timestamp("us", array.type.tz), safe=array.type.unit != "ns")


def _check_bounds(column: Column) -> None:
    bounds = _BOUNDS.get(column.type.kind)
    if bounds is None or not len(column):
        return
    low, high, problem = bounds
    for value in (int(column.values.min()), int(column.values.max())):
        if not low <= value <= high:
            raise Invalid(f"a {column.type.with_nullable(True)} {problem}")
