"""The published command line client `fda` drives a pipeline, whatever its connectors are.

It is a Rust program that takes half an hour to build, so it is used where it is installed:
`cargo install fda --version 0.349.0`. Connectors that only we have (`own_output_connectors`) do not
hinder it, though `fda connector` does not find them.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.system.conftest import System
from tests.unit.pipeline.test_delivery import wait_until

FDA = shutil.which("fda")
PROGRAM = """
CREATE TABLE t (id INT NOT NULL PRIMARY KEY, s VARCHAR) WITH ('connectors' = '[{"name": "gen",
    "transport": {"name": "datagen", "config": {"plan": [{"limit": 50}]}}}]');
CREATE MATERIALIZED VIEW v WITH ('connectors' = '[
    {"name": "copy", "mode": "snapshot_and_follow", "index": "by_id",
     "transport": {"name": "sqlite_output", "config": {"path": "FOLDER/v.sqlite", "table": "v"}}},
    {"name": "log", "transport": {"name": "file_output", "config": {"path": "FOLDER/v.json"}},
     "format": {"name": "json"}}]') AS SELECT id, s FROM t;
CREATE INDEX by_id ON v (id);
"""
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(FDA is None, reason="no fda: cargo install fda --version 0.349.0"),
]
Fda = Callable[..., str]


@pytest.fixture
def fda(system: System, tmp_path: Path) -> Fda:
    (tmp_path / "p.sql").write_text(PROGRAM.replace("FOLDER", str(tmp_path)))

    def run(*arguments: str) -> str:
        done = subprocess.run(
            [str(FDA), "--host", system.url, *arguments],
            capture_output=True,
            text=True,
            timeout=120,
            cwd=tmp_path,
        )
        assert done.returncode == 0, (arguments, done.stdout, done.stderr)
        return done.stdout

    return run


def test_fda_leads_a_pipeline_through_its_life(fda: Fda) -> None:
    fda("create", "shop", "p.sql")
    assert "shop" in fda("pipelines")
    assert "sqlite_output" in fda("program", "get", "shop")
    fda("set-config", "shop", "workers", "2")
    assert json.loads(fda("--format", "json", "config", "shop"))["workers"] == 2
    fda("start", "shop")
    assert "Success" in fda("program", "status", "shop")
    assert "Running" in fda("status", "shop")
    token = fda("completion-token", "shop", "t", "gen").strip()
    fda("completion-status", "shop", token)
    assert "50" in fda("query", "shop", "SELECT COUNT(*) FROM v")
    assert "Healthy" in fda("connector", "shop", "t", "gen", "stats")
    assert "Healthy" in fda("connector", "shop", "v", "log", "stats")
    fda("connector", "shop", "t", "gen", "pause")
    fda("pause", "shop")
    fda("resume", "shop")
    fda("start-transaction", "shop")
    fda("commit-transaction", "shop")
    assert "global_metrics" in fda("--format", "json", "stats", "shop")
    assert "records" in fda("--format", "prometheus", "metrics", "shop")
    fda("checkpoint", "shop")
    fda("events", "shop")
    fda("support-bundle", "shop")
    fda("stop", "shop")
    fda("clear", "shop")
    fda("delete", "shop")
    assert "shop" not in fda("pipelines")


def test_fda_compares_and_validates_programs(fda: Fda, tmp_path: Path) -> None:
    fda("create", "compared", "p.sql")
    fda("start", "compared")
    fda("checkpoint", "compared")
    (tmp_path / "changed.sql").write_text(
        "CREATE TABLE t (id INT NOT NULL PRIMARY KEY, s VARCHAR);"
        "CREATE MATERIALIZED VIEW v AS SELECT id FROM t;"
    )
    assert json.loads(fda("diff", "compared", "changed.sql"))["program_diff"] is not None
    assert "Success" in fda("validate-program", "changed.sql")
    fda("stop", "compared")
    fda("clear", "compared")
    fda("delete", "compared")


ANY = """
CREATE TABLE t (id INT NOT NULL PRIMARY KEY, s VARCHAR) WITH ('connectors' = '[
    {"name": "none", "transport": {"name": "empty_input"}},
    {"name": "made", "transport": {"name": "datagen", "config": {"seed": 1, "plan": [{"limit": 1,
        "fields": {"id": {"strategy": "uniform", "range": [0, 5]}, "s": {"values": ["a"]}}}]}}},
    {"name": "url", "transport": {"name": "url_input", "config": {"path": "http://h/x",
        "pause_timeout": "5"}}, "format": {"name": "csv", "config": {"headers": true}}},
    {"name": "file", "transport": {"name": "file_input", "config": {"path": "x", "follow": "true"}},
     "format": {"name": "parquet"}},
    {"name": "log", "labels": ["l"], "transport": {"name": "kafka_input", "config": {"topic": "t",
        "bootstrap.servers": "h:1", "start_from": {"timestamp": 5}, "partitions": [0],
        "fetch.wait.max.ms": 5, "include_offset": true}}, "format": {"name": "json"}}]');
CREATE MATERIALIZED VIEW v WITH ('connectors' = '[
    {"name": "none", "transport": {"name": "null_output", "config": {}}},
    {"name": "log", "transport": {"name": "kafka_output", "config": {"topic": "t", "partitions": 2,
        "bootstrap.servers": "h:1", "replication_factor": 1, "topic_config": {"retention.ms": -1},
        "headers": [{"key": "a", "value": "b"}], "enable.idempotence": true}},
     "format": {"name": "csv", "config": {"buffer_size_records": 5}}},
    {"name": "lake", "transport": {"name": "delta_table_output", "config": {"uri": "s3://b/x",
        "checkpoint_interval": 5, "aws_allow_http": true, "threads": "2"}}},
    {"name": "db", "index": "i", "on_overflow": "reset", "mode": "snapshot_and_follow",
     "transport": {"name": "postgres_output", "config": {"uri": "postgresql://h/d", "table": "t",
        "mode": "cdc", "verify_hostname": "false", "ssl_ca_location": "x"}}},
    {"name": "keys", "on_lost_marker": "fail", "transport": {"name": "redis_output", "config": {
        "connection_string": "redis://h", "key_prefix": "p:", "layout": "generations"}},
     "format": {"name": "json", "config": {"key_fields": ["id"]}}},
    {"name": "duck", "index": "i", "transport": {"name": "duckdb_output", "config": {"path": "x",
        "table": "t", "keep_open": true}}}]') AS SELECT id, s FROM t;
CREATE INDEX i ON v (id);
"""


def test_fda_reads_a_pipeline_whatever_its_connectors_are(fda: Fda, tmp_path: Path) -> None:
    (tmp_path / "any.sql").write_text(ANY)
    fda("create", "any", "any.sql")
    wait_until(lambda: "Success" in fda("program", "status", "any"))
    assert "duckdb_output" in fda("program", "get", "any")
    assert "any" in fda("pipelines")
    fda("delete", "any")
