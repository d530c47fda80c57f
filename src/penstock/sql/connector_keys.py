"""The keys that transports and formats know, so that a misspelt or ill-typed one is warned of when
compiling.

    {"transport": {"name": "file_input", "config": {"pth": "x", "follow": "maybe"}}}
        warning: transport of connector c of table t: unknown key 'pth'; did you mean path?
        warning: transport of connector c of table t: 'follow' must be true or false, not a string
        error:   transport of connector c of table t: file_input needs 'path'

Transports that hand their keys on (librdkafka's options, object stores' keys) take any, and the
ones of their own are looked at. What a key may be is told by the connector when it starts, which
refuses what is warned of here (`tests/unit/io/test_contract_keys.py` compares the two). Numbers and
booleans may come as text, and any value as a reference to a secret.
Source: contract sections 7.1 to 7.5; sqlite_output, duckdb_output and what else is not there are
keys of our own.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from difflib import get_close_matches
from typing import Any

_INTEGER = re.compile(r"\s*-?\d+\s*")
_NUMBER = re.compile(r"\s*[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?\s*")
_SECRET = re.compile(r"\$\{.*\}", re.DOTALL)


def _text(v: Any) -> bool:
    return isinstance(v, str)


def _flag(v: Any) -> bool:
    return isinstance(v, bool) or (isinstance(v, str) and v.lower() in ("true", "false"))


def _integer(v: Any) -> bool:
    return type(v) is int or (isinstance(v, str) and _INTEGER.fullmatch(v) is not None)


def _number(v: Any) -> bool:
    return type(v) in (int, float) or (isinstance(v, str) and _NUMBER.fullmatch(v) is not None)


def _character(v: Any) -> bool:
    return isinstance(v, str) and len(v) == 1 and v.isascii()


def _array(v: Any) -> bool:
    return isinstance(v, list)


def _object(v: Any) -> bool:
    return isinstance(v, dict)


def _any(_: Any) -> bool:
    return True


Shape = Callable[[Any], bool]
_MUST_BE: Mapping[Shape, str] = {
    _text: "a string", _flag: "true or false", _integer: "an integer", _number: "a number",
    _character: "a single ASCII character", _array: "an array", _object: "an object",
}  # fmt: skip
_TLS: Mapping[str, Shape] = {
    "ssl_ca_pem": _text, "ssl_ca_location": _text, "ssl_client_pem": _text,
    "ssl_client_location": _text, "ssl_client_key": _text, "ssl_client_key_location": _text,
    "ssl_certificate_chain_location": _text, "verify_hostname": _flag,
}  # fmt: skip
_REGISTRY: Mapping[str, Shape] = {
    "registry_urls": _array, "registry_proxy": _text, "registry_timeout_secs": _number,
    "registry_username": _text, "registry_password": _text,
    "registry_authorization_token": _text, "schema": _text, "skip_schema_id": _flag,
    "update_format": _text,
}  # fmt: skip
TRANSPORTS: Mapping[str, Mapping[str, Shape]] = {
    "file_input": {"path": _text, "buffer_size_bytes": _integer, "follow": _flag},
    "url_input": {"path": _text, "pause_timeout": _number},
    "datagen": {"plan": _array, "seed": _integer, "transaction_size": _integer,
                "workers": _integer},
    "empty_input": {},
    "file_output": {"path": _text},
    "postgres_output": {
        "uri": _text, "table": _text, "mode": _text, "cdc_op_column": _text,
        "cdc_ts_column": _text, "extra_columns": _array, "max_records_in_buffer": _integer,
        "max_buffer_size_bytes": _integer, "on_conflict_do_nothing": _flag, "threads": _integer,
        **_TLS,
    },
    "redis_output": {"connection_string": _text, "key_separator": _text, "key_prefix": _text,
                     "layout": _text},
    "sqlite_output": {"path": _text, "table": _text, "journal_mode": _text},
    "duckdb_output": {"path": _text, "table": _text, "memory_limit": _text, "keep_open": _flag},
}  # fmt: skip
#: the keys with a meaning of their own where all others are handed on
OPEN_TRANSPORTS: Mapping[str, Mapping[str, Shape]] = {
    "kafka_input": {
        "topic": _text, "bootstrap.servers": _text, "partitions": _array,
        "group_join_timeout_secs": _integer, "poller_threads": _integer,
        "resume_earliest_if_data_expires": _flag, "synchronize_partitions": _flag,
        "include_headers": _flag, "include_topic": _flag, "include_partition": _flag,
        "include_offset": _flag, "include_timestamp": _flag, "header_filter": _object,
        "start_from": _any, "topics": _array,
    },
    "kafka_output": {
        "topic": _text, "bootstrap.servers": _text, "headers": _array,
        "initialization_timeout_secs": _integer, "fault_tolerance": _object,
    },
    "delta_table_output": {
        "uri": _text, "mode": _text, "max_retries": _integer, "threads": _integer,
        "checkpoint_interval": _integer, "log_retention_duration": _text,
        "enable_expired_log_cleanup": _flag,
    },
}  # fmt: skip
#: the keys of a transport without which it is none
REQUIRED: Mapping[str, tuple[str, ...]] = {
    "file_input": ("path",), "url_input": ("path",), "file_output": ("path",),
    "postgres_output": ("uri", "table"), "kafka_output": ("topic",),
    "delta_table_output": ("uri",), "redis_output": ("connection_string",),
    "sqlite_output": ("path", "table"), "duckdb_output": ("path", "table"),
}  # fmt: skip
#: what `mode` of a transport may be
TRANSPORT_MODES: Mapping[str, tuple[str, ...]] = {
    "delta_table_output": ("append", "truncate", "error_if_exists", "materialized"),
    "postgres_output": ("materialized", "cdc"),
}
PARSERS: Mapping[str, Mapping[str, Shape]] = {
    "json": {"update_format": _text, "json_flavor": _text, "array": _flag, "lines": _text},
    "csv": {
        "delimiter": _character, "headers": _flag, "quote": _character, "escape": _character,
        "double_quote": _flag, "quoting": _flag, "comment": _character, "flexible": _flag,
        "trim": _text,
    },
    "parquet": {},
    "raw": {"mode": _text, "column_name": _text},
    "avro": _REGISTRY,
}  # fmt: skip
ENCODERS: Mapping[str, Mapping[str, Shape]] = {
    "json": {"update_format": _text, "json_flavor": _text, "array": _flag,
             "buffer_size_records": _integer, "key_fields": _array},
    "csv": {"delimiter": _character, "buffer_size_records": _integer, "include_weight": _flag},
    "parquet": {"buffer_size_records": _integer},
    "avro": {
        **_REGISTRY, "key_mode": _text, "namespace": _text, "subject_name_strategy": _text,
        "cdc_field": _text, "threads": _integer,
    },
}  # fmt: skip
#: the transports that there are; a program with another one compiles, and does not start
SUPPORTED = frozenset({*TRANSPORTS, *OPEN_TRANSPORTS, "null_output"})
#: attributes that mean nothing on the other side (7.2), without those that are refused there
_OF_INPUTS = ("labels", "start_after", "max_queued_bytes", "max_batch_size",
              "max_worker_batch_size")  # fmt: skip
_OF_OUTPUTS = ("send_snapshot", "enable_output_buffer", "max_output_buffer_time_millis",
               "max_output_buffer_size_records")  # fmt: skip
#: attributes of every connector (7.2); others are tolerated, unless they look like one of these
ATTRIBUTES = (
    "name", "transport", "format", "index", "mode", "send_snapshot", "soft_delete", "paused",
    "labels", "start_after", "max_queued_records", "max_queued_bytes", "max_batch_size",
    "max_worker_batch_size", "enable_output_buffer", "max_output_buffer_time_millis",
    "max_output_buffer_size_records", "preprocessor", "postprocessor", "on_overflow",
    "on_lost_marker",
)  # fmt: skip


def odd_keys(entry: Mapping[str, Any], label: str, is_input: bool) -> Iterator[str]:
    """What is to be warned of, a sentence each."""
    for key in entry:
        if key not in ATTRIBUTES and get_close_matches(key, ATTRIBUTES, n=1, cutoff=0.75):
            yield f"{label}: unknown key {key!r}{_hint(key, ATTRIBUTES)}"
    side, others = ("input", _OF_OUTPUTS) if is_input else ("output", _OF_INPUTS)
    for key in others:
        if entry.get(key) is not None:
            yield f"{label}: {key!r} means nothing to an {side} connector; remove it"
    formats = PARSERS if is_input else ENCODERS
    for part, closed in (("transport", TRANSPORTS), ("format", formats)):
        given = entry.get(part)
        if not isinstance(given, dict) or not isinstance(given.get("config"), dict):
            continue
        name = str(given.get("name"))
        known = closed.get(name)
        own = OPEN_TRANSPORTS.get(name, {}) if known is None and part == "transport" else known
        for key, value in given["config"].items():
            if known is not None and key not in known:
                yield f"{part} of {label}: unknown key {key!r}{_hint(key, tuple(known))}"
            elif own and is_ill_typed(own.get(key, _any), value):
                wanted = _MUST_BE[own[key]]
                yield f"{part} of {label}: {key!r} must be {wanted}, not {json_type(value)}"


def unreadable(name: str, config: Mapping[str, Any], label: str) -> Iterator[str]:
    """Why `config` is none of the transport `name`, a sentence each."""
    for key in REQUIRED.get(name, ()):
        if config.get(key) is None:
            yield f"transport of {label}: {name} needs {key!r}"
    modes, mode = TRANSPORT_MODES.get(name, ()), config.get("mode")
    is_secret = isinstance(mode, str) and _SECRET.fullmatch(mode) is not None
    if modes and mode is not None and mode not in modes and not is_secret:
        yield f"transport of {label}: 'mode' is one of {', '.join(modes)}, not {mode!r}"


def as_published(name: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """`config` of the transport `name` as the published document has it, for clients made from it:
    numbers and booleans as such also where they came as text, as text what is handed on, and
    nothing of another type than its key's (one is enough to keep them from reading anything)."""
    own = TRANSPORTS.get(name) or OPEN_TRANSPORTS.get(name, {})
    is_open = name in OPEN_TRANSPORTS
    shown: dict[str, Any] = {}
    for key, value in config.items():
        if value is None and is_open:
            continue
        shape = own.get(key)
        if shape is not None and value is not None and not shape(value):
            continue
        if shape is None and is_open:
            shown[key] = value if isinstance(value, str) else json.dumps(value)
        elif isinstance(value, str) and shape in (_flag, _integer, _number) and shape(value):
            shown[key] = json.loads(value.strip().lower())
        else:
            shown[key] = value
    return shown


def not_supported(name: str, label: str, is_input: bool) -> str | None:
    """What is to be warned of, if the transport is one of the contract's that we have not."""
    if name in SUPPORTED:
        return None
    right = sorted(n for n in SUPPORTED if n.endswith("_output") is not is_input)
    return (
        f"{label} uses {name}, which is not supported: the pipeline will not start; supported "
        f"are {', '.join(right)}"
    )


def is_ill_typed(shape: Shape, value: Any) -> bool:
    """Whether `value` cannot be of the shape; null is the default, and a secret unknown."""
    is_secret = isinstance(value, str) and _SECRET.fullmatch(value) is not None
    return value is not None and not is_secret and not shape(value)


def json_type(value: Any) -> str:
    """A JSON value as a message calls it."""
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int() | float():
            return f"the number {value}"
        case str():
            return "a string"
        case list():
            return "an array"
    return "an object"


def _hint(key: str, known: tuple[str, ...]) -> str:
    close = get_close_matches(key, known, n=1)
    if close:
        return f"; did you mean {close[0]}?"
    return f"; known are {', '.join(known)}" if known else "; it takes none"
