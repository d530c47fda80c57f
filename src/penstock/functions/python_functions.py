"""User-defined functions in Python: the text of a `udf.py` that comes with a program.

    CREATE FUNCTION slug(s VARCHAR) RETURNS VARCHAR;        the declaration, without a body

    import pyarrow.compute as pc                            udf.py
    def slug(s):
        return pc.replace_substring(pc.utf8_lower(s), " ", "-")

A function gets one Arrow array per parameter, all of the same length, of the Arrow types of
`penstock.data.arrow`, with NULLs in them, and answers an array (or what `pyarrow.array` takes) of
that length. It must depend on its arguments only, row by row: a deleted row is computed again, and
must come out as the inserted one did. Functions of one text are called one at a time.

    CREATE AGGREGATE product(x DOUBLE) RETURNS DOUBLE;      an aggregate

    def product(x):
        return [math.prod(values) for values in x.to_pylist()]

An aggregate gets one Arrow list array per parameter: for every group the values of its rows,
NULLs included, in one order for all parameters; it answers a value per group, also of no rows.

`PythonFunctions` reads the text without running it, so a program can be compiled where no user
code may run; the first call runs it, once.
"""

from __future__ import annotations

import ast
import threading
import traceback
from collections.abc import Callable, Sequence
from dataclasses import replace
from types import CodeType
from typing import Any

import numpy as np
import pyarrow as pa

from penstock.data.arrow import arrow_type, column_from_arrow, column_to_arrow
from penstock.data.batch import Column
from penstock.data.types import Kind, SqlType
from penstock.errors import RuntimeSqlError, UserError
from penstock.functions import calendar
from penstock.functions.casts import cast_kernel
from penstock.functions.definition import Function, Kernel

FILE = "udf.py"
#: the columns of a call as what the Python function is given
Spread = Callable[[Sequence[Column], int], list[pa.Array]]
_MOMENTS = (calendar.FIRST_DAY * calendar.DAY_US, (calendar.LAST_DAY + 1) * calendar.DAY_US - 1)
#: the least and the greatest value of types that have fewer than their bits
_LIMITS = {
    Kind.DATE: (calendar.FIRST_DAY, calendar.LAST_DAY),
    Kind.TIME: (0, calendar.DAY_US * 1000 - 1),
    Kind.TIMESTAMP: _MOMENTS,
    Kind.TIMESTAMP_TZ: _MOMENTS,
}


class PythonFunctions:
    """The functions that a text defines. Raises ValueError where it is not Python."""

    def __init__(self, source: str) -> None:
        try:
            tree = ast.parse(source, FILE)
            self._code: CodeType = compile(source, FILE, "exec")
        except (SyntaxError, ValueError) as e:
            raise ValueError(f"{FILE} is not Python: {e}") from None
        self._signatures = {
            node.name: node.args for node in tree.body if isinstance(node, ast.FunctionDef)
        }
        self._lock = threading.Lock()
        #: held while the text's functions run
        self._calls = threading.Lock()
        self._namespace: dict[str, Any] | None = None

    def declare(self, name: str, params: Sequence[SqlType], result: SqlType) -> Function:
        """The function `name` as declared in SQL. Raises ValueError where the text has no such
        function."""
        self._check(name, len(params))
        kernel = self._kernel(name, result, _whole_columns)
        return Function(name, tuple(params), result, kernel, strict=False, can_fail=True)

    def declare_aggregate(self, name: str, rows: SqlType, count: int, result: SqlType) -> Function:
        """The aggregate `name` as a function of the rows of a group: `rows` is an ARRAY of the
        one parameter's type, or of a ROW with a field for each of the `count` parameters. Raises
        ValueError where the text has no such function."""
        self._check(name, count)
        kernel = self._kernel(name, result, _lists_of(count))
        return Function(name, (rows,), result, kernel, strict=False, can_fail=True)

    def __contains__(self, name: str) -> bool:
        return name in self._signatures

    def _check(self, name: str, count: int) -> None:
        args = self._signatures.get(name)
        if args is None:
            raise ValueError(f"{FILE} defines no function {name}")
        given, least = len(args.posonlyargs) + len(args.args), len(args.defaults)
        if args.vararg is None and not given - least <= count <= given:
            raise ValueError(f"{name} in {FILE} takes {given} arguments, not {count}")

    def _load(self, name: str) -> Callable[..., Any]:
        with self._lock:
            if self._namespace is None:
                namespace: dict[str, Any] = {"__name__": "udf"}
                try:
                    exec(self._code, namespace)
                except BaseException as e:
                    _refuse_to_stop(e)
                    raise _failure(FILE, e) from e
                self._namespace = namespace
        function: Callable[..., Any] = self._namespace[name]
        return function

    def _kernel(self, name: str, result: SqlType, spread: Spread) -> Kernel:
        wanted = arrow_type(result)

        def kernel(args: Sequence[Column], n: int) -> Column:
            function = self._load(name)
            try:
                arrays = spread(args, n)
                with self._calls:
                    answer = function(*arrays)
                array = _as_array(answer, wanted)
            except BaseException as e:  # exit() is not to end the server's thread
                _refuse_to_stop(e)
                raise _failure(f"function {name}", e) from e
            if isinstance(array, pa.ChunkedArray):
                array = array.combine_chunks()
            if len(array) != n and (args or len(array) != 1):
                raise RuntimeSqlError(f"function {name} answered {len(array)} rows for {n}")
            if array.null_count and not result.nullable:
                raise RuntimeSqlError(f"function {name} answered NULL, but RETURNS NOT NULL")
            try:
                return _fitted(result, array)
            except UserError as e:
                raise RuntimeSqlError(f"function {name}: {e}") from None

        return kernel


def _loose(t: SqlType) -> SqlType:
    """`t` with texts and bytes of any length, as Arrow has them."""
    kind = {Kind.CHAR: Kind.VARCHAR, Kind.BINARY: Kind.VARBINARY}.get(t.kind, t.kind)
    has_length = kind in (Kind.VARCHAR, Kind.VARBINARY)
    children = tuple(map(_loose, t.children))
    return replace(t, kind=kind, precision=None if has_length else t.precision, children=children)


def _fitted(result: SqlType, array: pa.Array) -> Column:
    """The answer as a column: texts cut and padded as CAST does. Raises UserError for a day or
    time that there is not."""
    loose = _loose(result)
    column = column_from_arrow(loose, array)
    limits = _LIMITS.get(result.kind)
    if limits is not None:
        wrong = (column.values < limits[0]) | (column.values > limits[1])
        if column.valid is not None:
            wrong &= column.valid == 1
        if wrong.any():
            raise UserError(f"an answer is beyond what a {result.with_nullable(True)} can be")
    if loose == result:
        return column
    fit = cast_kernel(loose, result)([column], len(column))
    return Column(result, fit.values, column.valid, fit.heaps)


def _as_array(answer: Any, wanted: pa.DataType) -> pa.Array | pa.ChunkedArray:
    """What a function answers, as it is declared."""
    if isinstance(answer, pa.Array | pa.ChunkedArray):
        return answer.cast(wanted)
    if not hasattr(answer, "__array__"):
        answer = list(answer)  # it is read twice, perhaps
    try:
        return pa.array(answer, wanted)
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        return pa.array(answer).cast(wanted)  # another type, as numbers for a text


def _whole_columns(args: Sequence[Column], n: int) -> list[pa.Array]:
    return [_whole(a, n) for a in args]


def _lists_of(count: int) -> Spread:
    """A list array per parameter, of one array of rows."""

    def lists(args: Sequence[Column], n: int) -> list[pa.Array]:
        array = _whole(args[0], n)
        if count == 1:
            return [array]
        offsets = np.concatenate(([0], np.cumsum(array.value_lengths().to_numpy()))).astype("i4")
        fields = array.flatten().flatten()
        return [pa.ListArray.from_arrays(offsets, field) for field in fields]

    return lists


def _whole(column: Column, n: int) -> pa.Array:
    """All `n` rows, also of a constant."""
    if len(column) == n:
        return column_to_arrow(column)
    valid = None if column.valid is None else np.repeat(column.valid, n)
    return column_to_arrow(
        Column(column.type, np.repeat(column.values, n, axis=0), valid, column.heaps)
    )


def _refuse_to_stop(e: BaseException) -> None:
    """Raise what the terminal sends: Python does so in the main thread, where no worker steps."""
    if isinstance(e, KeyboardInterrupt) and threading.current_thread() is threading.main_thread():
        raise e


def _failure(what: str, e: BaseException) -> RuntimeSqlError:
    lines = [f.lineno for f in traceback.extract_tb(e.__traceback__) if f.filename == FILE]
    where = f" at {FILE} line {lines[-1]}" if lines else ""
    return RuntimeSqlError(f"{what}: {type(e).__name__}: {e}{where}")
