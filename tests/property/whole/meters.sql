-- Readings that come an hour late at most: what is behind is forgotten, and nothing of it shows.
-- dev: 1, 2, 3
-- ts: 60
-- since: 60
CREATE TABLE m (dev INT NOT NULL, ts TIMESTAMP NOT NULL LATENESS INTERVAL 130 MINUTES, v INT);
CREATE TABLE k (dev INT NOT NULL, since TIMESTAMP NOT NULL LATENESS INTERVAL 130 MINUTES, lim INT);
CREATE VIEW hourly AS
SELECT dev, ⟦TIMESTAMP_TRUNC(ts, HOUR)¦DATE_TRUNC('hour', ts)⟧ AS h, COUNT(*) AS n, SUM(v) AS s, MAX(v) AS most,
  COUNT(DISTINCT v) AS different
FROM m GROUP BY dev, ⟦TIMESTAMP_TRUNC(ts, HOUR)¦DATE_TRUNC('hour', ts)⟧;
CREATE LOCAL VIEW limits AS SELECT dev, since, MAX(lim) AS lim FROM k GROUP BY dev, since;
CREATE VIEW nearest AS
SELECT m.dev, m.ts, m.v, k.lim FROM m ⟦LEFT ASOF JOIN limits k MATCH_CONDITION (m.ts >= k.since) ON m.dev = k.dev
¦ASOF LEFT JOIN limits k ON m.dev = k.dev AND m.ts >= k.since⟧;
CREATE VIEW rolling AS
SELECT dev, ts,
  SUM(v) OVER (PARTITION BY dev ORDER BY ts RANGE BETWEEN INTERVAL 90 MINUTES PRECEDING AND CURRENT ROW) AS s,
  COUNT(*) OVER (PARTITION BY dev ORDER BY ts RANGE BETWEEN INTERVAL 2 HOURS PRECEDING AND CURRENT ROW) AS n
FROM m;
CREATE VIEW once AS SELECT DISTINCT dev, ts, v FROM m;
CREATE VIEW halves AS
⟦SELECT dev, window_start AS w, MIN(v) AS least FROM TABLE(TUMBLE(TABLE m, DESCRIPTOR(ts), INTERVAL 30 MINUTES))
GROUP BY dev, window_start
¦SELECT dev, TIME_BUCKET(INTERVAL 30 MINUTES, ts) AS w, MIN(v) AS least FROM m GROUP BY ALL⟧;
CREATE VIEW places AS SELECT h, dev, n, RANK() OVER (PARTITION BY h ORDER BY n DESC) AS place FROM hourly;
CREATE VIEW above AS SELECT dev, COUNT(*) AS n FROM nearest WHERE v > lim GROUP BY dev;
CREATE VIEW so_far AS SELECT dev, h, SUM(s) OVER (PARTITION BY dev ORDER BY h) AS c FROM hourly;
CREATE VIEW changed AS
SELECT m.dev, m.ts, k.lim FROM m JOIN k ON k.dev = m.dev AND k.since = m.ts
UNION ALL SELECT dev, h, most FROM hourly WHERE most > (SELECT MAX(lim) FROM k WHERE dev < 3);
