"""Every key of contract sections 7.3 to 7.5: taken and told on the connector's page, or refused by
its name. What a key does is tried where its connector is; here none is forgotten.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from penstock.data import types as T
from penstock.data.types import Schema
from penstock.errors import UserError
from penstock.io.contracts import InputContext, SinkContext
from penstock.io.formats import make_parser
from penstock.io.kafka.encoders import is_upsert, keyed_encoder, log_encoder
from penstock.io.registry import INPUTS, OUTPUTS
from penstock.sql.connector_keys import (
    ENCODERS,
    OPEN_TRANSPORTS,
    PARSERS,
    REQUIRED,
    SUPPORTED,
    TRANSPORT_MODES,
    TRANSPORTS,
    Shape,
    is_ill_typed,
)

PAGES = Path(__file__).parents[3] / "docs" / "connectors"
VIEW = T.schema(k=T.INTEGER.with_nullable(False), v=T.varchar())
LINE = T.schema(line=T.varchar())
AVRO = json.dumps(
    {"type": "record", "name": "r", "fields": [{"name": "k", "type": "int"},
     {"name": "v", "type": ["null", "string"]}]}
)  # fmt: skip


Make = Callable[[Mapping[str, Any]], None]


class No:
    """A value that is refused by the name of its key."""

    def __init__(self, value: Any) -> None:
        self.value = value


class With:
    """Any value, together with another key."""

    def __init__(self, **others: Any) -> None:
        self.others = others


def sink(
    transport: str, base: Mapping[str, Any], format: Any = None, key: tuple[int, ...] = ()
) -> Make:
    def make(given: Mapping[str, Any]) -> None:
        OUTPUTS[transport](SinkContext("p", "m", "c", VIEW, {**base, **given}, format, key)).close()

    return make


def encoder(name: str, base: Mapping[str, Any], key: tuple[int, ...] = ()) -> Make:
    """What a Kafka topic's format makes: without the client, which takes a second to end."""

    def make(given: Mapping[str, Any]) -> None:
        format = {"name": name, "config": {**base, **given}}
        context = SinkContext("p", "m", "c", VIEW, {}, format, key)
        (keyed_encoder if is_upsert(format, key) else log_encoder)(context, "t")

    return make


def source(transport: str, base: Mapping[str, Any], format: Any = None) -> Make:
    def make(given: Mapping[str, Any]) -> None:
        INPUTS[transport](InputContext("t", "c", VIEW, (0,), {**base, **given}, format))

    return make


def parser(name: str, schema: Schema = VIEW, **base: Any) -> Make:
    def make(given: Mapping[str, Any]) -> None:
        make_parser({"name": name, "config": {**base, **given}}, schema)

    return make


JSON = {"name": "json", "config": {}}
KAFKA = {"topic": "t", "bootstrap.servers": "127.0.0.1:1"}
REGISTRY = {
    "registry_urls": ["http://127.0.0.1:1"],
    "registry_proxy": "http://127.0.0.1:2",
    "registry_timeout_secs": 5,
}
SIGNED_IN = {
    "registry_username": With(registry_password="y"),
    "registry_password": With(registry_username="y"),
    "registry_authorization_token": "x",
}
#: page, what is made, its keys
TABLE: Mapping[str, tuple[str, Make, Mapping[str, Any]]] = {
    "file_output": ("file", sink("file_output", {"path": "x"}, JSON), {"path": "y"}),
    "null_output": ("README", sink("null_output", {}), {}),
    "kafka_output": (
        "kafka",
        sink("kafka_output", KAFKA, JSON),
        {
            "topic": "u", "bootstrap.servers": "b:1", "headers": [{"key": "a", "value": "b"}],
            "log_level": "debug", "initialization_timeout_secs": 5, "kafka_service": No("x"),
            "region": No("eu-central-1"),
            "fault_tolerance": {"producer_options": {"linger.ms": "1"}, "consumer_options": {}},
        },
    ),
    "delta_table_output": (
        "delta",
        sink("delta_table_output", {"uri": "x"}),
        {
            "uri": "y", "mode": "truncate", "max_retries": 3, "threads": 2,
            "checkpoint_interval": 5, "log_retention_duration": "interval 1 day",
            "enable_expired_log_cleanup": True, "aws_access_key_id": "x",
        },
    ),
    "postgres_output": (
        "postgres",
        sink("postgres_output", {"uri": "postgresql://h/d", "table": "t"}, key=(0,)),
        {
            "uri": "postgresql://h/e", "table": "u", "mode": "cdc", "cdc_op_column": "o",
            "cdc_ts_column": "w", "extra_columns": No([{"name": "x"}]),
            "max_records_in_buffer": 10, "max_buffer_size_bytes": 1000,
            "on_conflict_do_nothing": No(True), "threads": 2, "ssl_ca_pem": "x",
            "ssl_ca_location": "x", "verify_hostname": False,
            **dict.fromkeys(("ssl_client_pem", "ssl_client_location"), With(ssl_client_key="y")),
            "ssl_client_key": With(ssl_client_pem="y"),
            "ssl_client_key_location": With(ssl_client_pem="y"),
            "ssl_certificate_chain_location": With(ssl_client_key="y"),
        },
    ),
    "redis_output": (
        "redis",
        sink("redis_output", {"connection_string": "redis://h"}, JSON, (0,)),
        {"connection_string": "redis://i", "key_separator": "-"},
    ),
    "file_input": (
        "inputs",
        source("file_input", {"path": "x"}, JSON),
        {"path": "y", "buffer_size_bytes": 10, "follow": True},
    ),
    "url_input": (
        "inputs",
        source("url_input", {"path": "http://h"}, JSON),
        {"path": "http://i", "pause_timeout": 5},
    ),
    "kafka_input": (
        "kafka-input",
        source("kafka_input", KAFKA, JSON),
        {
            "topic": "u", "bootstrap.servers": "b:1", "start_from": "earliest",
            "partitions": [0], "log_level": "debug", "group_join_timeout_secs": 1,
            "poller_threads": 1, "region": No("eu-central-1"),
            "resume_earliest_if_data_expires": True, "synchronize_partitions": True,
            "include_headers": True, "include_topic": True, "include_partition": True,
            "include_offset": True, "include_timestamp": True,
            "header_filter": {"header": {"name": "a", "pattern": "b"}},
        },
    ),
    "datagen": (
        "inputs",
        source("datagen", {}),
        {"plan": [{"limit": 1, "rate": 1, "worker_chunk_size": 1, "fields": {}}], "workers": 2,
         "seed": 1, "transaction_size": No(10)},
    ),
    "empty_input": ("inputs", source("empty_input", {}), {}),
    "json parser": (
        "inputs",
        parser("json"),
        {"update_format": "raw", "json_flavor": "default", "array": True, "lines": "single"},
    ),
    "csv parser": (
        "inputs",
        parser("csv"),
        {"delimiter": ";", "headers": True, "quote": "'", "escape": "\\", "double_quote": False,
         "quoting": False, "comment": "#", "flexible": False, "trim": "all"},
    ),
    "raw parser": ("inputs", parser("raw", LINE), {"mode": "lines", "column_name": "line"}),
    "avro parser": (
        "kafka-input",
        parser("avro", schema=VIEW, registry_urls=["http://127.0.0.1:1"]),
        {**REGISTRY, **SIGNED_IN, "update_format": "debezium", "skip_schema_id": No(True),
         "schema": No(AVRO)},
    ),
    "json encoder": (
        "formats",
        encoder("json", {}),
        {"update_format": "snowflake", "json_flavor": "default", "array": True,
         "buffer_size_records": 5, "key_fields": No(["k"])},
    ),
    "json encoder with index": (
        "kafka-upsert",
        encoder("json", {}, (0,)),
        {"update_format": No("debezium"), "json_flavor": "default", "array": No(True),
         "buffer_size_records": 5},
    ),
    "csv encoder": ("formats", encoder("csv", {}), {"delimiter": ";", "buffer_size_records": 5}),
    "avro encoder": (
        "formats",
        encoder("avro", {}, (0,)),
        {
            **REGISTRY, **SIGNED_IN, "update_format": "raw", "key_mode": "none", "schema": AVRO,
            "namespace": "a.b", "subject_name_strategy": "record_name", "skip_schema_id": True,
            "cdc_field": "op", "threads": 2,
        },
    ),
}  # fmt: skip
CASES = [(name, key) for name, (_, _, keys) in TABLE.items() for key in keys]


@pytest.mark.parametrize(("name", "key"), CASES, ids=[f"{n}-{k}" for n, k in CASES])
def test_a_key_of_the_contract_is_taken_or_refused_by_name(name: str, key: str) -> None:
    _, make, keys = TABLE[name]
    value = keys[key]
    make({})
    if isinstance(value, With):
        make({key: "x", **value.others})
        return
    if not isinstance(value, No):
        make({key: value})
        return
    with pytest.raises(UserError) as refused:
        make({key: value.value})
    assert f"'{key}'" in str(refused.value) or refused.value.details.get("option") == key
    assert "is unknown" not in str(refused.value)


@pytest.mark.parametrize(("name", "key"), CASES, ids=[f"{n}-{k}" for n, k in CASES])
def test_a_key_of_the_contract_is_on_its_page(name: str, key: str) -> None:
    page = (PAGES / f"{TABLE[name][0]}.md").read_text()
    assert key in page


def known_to_the_compiler(name: str) -> Mapping[str, Shape] | None:
    what, _, side = name.partition(" ")
    return {"parser": PARSERS, "encoder": ENCODERS}.get(side.split(" ")[0], TRANSPORTS).get(what)


def test_the_compiler_knows_which_transports_there_are() -> None:
    assert {*INPUTS, *OUTPUTS} - {"clock"} == SUPPORTED


@pytest.mark.parametrize("name", TABLE)
def test_the_compiler_warns_of_no_key_that_a_connector_takes(name: str) -> None:
    known = known_to_the_compiler(name)
    assert known is None or set(TABLE[name][2]) <= set(known)
    try:
        TABLE[name][1]({"no such key": "x"})
    except UserError as e:
        taken = e.message.partition("; known are ")[2]
        assert known is None or set(taken.split(", ") if taken else ()) <= set(known)


@pytest.mark.parametrize("name", sorted(REQUIRED))
def test_the_compiler_refuses_no_transport_that_could_be_without_a_key(name: str) -> None:
    ours = sink(name, {"path": "x", "table": "t"})
    make = TABLE[name][1] if name in TABLE else ours
    for key in REQUIRED[name]:
        with pytest.raises(UserError, match=key):
            make({key: None})


@pytest.mark.parametrize("name", sorted(TRANSPORT_MODES))
def test_the_compiler_refuses_no_mode_that_a_connector_takes(name: str) -> None:
    _, make, _ = TABLE[name]
    with pytest.raises(UserError, match="mode") as refusal:
        make({"mode": "odd"})
    for mode in TRANSPORT_MODES[name]:
        assert mode in refusal.value.message


#: how `Options` complains of a type
TYPED = tuple(
    f"must be {x}, not" for x in ("true or false", "an integer", "a number", "a string",
                                  "a single ASCII character")
)  # fmt: skip


@pytest.mark.parametrize("name", TABLE)
def test_the_compiler_warns_of_the_types_that_a_connector_refuses(name: str) -> None:
    _, make, keys = TABLE[name]
    known = known_to_the_compiler(name) or OPEN_TRANSPORTS.get(name, {})
    # a client of Kafka takes a second to end, and none is made of what is refused
    is_slow = name.startswith("kafka")
    for key in keys:
        if key not in known:
            continue
        for value in ("maybe", "5", "true", True, 5, 1.5, [], {"a": 1}):
            others = keys[key].others if isinstance(keys[key], With) else {}
            warns, refused = is_ill_typed(known[key], value), ""
            if is_slow and not warns:
                continue
            try:
                make({key: value, **others})
            except UserError as e:
                refused = str(e)
            if any(t in refused for t in TYPED) and key in refused:
                assert warns, (key, value, refused)
            assert not warns or key in refused, (key, value, refused)
