"""What kafka_input tells of each record, for CONNECTOR_METADATA() in a DEFAULT (contract 7.3).

    include_headers      kafka_headers     MAP<VARCHAR, VARBINARY>; of headers of one name the last
    include_topic        kafka_topic       VARCHAR
    include_partition    kafka_partition   INTEGER
    include_offset       kafka_offset      BIGINT
    include_timestamp    kafka_timestamp   TIMESTAMP, NULL where the record has none

Cost: records are parsed one by one where some DEFAULT asks, and many at a time where none does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from penstock.data.batch import Batch
from penstock.data.build import batch_from_rows
from penstock.data.types import (
    BIGINT,
    BOOLEAN,
    INTEGER,
    TIMESTAMP,
    VARBINARY,
    VARCHAR,
    Field,
    Schema,
    map_of,
)
from penstock.io.contracts import DefaultsOf, InputContext
from penstock.io.formats.options import Options
from penstock.io.formats.rows import RecordDefaults, SoftDeletes

if TYPE_CHECKING:
    from confluent_kafka import Message


def _time(m: Message) -> int | None:
    kind, milliseconds = m.timestamp()
    return None if kind == 0 else milliseconds * 1000


_TOLD: Mapping[str, tuple[Field, Callable[[Message], Any]]] = {
    "include_headers": (
        Field("kafka_headers", map_of(VARCHAR, VARBINARY)), lambda m: dict(m.headers() or []),
    ),
    "include_topic": (Field("kafka_topic", VARCHAR), lambda m: m.topic()),
    "include_partition": (Field("kafka_partition", INTEGER), lambda m: m.partition()),
    "include_offset": (Field("kafka_offset", BIGINT), lambda m: m.offset()),
    "include_timestamp": (Field("kafka_timestamp", TIMESTAMP), _time),
}  # fmt: skip
_DELETED = Field("is_delete", BOOLEAN)


class RecordTelling:
    """The defaults of one connector's records."""

    def __init__(self, o: Options, context: InputContext) -> None:
        self._fields = [f for key, f in _TOLD.items() if o.boolean(key, False)]
        self._schema = Schema(tuple(f for f, _ in self._fields))
        self._defaults: RecordDefaults | None = None
        of = context.defaults_of(self._schema) if self._fields else None
        if of is not None:
            usual = context.defaults
            self._defaults = RecordDefaults(usual)
            deletions, deleted = None, None
            if isinstance(usual, SoftDeletes):
                deletions, deleted = self._of_deletions(context), usual.deleted
            self._defaults.told = of, deletions
            self._defaults.now = tuple(usual), deleted

    def _of_deletions(self, context: InputContext) -> DefaultsOf:
        schema = Schema((*self._schema.fields, _DELETED))
        of = context.defaults_of(schema)
        assert of is not None, "it is asked as before, of one key more"

        def with_key(records: Batch) -> tuple[Any, ...]:
            flags = batch_from_rows(Schema((_DELETED,)), [(True,)] * len(records)).columns
            return of(Batch(schema, (*records.columns, *flags), records.weights))

        return with_key

    def context(self, context: InputContext) -> InputContext:
        """That of the parser."""
        return context if self._defaults is None else replace(context, defaults=self._defaults)

    def tell(self, messages: Sequence[Message]) -> Callable[[int], None] | None:
        """To be called with the number of a message before its value is parsed, None if that
        makes no difference."""
        if self._defaults is None:
            return None
        rows = [tuple(value(m) for _, value in self._fields) for m in messages]
        self._defaults.tell(batch_from_rows(self._schema, rows))
        return self._defaults.use
