"""Numbers and switches of a running pipeline: statistics, metrics, connectors, odd requests."""

from __future__ import annotations

import base64
import io
import json
import os
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from tests.http.conftest import code, forget, wait_until
from tests.system.conftest import Pipeline, System

COLUMNS = "a INT NOT NULL PRIMARY KEY, v VARCHAR"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("monitored")
    (found / "in.csv").write_text("1,one\n2,two\nmany,three\n")
    return found


@pytest.fixture(scope="module")
def p(system: System, folder: Path) -> Iterator[Pipeline]:
    def connector(name: str, transport: str, path: str, **rest: Any) -> str:
        config = {"path": str(folder / path)}
        return json.dumps([{
            "name": name, "transport": {"name": transport, "config": config},
            "format": {"name": "csv"}, **rest,
        }])  # fmt: skip

    program = f"""
    CREATE TABLE t ({COLUMNS})
        WITH ('connectors' = '{connector("in", "file_input", "in.csv", paused=True)}');
    CREATE TABLE "Odd Name" (x INT) WITH ('materialized' = 'true');
    CREATE MATERIALIZED VIEW m
        WITH ('connectors' = '{connector("out", "file_output", "out.csv", send_snapshot=True)}')
        AS SELECT * FROM t;
    """
    running = system.pipeline(program)
    yield running
    running.stop()
    forget(system, running.name)


def test_a_paused_connector_reads_once_started_and_reports_its_bad_rows(p: Pipeline) -> None:
    before = p.get("/tables/t/connectors/in/stats").json()
    assert before["paused"] is True and before["metrics"]["total_records"] == 0
    assert before["endpoint_name"] == "t.in" and before["config"]["stream"] == "t"
    started = p.post("/tables/t/connectors/in/start")
    assert (started.status_code, started.content) == (200, b"")
    stats = wait_until(
        lambda: (
            (s := p.get("/tables/t/connectors/in/stats").json())["metrics"]["end_of_input"] and s
        )
    )
    assert stats["paused"] is False
    assert stats["metrics"]["num_parse_errors"] == 1
    (error,) = stats["parse_errors"]
    assert set(error) >= {"timestamp", "index", "tag", "message"} and "many" in error["message"]
    wait_until(lambda: len(p.query("SELECT * FROM m")) == 2)
    done = wait_until(lambda: p.get("/tables/t/connectors/in/stats").json()["completed_frontier"])
    assert done["ingested_at"] <= done["processed_at"] <= done["completed_at"]
    latest = p.get("/tables/t/connectors/in/stats").json()["metrics"]
    assert latest["processing_latency_p99_micros"] > 0
    status = p.system.http.get(p.path, params={"selector": "status_with_connectors"}).json()
    assert status["connectors"] == {"num_errors": 1}
    token = p.get("/tables/t/connectors/in/completion_token")
    assert token.status_code == 200
    p.wait_for(token.json()["token"])
    assert p.post("/tables/t/connectors/in/pause").status_code == 200
    assert p.get("/tables/t/connectors/in/stats").json()["paused"] is True


@pytest.mark.parametrize(
    ("method", "path", "status", "expected"),
    [
        ("POST", "/tables/t/connectors/in/flip", 400, "InvalidConnectorAction"),
        ("POST", "/tables/t/connectors/nobody/start", 404, "UnknownInputEndpoint"),
        ("GET", "/tables/t/connectors/nobody/stats", 404, "UnknownInputEndpoint"),
        ("GET", "/tables/nobody/connectors/in/stats", 404, "UnknownInputEndpoint"),
        ("GET", "/tables/t/connectors/nobody/completion_token", 404, "UnknownInputEndpoint"),
        ("GET", "/views/m/connectors/nobody/stats", 404, "UnknownOutputEndpoint"),
        ("POST", "/views/m/connectors/nobody/reset", 404, "UnknownOutputEndpoint"),
        ("POST", "/views/m/connectors/out/flip", 400, "InvalidConnectorAction"),
        ("GET", "/reset_status", 400, "MissingUrlEncodedParam"),
    ],
)
def test_connectors_that_do_not_exist_are_named(
    p: Pipeline, method: str, path: str, status: int, expected: str
) -> None:
    answer = p.system.http.request(method, f"{p.path}{path}")
    assert code(answer, status) == expected


def test_an_unknown_connector_is_met_with_the_declared_ones_and_the_nearest(p: Pipeline) -> None:
    p.send("t", {"a": 60, "v": "x"})  # brings an endpoint of its own, which nobody can name
    wrong = p.get("/tables/t/connectors/inn/stats").json()["message"]
    assert wrong.endswith("did you mean t.in? (there are: t.in)")
    wrong = p.post("/views/m/connectors/outt/reset").json()["message"]
    assert wrong.endswith("did you mean m.out? (there are: m.out)")
    assert "did you mean m?" in p.post("/egress/mm").json()["message"]


def test_events_of_the_cluster_come_in_brief_or_whole(p: Pipeline) -> None:
    def events(**query: str) -> Any:
        return p.system.http.get("/cluster/events", params=query)

    (brief,), (whole,) = events().json(), events(selector="all").json()
    more = {f"{s}_{k}_info" for s in ("api", "compiler", "runner") for k in ("self", "resources")}
    assert whole.keys() - brief.keys() == more
    assert code(events(selector="some"), 400) == "InvalidParam"


def test_the_statistics_add_up(p: Pipeline) -> None:
    p.send("t", {"a": 10, "v": "x"}, {"a": 11, "v": "y"})
    stats = p.get("/stats").json()
    metrics = stats["global_metrics"]
    inputs = {i["endpoint_name"]: i for i in stats["inputs"]}
    assert metrics["total_input_records"] == sum(
        i["metrics"]["total_records"] for i in inputs.values()
    )
    assert metrics["total_processed_records"] == metrics["total_input_records"]
    assert metrics["total_completed_records"] == metrics["total_processed_records"]
    assert (metrics["state"], metrics["transaction_status"]) == ("Running", "NoTransaction")
    assert abs(metrics["start_time"] - time.time()) < 300, "epoch seconds"
    (api,) = [name for name in inputs if ".api-ingress-" in name]
    assert len(api) == len("t.api-ingress-") + 16
    (out,) = [o for o in stats["outputs"] if o["endpoint_name"] == "m.out"]
    assert out["metrics"]["total_processed_input_records"] == metrics["total_processed_records"]
    assert out["metrics"]["transmitted_records"] >= 4 and out["health"]["status"] == "Healthy"
    assert p.get("/views/m/connectors/out/stats").json()["encode_errors"] == []


def test_the_statistics_tell_of_a_transaction_and_of_what_it_holds(p: Pipeline) -> None:
    def figures() -> dict[str, Any]:
        return dict(p.get("/stats").json()["global_metrics"])

    assert figures()["transaction_msecs"] is None
    assert p.get("/stats").json()["suspend_error"] is None
    assert p.post("/start_transaction").status_code == 200
    p.send("t", {"a": 70, "v": "held"}, wait=False)
    held = wait_until(lambda: (f := figures())["transaction_records"] == 1 and f)
    assert held["transaction_msecs"] >= 0
    assert held["buffered_input_records"] == 1 and held["buffered_input_bytes"] > 0
    assert held["total_processed_bytes"] == held["total_input_bytes"] - held["buffered_input_bytes"]
    assert held["transaction_initiators"]["initiated_by_api"] == "Started"
    assert p.get("/stats").json()["suspend_error"] == {"Temporary": ["TransactionInProgress"]}
    assert samples(p)["transaction_state"] == 1
    assert p.post("/commit_transaction").status_code == 200
    done = wait_until(lambda: (f := figures())["transaction_id"] == 0 and f)
    assert done["buffered_input_bytes"] == 0
    assert done["total_processed_bytes"] == done["total_input_bytes"] > 0
    assert samples(p)["transaction_state"] == 0


def test_the_statistics_tell_the_version_and_the_bytes_that_are_stored(p: Pipeline) -> None:
    config = p.system.http.get("/config").json()
    figures = p.get("/stats").json()["global_metrics"]
    assert figures["platform_version"] == figures["runtime_version"] == config["version"] != ""
    assert p.post("/checkpoint").status_code == 200
    kept = wait_until(lambda: p.get("/checkpoints").json())
    stored = p.get("/stats").json()["global_metrics"]["storage_bytes"]
    assert stored >= kept[0]["size"] > 0
    assert samples(p)["storage_usage_bytes"] >= kept[0]["size"]
    # the first sample may not be taken yet
    samples_of = lambda: p.get("/time_series").json()["samples"]  # noqa: E731
    wait_until(lambda: any(s["s"] >= kept[0]["size"] for s in samples_of()))


def test_the_metrics_of_the_contract_are_all_there(p: Pipeline) -> None:
    inputs = "records_total bytes_total buffered_records buffered_records_bytes errors_parse_total"
    inputs += " errors_transport_total end_of_input running"
    outputs = "records_total bytes_total buffered_records queued_records queued_batches"
    outputs += " errors_encode_total errors_transport_total"
    process = "records_input_total records_processed_total records_input_buffered"
    process += " records_late_total dbsp_steps_total dbsp_step_latency_seconds pipeline_complete"
    process += " pipeline_start_time_seconds storage_usage_bytes process_resident_memory_bytes"
    process += " process_cpu_seconds_total transaction_state"
    wanted = {f"input_connector_{n}" for n in inputs.split()}
    wanted |= {f"output_connector_{n}" for n in outputs.split()} | set(process.split())
    assert wanted <= samples(p).keys()


def samples(p: Pipeline) -> dict[str, float]:
    """Metric → one of its values."""
    lines = p.get("/metrics").text.splitlines()
    return {x.split("{")[0]: float(x.rsplit(" ", 1)[1]) for x in lines if not x.startswith("#")}


def test_metrics_carry_the_pipeline_and_the_server_shows_all(p: Pipeline) -> None:
    text = p.get("/metrics").text
    samples = [line for line in text.splitlines() if line and not line.startswith("#")]
    assert samples and all(f'pipeline_name="{p.name}"' in line for line in samples)
    assert any('endpoint="m.out"' in line for line in samples)
    for line in samples:
        float(line.rsplit(" ", 1)[1])
    everything = p.system.http.get("/metrics")
    assert everything.headers["content-type"] == "text/plain" and p.name in everything.text
    assert p.get("/metrics", params={"format": "json"}).json()
    assert code(p.get("/metrics", params={"format": "xml"}), 400)


def test_time_series_have_a_sample_a_second_in_milliseconds(p: Pipeline) -> None:
    series = wait_until(lambda: (s := p.get("/time_series").json())["samples"] and s)
    assert abs(series["now"] - time.time() * 1000) < 300_000
    times = [s["t"] for s in series["samples"]]
    assert times == sorted(times) and len(times) <= 60
    assert set(series["samples"][0]) == {"t", "r", "m", "s"}
    with p.system.http.stream("GET", f"{p.path}/time_series_stream") as answer:
        lines = answer.iter_lines()
        assert [json.loads(next(lines))["t"] for _ in range(2)]


def test_a_support_bundle_is_a_zip_of_what_a_report_needs(p: Pipeline) -> None:
    answer = p.get("/support_bundle")
    assert answer.headers["content-type"] == "application/octet-stream"
    with zipfile.ZipFile(io.BytesIO(answer.content)) as bundle:
        assert bundle.testzip() is None
        assert json.loads(bundle.read("pipeline_config.json"))["name"] == p.name
        assert json.loads(bundle.read("circuit_profile.json"))["operators"]


def test_a_circuit_profile_tells_of_each_operator_what_it_did_and_keeps(p: Pipeline) -> None:
    before = {o["name"]: o for o in p.get("/circuit_json_profile").json()["operators"]}
    p.send("t", {"a": 71, "v": "profiled"}, {"a": 72, "v": "profiled"})
    packed = p.get("/circuit_profile")
    assert packed.headers["content-type"] == "application/zip"
    with zipfile.ZipFile(io.BytesIO(packed.content)) as archive:
        profile = json.loads(archive.read("circuit_profile.json"))
    after = {o["name"]: o for o in profile["operators"]}
    assert before.keys() == after.keys()
    change = {n: after[n]["rows_out"] - before[n]["rows_out"] for n in after}
    assert (change["source t"], change["sink m"], change["source Odd Name"]) == (2, 2, 0)
    assert "source t" in after["sink m"]["inputs"]
    assert after["source t"]["seconds"] > before["source t"]["seconds"]
    assert after["sink m"]["state_rows"] == before["sink m"]["state_rows"] + 2
    assert profile["step_seconds"] >= max(o["seconds"] for o in profile["operators"])


def test_relations_in_paths_are_sql_identifiers(p: Pipeline) -> None:
    odd = quote('"Odd Name"', safe="")
    assert p.post(f"/ingress/{odd}", params={"format": "csv"}, content="5\n").status_code == 200
    wait_until(lambda: p.query('SELECT x FROM "Odd Name"') == [{"x": 5}])
    assert p.post("/ingress/T", params={"format": "csv"}, content="60,v\n").status_code == 200
    assert code(p.post("/ingress/%22T%22", content="1,v\n"), 404)
    assert p.get("/views/M/connectors/out/stats").status_code == 200


NONSENSE = [
    b"", b"\x00", b"\xff\xfe\xfd", b"{", b"[", b"}", b"null", b"0", b'"', b"{}{}{}", b"[[]]",
    b'[{"a": "\xff"}]', b'{"a": 90, "v": "\xff"}', b'{"a": 91, "v": "\\ud800"}', b"[{}]",
    b'{"insert": 1}', b'{"insert": {"a": null}}', b'{"a": 99999999999999999999}', b'{"a": 1e400}',
    b'{"a": 1.5, "v": "x"}', b'{"a": [1], "v": {}}', b'{"a": true}', b'{"\\ud800": 1}',
    b'{"update": {"v": "x"}}', b'{"delete": {}}', b'{"insert": {"a": 5}, "delete": 7}',
    b"[" * 2000, b'{"a":' * 2000, b'{"insert": [1, 2, 3, 4]}', b"\xef\xbb\xbf{}", b"nul", b"-",
]  # fmt: skip


@pytest.mark.parametrize("form", ["insert_delete", "raw", "debezium", "csv", "array"])
def test_no_input_breaks_the_pipeline_or_answers_500(p: Pipeline, form: str) -> None:
    if form == "csv":
        params = {"format": "csv"}
    elif form == "array":
        params = {"format": "json", "update_format": "raw", "array": "true"}
    else:
        params = {"format": "json", "update_format": form}
    for data in NONSENSE:
        answer = p.post("/ingress/t", params=params, content=data)
        assert answer.status_code in (200, 400), f"{data[:40]!r}: {answer.text}"
        if answer.status_code == 400:
            body = answer.json()
            assert body["error_code"] == "ParseErrors", data[:40]
            assert body["details"]["num_errors"] == len(body["details"]["errors"]) >= 1
    for endpoint in p.get("/stats").json()["inputs"]:
        connector = endpoint["endpoint_name"].removeprefix(f"{endpoint['config']['stream']}.")
        table = quote(f'"{endpoint["config"]["stream"]}"')
        assert p.get(f"/tables/{table}/connectors/{connector}/stats").status_code == 200
    p.send("t", {"a": 70, "v": "alive"})
    assert p.query("SELECT v FROM m WHERE a = 70") == [{"v": "alive"}]


def test_a_thousand_bad_rows_are_counted_and_reported_up_to_a_thousand(p: Pipeline) -> None:
    data = "\n".join(["x,bad"] * 1500 + ["80,good"])
    answer = p.post("/ingress/t", params={"format": "csv"}, content=data)
    assert code(answer, 400) == "ParseErrors"
    details = answer.json()["details"]
    assert details["num_errors"] == 1500 and len(details["errors"]) == 1000
    assert answer.json()["message"].startswith("Errors parsing input data (1500 errors):")
    wait_until(lambda: p.query("SELECT v FROM m WHERE a = 80") == [{"v": "good"}])


@pytest.mark.parametrize("option", ["format", "update_format", "json_flavor", "array", "force"])
def test_an_unknown_value_of_an_option_is_refused_with_its_name(p: Pipeline, option: str) -> None:
    params = {"format": "json", option: "nonsense"}
    answer = p.post("/ingress/t", params=params, content="{}")
    assert code(answer, 400) and "nonsense" in answer.text


def command(*arguments: str, url: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "penstock.cli", *arguments],
        capture_output=True, text=True, timeout=60, env={**os.environ, "PENSTOCK_URL": url},
    )  # fmt: skip


def test_the_commands_list_and_query_and_reset(p: Pipeline) -> None:
    url = p.system.url
    listed = command("pipelines", url=url)
    assert listed.returncode == 0 and f"{p.name}\tSuccess\tRunning" in listed.stdout
    answer = command("query", p.name, "SELECT 41 + 1 AS n", "--format", "json", url=url)
    assert (answer.returncode, answer.stdout) == (0, '{"n":42}\n')
    bad = command("query", p.name, "SELEC", url=url)
    assert bad.returncode == 1 and "AdHocQueryError" in bad.stderr
    assert "Traceback" not in bad.stderr
    unknown = command("query", "nobody", "SELECT 1", url=url)
    assert unknown.returncode == 1 and "UnknownPipelineName" in unknown.stderr
    reset = command("reset", p.name, "m", "out", "--watch", url=url)
    assert reset.returncode == 0 and "m.out: done, " in reset.stdout


def test_check_of_a_file_that_is_not_text_says_so(tmp_path: Path) -> None:
    (tmp_path / "x.sql").write_bytes(b"CREATE \xff\xfe TABLE")
    for verb in ("check", "explain"):
        answer = command(verb, str(tmp_path / "x.sql"), url="")
        assert answer.returncode == 1
        assert "UTF-8" in answer.stderr and "Traceback" not in answer.stderr


def test_a_web_socket_carries_its_credentials_as_a_protocol(tmp_path: Path) -> None:
    from tests.http.test_authentication import bearer, cli

    data_dir = tmp_path / "state"
    made = cli("apikey", "create", "k", "--role", "write", "--data-dir", str(data_dir))
    key = made.stdout.strip()
    s = System(data_dir, "--auth", "apikey")
    try:
        s.http.headers.update(bearer(key))
        running = s.pipeline("CREATE TABLE t (a INT);")
        url = f"ws://127.0.0.1:{s.port}/v0{running.path}/query"
        encoded = base64.urlsafe_b64encode(key.encode()).decode().rstrip("=")

        def ask(protocols: list[str], headers: dict[str, str] | None = None) -> str:
            try:
                with connect(url, subprotocols=protocols, additional_headers=headers) as w:  # type: ignore[arg-type]
                    w.send('{"sql": "SELECT 1 AS one", "format": "json"}')
                    return str(w.recv(10))
            except InvalidStatus as e:
                return str(json.loads(e.response.body)["error_code"])

        good = ["feldera-ws-v1", f"feldera-bearer.{encoded}"]
        assert ask(good) == '{"one":1}\n'
        assert ask(["feldera-ws-v1"], bearer(key)) == '{"one":1}\n'
        assert ask(["feldera-ws-v1"]) == "AuthenticationFailed"
        assert ask(["feldera-ws-v1", "feldera-bearer.bm90"]) == "AuthenticationFailed"
    finally:
        s.stop()
