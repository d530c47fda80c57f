-- A year of flights out of New York, kept up to date while they happen.
CREATE TABLE airlines (carrier VARCHAR NOT NULL PRIMARY KEY, name VARCHAR NOT NULL);

CREATE TABLE airports (
    faa VARCHAR NOT NULL PRIMARY KEY, name VARCHAR NOT NULL,
    lat DOUBLE, lon DOUBLE, alt INTEGER, tzone VARCHAR
);

CREATE TABLE planes (
    tailnum VARCHAR NOT NULL PRIMARY KEY, year SMALLINT, manufacturer VARCHAR, model VARCHAR,
    engines TINYINT, seats SMALLINT
);

CREATE TABLE weather (
    origin VARCHAR NOT NULL, time_hour TIMESTAMP NOT NULL, temp DOUBLE, wind_speed DOUBLE,
    precip DECIMAL(6, 2), visib DOUBLE,
    PRIMARY KEY (origin, time_hour)
);

-- A flight is inserted when it is scheduled, updated when it departs, deleted when cancelled.
CREATE TABLE flights (
    id INTEGER NOT NULL PRIMARY KEY, flight_date DATE NOT NULL, carrier VARCHAR NOT NULL,
    flight INTEGER NOT NULL, tailnum VARCHAR, origin VARCHAR NOT NULL, dest VARCHAR NOT NULL,
    time_hour TIMESTAMP NOT NULL, sched_dep SMALLINT NOT NULL,
    dep_delay INTEGER, arr_delay INTEGER, air_time INTEGER, distance INTEGER NOT NULL
);

-- Four tables joined: who flies what from where to where.
CREATE LOCAL VIEW board AS
SELECT f.id, f.flight_date, f.carrier, a.name AS airline, f.flight, f.origin, f.dest,
       d.name AS destination, p.manufacturer, p.seats, f.time_hour, f.dep_delay, f.arr_delay,
       f.distance
FROM flights f
JOIN airlines a ON f.carrier = a.carrier
LEFT JOIN airports d ON f.dest = d.faa
LEFT JOIN planes p ON f.tailnum = p.tailnum;

-- ... and in what weather, where it was measured.
CREATE LOCAL VIEW board_in_weather AS
SELECT b.*, w.temp, w.wind_speed, w.precip
FROM board b
LEFT JOIN weather w ON b.origin = w.origin AND b.time_hour = w.time_hour;

-- Every flight that left at least a quarter of an hour late. Delivered to SQLite.
CREATE MATERIALIZED VIEW late_flights
WITH ('connectors' = '${LATE_FLIGHTS_CONNECTORS}') AS
SELECT id, flight_date, airline, flight, origin, dest, destination, manufacturer, dep_delay,
       arr_delay, temp, wind_speed, precip
FROM board_in_weather
WHERE dep_delay >= 15;

CREATE INDEX late_flights_by_id ON late_flights (id);

-- How each airline does at each airport. Delivered to an NDJSON file.
CREATE MATERIALIZED VIEW airline_delays
WITH ('connectors' = '${AIRLINE_DELAYS_CONNECTORS}') AS
SELECT airline, origin, COUNT(*) AS flights, COUNT(dep_delay) AS departed,
       SUM(distance) AS miles, AVG(CAST(dep_delay AS DOUBLE)) AS mean_delay,
       MIN(dep_delay) AS best, MAX(dep_delay) AS worst,
       COUNT(*) FILTER (WHERE dep_delay >= 60) AS over_an_hour,
       COUNT(DISTINCT dest) AS destinations
FROM board_in_weather
GROUP BY airline, origin;

-- The ten latest departures so far; a correction can push one out and pull another in.
CREATE MATERIALIZED VIEW ten_latest AS
SELECT id, airline, flight, origin, destination, dep_delay, wind_speed
FROM board_in_weather
WHERE dep_delay IS NOT NULL
ORDER BY dep_delay DESC, id
LIMIT 10;
