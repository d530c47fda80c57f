"""NOW() on a real server: views move with the time, or with the call that drives the clock."""

from __future__ import annotations

from tests.system.conftest import System
from tests.unit.pipeline.test_delivery import wait_until

PROGRAM = """
CREATE TABLE t (id INT NOT NULL PRIMARY KEY, ts TIMESTAMP);
CREATE MATERIALIZED VIEW recent AS SELECT id FROM t WHERE ts >= NOW() - INTERVAL '1' HOUR;
CREATE MATERIALIZED VIEW today AS SELECT NOW() AS n;
"""


def test_a_driven_clock_moves_views_when_it_is_told_to(system: System) -> None:
    tweaks = {"now_http_driven": True, "now_offset": "1970-01-01T01:00:00Z"}
    pipeline = system.pipeline(PROGRAM, dev_tweaks=tweaks)
    pipeline.start()
    pipeline.send("t", {"id": 1, "ts": "1970-01-01 00:30:00"})
    wait_until(lambda: pipeline.query("SELECT id FROM recent") == [{"id": 1}])

    first = pipeline.post("/clock/advance", json={"delta_ms": 0})
    assert first.status_code == 200, first.text
    assert first.json()["now_ms"] == 3_600_000
    moved = pipeline.post("/clock/advance", json={"delta_ms": 1_800_001}).json()

    assert moved == {"now_ms": 5_401_000, "now": "1970-01-01T01:30:01.000Z"}
    wait_until(lambda: pipeline.query("SELECT id FROM recent") == [])


def test_a_view_follows_the_time_of_day_without_input(system: System) -> None:
    pipeline = system.pipeline(PROGRAM, clock_resolution_usecs=20_000)
    pipeline.start()
    seen: set[str] = set()

    def has_moved() -> bool:
        seen.update(row["n"] for row in pipeline.query("SELECT n FROM today"))
        return len(seen) > 2

    wait_until(has_moved)
    refused = pipeline.post("/clock/advance", json={})
    assert refused.status_code == 400
    assert "now_http_driven" in refused.json()["message"]
