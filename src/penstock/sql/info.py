"""`program_info` of the REST contract (section 1.3): what a compiled program tells clients.

    {schema: {inputs, outputs}, input_connectors, output_connectors, udf_stubs,
     own_output_connectors}

Connector configs are shown with every generic attribute filled in (contract section 7.2), under
`<relation>.<connector>`, with the relation as `stream`. Connectors that the published API has no
words for are in `own_output_connectors`: clients made from its document, such as fda, take no
pipeline at all that has an unknown transport among the others, and pass over keys they do not know.

Not here: deciding anything. This only reads a ProgramPlan.
"""

from __future__ import annotations

from typing import Any

from penstock.data.types import Schema, json_type
from penstock.plan.nodes import CLOCK, ConnectorPlan, Lateness, ProgramPlan, TablePlan, ViewPlan
from penstock.sql.connector_keys import as_published
from penstock.sql.unused import used_columns

#: "never" of the output buffer's clock, an unsigned 64-bit integer
FOREVER_MS = 2**64 - 1
MAX_QUEUED_RECORDS = 1_000_000
#: transports that the published API knows by their name alone: fda takes no "config" of them
WITHOUT_CONFIG = frozenset(("null_output", "empty_input"))
#: transports that the published API does not know
OWN_TRANSPORTS = frozenset(("sqlite_output", "duckdb_output"))


def program_info(program: ProgramPlan) -> dict[str, Any]:
    """The `program_info` object; LOCAL views are not part of the schema."""
    used = used_columns(program)
    return {
        "schema": {
            "inputs": [_table(t, program.text, used.get(t.name, set())) for t in program.tables],
            "outputs": [_view(v) for v in program.all_views if v.kind != "local"],
        },
        "udf_stubs": program.udf_stubs,
        # nobody asked for the clock that NOW() reads, and no client knows its transport
        "input_connectors": {
            c.endpoint: input_config(c) for c in program.inputs if c.relation != CLOCK
        },
        "output_connectors": {
            c.endpoint: output_config(c) for c in program.outputs if not is_own(c)
        },
        "own_output_connectors": {
            c.endpoint: output_config(c) for c in program.outputs if is_own(c)
        },
    }


def is_own(connector: ConnectorPlan) -> bool:
    """Whether only Penstock has an output like this one."""
    transport = connector.config["transport"]
    mode = (transport.get("config") or {}).get("mode")
    is_merged = transport["name"] == "delta_table_output" and mode == "materialized"
    return transport["name"] in OWN_TRANSPORTS or is_merged


def _table(table: TablePlan, text: str, used: set[int]) -> dict[str, Any]:
    fields = _fields(table.schema, table.lateness, table.watermarks)
    for i, f in enumerate(fields):
        f["unused"] = i not in used
        default = table.defaults[i] if table.defaults else None
        if default is not None and default.span is not None:
            f["default"] = text[default.span.start : default.span.end]
    return {
        "name": table.name,
        "case_sensitive": table.case_sensitive,
        "fields": fields,
        "materialized": table.materialized,
        "primary_key": [table.schema.names[i] for i in table.key] or None,
        "properties": dict(table.properties),
    }


def _view(view: ViewPlan) -> dict[str, Any]:
    return {
        "name": view.name,
        "case_sensitive": view.case_sensitive,
        "fields": _fields(view.schema, view.lateness),
        "materialized": view.kind == "materialized",
        "primary_key": None,
        "properties": dict(view.properties),
    }


def _fields(schema: Schema, lateness: Lateness, watermarks: Lateness = ()) -> list[dict[str, Any]]:
    late, marks = ({column: text for column, _, text in x} for x in (lateness, watermarks))
    return [
        {
            "name": f.name,
            "case_sensitive": f.name != f.name.lower(),
            "columntype": json_type(f.type),
            "unused": False,
            "lateness": late.get(i),
            "default": None,
            "watermark": marks.get(i),
        }
        for i, f in enumerate(schema.fields)
    ]


def input_config(connector: ConnectorPlan) -> dict[str, Any]:
    """An input connector's config, every generic attribute present."""
    given = connector.config
    queued = given.get("max_queued_records")
    queued = MAX_QUEUED_RECORDS if queued is None else queued
    defaults: dict[str, Any] = {
        "max_batch_size": None,
        "max_worker_batch_size": None,
        "max_queued_records": queued,
        "max_queued_bytes": 1000 * queued,
        "paused": False,
        "soft_delete": False,
        "preprocessor": None,
        "labels": [],
        "start_after": None,
    }
    return _filled(connector, defaults)


def output_config(connector: ConnectorPlan) -> dict[str, Any]:
    """An output connector's config, every generic attribute present."""
    defaults: dict[str, Any] = {
        "index": None,
        "send_snapshot": connector.config.get("mode") == "snapshot_and_follow",
        "enable_output_buffer": False,
        "max_output_buffer_time_millis": FOREVER_MS,
        "max_output_buffer_size_records": 10_000_000,
        "max_queued_records": MAX_QUEUED_RECORDS,
        "paused": False,
        "postprocessor": None,
        "labels": [],
        "start_after": None,
    }
    return _filled(connector, defaults)


def _filled(connector: ConnectorPlan, defaults: dict[str, Any]) -> dict[str, Any]:
    given = {k: v for k, v in connector.config.items() if k != "name"}
    config: dict[str, Any] = {"stream": connector.relation}
    for part in ("transport", "format"):
        value = given.pop(part, None)
        config[part] = None if value is None else {**value, "config": value.get("config") or {}}
    transport = config["transport"]
    if transport["name"] in WITHOUT_CONFIG:
        del transport["config"]
    else:
        transport["config"] = as_published(transport["name"], transport["config"])
    for key, default in defaults.items():
        value = given.pop(key, None)
        config[key] = default if value is None else value
    return config | given
