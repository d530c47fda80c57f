"""ARRAY, MAP, ROW and VARIANT as JSON values: read exactly, read a column at a time, written.

    ARRAY  [v, …]     MAP  {"key": v, …}     ROW  {"field": v, …}     VARIANT  any value

    canonical value    list of canonical values; list of pairs; tuple; the JSON text

A map's keys are JSON strings: a key of another type is spelled as CSV spells it. The fields of a
row are matched as columns are (`match_keys`), and a missing one is NULL where that is allowed.
In every flavor but the default a VARIANT travels as a JSON string (contract section 3).

Not here: scalars (`flavors`, `columns`, `spelling`), which lend their functions to these.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

import orjson

from penstock.data.batch import Column
from penstock.data.json_tape import MAX_DEPTH
from penstock.data.nested_python import nested_from_python, nested_to_python
from penstock.data.types import STRINGS, Kind, SqlType
from penstock.io.formats.json_scan import loads_exact
from penstock.io.formats.scalars import Invalid

Reader = Callable[[Any], Any]
#: key names of an object, names of fields → the key that spells each field, None without one
MatchKeys = Callable[[tuple[str, ...], tuple[str, ...]], tuple[str | None, ...]]


def nested_reader(
    type: SqlType,
    child: Callable[[SqlType], Reader],
    key_text: Callable[[SqlType], Reader],
    match_keys: MatchKeys,
) -> Reader:
    """The exact reading of non-null JSON values of an ARRAY, MAP or ROW; `key_text` reads a key
    from its text. Raises Invalid with the place inside the value."""
    if type.kind is Kind.ARRAY:
        element = _nullable(child(type.children[0]))
        return lambda v: [
            _at(f"[{i}]", element, x) for i, x in enumerate(_checked(v, list, "an array"))
        ]
    if type.kind is Kind.MAP:
        key, value = key_text(type.children[0]), _nullable(child(type.children[1]))
        return lambda v: [
            (_at(f" key '{k}'", key, k), _at(f"['{k}']", value, x))
            for k, x in _checked(v, dict, "an object").items()
        ]
    readers = [_field(t, child(t)) for t in type.children]

    def row(v: Any) -> tuple[Any, ...]:
        found = _checked(v, dict, "an object")
        keys = match_keys(tuple(found), type.names)
        return tuple(
            _at(f".{name}", read, None if k is None else found[k])
            for name, k, read in zip(type.names, keys, readers, strict=True)
        )

    return row


def _checked(value: Any, wanted: type[Any], expected: str) -> Any:
    if not isinstance(value, wanted):
        raise Invalid(f"{_short(value)} where {expected} is expected", _short(value))
    return value


def _nullable(read: Reader) -> Reader:
    return lambda v: None if v is None else read(v)


def _field(type: SqlType, read: Reader) -> Reader:
    if type.nullable:
        return _nullable(read)

    def required(value: Any) -> Any:
        if value is None:
            raise Invalid(f"null or nothing in a field of type {type}", "null")
        return read(value)

    return required


def _at(place: str, read: Reader, value: Any) -> Any:
    try:
        return read(value)
    except Invalid as e:
        text = _short(value) if e.text is None else e.text
        raise Invalid(f"at {place.strip()}: {e.description}", text, e.hint) from None


def _short(value: Any) -> str:
    text = json.dumps(value, default=str, ensure_ascii=False)
    return text if len(text) <= 200 else f"{text[:197]}..."


def quick_nested(
    type_: SqlType,
    values: Sequence[Any],
    read: Callable[[SqlType, list[Any]], Column],
    match_keys: MatchKeys,
) -> Column:
    """JSON values (None: null) as a column, by `read` for the columns of children. Raises
    Invalid where a value is not plainly right."""
    wanted = list if type_.kind is Kind.ARRAY else dict
    if not set(map(type, values)) <= {wanted, type(None)}:
        raise Invalid("not plainly a nested value")
    if type_.kind is Kind.MAP and type_.children[0].kind not in STRINGS:
        raise Invalid("keys must be read from text")
    if type_.kind is Kind.ROW:
        shapes: dict[tuple[str, ...], tuple[str | None, ...]] = {}
        rows: list[tuple[Any, ...] | None] = []
        for v in values:
            if v is None:
                rows.append(None)
                continue
            shape = tuple(v)
            keys = shapes.get(shape)
            if keys is None:
                keys = shapes[shape] = match_keys(shape, type_.names)
            rows.append(tuple([None if k is None else v[k] for k in keys]))
        # a NULL row holds NULLs whatever its fields allow
        has_null = None in rows

        def child(t: SqlType, vs: list[Any]) -> Column:
            return read(t.with_nullable(True) if has_null else t, vs)

        _check_required(type_, rows)
        return nested_from_python(type_, rows, child)
    return nested_from_python(type_, values, read)


def _check_required(type: SqlType, rows: Sequence[Any]) -> None:
    for i, t in enumerate(type.children):
        if not t.nullable and any(r is not None and r[i] is None for r in rows):
            raise Invalid("null in a field that is NOT NULL")


def json_nested(
    column: Column,
    write: Callable[[Column], list[Any]],
    key_texts: Callable[[Column], list[Any]],
) -> list[Any]:
    """ARRAY, MAP or ROW values as what orjson dumps; `write` spells the columns of children."""
    type = column.type
    if type.kind is Kind.MAP:
        keys_first = True

        def spell(c: Column) -> list[Any]:
            nonlocal keys_first
            is_key, keys_first = keys_first, False
            return [str(k) for k in key_texts(c)] if is_key else write(c)

        return [None if v is None else dict(v) for v in nested_to_python(column, spell)]
    values = nested_to_python(column, write)
    if type.kind is Kind.ROW:
        return [None if v is None else dict(zip(type.names, v, strict=True)) for v in values]
    return values


def read_json(text: str) -> Any:
    """The value of a JSON text, with every digit of its numbers. Raises Invalid."""
    try:
        return loads_exact(text.encode())
    except (ValueError, ArithmeticError, RecursionError):
        raise Invalid("the text is not JSON", text) from None


def variant_text(value: Any) -> str:
    """A decoded JSON value as JSON text again, for a VARIANT. Raises Invalid if it is deeper than
    a VARIANT can be."""
    try:
        text = orjson.dumps(value).decode()
    except TypeError:
        text = _spelled(value)
    if text.count("[") + text.count("{") > MAX_DEPTH and _depth(value) > MAX_DEPTH:
        raise Invalid(f"a VARIANT may be nested {MAX_DEPTH} levels deep", f"{text[:200]}...")
    return text


def _depth(value: Any) -> int:
    inside = value.values() if isinstance(value, dict) else value
    return 1 + max(map(_depth, inside), default=0) if isinstance(value, dict | list) else 0


def _spelled(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ",".join(f"{json.dumps(k)}:{_spelled(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_spelled, value)) + "]"
    return str(value) if isinstance(value, Decimal) else json.dumps(value)
