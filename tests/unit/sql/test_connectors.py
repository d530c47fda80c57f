"""The `connectors` property: names, direction, attributes (contract 7.1, 7.2) and program_info."""

from __future__ import annotations

import json
from typing import Any

import pytest

from penstock.sql.connectors import Owner, parse_connectors
from penstock.sql.info import program_info
from penstock.sql.program import compile_program
from tests.openapi import check_component

VIEW, TABLE = Owner("v", is_table=False), Owner("t", is_table=True)
FILE_OUT = {"name": "file_output", "config": {"path": "out.csv"}}
FILE_IN = {"name": "file_input", "config": {"path": "in.csv"}}
CSV = {"name": "csv", "config": {}}


def problems(entries: Any, owner: Owner = VIEW) -> list[str]:
    text = entries if isinstance(entries, str) else json.dumps(entries)
    return [p.message for p in parse_connectors(text, owner)[1] if not p.warning]


def test_a_good_connector_has_no_problems_and_its_endpoint_is_relation_dot_name() -> None:
    (plan,), found = parse_connectors(
        json.dumps([{"name": "sink", "transport": FILE_OUT, "format": CSV}]), VIEW
    )

    assert found == []
    assert plan.endpoint == "v.sink"


def test_an_unnamed_connector_is_numbered_by_its_position_with_a_warning() -> None:
    good = {"transport": FILE_OUT, "format": CSV}
    plans, found = parse_connectors(json.dumps([good | {"name": "a"}, good]), VIEW)

    assert [p.name for p in plans] == ["a", "unnamed-1"]
    assert [(p.warning, p.error_type) for p in found] == [(True, "Unnamed connector")]


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ("[1, ", "are not JSON: Expecting value (line 1, column 5"),
        ({}, "must be a JSON array of objects, not an object"),
        ([3], "connector 0 of view v must be a JSON object, not the number 3"),
        ([{"name": 3}], "name of connector 0 of view v must be a string"),
        ([{"name": "a b", "transport": FILE_OUT, "format": CSV}], "letters, digits, '_' and '-'"),
        ([{"name": "a"}], 'needs a "transport"'),
        ([{"name": "a", "transport": {"config": {}}}], 'needs a "name"'),
        ([{"name": "a", "transport": FILE_IN, "format": CSV}], "an input transport"),
        ([{"name": "a", "transport": {"name": "file_outptu"}}], "did you mean file_output?"),
        ([{"name": "a", "transport": FILE_OUT}], 'needs a "format"'),
        (
            [{"name": "a", "transport": {"name": "postgres_output", "config": {"uri": "u"}}}],
            "transport of connector a of view v: postgres_output needs 'table'",
        ),
        (
            [{"name": "a", "transport": {"name": "file_output"}, "format": CSV}],
            "transport of connector a of view v: file_output needs 'path'",
        ),
        (
            [
                {
                    "name": "a",
                    "transport": {
                        "name": "delta_table_output",
                        "config": {"uri": "u", "mode": "overwrite"},
                    },
                }
            ],
            "'mode' is one of append, truncate, error_if_exists, materialized, not 'overwrite'",
        ),
        ([{"name": "a", "transport": FILE_OUT, "format": {"name": "xml"}}], "format 'xml'"),
        (
            [{"name": "a", "transport": FILE_OUT | {"config": []}, "format": CSV}],
            "config of transport of connector a of view v must be an object, not an array",
        ),
    ],
)
def test_a_malformed_declaration_is_refused(entries: Any, message: str) -> None:
    assert any(message in p for p in problems(entries)), problems(entries)


@pytest.mark.parametrize(
    ("attribute", "value", "message"),
    [
        ("paused", "yes", "paused of connector a of view v must be true or false, not a string"),
        ("max_queued_records", -1, "must be a non-negative integer"),
        ("max_queued_records", True, "must be a non-negative integer"),
        ("labels", ["a", 1], "must be an array of strings"),
        ("start_after", 1, "must be a label or an array of labels"),
        ("index", 1, "must be the name of an index"),
        ("on_overflow", "drop", 'on_overflow of connector a of view v is "reset", or left out'),
        ("on_overflow", "reset", "which mode follow never sends"),
        ("on_lost_marker", "panic", 'is "reset" or "fail", or left out'),
        ("soft_delete", True, "soft_delete is for tables without a primary key"),
        ("preprocessor", [], "a preprocessor stands on a table only"),
        ("postprocessor", [], "must be an array of one object"),
        ("postprocessor", [{"name": "p", "config": {}}], "a postprocessor is not supported yet"),
    ],
)
def test_a_generic_attribute_of_the_wrong_type_is_refused(
    attribute: str, value: Any, message: str
) -> None:
    entry = {"name": "a", "transport": FILE_OUT, "format": CSV, attribute: value}

    (found,) = problems([entry])
    assert message in found


def test_redis_keys_without_a_prefix_of_their_own_send_no_snapshots() -> None:
    bare = {"connection_string": "redis://h"}
    for config, mode, refused in (
        (bare, {"mode": "snapshot_and_follow"}, 1),
        (bare | {"key_prefix": ""}, {"send_snapshot": True}, 1),
        (bare | {"key_prefix": "v:"}, {"send_snapshot": True}, 0),
        (bare, {"mode": "follow"}, 0),
    ):
        transport = {"name": "redis_output", "config": config}
        entry = {"name": "a", "transport": transport, "format": {"name": "json"}, **mode}
        found = [p for p in problems([entry]) if 'give its transport a "key_prefix"' in p]
        assert len(found) == refused, (config, mode)


def test_two_connectors_of_one_relation_may_not_share_a_name() -> None:
    entry = {"name": "a", "transport": FILE_IN, "format": CSV}

    (found,) = problems([entry, entry], TABLE)
    assert "two connectors named a" in found


PROGRAM = """
CREATE TABLE t (
    id INT NOT NULL PRIMARY KEY, "Name" VARCHAR DEFAULT 'none', spare DECIMAL(5, 2)
) WITH ('connectors' = '[{"name": "src", "transport": {"name": "file_input",
    "config": {"path": "a.csv"}}, "format": {"name": "csv"}, "max_queued_records": 10}]');
CREATE LOCAL VIEW hidden AS SELECT id, "Name" FROM t;
CREATE MATERIALIZED VIEW m WITH ('connectors' = '[{"name": "sink", "index": "by_id",
    "transport": {"name": "file_output", "config": {"path": "out.csv"}},
    "format": {"name": "csv", "config": {}}, "send_snapshot": true}]')
AS SELECT id FROM hidden WHERE "Name" <> '';
CREATE INDEX by_id ON m (id);
"""


def test_the_info_of_a_program_lists_relations_fields_and_what_is_unused() -> None:
    info = program_info(compile_program(PROGRAM))
    (table,), (view, errors) = info["schema"]["inputs"], info["schema"]["outputs"]
    assert errors["name"] == "error_view"

    assert (table["name"], table["primary_key"], table["materialized"]) == ("t", ["id"], False)
    shown = ("name", "case_sensitive", "unused", "default")
    assert [tuple(f[key] for key in shown) for f in table["fields"]] == [
        ("id", False, False, None),
        ("Name", True, False, "'none'"),
        ("spare", False, True, None),
    ]
    assert table["fields"][0]["columntype"] == {
        "type": "INTEGER", "nullable": False, "precision": None, "scale": None,
        "component": None, "key": None, "value": None, "fields": None,
    }  # fmt: skip
    assert table["fields"][1]["columntype"]["precision"] == -1
    assert (view["name"], view["primary_key"], view["materialized"]) == ("m", None, True)
    position = table["properties"]["connectors"]["key_position"]
    assert (position["start_line_number"], position["start_column"]) == (4, 9)
    assert json.loads(json.dumps(info)) == info


def test_an_output_connector_is_shown_with_every_attribute_of_the_contract() -> None:
    info = program_info(compile_program(PROGRAM))

    sink = info["output_connectors"]["m.sink"]
    assert sink == {
        "stream": "m",
        "transport": {"name": "file_output", "config": {"path": "out.csv"}},
        "format": {"name": "csv", "config": {}},
        "send_snapshot": True,
        "index": "by_id",
        "enable_output_buffer": False,
        "max_output_buffer_time_millis": 18446744073709551615,
        "max_output_buffer_size_records": 10000000,
        "max_queued_records": 1000000,
        "paused": False,
        "postprocessor": None,
        "labels": [],
        "start_after": None,
    }
    source = info["input_connectors"]["t.src"]
    assert (source["stream"], source["max_queued_records"], source["max_queued_bytes"]) == (
        "t", 10, 10_000,
    )  # fmt: skip
    assert source["format"] == {"name": "csv", "config": {}}


def test_the_mode_of_an_output_connector_shows_as_send_snapshot_too() -> None:
    for mode, is_sent in (("snapshot_and_follow", True), ("follow", False)):
        program = PROGRAM.replace('"send_snapshot": true', f'"mode": "{mode}"')
        sink = program_info(compile_program(program))["output_connectors"]["m.sink"]
        assert (sink["send_snapshot"], sink["mode"]) == (is_sent, mode)


def test_the_clock_that_now_reads_is_not_among_the_connectors() -> None:
    info = program_info(compile_program("CREATE VIEW v AS SELECT NOW() AS n;"))
    assert info["input_connectors"] == {}
    assert [t["name"] for t in info["schema"]["inputs"]] == ["now"]


@pytest.mark.parametrize(
    "transport",
    [
        {"name": "sqlite_output", "config": {"path": "a", "table": "m"}},
        {"name": "duckdb_output", "config": {"path": "a", "table": "m"}},
        {"name": "delta_table_output", "config": {"uri": "a", "mode": "materialized"}},
    ],
)
def test_an_output_that_strict_clients_do_not_know_is_shown_apart(transport: Any) -> None:
    connectors = json.dumps([{"name": "s", "transport": transport}])
    program = f"CREATE MATERIALIZED VIEW m WITH ('connectors' = '{connectors}') AS SELECT 1 AS a;"
    info = program_info(compile_program(program))

    assert info["output_connectors"] == {}
    assert info["own_output_connectors"]["m.s"]["transport"] == transport


@pytest.mark.parametrize(
    ("transport", "shown"),
    [
        (
            {"name": "kafka_output", "config": {
                "topic": "t", "bootstrap.servers": "b", "partitions": 2, "enable.idempotence": True,
                "topic_config": {"retention.ms": -1}, "initialization_timeout_secs": "5",
                "headers": [{"key": "k", "value": "v"}], "sasl.password": None}},
            {"topic": "t", "bootstrap.servers": "b", "partitions": "2",
             "enable.idempotence": "true", "topic_config": '{"retention.ms": -1}',
             "initialization_timeout_secs": 5, "headers": [{"key": "k", "value": "v"}]},
        ),
        (
            {"name": "delta_table_output", "config": {
                "uri": "u", "threads": "2", "aws_allow_http": True, "max_retries": "many",
                "checkpoint_interval": "${env:EVERY}"}},
            {"uri": "u", "threads": 2, "aws_allow_http": "true"},
        ),
        (
            {"name": "postgres_output", "config": {
                "uri": "u", "table": "t", "verify_hostname": "FALSE"}},
            {"uri": "u", "table": "t", "verify_hostname": False},
        ),
    ],
)  # fmt: skip
def test_an_output_is_shown_as_strict_clients_take_it(transport: Any, shown: Any) -> None:
    connectors = json.dumps(
        [{"name": "s", "transport": transport, "format": {"name": "json", "config": {}}}]
    )
    program = f"CREATE MATERIALIZED VIEW m WITH ('connectors' = '{connectors}') AS SELECT 1 AS a;"
    info = program_info(compile_program(program))

    assert info["output_connectors"]["m.s"]["transport"]["config"] == shown
    check_component("ConnectorConfig", info["output_connectors"]["m.s"])


def test_transports_that_have_no_options_are_shown_by_their_name_alone() -> None:
    given = [{"name": "s", "transport": {"name": "null_output", "config": {}}}]
    taken = [{"name": "s", "transport": {"name": "empty_input", "config": {}}}]
    info = program_info(
        compile_program(
            f"CREATE TABLE t (a INT) WITH ('connectors' = '{json.dumps(taken)}'); "
            f"CREATE VIEW v WITH ('connectors' = '{json.dumps(given)}') AS SELECT a FROM t;"
        )
    )
    assert info["output_connectors"]["v.s"]["transport"] == {"name": "null_output"}
    assert info["input_connectors"]["t.s"]["transport"] == {"name": "empty_input"}


def test_an_input_is_shown_as_strict_clients_take_it() -> None:
    kafka = {"topic": "t", "bootstrap.servers": "b", "start_from": {"offsets": [1]},
             "partitions": [0], "fetch.wait.max.ms": 5, "poller_threads": "3",
             "resume_earliest_if_data_expires": False}  # fmt: skip
    connectors = json.dumps(
        [{"name": "s", "transport": {"name": "kafka_input", "config": kafka},
          "format": {"name": "json"}}]
    )  # fmt: skip
    info = program_info(
        compile_program(f"CREATE TABLE t (a INT) WITH ('connectors' = '{connectors}');")
    )
    shown = info["input_connectors"]["t.s"]

    assert shown["transport"]["config"] == kafka | {"fetch.wait.max.ms": "5", "poller_threads": 3}
    check_component("ConnectorConfig", shown)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"transport": {"name": "file_input", "config": {"path": "x", "folow": True}}},
         "transport of connector c of table t: unknown key 'folow'; did you mean follow?"),
        ({"format": {"name": "csv", "config": {"header": True}}},
         "format of connector c of table t: unknown key 'header'; did you mean headers?"),
        ({"format": {"name": "parquet", "config": {"rows": 1}}}, 
         "unknown key 'rows'; it takes none"),
        ({"format": {"name": "raw", "config": {"zzz": 1}}},
         "unknown key 'zzz'; known are mode, column_name"),
        ({"max_queue_records": 5}, "unknown key 'max_queue_records'; did you mean max_queued_rec"),
        ({"transport": {"name": "file_input", "config": {"path": "x", "follow": "maybe"}}},
         "transport of connector c of table t: 'follow' must be true or false, not a string"),
        ({"format": {"name": "csv", "config": {"delimiter": 5}}},
         "format of connector c of table t: 'delimiter' must be a single ASCII character, not the"),
        ({"transport": {"name": "kafka_input", "config": {"topic": ["x"]}}},
         "'topic' must be a string, not an array"),
        ({"transport": {"name": "file_input", "config": {"path": "x", "follow": "TRUE",
                                                         "buffer_size_bytes": "${env:SIZE}"}}},
         None),
        ({"comment": "ours"}, None),
        ({"enable_output_buffer": True}, "'enable_output_buffer' means nothing to an input connec"),
        ({"transport": {"name": "s3_input", "config": {}}},
         "s3_input, which is not supported: the pipeline will not start; supported are datagen,"),
        ({"transport": {"name": "datagen"}}, "format of connector c of table t means nothing to"),
        ({"transport": {"name": "kafka_input", "config": {"topic": "x", "linger.ms": "5"}}}, None),
    ],
)  # fmt: skip
def test_a_key_that_nobody_knows_or_of_a_wrong_type_is_warned_of(
    entry: Any, message: str | None
) -> None:
    good = {"name": "c", "transport": {"name": "file_input", "config": {"path": "x"}},
            "format": {"name": "json"}}  # fmt: skip
    plans, problems = parse_connectors(json.dumps([{**good, **entry}]), Owner("t", True))

    assert len(plans) == 1
    assert [(p.error_type, p.warning) for p in problems] == (
        [("Invalid configuration", True)] if message else []
    )
    assert not message or message in problems[0].message


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"labels": ["a"]}, "'labels' means nothing to an output connector"),
        ({"max_batch_size": 5}, "'max_batch_size' means nothing to an output connector"),
        ({"transport": {"name": "dynamodb_output", "config": {}}}, "dynamodb_output, which is not"),
        ({"format": {"name": "json"}}, None),
    ],
)
def test_what_an_output_connector_passes_over_is_warned_of(entry: Any, message: str | None) -> None:
    good = {"name": "c", "transport": {"name": "null_output"}}
    _, problems = parse_connectors(json.dumps([{**good, **entry}]), Owner("v", False))

    assert [p.warning for p in problems] == ([True] if message else [])
    assert not message or message in problems[0].message
