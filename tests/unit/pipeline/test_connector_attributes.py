"""Generic attributes of connectors (contract 7.2): honoured, or refused by name."""

from __future__ import annotations

import threading
from typing import Any, cast

import numpy as np
import pytest

from penstock.data.batch import INSERT, InputBatch
from penstock.data.build import batch_from_rows
from penstock.data.types import BIGINT, schema
from penstock.errors import UserError
from penstock.io.contracts import InputConnector, InputContext, Intake, Parsed, ParseError
from penstock.pipeline.connectors import make_input, make_output, output_settings
from penstock.pipeline.inputs import InputEndpoint
from penstock.pipeline.metrics import put_input
from penstock.pipeline.start_order import start_order
from penstock.pipeline.statistics import input_status
from penstock.plan.nodes import ConnectorPlan
from penstock.sql.program import compile_program
from penstock.wire.prometheus import Exposition
from tests.unit.pipeline.test_delivery import wait_until

SCHEMA = schema(x=BIGINT)


def endpoint(name: str = "t.a", **more: Any) -> InputEndpoint:
    return InputEndpoint(
        name=name, relation="t", config={}, max_queued_records=1000, is_running=lambda: True,
        wake=lambda: None, **more,
    )  # fmt: skip


def push(e: InputEndpoint, rows: int, size: int) -> None:
    batch = batch_from_rows(SCHEMA, [(i,) for i in range(rows)])
    ops = np.full(rows, INSERT, np.uint8)
    e.push(Parsed((InputBatch(SCHEMA, batch.columns, ops),)), size)


def test_a_bad_record_is_told_with_what_it_reads_and_what_to_do(
    caplog: pytest.LogCaptureFixture,
) -> None:
    e = endpoint()
    long = ParseError("record 1, column 'x': a string where an integer is expected", 1, "x",
                      '"' + "y" * 1000 + '"', suggestion="send a number")  # fmt: skip
    e.push(Parsed((), (long,)), 9)
    message = e.parse_errors[0]["message"]
    assert message.startswith("record 1, column 'x': a string where an integer is expected; it")
    assert message.endswith("yyy'…; send a number") and len(message) < 250
    e.push(Parsed((), (long,) * 1000), 9)
    assert e.num_parse_errors == 1001
    logged = [m for m in caplog.messages if "endpoint=t.a" in m]
    assert len(logged) == 1 + 10 + 1 and "count=990" in logged[-1]


def test_a_bad_record_is_one_line_of_the_log(caplog: pytest.LogCaptureFixture) -> None:
    e = endpoint()
    forged = ParseError("record 1: what is it\nreset_accepted endpoint=m.db", 1)
    e.push(Parsed((), (forged,)), 9)
    (logged,) = [m for m in caplog.messages if m.startswith("parse_error")]
    assert "\n" not in logged and 'error="record 1: ' in logged


def plan(name: str, **config: Any) -> ConnectorPlan:
    return ConnectorPlan("t", name, config)


class Recording(InputConnector):
    """Says that it ran."""

    def __init__(self) -> None:
        super().__init__(InputContext("t", "b", SCHEMA, (), {}))
        self.ran = threading.Event()

    def validate(self) -> None:
        return

    def run(self, intake: Intake) -> None:
        self.ran.set()


def test_a_step_takes_no_more_of_a_connector_than_its_batch_size() -> None:
    e = endpoint(max_batch_records=5)
    for _ in range(4):
        push(e, 3, 10)
    assert [sum(map(len, e.take(1000))) for _ in range(5)] == [3, 3, 3, 3, 0]
    wide = endpoint(max_batch_records=7)
    for _ in range(4):
        push(wide, 3, 10)
    assert [sum(map(len, wide.take(1000))) for _ in range(3)] == [6, 6, 0]


def test_a_connector_waits_while_so_many_bytes_are_queued() -> None:
    e = endpoint(max_queued_bytes=100)
    push(e, 1, 100)
    blocked = threading.Thread(target=push, args=(e, 1, 1), daemon=True)
    blocked.start()
    blocked.join(0.3)
    assert blocked.is_alive() and e.total_records == 1
    assert e.take(10)
    blocked.join(30)
    assert e.total_records == 2


def test_a_connector_begins_when_those_before_it_have_ended() -> None:
    before, after, connector = endpoint("t.a"), endpoint("t.b"), Recording()
    after.start_after = (before,)
    after.run(connector)
    assert not connector.ran.wait(0.3)
    before.end_of_input()
    wait_until(connector.ran.is_set)
    stopped, idle = endpoint("t.c"), Recording()
    stopped.start_after = (endpoint("t.d"),)
    stopped.run(idle)
    stopped.stop()
    assert not idle.ran.is_set()


def test_the_metrics_call_a_connector_running_once_those_before_it_have_ended() -> None:
    before, after = endpoint("t.a"), endpoint("t.b")
    after.start_after = (before,)

    def is_running(e: InputEndpoint) -> bool:
        metrics = Exposition({})
        put_input(metrics, e, is_paused=False)
        (line,) = (
            x for x in metrics.text().splitlines() if x.startswith("input_connector_running")
        )
        return line.endswith(" 1")

    assert is_running(before) and not is_running(after)
    before.end_of_input()
    assert is_running(after)


def test_an_input_whose_source_does_not_answer_is_unhealthy_until_something_comes() -> None:
    e = endpoint()

    def health() -> tuple[Any, str]:
        metrics = Exposition({})
        put_input(metrics, e, is_paused=False)
        (line,) = (x for x in metrics.text().splitlines() if x.startswith("input_connector_health"))
        return input_status(e, is_paused=False, errors=False)["health"]["description"], line[-2:]

    assert health() == (None, " 1")
    e.trouble("kafka_input: no broker answers")
    assert health() == ("kafka_input: no broker answers", " 0")
    assert e.num_transport_errors == 1 and e.fatal_error is None
    push(e, 1, 8)
    assert health() == (None, " 1")
    e.trouble("it is away again")
    e.trouble(None)
    assert health() == (None, " 1") and e.num_transport_errors == 2


def test_who_waits_for_a_connector_that_failed_says_so_and_never_begins() -> None:
    first, second, third, idle = endpoint("t.a"), endpoint("t.b"), endpoint("t.c"), Recording()
    second.start_after, third.start_after = (first,), (second,)
    for waiting in (second, third):
        waiting.run(idle)
    first.error("no such file", fatal=True)
    wait_until(lambda: third.fatal_error is not None)

    assert second.fatal_error is not None
    assert "'t.a'" in second.fatal_error
    assert "no such file" in second.fatal_error
    assert "restart the pipeline" in second.fatal_error
    assert "'t.b'" in str(third.fatal_error)
    status = input_status(second, is_paused=False, errors=True)
    assert status["health"]["status"] == "Unhealthy"
    assert [e["message"] for e in status["transport_errors"]] == [second.fatal_error]
    assert not idle.ran.is_set()


def test_labels_say_who_waits_for_whom() -> None:
    order = start_order([
        plan("a", labels=["old", "x"]), plan("b", labels=["old"]), plan("c", start_after="old"),
        plan("d", start_after=["x", "old"], labels=["late"]), plan("e"),
    ])  # fmt: skip
    assert order == {"t.c": ("t.a", "t.b"), "t.d": ("t.a", "t.b")}


@pytest.mark.parametrize(
    ("plans", "code", "says"),
    [
        ([plan("a", start_after="x")], "EmptyStartAfter", "'x', which no input connector has"),
        ([plan("a", start_after=[])], "EmptyStartAfter", "names no label"),
        ([plan("a", start_after="y", labels=["x"]), plan("b", start_after="x", labels=["y"])],
         "CyclicDependency", "wait for each other"),
        ([plan("a", start_after="x", labels=["x"])], "CyclicDependency", "t.a after t.a"),
    ],
)  # fmt: skip
def test_an_order_that_cannot_be_is_refused(
    plans: list[ConnectorPlan], code: str, says: str
) -> None:
    with pytest.raises(UserError, match=says) as e:
        start_order(plans)
    assert e.value.code == f"ConfigError.{code}"


@pytest.mark.parametrize(
    ("config", "code"),
    [
        ({"max_output_buffer_time_millis": 5}, "InvalidOutputBufferConfig"),
        ({"max_output_buffer_size_records": 5}, "InvalidOutputBufferConfig"),
        ({"on_overflow": "drop"}, "InvalidTransportConfig"),
        ({"on_lost_marker": "panic"}, "InvalidTransportConfig"),
        ({"mode": "both"}, "InvalidTransportConfig"),
    ],
)
def test_attributes_of_an_output_that_mean_nothing_are_refused(
    config: dict[str, Any], code: str
) -> None:
    with pytest.raises(UserError) as e:
        output_settings("v.c", config)
    assert e.value.code == f"ConfigError.{code}"
    assert next(iter(config)) in str(e.value) or config["mode"] in str(e.value)


@pytest.mark.parametrize(
    ("transport", "format", "says"),
    [
        ({"name": "sqlite_output", "config": {"path": "x"}}, None, "'table' is required"),
        (
            {"name": "null_output", "config": {"path": "${env:PENSTOCK_NO_SUCH_NAME}"}},
            None,
            "PENSTOCK_NO_SUCH_NAME is not set",
        ),
        (
            {"name": "file_output", "config": {"path": "x"}},
            {"name": "json", "config": {"update_format": "odd"}},
            "odd",
        ),
    ],
)
def test_what_is_wrong_with_an_output_says_whose_it_is(
    transport: dict[str, Any], format: dict[str, Any] | None, says: str
) -> None:
    program = compile_program("CREATE TABLE t (a INT); CREATE VIEW v AS SELECT a FROM t;")
    plan = ConnectorPlan("v", "c", {"transport": transport, "format": format})
    with pytest.raises(UserError, match=says) as e:
        make_output(
            program, plan, pipeline_id="p", resets=cast(Any, None), take_cut=cast(Any, None),
            on_progress=lambda: None, recovered=None, await_durable=cast(Any, None),
            await_replayed=cast(Any, None), runtime={},
        )  # fmt: skip
    assert e.value.message.startswith("connector 'v.c': ")
    assert e.value.message.count("v.c") == 1
    assert e.value.code.startswith("ConfigError.")


def test_what_is_wrong_with_an_input_says_whose_it_is() -> None:
    program = compile_program("CREATE TABLE t (a INT); CREATE VIEW v AS SELECT a FROM t;")
    transport = {"name": "datagen", "config": {"plan": [{"fields": {"zz": {}}}]}}
    plan = ConnectorPlan("t", "c", {"transport": transport})
    with pytest.raises(UserError, match=r"^connector 't\.c': datagen plan 0.*'zz'") as e:
        make_input(program, plan, is_running=lambda: True, wake=lambda: None)
    assert e.value.details == {"option": "fields", "value": {"zz": {}}}
