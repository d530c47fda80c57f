"""Which encoder a connector's format and index ask for: changes for a log, or rows by key."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from penstock.data.types import Schema
from penstock.errors import UserError
from penstock.io.contracts import Encoder, SinkContext
from penstock.io.formats import make_encoder
from penstock.io.formats.avro_encoder import AvroEncoder, AvroRows, update_format_of
from penstock.io.formats.keyed import JsonRows, KeyedEncoder


def is_upsert(format: Mapping[str, Any], key: tuple[int, ...]) -> bool:
    """True if the topic holds one record a key; avro's raw records are changes even with keys."""
    is_avro_raw = format.get("name") == "avro" and update_format_of(format) != "confluent_jdbc"
    return bool(key) and not is_avro_raw


def log_encoder(context: SinkContext, topic: str) -> Encoder:
    """Raises UserError (ConfigError.…) for an unknown format or a bad option."""
    assert context.format is not None
    if context.format.get("name") != "avro":
        return make_encoder(context.format, context.schema)
    return AvroEncoder(
        context.format.get("config"), context.schema, context.key, topic=topic,
        name=_record_name(context.view),
    )  # fmt: skip


def keyed_encoder(context: SinkContext, topic: str) -> KeyedEncoder:
    """As `log_encoder`."""
    assert context.format is not None
    name, config = context.format.get("name"), context.format.get("config")
    if name == "json":
        return JsonRows(config, context.schema)
    if name == "avro":
        key = Schema(tuple(context.schema.fields[i] for i in context.key))
        return AvroRows(config, context.schema, key, topic, _record_name(context.view))
    raise UserError(
        f"format {name!r} has no keys: with an index use json or avro",
        code="ConfigError.OutputFormatNotSupported",
        details={"format": name},
    )


def _record_name(view: str) -> str:
    name = re.sub(r"[^A-Za-z0-9_]", "_", view)
    return name if name[:1].isalpha() or name[:1] == "_" else f"_{name}"
