"""The configuration of delta_table_output, checked. What the keys mean: `delta_output`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from penstock.io.formats.options import TRANSPORT_ERROR, Options

MODES = ("append", "truncate", "error_if_exists", "materialized")
#: options that are the object store's (https://docs.rs/object_store, the builders' config keys)
_STORAGE = re.compile(
    r"(aws|azure|google|gcp|gcs|s3|oss|hdfs|unity|databricks|oidc|conditional|copy_if)_\w+"
    r"|allow_(http|invalid_certificates)|region|endpoint|bucket|skip_signature|proxy_\w+"
    r"|(connect_|pool_idle_)?timeout|http[12]_\w+|user_agent|max_retries_\w+",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class DeltaConfig:
    """`properties`: of a table that we create. `storage`: options of its object store."""

    uri: str
    mode: str
    properties: Mapping[str, str]
    storage: Mapping[str, str]

    @staticmethod
    def of(config: Mapping[str, Any]) -> DeltaConfig:
        o = Options.of("delta_table_output", TRANSPORT_ERROR, config)
        uri = o.required_text("uri")
        if "://" not in uri and "%" in uri:
            # the library writes to such a path and then looks for what it decodes to
            raise o.fail("uri", "must be a path without a percent sign")
        mode = o.choice("mode", "append", MODES)
        properties = {"delta.checkpointInterval": str(o.integer("checkpoint_interval", 10))}
        if retention := o.text("log_retention_duration", ""):
            properties["delta.logRetentionDuration"] = retention
        if o.raw("enable_expired_log_cleanup", None) is not None:
            is_cleaned = o.boolean("enable_expired_log_cleanup", False)
            properties["delta.enableExpiredLogCleanup"] = _text(is_cleaned)
        for hint in ("max_retries", "threads"):
            o.integer(hint, 1, least=0)
        storage = {name: _text(o.raw(name, "")) for name in config if _STORAGE.fullmatch(name)}
        o.done()
        return DeltaConfig(uri, mode, properties, storage)


def _text(value: Any) -> str:
    """A JSON value as the storage and the table's properties spell it."""
    return str(value).lower() if isinstance(value, bool) else str(value)
