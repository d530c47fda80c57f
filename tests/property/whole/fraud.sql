-- Card transactions that only come, hours late at most, and features over windows of time.
-- ts: 720
-- cc_num: 1, 2, 3
-- amt: 1, 20, 99, 250, 250
CREATE TABLE holders (cc_num BIGINT NOT NULL PRIMARY KEY, city VARCHAR, lat DOUBLE, dob DATE);
CREATE TABLE transactions (
  ts TIMESTAMP NOT NULL LATENESS INTERVAL 2 DAYS, amt DECIMAL(10, 2), cc_num BIGINT NOT NULL,
  lat DOUBLE, category VARCHAR, unix_time BIGINT
) WITH ('append_only' = 'true');
CREATE LOCAL VIEW enriched AS
SELECT t.*, h.city, h.lat AS home, ABS(t.lat - h.lat) AS distance
FROM transactions AS t LEFT JOIN holders AS h ON t.cc_num = h.cc_num;
CREATE MATERIALIZED VIEW features AS
SELECT cc_num, ts, amt, distance, COUNT(*) OVER day AS n, MIN(ts) OVER seq AS first,
  SUM(CASE WHEN amt > 90 THEN 1 ELSE 0 END) OVER seq AS large, MAX(amt) OVER seq AS most,
  CAST(SUM(amt) OVER day AS DECIMAL(12, 2)) AS spent
FROM enriched
WINDOW day AS (PARTITION BY cc_num ORDER BY ts
               RANGE BETWEEN INTERVAL 1 DAYS PRECEDING AND CURRENT ROW),
       seq AS (PARTITION BY cc_num ORDER BY unix_time RANGE BETWEEN 3 PRECEDING AND CURRENT ROW);
CREATE VIEW suspicious AS
SELECT DISTINCT f.cc_num, f.ts, f.amt FROM features f
WHERE f.amt > (SELECT 2 * AVG(⟦CAST(g.amt AS DECIMAL(20, 8))¦g.amt⟧) FROM transactions g
               WHERE g.cc_num = f.cc_num);
CREATE VIEW hourly AS
SELECT ⟦TIMESTAMP_TRUNC(ts, HOUR)¦DATE_TRUNC('hour', ts)⟧ AS h, category, COUNT(*) AS n, SUM(amt) AS amt
FROM transactions GROUP BY 1, 2;
CREATE VIEW velocity AS
SELECT a.cc_num, a.ts AS t1, b.ts AS t2, a.amt + b.amt AS total
FROM transactions a JOIN transactions b
  ON a.cc_num = b.cc_num AND b.ts > a.ts AND b.ts <= a.ts + INTERVAL 30 MINUTES;
CREATE VIEW silent AS
SELECT cc_num, city FROM holders h
WHERE NOT EXISTS (SELECT 1 FROM transactions t WHERE t.cc_num = h.cc_num AND t.amt IS NOT NULL);
