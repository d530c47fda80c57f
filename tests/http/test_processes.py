"""The processes of a server: what survives which ending, and callers that wait or walk away."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.processes import children, is_alive, opened
from tests.system.conftest import System

PROGRAM = """
CREATE TABLE t (id INT NOT NULL PRIMARY KEY, v VARCHAR);
CREATE MATERIALIZED VIEW m AS SELECT * FROM t;
"""
CLI = [sys.executable, "-m", "penstock.cli"]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """A server that no test here ends."""
    s = System(tmp_path_factory.mktemp("shared") / "state")
    yield s
    s.stop()


@pytest.fixture
def own(tmp_path: Path) -> Iterator[System]:
    """A server of this test's own, which may be ended in any way."""
    s = System(tmp_path / "state")
    yield s
    if s.process.poll() is None:
        s.stop()


def wait_for(claim: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not claim():
        assert time.monotonic() < deadline, "it did not become true"
        time.sleep(0.02)


def test_a_server_told_to_end_stops_its_pipelines_without_an_error(own: System) -> None:
    p = own.pipeline(PROGRAM)
    kept = p.get("").json()
    workers = [pid for pid in children(own.process.pid) if is_alive(pid)]
    assert workers

    own.stop()

    wait_for(lambda: not any(is_alive(pid) for pid in workers))
    own.start()
    found = p.get("").json()
    assert (found["deployment_status"], found["deployment_error"]) == ("Stopped", None)
    assert found["storage_status"] == "InUse" and found["program_status"] == "Success"
    same = ("id", "program_code", "runtime_config", "created_at", "program_status", "version")
    assert {k: found[k] for k in same} == {k: kept[k] for k in same}
    p.start()
    p.send("t", {"id": 1, "v": "x"})
    assert p.query("SELECT v FROM m") == [{"v": "x"}]


def test_workers_end_with_a_server_that_is_killed_and_its_pipelines_go_on_with_the_next(
    own: System,
) -> None:
    p, paused = own.pipeline(PROGRAM), own.pipeline(PROGRAM)
    assert paused.post("/pause").status_code == 202
    paused.wait("deployment_status", "Paused")
    workers = children(own.process.pid)
    assert len(workers) >= 2

    own.process.send_signal(signal.SIGKILL)
    own.process.wait()

    wait_for(lambda: not any(is_alive(pid) for pid in workers))
    own.start()
    found = p.wait("deployment_status", "Running")
    assert found["deployment_error"] is None
    p.send("t", {"id": 1, "v": "x"})
    assert p.query("SELECT v FROM m") == [{"v": "x"}]
    paused.wait("deployment_status", "Paused")
    p.stop()
    paused.stop()


def test_a_fork_server_that_dies_takes_no_pipeline_with_it(own: System) -> None:
    p = own.pipeline(PROGRAM)
    # the fork server and the spare worker
    for pid in set(children(own.process.pid)) - {p.process()}:
        os.kill(pid, signal.SIGKILL)

    second = own.pipeline(PROGRAM)
    p.send("t", {"id": 1, "v": "x"})
    second.send("t", {"id": 1, "v": "x"})
    assert p.query("SELECT v FROM m") == second.query("SELECT v FROM m") == [{"v": "x"}]
    # how a worker of the dead one ended is still known
    os.kill(p.process(), signal.SIGKILL)
    error = p.wait("deployment_status", "Stopped")["deployment_error"]
    assert "killed by signal 9" in error["message"]
    second.stop()


def test_two_servers_never_share_a_data_directory(shared: System) -> None:
    second = subprocess.run(
        [*CLI, "serve", "--port", "0", "--data-dir", str(shared.data_dir)],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip

    assert second.returncode == 1
    assert "another Penstock server uses the data directory" in second.stderr
    assert shared.http.get("/config").status_code == 200


def test_a_taken_port_is_named_and_port_0_is_announced_as_what_it_became(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        refused = subprocess.run(
            [*CLI, "serve", "--port", port, "--data-dir", str(tmp_path / "a")],
            capture_output=True, text=True, timeout=60,
        )  # fmt: skip
    assert refused.returncode == 1 and f"cannot listen on 127.0.0.1:{port}" in refused.stderr

    command = [*CLI, "serve", "--port", "0", "--data-dir", str(tmp_path / "b")]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert server.stdout is not None
        line = server.stdout.readline()
        assert line.startswith("Penstock is listening on http://127.0.0.1:")
        url = line.split()[-1]
        assert httpx.get(f"{url}/v0/config").json()["edition"] == "Open source"
    finally:
        server.terminate()
        server.wait(20)


def test_any_number_of_waiting_ingresses_leaves_a_paused_pipeline_free_to_resume(
    shared: System,
) -> None:
    p = shared.pipeline(PROGRAM)
    assert p.post("/pause").status_code == 202
    p.wait("deployment_status", "Paused")
    many = 60  # more than the threads that a web framework has by default

    def send(i: int) -> int:
        row = json.dumps({"id": i, "v": "x"})
        parameters = {"format": "json", "update_format": "raw"}
        url = f"{shared.url}/v0{p.path}/ingress/t"
        return httpx.post(url, params=parameters, content=row, timeout=60).status_code

    with ThreadPoolExecutor(many) as senders:
        answers = [senders.submit(send, i) for i in range(many)]
        wait_for(lambda: _is_taking(p.get("/stats").json()))
        time.sleep(1)
        assert not any(answer.done() for answer in answers)
        assert p.post("/resume").status_code == 202
        assert [answer.result() for answer in answers] == [200] * many
    wait_for(lambda: p.query("SELECT COUNT(*) AS n FROM m") == [{"n": many}])


def _is_taking(stats: dict[str, list[dict[str, str]]]) -> bool:
    return any("api-ingress" in i["endpoint_name"] for i in stats["inputs"])


def test_a_subscriber_that_walks_away_is_let_go(shared: System) -> None:
    p = shared.pipeline(PROGRAM)
    url = f"{shared.url}/v0{p.path}/egress/m"
    with httpx.stream("POST", url, params={"format": "json", "backpressure": "true"}) as answer:
        lines = answer.iter_lines()  # kept: without it the answer is closed
        next(lines)
        wait_for(lambda: len(p.get("/stats").json()["outputs"]) == 1)

    wait_for(lambda: p.get("/stats").json()["outputs"] == [])
    # Nobody is left whose slowness could hold rows back.
    p.send("t", {"id": 1, "v": "x"})


def test_the_text_of_a_query_may_be_long(shared: System) -> None:
    p = shared.pipeline(PROGRAM)
    sql = f"SELECT COUNT(*) AS n FROM m WHERE v <> '{'x' * 60_000}'"
    assert p.query(sql) == [{"n": 0}]


def sockets(pid: int) -> list[Path]:
    """The Unix sockets that have a name and are open in the process."""
    held = set(opened(pid))
    lines = (line.split() for line in Path("/proc/net/unix").read_text().splitlines()[1:])
    return [Path(line[7]) for line in lines if len(line) > 7 and f"socket:[{line[6]}]" in held]


def test_sockets_are_out_of_reach_of_other_users(shared: System) -> None:
    shared.pipeline(PROGRAM)
    folders = [path.parent for pid in children(shared.process.pid) for path in sockets(pid)]
    assert folders
    for folder in folders:
        assert folder.stat().st_mode & 0o777 == 0o700 and folder.stat().st_uid == os.getuid()
    assert (shared.data_dir / "penstock.db").stat().st_mode & 0o077 == 0


@pytest.mark.slow
def test_a_connection_that_was_idle_for_a_while_still_serves(shared: System) -> None:
    """A server that closes it as soon as its client would loses requests that are on their way."""
    client = http.client.HTTPConnection("127.0.0.1", shared.port, timeout=30)
    client.connect()
    opened = client.sock
    for idle_seconds in (0, 7):
        time.sleep(idle_seconds)
        client.request("GET", "/v0/pipelines")
        answer = client.getresponse()
        answer.read()
        assert answer.status == 200
        assert client.sock is opened, "it did not have to be opened again"
    client.close()


ENDLESS = """
SET penstock_recursion_rounds = 1000000000;
CREATE TABLE one (n BIGINT NOT NULL PRIMARY KEY, most BIGINT NOT NULL);
DECLARE RECURSIVE VIEW r (n BIGINT NOT NULL, most BIGINT NOT NULL);
CREATE MATERIALIZED VIEW r AS
SELECT n, most FROM one UNION ALL SELECT n + 1, most FROM r WHERE n < most;
"""


@pytest.mark.slow
def test_a_recursion_without_an_end_can_be_stopped_and_the_last_checkpoint_is_there_again(
    shared: System,
) -> None:
    def is_computing() -> bool:
        seen = p.get("/stats").json()["global_metrics"]
        counts = ("total_input_records", "buffered_input_records", "total_processed_records")
        return [seen[c] for c in counts] == [2, 0, 1]

    p = shared.pipeline(ENDLESS, fault_tolerance={"model": "at_least_once"})
    p.send("one", {"n": 1, "most": 10})
    taken = p.post("/checkpoint").json()["checkpoint_sequence_number"]
    wait_for(lambda: p.get("/checkpoint_status").json()["success"] == taken)
    p.send("one", {"n": 1, "most": 10**12}, wait=False)
    wait_for(is_computing)

    p.stop()
    p.start()
    assert p.query("SELECT COUNT(*) AS n FROM r") == [{"n": 10}]
