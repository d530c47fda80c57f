"""What streams: egress, queries in every format, WebSockets, logs — one HTTP chunk a message."""

from __future__ import annotations

import hashlib
import io
import json
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from tests.http.conftest import code, forget, wait_until
from tests.system.conftest import Pipeline, System

PROGRAM = """
CREATE TABLE t (id INT NOT NULL PRIMARY KEY, v VARCHAR, d DECIMAL(8, 2), at TIMESTAMP);
CREATE TABLE bag (x INT);
CREATE TABLE d (a INT NOT NULL PRIMARY KEY, b INT NOT NULL DEFAULT 40 + 2, c VARCHAR DEFAULT 'c');
CREATE TABLE told (a INT, who VARCHAR DEFAULT CAST(CONNECTOR_METADATA()['from'] AS VARCHAR))
    WITH ('materialized' = 'true', 'append_only' = 'true');
CREATE TABLE part (a INT, of INT DEFAULT 10 / CAST(CONNECTOR_METADATA()['parts'] AS INT))
    WITH ('materialized' = 'true');
CREATE MATERIALIZED VIEW m AS SELECT * FROM t;
CREATE VIEW plain AS SELECT x, COUNT(*) AS n FROM bag GROUP BY x;
"""
ROWS = [
    {"id": 1, "v": "a", "d": 1.50, "at": "2024-01-01 00:00:00"},
    {"id": 2, "v": None, "d": None, "at": None},
]


@pytest.fixture(scope="module")
def p(system: System) -> Iterator[Pipeline]:
    running = system.pipeline(PROGRAM)
    running.send("t", *ROWS)
    yield running
    running.stop()
    forget(system, running.name)


class Raw:
    """One HTTP/1.1 answer read below any client: its headers, then its chunks as they were sent."""

    def __init__(self, p: Pipeline, method: str, path: str) -> None:
        self.socket = socket.create_connection(("127.0.0.1", p.system.port), timeout=10)
        self.socket.sendall(
            f"{method} /v0{p.path}{path} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n"
            "Accept-Encoding: gzip\r\n\r\n".encode()
        )
        self.file = self.socket.makefile("rb")
        self.status = int(self.file.readline().split()[1])
        self.headers = {}
        while line := self.file.readline().strip():
            name, _, value = line.partition(b":")
            self.headers[name.decode().lower()] = value.decode().strip()

    def chunk(self) -> bytes:
        """The next chunk, b"" at the end."""
        size = int(self.file.readline(), 16)
        data = self.file.read(size)
        assert self.file.readline() == b"\r\n"
        return data

    def close(self) -> None:
        self.file.close()
        self.socket.close()


class Subscription(Raw):
    """An egress."""

    def __init__(self, p: Pipeline, relation: str, query: str) -> None:
        super().__init__(p, "POST", f"/egress/{relation}?{query}")
        assert self.status == 200, self.file.read(1000)
        self.number = 0

    def message(self) -> dict[str, Any]:
        """The next chunk; sequence numbers leave no gap."""
        data = self.chunk()
        assert data.endswith(b"\r\n") and data.count(b"\n") <= 1 + data.count(b"\\n")
        message: dict[str, Any] = json.loads(data)
        assert message["sequence_number"] == self.number
        self.number += 1
        assert isinstance(message["snapshot"], bool)
        assert sum(k in message for k in ("json_data", "text_data", "bin_data")) <= 1
        return message

    def data(self, key: str = "json_data") -> dict[str, Any]:
        """The next message with data."""
        deadline = time.monotonic() + 10
        while key not in (message := self.message()):
            assert time.monotonic() < deadline
        return message


def test_an_egress_is_chunked_uncompressed_json_and_says_something_at_once(p: Pipeline) -> None:
    s = Subscription(p, "m", "format=json")
    assert s.headers["content-type"] == "application/json"
    assert s.headers["transfer-encoding"] == "chunked" and "content-encoding" not in s.headers
    asked = time.monotonic()
    first = s.message()
    assert time.monotonic() - asked < 2 and "json_data" not in first
    s.close()


def test_deletes_precede_inserts_and_values_are_written_as_the_contract_says(p: Pipeline) -> None:
    s = Subscription(p, "m", "format=json&backpressure=true&array=false")
    p.send("t", {"id": 1, "v": "b", "d": 2.25, "at": "2024-01-02T03:04:05"})
    assert s.data()["json_data"] == [
        {"delete": {"id": 1, "v": "a", "d": 1.50, "at": "2024-01-01 00:00:00"}},
        {"insert": {"id": 1, "v": "b", "d": 2.25, "at": "2024-01-02 03:04:05"}},
    ]
    p.send("t", ROWS[0])
    assert len(s.data()["json_data"]) == 2
    s.close()


def test_a_snapshot_comes_first_marked_and_the_changes_follow(p: Pipeline) -> None:
    s = Subscription(p, "m", "format=json&send_snapshot=true&backpressure=true")
    message = s.data()
    assert message["snapshot"] is True
    assert sorted(i["insert"]["id"] for i in message["json_data"]) == [1, 2]
    p.send("t", {"id": 3, "v": "c"})
    change = s.data()
    assert change["snapshot"] is False and change["json_data"][0]["insert"]["id"] == 3
    p.send("t", {"delete": {"id": 3}}, update_format="insert_delete")
    assert s.data()["json_data"][0]["delete"]["id"] == 3
    s.close()


def test_csv_rows_end_in_their_weight(p: Pipeline) -> None:
    s = Subscription(p, "t", "format=csv&send_snapshot=true")
    lines = s.data("text_data")["text_data"].splitlines()
    assert sorted(line.split(",")[0] + line.split(",")[-1] for line in lines) == ["11", "21"]
    p.send("t", {"delete": {"id": 2}}, update_format="insert_delete")
    assert s.data("text_data")["text_data"].strip().endswith(",-1")
    p.send("t", ROWS[1])
    s.close()


def test_tables_and_plain_views_have_subscribers_too_but_no_snapshot(p: Pipeline) -> None:
    s = Subscription(p, "plain", "format=json")
    b = Subscription(p, "bag", "format=json")
    p.send("bag", {"x": 1}, {"x": 1})
    assert s.data()["json_data"] == [{"insert": {"x": 1, "n": 2}}]
    assert b.data()["json_data"] == [{"insert": {"x": 1}}] * 2, "weight 2 is written twice"
    names = [o["endpoint_name"] for o in p.get("/stats").json()["outputs"]]
    assert sum(n.startswith("plain.api-") for n in names) == 1
    s.close()
    b.close()

    def gone() -> bool:
        outputs = p.get("/stats").json()["outputs"]
        return not [o for o in outputs if ".api-" in o["endpoint_name"]]

    wait_until(gone, 10)
    for relation in ("plain", "bag"):
        refused = p.post(f"/egress/{relation}", params={"send_snapshot": "true"})
        assert code(refused, 400) == "ConfigError.InvalidTransportConfig"


def test_a_silent_egress_beats_its_heart(p: Pipeline) -> None:
    s = Subscription(p, "m", "format=json")
    last, pause = time.monotonic(), 0.0
    while pause < 1.5:  # what it says on connecting comes at once
        message = s.message()
        assert "json_data" not in message
        last, pause = time.monotonic(), time.monotonic() - last
    assert pause < 5 and "processed_steps" not in message
    s.close()


def test_every_step_reports_its_number_to_subscribers(p: Pipeline) -> None:
    s = Subscription(p, "m", "format=json&backpressure=true")
    token = p.send("bag", {"x": 9})  # a step that does not change `m`
    step = p.get("/completion_status", params={"token": token}).json()["step"]
    deadline = time.monotonic() + 10
    while s.message().get("processed_steps", -1) < step:
        assert time.monotonic() < deadline
    s.close()


def test_with_backpressure_a_slow_reader_holds_completion_back_and_loses_nothing(
    p: Pipeline,
) -> None:
    n = 60_000
    s = Subscription(p, "bag", "format=json&backpressure=true")
    rows = "\n".join(f'{{"x": {i % 1000}}}' for i in range(n))
    for _ in range(4):
        answer = p.post(
            "/ingress/bag", params={"format": "json", "update_format": "raw"}, content=rows
        )
        assert answer.status_code == 200
    seen = 0
    deadline = time.monotonic() + 30
    while seen < 4 * n:
        seen += (size := len(s.data()["json_data"]))
        assert size <= 10_000 and time.monotonic() < deadline
    assert seen == 4 * n
    s.close()


@pytest.mark.parametrize(
    ("body", "query", "expected"),
    [
        ('{"format": {"name": "json", "config": {"array": true}}}', {"format": "csv"}, None),
        ('{"format": {"name": "json"}}', {}, None),
        ("[1]", {}, None),
        ('{"format": "json"}', {}, None),
        ('{"format": {"name": "json", "config": 7}}', {}, None),
        ('{"transport": "http_output", "format": {"name": "csv"}}', {}, None),
        ('{"transport": {"name": "file_output"}, "format": {"name": "csv"}}', {}, "InvalidParam"),
        ("{", {}, None),
        ("", {"format": "json", "backpressure": "maybe"}, "InvalidParam"),
        ("", {"format": "json", "tempo": "1"}, None),
        ("", {"format": "json", "update_format": "smoke"}, None),
    ],
)
def test_an_egress_that_makes_no_sense_is_refused(
    p: Pipeline, body: str, query: dict[str, str], expected: str | None
) -> None:
    answer = p.post("/egress/m", params=query, content=body)
    found = code(answer, 400)
    assert expected is None or found == expected


def test_queries_answer_in_every_format_with_exact_types(p: Pipeline) -> None:
    def ask(form: str, sql: str = "SELECT id, v FROM m ORDER BY id") -> tuple[str, bytes]:
        answer = p.get("/query", params={"sql": sql, "format": form})
        assert answer.status_code == 200, answer.text
        return answer.headers["content-type"], answer.content

    kind, text = ask("text")
    assert kind == "text/plain"
    lines = text.decode().splitlines()
    assert lines[0] == lines[2] == lines[-1] and set(lines[0]) == {"+", "-"}
    assert [c.strip() for c in lines[1].strip("|").split("|")] == ["id", "v"]
    kind, data = ask("json")
    assert kind == "application/json"
    assert [json.loads(x) for x in data.splitlines()] == [{"id": 1, "v": "a"}, {"id": 2, "v": None}]
    kind, data = ask("arrow_ipc")
    assert kind == "application/octet-stream"
    table = pa.ipc.open_stream(data).read_all()
    assert table.to_pylist() == [{"id": 1, "v": "a"}, {"id": 2, "v": None}]
    kind, data = ask("parquet")
    assert kind == "application/octet-stream"
    assert pq.read_table(io.BytesIO(data)).to_pylist() == table.to_pylist()
    sent = p.post("/ingress/t", params={"format": "parquet"}, content=data)
    assert sent.status_code == 200, sent.text
    p.wait_for(sent.json()["token"])
    assert ask("parquet")[1] == data  # the same rows under the same keys
    packed = p.post("/ingress/t", content=b"", headers={"Content-Encoding": "gzip"})
    assert code(packed, 400) == "InvalidParam" and "gzip" in packed.json()["message"]
    spoilt = p.post("/ingress/t", params={"format": "parquet"}, content=data[:-1])
    assert code(spoilt, 400) == "ParseErrors"
    kind, data = ask("hash")
    assert kind == "text/plain" and len(data) == len(hashlib.sha256().hexdigest())
    assert data == ask("hash", "SELECT id, v FROM m ORDER BY id DESC")[1] == data.upper()
    assert data != ask("hash", "SELECT id, v FROM m WHERE id = 1")[1]
    types = pa.ipc.open_stream(ask("arrow_ipc", "SELECT * FROM m")[1]).schema
    assert types.field("at").type == pa.timestamp("us")
    assert types.field("d").type == pa.decimal128(8, 2)
    assert types.field("v").type in (pa.string(), pa.string_view(), pa.large_string())
    assert code(p.get("/query", params={"sql": "SELECT 1", "format": "xml"}), 400)
    assert code(p.get("/query"), 400) == "MissingUrlEncodedParam"


def test_several_statements_answer_with_the_last(p: Pipeline) -> None:
    found = p.query("INSERT INTO bag VALUES (77); SELECT 5 AS five")
    assert found == [{"five": 5}]
    wait_until(lambda: p.get("/stats").json()["global_metrics"]["buffered_input_records"] == 0)
    empty = p.get("/query", params={"sql": "SELECT * FROM m WHERE id = 99", "format": "text"})
    assert empty.status_code == 200 and "id" in empty.text


def test_queries_over_a_web_socket(p: Pipeline) -> None:
    url = f"ws://127.0.0.1:{p.system.port}/v0{p.path}/query"

    def ask(message: str) -> tuple[list[str | bytes], int]:
        with connect(url, subprotocols=["feldera-ws-v1"]) as s:  # type: ignore[list-item]
            assert s.subprotocol == "feldera-ws-v1"
            s.send(message)
            frames: list[str | bytes] = []
            try:
                while True:
                    frames.append(s.recv(10))
            except ConnectionClosed:
                return frames, s.close_code or 0

    frames, closed = ask(json.dumps({"sql": "SELECT id FROM m ORDER BY id", "format": "json"}))
    assert closed == 1000 and "".join(map(str, frames)).split() == ['{"id":1}', '{"id":2}']
    frames, closed = ask(json.dumps({"sql": "SELECT id FROM m", "format": "arrow_ipc"}))
    assert closed == 1000 and all(isinstance(f, bytes) for f in frames)
    for bad in (
        '{"sql": "SELEC 1", "format": "json"}',
        "{",
        '{"sql": 7}',
        '{"sql": "SELECT 1", "format": 3}',
    ):
        frames, closed = ask(bad)
        assert closed == 1011 and set(json.loads(frames[-1])) == {"error"}

    # what GET refuses is refused at the upgrade, with the same answer
    with pytest.raises(InvalidStatus) as refused:
        connect(url.replace(p.name, "nobody"))
    response = refused.value.response
    assert response.status_code == 404 and response.headers["content-type"] == "application/json"
    got = p.system.http.get(f"{p.path}/query".replace(p.name, "nobody"), params={"sql": "x"})
    assert json.loads(response.body) == got.json()


def test_logs_start_with_what_was_kept_and_then_follow(p: Pipeline) -> None:
    r = Raw(p, "GET", "/logs")
    assert r.status == 200 and r.headers["content-type"] == "text/plain"
    assert r.headers["transfer-encoding"] == "chunked"
    for header in ("feldera-logs-epoch", "feldera-logs-seq", "feldera-logs-gap"):
        assert r.headers[header].isdigit()
    first = r.chunk()
    assert first.startswith(b"[manager] ") and first.count(b"\n") == 1
    assert f'pipeline-name="{p.name}"'.encode() in first
    seen: list[bytes] = []

    def follow() -> None:
        while not any(b"Paused" in line for line in seen):
            seen.append(r.chunk())

    reader = threading.Thread(target=follow)
    reader.start()
    assert p.post("/pause").status_code == 202
    reader.join(10)
    assert not reader.is_alive()
    assert p.post("/resume").status_code == 202
    p.wait("deployment_status", "Running")
    r.close()
    # a cursor goes on behind what was read
    epoch = r.headers["feldera-logs-epoch"]
    after = Raw(p, "GET", f"/logs?cursor={epoch}:{int(r.headers['feldera-logs-seq']) + 1}")
    assert after.chunk() == seen[0]
    after.close()
    assert code(p.get("/logs", params={"cursor": "yesterday"}), 400)


def test_a_transaction_shows_nothing_before_its_commit_and_one_batch_after(p: Pipeline) -> None:
    s = Subscription(p, "m", "format=json&backpressure=true")
    s.message()
    assert code(p.post("/commit_transaction"), 400) == "NoTransactionInProgress"
    started = p.post("/start_transaction")
    assert started.status_code == 200 and started.json()["transaction_id"] >= 1
    assert code(p.post("/start_transaction"), 409) == "TransactionInProgress"
    p.send("t", {"id": 40, "v": "x"}, wait=False)
    p.send("t", {"id": 41, "v": "y"}, wait=False)
    metrics = p.get("/stats").json()["global_metrics"]
    assert metrics["transaction_status"] == "TransactionInProgress"
    assert metrics["transaction_id"] == started.json()["transaction_id"]
    assert p.query("SELECT id FROM m WHERE id >= 40") == []
    committed = p.post("/commit_transaction")
    assert (committed.status_code, committed.json()) == (200, "Transaction commit initiated")
    wait_until(lambda: p.get("/stats").json()["global_metrics"]["transaction_id"] == 0)
    assert sorted(i["insert"]["id"] for i in s.data()["json_data"]) == [40, 41]
    assert len(p.query("SELECT id FROM m WHERE id >= 40")) == 2
    s.close()


def test_a_subscription_that_comes_during_a_transaction_has_no_part_in_it_unless_by_snapshot(
    p: Pipeline,
) -> None:
    p.send("t", {"id": 45, "v": "before"})
    assert p.post("/start_transaction").status_code == 200
    p.send("t", {"id": 46, "v": "within"}, wait=False)
    late = Subscription(p, "m", "format=json&backpressure=true")
    late.message()
    whole = Subscription(p, "m", "format=json&backpressure=true&send_snapshot=true")
    first = whole.data()
    assert first["snapshot"] and {r["insert"]["id"] for r in first["json_data"]} >= {1, 45}
    assert 46 not in {r["insert"]["id"] for r in first["json_data"]}
    assert p.post("/commit_transaction").status_code == 200
    wait_until(lambda: p.get("/stats").json()["global_metrics"]["transaction_id"] == 0)
    assert [r["insert"]["id"] for r in whole.data()["json_data"]] == [46]
    p.send("t", {"id": 47, "v": "after"})
    assert [r["insert"]["id"] for r in late.data()["json_data"]] == [47]
    late.close()
    whole.close()


def test_a_paused_pipeline_blocks_rows_unless_they_are_forced(p: Pipeline) -> None:
    assert p.post("/pause").status_code == 202
    p.wait("deployment_status", "Paused")
    p.send("t", {"id": 50, "v": "forced"}, force="true")
    assert p.query("SELECT v FROM m WHERE id = 50") == [{"v": "forced"}]
    done = threading.Event()

    def send() -> None:
        p.send("t", {"id": 51, "v": "patient"})
        done.set()

    sender = threading.Thread(target=send)
    sender.start()
    assert not done.wait(0.5)
    assert p.query("SELECT v FROM m WHERE id = 51") == []
    assert p.post("/resume").status_code == 202
    assert done.wait(10)
    sender.join()
    assert p.query("SELECT v FROM m WHERE id = 51") == [{"v": "patient"}]


def test_a_request_without_an_end_delivers_as_it_goes_and_holds_nothing_up(
    system: System,
) -> None:
    own = system.pipeline("CREATE TABLE t (a INT) WITH ('materialized' = 'true')")
    with socket.create_connection(("127.0.0.1", system.port), timeout=60) as client:
        client.sendall(
            f"POST /v0{own.path}/ingress/t?format=json&update_format=raw HTTP/1.1\r\nHost: x\r\n"
            "Transfer-Encoding: chunked\r\n\r\n".encode()
        )
        for a, text in enumerate(('{"a": 0}\n', '{"a": 1}\n{"a"', ": 2}\n"), 1):
            client.sendall(f"{len(text):x}\r\n{text}\r\n".encode())
            wait_until(lambda a=a: len(own.query("SELECT a FROM t")) == a)
        own.send("t", {"a": 3})
        assert sorted(r["a"] for r in own.query("SELECT a FROM t")) == [0, 1, 2, 3]
        own.stop()
        client.settimeout(20)
        assert client.makefile("rb").readline().split()[1] == b"503"
    forget(system, own.name)


def test_statements_can_be_prepared_and_explained(p: Pipeline) -> None:
    sql = "PREPARE one AS SELECT id FROM m WHERE id = $1; EXECUTE one(1)"
    assert p.query(sql) == [{"id": 1}]
    assert p.query("SELECT 1 AS x; -- then\n SELECT id FROM m WHERE id = 2") == [{"id": 2}]
    answer = p.get("/query", params={"sql": "EXPLAIN SELECT * FROM m", "format": "text"})
    assert answer.status_code == 200, answer.text
    assert p.query("-- a note\nINSERT INTO bag SELECT id FROM m WHERE id = 1") == [{"count": 1}]


def test_a_whole_number_can_be_inserted_into_a_decimal_column(p: Pipeline) -> None:
    assert p.query("INSERT INTO t (id, d) VALUES (50, 5), (51, -7)") == [{"count": 2}]
    wait_until(
        lambda: p.query("SELECT d FROM t WHERE id > 49 ORDER BY id") == [{"d": 5}, {"d": -7}]
    )
    too_large = p.get("/query", params={"sql": "INSERT INTO t (id, d) VALUES (52, 1000000)"})
    assert code(too_large, 400) == "AdHocQueryError" and "'d'" in too_large.json()["message"]
    p.send("t", {"delete": {"id": 50}}, {"delete": {"id": 51}}, update_format="insert_delete")


def test_the_tables_of_a_program_are_listed(p: Pipeline) -> None:
    assert {"t", "d", "m"} <= {r["name"] for r in p.query("SHOW TABLES")}
    sql = "SELECT column_name FROM information_schema.columns WHERE table_name = 'm' ORDER BY 1"
    assert [r["column_name"] for r in p.query(sql)] == ["at", "d", "id", "v"]


def test_a_request_says_what_its_records_are_told_of_their_origin(p: Pipeline) -> None:
    p.send("told", {"a": 1}, connector_metadata='{"from": "here"}')
    p.send("told", {"a": 2}, {"a": 3, "who": "me"})
    rows = p.query("SELECT * FROM told ORDER BY a")
    assert [tuple(r.values()) for r in rows] == [(1, "here"), (2, None), (3, "me")]

    wrong = p.post("/ingress/told", params={"format": "json", "connector_metadata": "here"})
    assert code(wrong, 400) == "InvalidParam"


def test_a_default_that_fails_with_what_is_told_refuses_the_request(p: Pipeline) -> None:
    answer = p.post(
        "/ingress/part", params={"format": "json", "connector_metadata": '{"parts": 0}'},
        content='{"insert": {"a": 1}}',
    )  # fmt: skip
    assert code(answer, 400) == "RuntimeError.EvaluationError"
    assert "a DEFAULT of table part: division by zero in `10 / CAST(" in answer.text

    p.send("part", {"a": 2}, connector_metadata='{"parts": 5}')
    assert p.query("SELECT * FROM part") == [{"a": 2, "of": 2}]


def test_a_row_of_an_append_only_table_cannot_be_deleted(p: Pipeline) -> None:
    before = p.query("SELECT COUNT(*) AS n FROM told")
    answer = p.post(
        "/ingress/told",
        params={"format": "json", "update_format": "insert_delete"},
        content='{"delete": {"a": 2, "who": null}}',
    )
    assert answer.status_code == 400 and "table told is append_only" in answer.text
    assert p.query("SELECT COUNT(*) AS n FROM told") == before


def test_an_insert_gives_absent_columns_their_defaults(p: Pipeline) -> None:
    assert p.query("INSERT INTO d (a) VALUES (1), (2)") == [{"count": 2}]
    assert p.query("INSERT INTO d VALUES (3, 4, NULL)") == [{"count": 1}]
    expected = [(1, 42, "c"), (2, 42, "c"), (3, 4, None)]

    def found() -> bool:
        return [tuple(r.values()) for r in p.query("SELECT * FROM d ORDER BY a")] == expected

    wait_until(found)


@pytest.mark.parametrize(
    "sql",
    [
        "INSERT INTO bag VALUES (123456); DROP TABLE bag",
        "INSERT INTO bag (x, x) VALUES (123456, 123456)",
        "INSERT INTO bag (y) VALUES (123456)",
        "INSERT INTO bag VALUES (123456, 2)",
        "INSERT INTO bag SELECT 99999999999",
        "PREPARE p AS INSERT INTO bag VALUES (123456); EXECUTE p",
        "SET threads = 4",
        "COPY (SELECT 1) TO 'x.csv'",
        "SELECT * FROM 'x.csv'",
        "ATTACH 'x.db'",
        "EXECUTE nobody",
        ";",
    ],
)
def test_a_query_that_may_not_run_changes_nothing(p: Pipeline, sql: str) -> None:
    def received() -> int:
        return int(p.get("/stats").json()["global_metrics"]["total_input_records"])

    before = received()
    answer = p.get("/query", params={"sql": sql, "format": "json"})
    assert code(answer, 400) == "AdHocQueryError"
    assert received() == before
