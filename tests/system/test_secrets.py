"""A secret of a connector is in no file, no answer and no line of the log, whatever goes wrong."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.servers import free_port
from tests.system.conftest import Pipeline, System

SECRET, KEY = "S3cret-of-the-database", "S3cret-of-the-cluster"


FEED = {
    "name": "feed",
    "transport": {"name": "url_input", "config": {"path": "${env:FEED_FOR_TEST}"}},
    "format": {"name": "json"},
}
#: a secret stands where a word is expected, which we say, or a library
WRONG = [
    ("postgres_output",
     {"uri": "${env:DATABASE_FOR_TEST}", "table": "t", "mode": "${env:PASSWORD_FOR_TEST}"}),
    ("kafka_output", {"topic": "t", "bootstrap.servers": "127.0.0.1:1",
                      "security.protocol": "${env:PASSWORD_FOR_TEST}"}),
]  # fmt: skip


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[System]:
    keys = tmp_path / "secrets" / "kubernetes" / "redis"
    keys.mkdir(parents=True)
    (keys / "url").write_text(f"redis://me:{KEY}@127.0.0.1:{free_port()}/0")
    uri = f"postgresql://me:{SECRET}@127.0.0.1:{free_port()}/x"
    system = System(
        tmp_path / "data",
        environment={"DATABASE_FOR_TEST": uri, "PASSWORD_FOR_TEST": SECRET,
                     "FEED_FOR_TEST": f"http://me:{SECRET}@127.0.0.1:{free_port()}/{KEY}",
                     "PENSTOCK_SECRETS_DIR": str(tmp_path / "secrets")},
    )  # fmt: skip
    yield system
    system.stop()


def connectors() -> list[dict[str, Any]]:
    """Targets that are not there, and one whose configuration is wrong."""
    kafka = {"topic": "t", "bootstrap.servers": f"127.0.0.1:{free_port()}",
             "security.protocol": "SASL_PLAINTEXT", "sasl.mechanism": "PLAIN",
             "sasl.username": "me", "sasl.password": "${env:PASSWORD_FOR_TEST}"}  # fmt: skip
    targets = {
        "db": ("postgres_output", {"uri": "${env:DATABASE_FOR_TEST}", "table": "t"}),
        "cache": ("redis_output", {"connection_string": "${secret:kubernetes:redis/url}",
                                   "key_prefix": "t:"}),
        "topic": ("kafka_output", kafka),
    }  # fmt: skip
    return [
        {"name": name, "mode": "snapshot_and_follow", "index": "by_a", "format": {"name": "json"},
         "transport": {"name": transport, "config": config}}
        | ({} if name != "cache" else
           {"format": {"name": "json", "config": {"update_format": "redis"}}})
        | ({} if name != "db" else {"format": None})
        for name, (transport, config) in targets.items()
    ]  # fmt: skip


def test_secrets_are_in_no_file_no_answer_and_no_log(guarded: System, tmp_path: Path) -> None:
    p = guarded.pipeline(
        f"""
        CREATE TABLE t (a INT NOT NULL PRIMARY KEY) WITH ('connectors' = '{json.dumps([FEED])}');
        CREATE MATERIALIZED VIEW v WITH ('connectors' = '{json.dumps(connectors())}')
            AS SELECT a FROM t;
        CREATE INDEX by_a ON v (a);
        """,
        fault_tolerance={"model": "exactly_once", "checkpoint_interval_secs": None},
    )
    p.send("t", {"a": 1}, wait=False)
    names = ("db", "cache", "topic")

    def stats(name: str) -> Any:
        return p.get(f"/views/v/connectors/{name}/stats").json()

    for name in names:
        _until(lambda name=name: stats(name)["metrics"]["num_transport_errors"] > 0)
    feed = "/tables/t/connectors/feed/stats"
    _until(lambda: p.get(feed).json()["metrics"]["num_transport_errors"] > 0)
    answers = [p.get(feed).text]
    assert "url_input: GET …: " in answers[0]
    answers += [p.post(f"/views/v/connectors/{name}/reset").text for name in names]
    p.post("/checkpoint")
    _until(lambda: p.get("/checkpoint_status").json()["success"] is not None)
    answers += [json.dumps(stats(name)) for name in names]
    for path in ("", "/stats", "/metrics", "/events", "/checkpoints", "/dataflow_graph"):
        answers.append(p.get(path).text)
    assert "${env:DATABASE_FOR_TEST}" in p.get("").text, "the reference itself is shown"
    for transport, config in WRONG:
        bad = Pipeline.create(guarded, _with(transport, config))
        bad.post("/start")
        _until(lambda bad=bad: bad.get("").json()["deployment_error"] is not None)
        answers.append(bad.get("").text)
    p.stop()
    guarded.stop()

    kept = [f for f in (tmp_path / "data").rglob("*") if f.is_file()]
    assert len(kept) > 5
    for secret in (SECRET, KEY):
        assert [a for a in answers if secret in a] == []
        assert secret not in (tmp_path / "server.log").read_text()
        assert [f for f in kept if secret.encode() in f.read_bytes()] == []


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "nothing happened"
        time.sleep(0.05)


def _with(transport: str, config: dict[str, str]) -> str:
    connector = {"name": "c", "format": {"name": "json"},
                 "transport": {"name": transport, "config": config}}  # fmt: skip
    if transport == "postgres_output":
        del connector["format"]
    return f"""CREATE TABLE t (a INT);
        CREATE MATERIALIZED VIEW v WITH ('connectors' = '{json.dumps([connector])}')
        AS SELECT a FROM t"""
