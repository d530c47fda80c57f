"""JSON records → rows of one table, exactly, one record and one value at a time.

    a decoded record ─► operations ─► canonical values in column order ─► columns
                        json_events   flavors                             columns

This reading decides what is right, and says what is wrong; the quick one (`json_parser`) asks it
about every record that it is not sure of.

Cost: about 100 µs a record.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from penstock.data.batch import Column
from penstock.data.types import Kind
from penstock.io.contracts import ParseError
from penstock.io.formats import json_events
from penstock.io.formats.columns import MISSING, Missing, from_canonical
from penstock.io.formats.flavors import Flavor, match_keys, reader, spell
from penstock.io.formats.rows import Mask, Rows, Table, values_and_holes
from penstock.io.formats.scalars import Invalid

_MAX_SHAPES = 1024
_HINT_LACK = "give the field a value, or declare the column with DEFAULT or nullable"

Row = Any
#: a key shape's getter: row → values in column order, MISSING where absent
Getter = Callable[[Row], list[Any]]


class ExactReader:
    def __init__(self, table: Table, flavor: Flavor, update_format: str) -> None:
        self._table = table
        self._split = json_events.split(update_format)
        self._readers = [reader(t, flavor) for t in table.schema.types]
        self._getters: dict[tuple[int, tuple[str, ...]], Getter] = {}

    def operations(self, value: Any) -> list[tuple[int, list[Any]]]:
        """A record's operations with their rows. Raises Invalid."""
        if isinstance(value, Invalid):
            raise value
        return [(op, self._row(op, row)) for op, row in self._split(value)]

    def _row(self, op: int, row: Row) -> list[Any]:
        """Canonical values in column order, None for null, MISSING for absent."""
        self._table.check_operation(op)
        schema = self._table.schema
        if isinstance(row, list):
            if self._are_rows(row):
                hint = "set array=true"
                raise Invalid("an array of rows where a row is expected", spell(row), hint)
            if len(row) != len(schema):
                raise Invalid(
                    f"a row of {len(row)} values for a table of {len(schema)} columns", spell(row)
                )
            values = [MISSING if self._table.ignores(op, c) else v for c, v in enumerate(row)]
        elif isinstance(row, dict):
            values = self._getter(op, tuple(row))(row)
        else:
            raise Invalid("a row must be an object or an array", spell(row))
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

    def _are_rows(self, values: list[Any]) -> bool:
        """Whether they cannot be the values of one row, as each is an object."""
        holds_objects = any(t.children or t.kind is Kind.VARIANT for t in self._table.schema.types)
        return bool(values) and not holds_objects and all(isinstance(v, dict) for v in values)

    def rows(self, ops: list[int], rows: list[list[Any]]) -> Rows:
        """The rows that `operations` gave, as columns."""
        columns: list[Column] = []
        missing: list[Mask | None] = []
        for c, type_ in enumerate(self._table.schema.types):
            values, holes = values_and_holes([row[c] for row in rows], MISSING)
            columns.append(from_canonical(type_, values))
            missing.append(holes)
        return Rows(columns, missing, np.array(ops, np.uint8))

    def error(self, e: Invalid, value: Any, number: int) -> ParseError:
        name = e.field if isinstance(e, _FieldError) else None
        where = f", column '{name}'" if name else ""
        text = e.text
        if text is None and not isinstance(value, Invalid):
            text = spell(value)
        return ParseError(
            description=f"record {number}{where}: {e.description}",
            event_number=number,
            field=name,
            invalid_text=text,
            suggestion=e.hint,
        )

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
                hint = json_events.other_format(shape) or _HINT_LACK
                raise _FieldError(
                    schema.names[c], Invalid(f"missing field '{schema.names[c]}'", hint=hint)
                )
        return lambda row: [MISSING if k is None else row[k] for k in keys]


class _FieldError(Invalid):
    def __init__(self, field: str, problem: Invalid) -> None:
        super().__init__(problem.description, problem.text, problem.hint)
        self.field = field
