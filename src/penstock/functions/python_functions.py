"""User-defined functions in Python: the text of a `udf.py` that comes with a program.

    CREATE FUNCTION slug(s VARCHAR) RETURNS VARCHAR;        the declaration, without a body

    import pyarrow.compute as pc                            udf.py
    def slug(s):
        return pc.replace_substring(pc.utf8_lower(s), " ", "-")

A function gets one Arrow array per parameter, all of the same length, of the Arrow types of
`penstock.data.arrow`, with NULLs in them, and answers an array (or what `pyarrow.array` takes) of
that length. It must depend on its arguments only, row by row: a deleted row is computed again, and
must come out as the inserted one did.

`PythonFunctions` reads the text without running it, so a program can be compiled where no user
code may run; the first call runs it, once.
"""

from __future__ import annotations

import ast
import threading
import traceback
from collections.abc import Callable, Sequence
from types import CodeType
from typing import Any

import numpy as np
import pyarrow as pa

from penstock.data.arrow import arrow_type, column_from_arrow, column_to_arrow
from penstock.data.batch import Column
from penstock.data.types import SqlType
from penstock.errors import RuntimeSqlError
from penstock.functions.definition import Function, Kernel

FILE = "udf.py"


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
        self._namespace: dict[str, Any] | None = None

    def declare(self, name: str, params: Sequence[SqlType], result: SqlType) -> Function:
        """The function `name` as declared in SQL. Raises ValueError where the text has no such
        function."""
        args = self._signatures.get(name)
        if args is None:
            raise ValueError(f"{FILE} defines no function {name}")
        given, least = len(args.posonlyargs) + len(args.args), len(args.defaults)
        if args.vararg is None and not given - least <= len(params) <= given:
            raise ValueError(f"{name} in {FILE} takes {given} arguments, not {len(params)}")
        kernel = self._kernel(name, result)
        return Function(name, tuple(params), result, kernel, strict=False, can_fail=True)

    def _load(self, name: str) -> Callable[..., Any]:
        with self._lock:
            if self._namespace is None:
                namespace: dict[str, Any] = {"__name__": "udf"}
                try:
                    exec(self._code, namespace)
                except Exception as e:
                    raise _failure(FILE, e) from e
                self._namespace = namespace
        function: Callable[..., Any] = self._namespace[name]
        return function

    def _kernel(self, name: str, result: SqlType) -> Kernel:
        wanted = arrow_type(result)

        def kernel(args: Sequence[Column], n: int) -> Column:
            function = self._load(name)
            try:
                answer = function(*(_whole(a, n) for a in args))
                known = isinstance(answer, pa.Array | pa.ChunkedArray)
                array = (answer if known else pa.array(answer)).cast(wanted)
            except Exception as e:
                raise _failure(f"function {name}", e) from e
            if isinstance(array, pa.ChunkedArray):
                array = array.combine_chunks()
            if len(array) != n and (args or len(array) != 1):
                raise RuntimeSqlError(f"function {name} answered {len(array)} rows for {n}")
            if array.null_count and not result.nullable:
                raise RuntimeSqlError(f"function {name} answered NULL, but RETURNS NOT NULL")
            return column_from_arrow(result, array)

        return kernel


def _whole(column: Column, n: int) -> pa.Array:
    """All `n` rows, also of a constant."""
    if len(column) == n:
        return column_to_arrow(column)
    valid = None if column.valid is None else np.repeat(column.valid, n)
    return column_to_arrow(
        Column(column.type, np.repeat(column.values, n, axis=0), valid, column.heaps)
    )


def _failure(what: str, e: Exception) -> RuntimeSqlError:
    lines = [f.lineno for f in traceback.extract_tb(e.__traceback__) if f.filename == FILE]
    where = f" at {FILE} line {lines[-1]}" if lines else ""
    return RuntimeSqlError(f"{what}: {type(e).__name__}: {e}{where}")
