"""Does a step cost its delta or the state? One operator at a time, over states far apart.

Each case is one query over `t`, which holds N rows: ten a key `k`, a hundred keys `g` whose
partitions grow with N. A step deletes 500 rows and inserts 500, so the state stays as large.
Rows are functions of their id, so any of them can be deleted later. Before, the state is left to
merge what waited for more rows, as a pipeline's is that has nothing to do for a second. States are
made first; then each takes TURN steps in turn, as the machine is faster in one minute than in the
next.

    step-cost/<case>/state-N    milliseconds of the step's thread a step, median of STEPS; with it
                                the largest resident memory in GiB when the state was made, those of
                                fewer rows included, and how many seconds that took
    step-cost/<case>/p99        milliseconds a step by the clock, of the largest state
    step-cost/<case>/growth     the largest state's over the second largest's: 1 is flat; with it
                                how many rows these have

`STEP_COST_ROWS` (100000,1000000,30000000) names the states, ascending; a case that does not fit 20
GB with so many rows has its own `most`. Cases whose name ends in `-long` have partitions of N / 100
rows and change their newest rows, as a stream does.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bench.feed import DELETE, from_arrays, settle
from bench.figure import Figure
from bench.memory import Peak, let_go
from penstock.circuit import Circuit
from penstock.compile.program import compile_circuit
from penstock.data.batch import InputBatch
from penstock.data.types import Schema
from penstock.plan.nodes import CLOCK
from penstock.sql.program import compile_program

I64 = npt.NDArray[np.int64]

#: states where nobody names others
ROWS = "100000,1000000,30000000"
DELTA, STEPS, CHUNK = 1_000, 40, 250_000
#: steps of one state before those of the next, and the first ones that do not count
TURN, FIRST = 10, 2
ROWS_A_KEY, LONG_KEYS, RECENT = 10, 100, STEPS * DELTA // 2

TABLES = """
CREATE TABLE t (id BIGINT NOT NULL, k BIGINT NOT NULL, g BIGINT NOT NULL, x BIGINT NOT NULL,
                ts TIMESTAMP NOT NULL);
CREATE TABLE u (id BIGINT NOT NULL PRIMARY KEY, k BIGINT NOT NULL, g BIGINT NOT NULL,
                x BIGINT NOT NULL, ts TIMESTAMP NOT NULL);
CREATE TABLE d (k BIGINT NOT NULL, y BIGINT NOT NULL, ts TIMESTAMP NOT NULL);
"""


@dataclass(frozen=True)
class Case:
    """`view` is a query, or statements where it takes more than one. `table` is what is fed;
    `recent` draws the deletions from the newest rows; with `grows` nothing is deleted, and twice as
    much is inserted. `most`: rows that fit, where a row takes much."""

    view: str
    table: str = "t"
    recent: bool = False
    grows: bool = False
    most: int = 1 << 62

    @property
    def program(self) -> str:
        is_query = self.view.startswith("SELECT")
        return TABLES + (f"CREATE VIEW v AS {self.view};" if is_query else self.view)

    def states(self, wanted: str) -> list[int]:
        """Of how many rows each, ascending; `wanted`: the same with commas between."""
        return sorted({min(int(rows), self.most) for rows in wanted.split(",")})


def _over(what: str, by: str = "k") -> str:
    return f"SELECT id, {what} OVER (PARTITION BY {by} ORDER BY ts) AS v FROM t"


def _named(what: str, order: str) -> str:
    """Over rows with a `name`, which all begin alike, and of which half are `tied`."""
    return (
        f"SELECT id, {what} OVER (PARTITION BY g ORDER BY {order}) AS v FROM (SELECT id, g, x, "
        "CONCAT('customer-', CAST(id + 1000000000 AS VARCHAR)) AS name, NULLIF(MOD(x, 2), 5) AS "
        "tied FROM t) AS q"
    )


def _at_few_times(what: str, frame: str) -> str:
    return (
        f"SELECT id, {what} OVER (PARTITION BY g ORDER BY at RANGE BETWEEN {frame}) AS v FROM "
        "(SELECT id, g, x, MOD(x, 3) AS at FROM t) AS q"
    )


def _top_of_few(rank: str) -> str:
    return (
        "SELECT id, x FROM (SELECT id, g, x, MOD(x, 3) AS at FROM t) AS q "
        f"QUALIFY {rank} OVER (PARTITION BY g ORDER BY at) <= 2"
    )


#: the rows as if all were of one time
_AT_ONCE = "SELECT id, g, x, TIMESTAMP '1969-01-01 00:00:00' AS at FROM t"

CASES = {
    "map": Case("SELECT id, x * 3 + k AS x FROM t"),
    "filter": Case("SELECT id, x * 3 AS x FROM t WHERE x > 500"),
    "unnest": Case("SELECT id, e FROM t, UNNEST(ARRAY[x, x + 1]) AS s (e)"),
    "join": Case("SELECT t.id, t.x, d.y FROM t JOIN d ON t.k = d.k"),
    "left-join": Case("SELECT t.id, t.x, d.y FROM t LEFT JOIN d ON t.k = d.k"),
    "full-join": Case("SELECT t.id, t.x, d.y FROM t FULL JOIN d ON t.k = d.k"),
    "right-join": Case("SELECT t.id, t.x, d.y FROM d RIGHT JOIN t ON t.k = d.k"),
    "residual-join": Case("SELECT t.id, d.y FROM t JOIN d ON t.k = d.k AND t.x > 1000 * d.y"),
    "left-residual-join": Case(
        "SELECT t.id, d.y FROM t LEFT JOIN d ON t.k = d.k AND t.x > 1000 * d.y"
    ),
    "range-join": Case(
        "SELECT t.id, d.y FROM t JOIN d ON t.ts BETWEEN d.ts AND d.ts + INTERVAL 40 SECONDS"
    ),
    "left-range-join": Case(
        "SELECT t.id, d.y FROM t LEFT JOIN d ON t.ts BETWEEN d.ts AND d.ts + INTERVAL 40 SECONDS"
    ),
    "anti-range-join": Case(
        "SELECT id, x FROM t WHERE NOT EXISTS (SELECT * FROM d WHERE t.ts BETWEEN d.ts AND d.ts + "
        "INTERVAL 40 SECONDS)"
    ),
    "valid-at-long": Case(
        "SELECT t.id, e.x FROM t JOIN (SELECT g, x, ts AS since, ts + INTERVAL 10000 SECONDS AS "
        "until FROM u) e ON t.g = e.g AND t.ts >= e.since AND t.ts < e.until"
    ),
    "later-and-larger-long": Case(
        "SELECT t.id, e.x FROM t JOIN u e ON t.g = e.g AND e.ts > t.ts AND e.x > t.x + 999000"
    ),
    "exists-above": Case("SELECT id, x FROM t WHERE EXISTS (SELECT * FROM d WHERE d.ts > t.ts)"),
    "band-join-long": Case(
        "SELECT t.id, e.x FROM t JOIN u e ON t.g = e.g AND t.ts BETWEEN e.ts AND e.ts + INTERVAL "
        "2000 SECONDS"
    ),
    "left-band-join-long": Case(
        "SELECT t.id, e.x FROM t LEFT JOIN u e ON t.g = e.g AND t.ts BETWEEN e.ts AND e.ts + "
        "INTERVAL 2000 SECONDS"
    ),
    "anti-band-join-long": Case(
        "SELECT t.id FROM t WHERE NOT EXISTS (SELECT * FROM u e WHERE t.g = e.g AND t.ts BETWEEN "
        "e.ts AND e.ts + INTERVAL 2000 SECONDS)"
    ),
    "join-by-or": Case("SELECT t.id, u.x FROM t JOIN u ON t.id = u.id OR t.id = u.x"),
    "left-join-by-or": Case("SELECT t.id, u.x FROM t LEFT JOIN u ON t.id = u.id OR t.id = u.x"),
    "anti-join-by-or": Case(
        "SELECT id FROM t WHERE NOT EXISTS (SELECT * FROM u WHERE t.id = u.id OR t.id = u.x)"
    ),
    "cross-join": Case("SELECT id, x - low AS x FROM t CROSS JOIN (SELECT MIN(y) AS low FROM d) m"),
    "semi-join": Case("SELECT id, x FROM t WHERE k IN (SELECT k FROM d)"),
    "anti-join": Case("SELECT id, x FROM t WHERE NOT EXISTS (SELECT * FROM d WHERE d.k = t.k)"),
    "latest-of-key-end": Case(
        "SELECT id, x FROM t WHERE NOT EXISTS (SELECT * FROM t l WHERE l.g = t.g AND l.ts > t.ts)",
        grows=True,
    ),
    "null-aware-anti-join": Case(
        "SELECT id, x FROM t WHERE k NOT IN (SELECT NULLIF(k, -1) FROM d)"
    ),
    "row-not-in": Case(
        "SELECT id, x FROM t WHERE (NULLIF(k, -1), NULLIF(x, -1)) NOT IN (SELECT NULLIF(k, -1), "
        "NULLIF(y, -1) FROM d)"
    ),
    "sum": Case("SELECT k, COUNT(*) AS n, SUM(x) AS s, AVG(x) AS a FROM t GROUP BY k"),
    "min-max": Case("SELECT k, MIN(x) AS low, MAX(x) AS high FROM t GROUP BY k"),
    "min-max-one-group": Case("SELECT MIN(x) AS low, MAX(x) AS high FROM t"),
    "stddev-covar": Case(
        "SELECT k, STDDEV(x) AS s, COVAR_POP(x, id) AS c FROM t GROUP BY k"
    ),
    "bits-every": Case(
        "SELECT k, BIT_OR(x) AS b, BIT_XOR(x) AS c, EVERY(x > 5) AS e, COUNTIF(x > 9) AS n FROM t "
        "GROUP BY k"
    ),
    "arg-min-max": Case("SELECT k, ARG_MIN(id, x) AS a, ARG_MAX(id, x) AS b FROM t GROUP BY k"),
    "array-agg": Case("SELECT k, ARRAY_AGG(x ORDER BY id) AS a FROM t GROUP BY k"),
    "mode": Case("SELECT k, MODE(x) AS m FROM t GROUP BY k"),
    "count-distinct": Case("SELECT g, COUNT(DISTINCT x) AS n FROM t GROUP BY g"),
    "distinct": Case("SELECT DISTINCT k FROM t"),
    "union": Case("SELECT k FROM t UNION SELECT k FROM d"),
    "union-all": Case("SELECT k FROM t UNION ALL SELECT k FROM d"),
    "except": Case("SELECT k FROM t EXCEPT SELECT k FROM d"),
    "intersect": Case("SELECT k FROM t INTERSECT SELECT k FROM d"),
    "except-all": Case("SELECT k FROM t EXCEPT ALL SELECT k FROM d"),
    "intersect-all": Case("SELECT k FROM t INTERSECT ALL SELECT k FROM d"),
    "top-k": Case(
        "SELECT id, k, x FROM t QUALIFY ROW_NUMBER() OVER (PARTITION BY k ORDER BY x DESC) <= 3"
    ),
    "top-k-long": Case("SELECT id, x FROM t ORDER BY x DESC LIMIT 100"),
    "rows-frame": Case(
        "SELECT id, SUM(x) OVER (PARTITION BY g ORDER BY ts ROWS BETWEEN 5 PRECEDING AND "
        "CURRENT ROW) AS s FROM t"
    ),
    "above-average": Case("SELECT id FROM t WHERE x > (SELECT AVG(x) FROM t)"),
    "above-average-of-key": Case(
        "SELECT id FROM t WHERE x > (SELECT AVG(x) FROM t AS o WHERE o.g = t.g)"
    ),
    "above-average-of-window": Case("SELECT id FROM t QUALIFY x > AVG(x) OVER (PARTITION BY g)"),
    "more-than-three-of-key": Case(
        "SELECT id FROM t WHERE (SELECT COUNT(*) FROM u WHERE u.g = t.g) > 3"
    ),
    "above-average-computed": Case("SELECT id FROM t WHERE x * 2 > 3 * (SELECT AVG(x) FROM t)"),
    "whether-above-average": Case(
        "SELECT id, CASE WHEN x > (SELECT AVG(x) FROM t) THEN 'high' ELSE 'low' END AS c FROM t"
    ),
    "whether-above-average-of-window": Case(
        "SELECT id, x > AVG(x) OVER (PARTITION BY g) AS c FROM t"
    ),
    "at-least-all": Case("SELECT id FROM t WHERE x >= ALL (SELECT x FROM t)"),
    "above-any-of-key": Case(
        "SELECT id FROM t WHERE x > ANY (SELECT o.x FROM t AS o WHERE o.g = t.g)"
    ),
    "whether-at-least-all": Case(
        "SELECT id, x >= ALL (SELECT NULLIF(o.x, -1) FROM t AS o WHERE o.g = t.g) AS b FROM t"
    ),
    "another-of-key": Case(
        "SELECT id FROM t WHERE EXISTS (SELECT * FROM t AS o WHERE o.g = t.g AND o.x <> t.x)"
    ),
    "range-frame": Case(
        "SELECT id, SUM(x) OVER (PARTITION BY g ORDER BY ts RANGE BETWEEN INTERVAL 10 MINUTES "
        "PRECEDING AND CURRENT ROW) AS s FROM t"
    ),
    "wide-min-frame-end": Case(
        "SELECT id, MIN(x) OVER (PARTITION BY g ORDER BY ts RANGE BETWEEN INTERVAL 20 DAYS "
        "PRECEDING AND CURRENT ROW) AS v FROM t",
        grows=True,
    ),
    "lag": Case(_over("LAG(x)", "g")),
    "lead": Case(_over("LEAD(x)", "g")),
    "lag-strings": Case(_named("LAG(x)", "name")),
    "row-number-strings-end": Case(_named("ROW_NUMBER()", "name"), grows=True),
    "rank-strings-end": Case(_named("RANK()", "name"), grows=True),
    "lag-ties": Case(_named("LAG(x)", "tied")),
    "rows-frame-ties": Case(
        _named("SUM(x)", "tied ROWS BETWEEN 5 PRECEDING AND CURRENT ROW")
    ),
    "rank-peers": Case(_named("RANK()", "NULLIF(g, -1)")),
    "dense-rank-peers": Case(_named("DENSE_RANK()", "NULLIF(g, -1)")),
    "running-max-peers": Case(_named("MAX(x)", "NULLIF(g, -1)")),
    "running-max-held-peers": Case(_named("MAX(MOD(x, 5))", "NULLIF(g, -1)")),
    "row-number-ties-end": Case(_named("ROW_NUMBER()", "NULLIF(g, -1)"), grows=True),
    "range-max-peers": Case(_at_few_times("MAX(x)", "1 PRECEDING AND CURRENT ROW")),
    "range-min-before-peers": Case(_at_few_times("MIN(x)", "2 PRECEDING AND 1 PRECEDING")),
    "far-sum-peers": Case(_at_few_times("SUM(x)", "UNBOUNDED PRECEDING AND 3 PRECEDING")),
    "far-max-peers": Case(_at_few_times("MAX(x)", "UNBOUNDED PRECEDING AND 1 PRECEDING")),
    "rank-and-number-ties-end": Case(
        "SELECT id, RANK() OVER w AS r, ROW_NUMBER() OVER w AS n FROM t WINDOW w AS (PARTITION BY "
        "g ORDER BY NULLIF(g, -1))",
        grows=True,
    ),
    "rank-strings-peers": Case(_named("RANK()", "CONCAT('g', CAST(g AS VARCHAR))")),
    "rank-wide-peers": Case(_named("RANK()", "g / 3, g / 2")),
    "top-rank-peers": Case(_top_of_few("RANK()")),
    "top-dense-rank-peers": Case(_top_of_few("DENSE_RANK()")),
    "row-number": Case(_over("ROW_NUMBER()")),
    "row-number-long": Case(_over("ROW_NUMBER()", "g"), recent=True),
    "rank-long": Case(_over("RANK()", "g"), recent=True),
    "running-total": Case(_over("SUM(x)")),
    "running-total-long": Case(_over("SUM(x)", "g"), recent=True),
    "running-max-long": Case(_over("MAX(x)", "g"), recent=True),
    "first-value-long": Case(_over("FIRST_VALUE(x)", "g"), recent=True),
    "last-value-long": Case(
        _over("LAST_VALUE(x)", "g").replace(
            "ts)", "ts DESC RANGE BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING)"
        ),
        grows=True,
    ),
    "row-number-end": Case(_over("ROW_NUMBER()", "g"), grows=True),
    "rank-end": Case(_over("RANK()", "g"), grows=True),
    "dense-rank-end": Case(_over("DENSE_RANK()", "g"), grows=True),
    "running-total-end": Case(_over("SUM(x)", "g"), grows=True),
    "lag-ignore-nulls-end": Case(
        "SELECT id, LAG(NULLIF(MOD(x, 5), 1)) IGNORE NULLS OVER (PARTITION BY g ORDER BY ts) AS v "
        "FROM t",
        grows=True,
    ),
    "short-frame-end": Case(
        "SELECT id, SUM(x) OVER (PARTITION BY g ORDER BY ts ROWS BETWEEN UNBOUNDED PRECEDING AND 1 "
        "PRECEDING) AS v FROM t",
        grows=True,
    ),
    "far-frame-end": Case(
        "SELECT id, SUM(x) OVER (PARTITION BY g ORDER BY ts RANGE BETWEEN UNBOUNDED PRECEDING AND "
        "INTERVAL 10 MINUTES PRECEDING) AS v FROM t",
        grows=True,
    ),
    "far-rows-frame-end": Case(
        "SELECT id, SUM(x) OVER (PARTITION BY g ORDER BY ts ROWS BETWEEN UNBOUNDED PRECEDING AND "
        "20 FOLLOWING) AS v FROM t",
        grows=True,
    ),
    "far-max-frame-long": Case(
        "SELECT id, MAX(x) OVER (PARTITION BY g ORDER BY ts RANGE BETWEEN UNBOUNDED PRECEDING AND "
        "INTERVAL 10 MINUTES FOLLOWING) AS v FROM t",
        recent=True,
    ),
    "lag-20-ignore-nulls": Case(_over("LAG(NULLIF(MOD(x, 5), 1), 20) IGNORE NULLS", "g")),
    "asof-join": Case(
        "SELECT t.id, d.y FROM t LEFT ASOF JOIN d MATCH_CONDITION (t.ts >= d.ts) ON t.k = d.k"
    ),
    "asof-join-long": Case(
        "SELECT t.id, e.x FROM t LEFT ASOF JOIN u e MATCH_CONDITION (t.ts >= e.ts) ON t.g = e.g"
    ),
    "asof-join-ties": Case(
        "SELECT t.id, e.x FROM t LEFT ASOF JOIN (SELECT -id AS i, g, x, TIMESTAMP "
        "'1969-01-01 00:00:00' AS at FROM t) e MATCH_CONDITION (t.ts >= e.at) ON t.g = e.g"
    ),
    "asof-join-left-ties": Case(
        f"SELECT l.id, e.x FROM ({_AT_ONCE}) l LEFT ASOF JOIN (SELECT -id AS i, g, x, TIMESTAMP "
        "'1969-01-01 00:00:00' AS at FROM t) e MATCH_CONDITION (l.at >= e.at) ON l.g = e.g"
    ),
    "latest-before-long": Case(
        "SELECT id, (SELECT MAX(u.ts) FROM u WHERE u.g = t.g AND u.ts < t.ts) AS p FROM t"
    ),
    "row-of-latest-long": Case(
        "SELECT t.id, u.x FROM t JOIN u ON u.g = t.g AND u.ts = (SELECT MAX(o.ts) FROM u AS o "
        "WHERE o.g = t.g AND o.ts <= t.ts)"
    ),
    "value-at-long": Case(
        "SELECT id, (SELECT u.x FROM u WHERE u.g = t.g AND u.ts <= t.ts ORDER BY u.ts DESC LIMIT "
        "1) AS p FROM t"
    ),
    "tumble": Case(
        "SELECT window_start, COUNT(*) AS n, SUM(x) AS s FROM TABLE(TUMBLE(TABLE t, "
        "DESCRIPTOR(ts), INTERVAL 10 SECONDS)) GROUP BY window_start"
    ),
    "hop": Case(
        "SELECT window_start, COUNT(*) AS n, SUM(x) AS s FROM TABLE(HOP(TABLE t, "
        "DESCRIPTOR(ts), INTERVAL 5 SECONDS, INTERVAL 10 SECONDS)) GROUP BY window_start"
    ),
    "session": Case(
        "SELECT k, window_start, COUNT(*) AS n FROM TABLE(SESSION(TABLE t, DESCRIPTOR(ts), "
        "DESCRIPTOR(k), INTERVAL 10 HOURS)) GROUP BY k, window_start, window_end"
    ),
    "session-long": Case(
        "SELECT g, window_start, COUNT(*) AS n FROM TABLE(SESSION(TABLE t, DESCRIPTOR(ts), "
        "DESCRIPTOR(g), INTERVAL 3 MINUTES)) GROUP BY g, window_start, window_end",
        recent=True,
    ),
    "session-unbroken": Case(
        "SELECT g, window_start, COUNT(*) AS n, SUM(x) AS s, MAX(x) AS most FROM TABLE(SESSION("
        "TABLE t, DESCRIPTOR(ts), DESCRIPTOR(g), INTERVAL 1 DAY)) "
        "GROUP BY g, window_start, window_end",
        recent=True,
    ),
    "session-filtered": Case(
        "SELECT g, window_start, COUNT(*) FILTER (WHERE x > 500000) AS n FROM TABLE(SESSION(TABLE "
        "t, DESCRIPTOR(ts), DESCRIPTOR(g), INTERVAL 1 DAY)) GROUP BY g, window_start, window_end",
        recent=True,
    ),
    "session-one-time": Case(
        "SELECT g, window_start, COUNT(*) AS n, SUM(x) AS s, MAX(x) AS most FROM TABLE(SESSION("
        f"({_AT_ONCE}), DESCRIPTOR(at), DESCRIPTOR(g), INTERVAL 1 DAY)) "
        "GROUP BY g, window_start, window_end"
    ),
    "session-rows-one-time": Case(
        f"SELECT id, window_start FROM TABLE(SESSION(({_AT_ONCE}), DESCRIPTOR(at), DESCRIPTOR(g), "
        "INTERVAL 1 DAY))"
    ),
    "upsert": Case("SELECT id, x FROM u", table="u"),
    "now-filter": Case("SELECT id, x FROM t WHERE ts >= NOW() - INTERVAL 2 HOURS", grows=True),
    "recursion": Case(
        "DECLARE RECURSIVE VIEW reach (a BIGINT NOT NULL, b BIGINT NOT NULL);"
        "CREATE VIEW reach AS SELECT id AS a, id + 1 AS b FROM t WHERE MOD(id, 5) > 0 UNION "
        "SELECT r.a, t.id + 1 AS b FROM reach r JOIN t ON r.b = t.id WHERE MOD(t.id, 5) > 0;"
    ),
    "recursion-cycles": Case(
        "DECLARE RECURSIVE VIEW reach (n BIGINT NOT NULL);"
        "CREATE VIEW reach AS SELECT k AS n FROM d WHERE k = 0 UNION "
        "SELECT t.id / 10 AS n FROM reach r JOIN t ON r.n = t.k;"
    ),
    "recursion-without": Case(
        "DECLARE RECURSIVE VIEW reach (a BIGINT NOT NULL, b BIGINT NOT NULL);"
        "CREATE VIEW reach AS SELECT id AS a, id + 1 AS b FROM t UNION "
        "SELECT r.a, t.id + 1 AS b FROM reach r JOIN t ON r.b = t.id "
        "WHERE NOT EXISTS (SELECT 1 FROM t c WHERE c.id = r.b AND MOD(c.id, 5) = 0);"
    ),
    "recursion-least": Case(
        "DECLARE RECURSIVE VIEW near (n BIGINT NOT NULL, d BIGINT);"
        "CREATE LOCAL VIEW step AS SELECT id AS n, x AS d FROM t UNION ALL "
        "SELECT t.id + 1 AS n, near.d + 1 AS d FROM near JOIN t ON near.n = t.id "
        "WHERE MOD(t.id, 2) > 0;"
        "CREATE VIEW near AS SELECT n, MIN(d) AS d FROM step GROUP BY n;",
        most=10_000_000,  # 0.8 kB a row
    ),
}  # fmt: skip


def run(only: str | None) -> Iterator[Figure]:
    """The figures of the cases whose names start with `only`."""
    wanted = os.environ.get("STEP_COST_ROWS", ROWS)
    for name, case in CASES.items():
        if only in (None, "step-cost", f"step-cost/{name}"):
            yield from figures(f"step-cost/{name}", case, case.states(wanted))


def figures(name: str, case: Case, states: Sequence[int]) -> Iterator[Figure]:
    """The figures of a case over `states`, which ascend."""
    runs: list[Run] = []
    held: list[dict[str, float]] = []
    for rows in states:
        let_go()
        peak, started = Peak(), time.perf_counter()
        runs.append(Run(case, rows))
        seconds = time.perf_counter() - started
        held.append({"peak_gib": peak.mib() / 1024, "seconds": seconds})
    for _ in range(STEPS // TURN):
        for run in runs:
            run.take(TURN)
    for run, told in zip(runs, held, strict=True):
        bench = f"{name}/state-{run.rows}"
        yield Figure(bench, run.median(), "ms/step", None, None, None, told)
    largest = runs[-1]
    p99 = float(np.percentile(largest.clock[FIRST:], 99)) * 1e3
    yield Figure(f"{name}/p99", p99, "ms/step", None, None, None, {"rows": largest.rows})
    if len(runs) > 1:
        over = runs[-2]
        between = {"rows": largest.rows, "over_rows": over.rows}
        growth = largest.median() / over.median()
        yield Figure(f"{name}/growth", growth, "x", None, None, None, between)


class Run:
    """A case over a state of `rows` rows, and the seconds of its steps so far: of the step's
    thread, and by the clock."""

    def __init__(self, case: Case, rows: int) -> None:
        self.rows, self._case, self._data = rows, case, _Data(rows)
        plan = compile_program(case.program)
        self._schemas = {t.name: t.schema for t in plan.tables}
        self.circuit = compile_circuit(plan)
        _fill(self.circuit, self._schemas, case.table, self._data)
        low = rows - RECENT if case.recent else 0
        self._gone = np.random.default_rng(7).permutation(np.arange(low, rows))
        settle()
        while self.circuit.tend():
            time.sleep(0.01)
        self.cpu: list[float] = []
        self.clock: list[float] = []

    def take(self, steps: int) -> None:
        for _ in range(steps):
            tables = self._changes(len(self.cpu))
            started, thread = time.perf_counter(), time.thread_time()
            self.circuit.step(tables)
            self.cpu.append(time.thread_time() - thread)
            self.clock.append(time.perf_counter() - started)

    def median(self) -> float:
        """Milliseconds of the step's thread a step."""
        return float(np.median(self.cpu[FIRST:])) * 1e3

    def _changes(self, i: int) -> dict[str, list[InputBatch]]:
        """What comes in step i."""
        case, rows, schemas, half = self._case, self.rows, self._schemas, DELTA // 2
        old = self._data.rows(self._gone[i * half % len(self._gone) :][:half])
        if case.table == "u":  # a row is replaced under its key
            changed = self._data.rows(self._gone[i * DELTA : (i + 1) * DELTA])
            batches = [from_arrays(schemas["u"], (*changed[:3], changed[3] + 1, changed[4]))]
        elif case.grows:
            new = self._data.rows(np.arange(rows + i * DELTA, rows + (i + 1) * DELTA))
            batches = [from_arrays(schemas["t"], new)]
        else:
            new = self._data.rows(np.arange(rows + i * half, rows + (i + 1) * half))
            batches = [from_arrays(schemas["t"], old, DELETE), from_arrays(schemas["t"], new)]
        tables = {case.table: batches}
        if CLOCK in schemas:
            moment = np.array([rows + (i + 1) * DELTA], np.int64) * 1_000_000
            tables[CLOCK] = [from_arrays(schemas[CLOCK], (moment, np.ones(1, np.uint8)))]
        return tables


def _fill(circuit: Circuit, schemas: dict[str, Schema], table: str, data: _Data) -> None:
    tables: dict[str, list[InputBatch]] = {"d": [from_arrays(schemas["d"], data.dimension())]}
    circuit.step(tables)
    for start in range(0, data.count, CHUNK):
        ids = np.arange(start, min(start + CHUNK, data.count))
        inputs = {table: [from_arrays(schemas[table], data.rows(ids))]}
        if table == "t":
            # what an ASOF join of long histories looks into: a tenth of the times
            inputs["u"] = [from_arrays(schemas["u"], data.rows(ids[::10]))]
        circuit.step(inputs)


@dataclass(frozen=True)
class _Data:
    """`count` rows to begin with. Time passes by a second a row."""

    count: int

    @property
    def keys(self) -> int:
        return max(1, self.count // ROWS_A_KEY)

    def rows(self, ids: I64) -> tuple[I64, ...]:
        """id, k, g, x, ts"""
        k = _mixed(ids, 1) % self.keys
        return ids, k, k % LONG_KEYS, _mixed(ids, 2) % 1_000_000, ids * 1_000_000

    def dimension(self) -> tuple[I64, ...]:
        """k, y, ts for every second key"""
        k = np.arange(0, self.keys, 2)
        return k, _mixed(k, 3) % 1_000, _mixed(k, 4) % self.count * 1_000_000


def _mixed(ids: I64, salt: int) -> I64:
    """Numbers as good as drawn, the same for the same id (splitmix64)."""
    z = ids.astype(np.uint64) + np.uint64(salt * 0x9E3779B97F4A7C15 % 2**64)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return ((z ^ (z >> np.uint64(31))) >> np.uint64(1)).astype(np.int64)
