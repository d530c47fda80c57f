"""The keys that transports and formats know, so that a misspelt one is warned of when compiling.

    {"transport": {"name": "file_input", "config": {"pth": "x"}}}
        warning: transport of connector c of table t: unknown key 'pth'; did you mean path?

Transports that hand their keys on (librdkafka's options, object stores' keys) take any. What a key
may be is told by the connector when it starts, which refuses what is warned of here.
Source: contract sections 7.1 to 7.5; sqlite_output, duckdb_output and what else is not there are
keys of our own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Any

_TLS = (
    "ssl_ca_pem", "ssl_ca_location", "ssl_client_pem", "ssl_client_location", "ssl_client_key",
    "ssl_client_key_location", "ssl_certificate_chain_location", "verify_hostname",
)  # fmt: skip
_REGISTRY = (
    "registry_urls", "registry_proxy", "registry_timeout_secs", "registry_username",
    "registry_password", "registry_authorization_token", "schema", "skip_schema_id",
    "update_format",
)  # fmt: skip
TRANSPORTS: Mapping[str, tuple[str, ...]] = {
    "file_input": ("path", "buffer_size_bytes", "follow"),
    "url_input": ("path", "pause_timeout"),
    "datagen": ("plan", "seed", "transaction_size", "workers"),
    "empty_input": (),
    "file_output": ("path",),
    "postgres_output": (
        "uri", "table", "mode", "cdc_op_column", "cdc_ts_column", "extra_columns",
        "max_records_in_buffer", "max_buffer_size_bytes", "on_conflict_do_nothing", "threads",
        *_TLS,
    ),
    "redis_output": ("connection_string", "key_separator", "key_prefix", "layout"),
    "sqlite_output": ("path", "table", "journal_mode"),
    "duckdb_output": ("path", "table", "memory_limit", "keep_open"),
}  # fmt: skip
PARSERS: Mapping[str, tuple[str, ...]] = {
    "json": ("update_format", "json_flavor", "array", "lines"),
    "csv": (
        "delimiter", "headers", "quote", "escape", "double_quote", "quoting", "comment", "flexible",
        "trim",
    ),
    "parquet": (),
    "raw": ("mode", "column_name"),
    "avro": _REGISTRY,
}  # fmt: skip
ENCODERS: Mapping[str, tuple[str, ...]] = {
    "json": ("update_format", "json_flavor", "array", "buffer_size_records", "key_fields"),
    "csv": ("delimiter", "buffer_size_records", "include_weight"),
    "parquet": ("buffer_size_records",),
    "avro": (
        *_REGISTRY, "key_mode", "namespace", "subject_name_strategy", "cdc_field", "threads",
    ),
}  # fmt: skip
#: attributes of every connector (7.2); others are tolerated, unless they look like one of these
ATTRIBUTES = (
    "name", "transport", "format", "index", "mode", "send_snapshot", "soft_delete", "paused",
    "labels", "start_after", "max_queued_records", "max_queued_bytes", "max_batch_size",
    "max_worker_batch_size", "enable_output_buffer", "max_output_buffer_time_millis",
    "max_output_buffer_size_records", "preprocessor", "postprocessor",
)  # fmt: skip


def unknown_keys(entry: Mapping[str, Any], label: str, is_input: bool) -> Iterator[str]:
    """What is to be warned of, a sentence each."""
    for key in entry:
        if key not in ATTRIBUTES and get_close_matches(key, ATTRIBUTES, n=1, cutoff=0.75):
            yield f"{label}: unknown key {key!r}{_hint(key, ATTRIBUTES)}"
    formats = PARSERS if is_input else ENCODERS
    for part, known in (("transport", TRANSPORTS), ("format", formats)):
        given = entry.get(part)
        if not isinstance(given, dict) or not isinstance(given.get("config"), dict):
            continue
        keys = known.get(str(given.get("name")))
        for key in given["config"] if keys is not None else ():
            if key not in (keys or ()):
                yield f"{part} of {label}: unknown key {key!r}{_hint(key, keys or ())}"


def _hint(key: str, known: tuple[str, ...]) -> str:
    close = get_close_matches(key, known, n=1)
    if close:
        return f"; did you mean {close[0]}?"
    return f"; known are {', '.join(known)}" if known else "; it takes none"
