"""JSON records → row operations, for each `update_format` (contract section 3).

    insert_delete   {"delete": row?, "insert": row?, "update": row?}, applied in this order
    raw             the record is the row, an insert
    debezium        {"payload": {"before": row?, "after": row?}}: delete before, insert after

`split` is the exact reading, which says what is wrong; the quick one is `penstock.data.json_cells`.
A `null` record is no operation (clients send it for an empty list).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from penstock.data.batch import DELETE, INSERT, UPDATE
from penstock.io.formats.flavors import spell
from penstock.io.formats.scalars import Invalid

Operation = tuple[int, Any]
_ORDER = (("delete", DELETE), ("insert", INSERT), ("update", UPDATE))


def other_format(keys: Sequence[str]) -> str | None:
    """What to do about a row with these keys, if it looks like the record of another format."""
    if keys and set(keys) <= {key for key, _ in _ORDER}:
        return "the record is no row but holds one: set update_format=insert_delete"
    if "payload" in keys:
        return "the record is no row but holds one: set update_format=debezium"
    return None


def split(update_format: str) -> Callable[[Any], list[Operation]]:
    return {"insert_delete": _insert_delete, "raw": _raw, "debezium": _debezium}[update_format]


def _insert_delete(record: Any) -> list[Operation]:
    if record is None:
        return []
    if not isinstance(record, dict):
        holds_records = isinstance(record, list) and all(
            isinstance(r, dict) and other_format(tuple(r)) for r in record
        )
        wrap = 'wrap the row as {"insert": row}, or use update_format=raw'
        raise Invalid(
            "a record must be an object with 'insert', 'delete' or 'update'",
            spell(record),
            "set array=true"
            if holds_records
            else wrap + (" and array=true" if isinstance(record, list) else ""),
        )
    found = [(op, record[key]) for key, op in _ORDER if record.get(key) is not None]
    if not found:
        raise Invalid(
            "a record must have a row under 'insert', 'delete' or 'update'",
            spell(record),
            'wrap the row as {"insert": row}, or use update_format=raw',
        )
    return found


def _raw(record: Any) -> list[Operation]:
    return [] if record is None else [(INSERT, record)]


def _debezium(record: Any) -> list[Operation]:
    if record is None:
        return []
    payload = record.get("payload") if isinstance(record, dict) else None
    if not isinstance(payload, dict):
        bare = isinstance(record, dict) and {"before", "after"} & set(record)
        raise Invalid(
            "a Debezium record must be an object with a 'payload' object",
            spell(record),
            "set value.converter.schemas.enable=true in Debezium" if bare else None,
        )
    pairs = (("before", DELETE), ("after", INSERT))
    return [(op, payload[key]) for key, op in pairs if payload.get(key) is not None]
