"""Sub-queries in the conditions of joins and in VALUES: DuckDB's answer after any history.

Where DuckDB takes no sub-query in ON (FULL and LATERAL joins), it is asked in other words.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penstock.circuit import Circuit
from penstock.circuit.ops import join
from penstock.circuit.ops.join import Join
from penstock.circuit.spec import Bound
from penstock.compile.program import compile_circuit
from penstock.data.batch import INSERT, Batch, InputBatch
from penstock.data.build import batch_from_rows, batch_to_rows
from penstock.data.types import BIGINT, Field, Schema, schema
from penstock.plan.nodes import CLOCK
from penstock.sql.program import compile_program
from tests.examples import examples
from tests.oracle.drive import as_input
from tests.oracle.drive import run as drive
from tests.property.programs import History, Program, answers, histories
from tests.property.test_programs import run

CHECKS = [HealthCheck.too_slow, HealthCheck.data_too_large]

LISTED = "b.x IN (SELECT c.x FROM b AS c WHERE c.k = a.k)"
FOUND = "EXISTS (SELECT * FROM a AS z WHERE z.k = b.x)"
#: equal, or perhaps, as far as b knows and a
ALIKE = "(b.k = a.k OR b.k IS NULL OR a.k IS NULL) AND (b.s = a.s OR b.s IS NULL OR a.s IS NULL)"
#: name → (our query, the same for DuckDB)
QUERIES: dict[str, tuple[str, str | None]] = {
    "one_side": (f"SELECT a.id, b.x FROM a LEFT JOIN b ON a.k = b.k AND {FOUND}", None),
    "both_sides": (f"SELECT a.s, b.x, b.s AS t FROM a LEFT JOIN b ON a.s = b.s AND {LISTED}", None),
    "left_side": (
        "SELECT a.id, b.x FROM a LEFT JOIN b ON a.k = b.k AND a.k IN (SELECT x FROM b)",
        None,
    ),
    "scalar": (
        "SELECT a.id, b.x FROM a LEFT JOIN b ON a.k < b.k AND b.x < (SELECT MAX(k) FROM a)",
        None,
    ),
    "rights": (
        f"SELECT a.s, b.k, b.x FROM a RIGHT JOIN b ON a.k = b.k AND {LISTED}",
        f"SELECT a.s, b.k, b.x FROM b LEFT JOIN a ON a.k = b.k AND {LISTED}",
    ),
    "either": (
        f"SELECT a.s, a.n, b.k, b.x FROM a FULL JOIN b ON a.k = b.k AND {LISTED}",
        f"""SELECT a.s, a.n, b.k, b.x FROM a LEFT JOIN b ON a.k = b.k AND {LISTED}
            UNION ALL
            SELECT NULL, NULL, b.k, b.x FROM b WHERE NOT EXISTS (
                SELECT * FROM a WHERE a.k = b.k AND {LISTED})""",
    ),
    "near": ("SELECT a.id, b.x FROM a JOIN b ON b.x BETWEEN a.k - 1 AND a.k + 1", None),
    "span": ("SELECT a.id, b.x, b.k FROM a JOIN b ON a.k >= b.k AND a.k < b.x", None),
    "near_or_alone": (
        "SELECT a.id, a.s, b.x FROM a LEFT JOIN b ON b.x BETWEEN a.k - 1 AND a.k + 1",
        None,
    ),
    "near_from_the_right": ("SELECT a.k, b.x, b.s FROM a RIGHT JOIN b ON b.x <= a.k", None),
    "near_or_either_alone": (
        "SELECT a.k, a.s, b.x FROM a FULL JOIN b ON a.k BETWEEN b.x AND b.x + 1",
        """SELECT a.k, a.s, b.x FROM a LEFT JOIN b ON a.k BETWEEN b.x AND b.x + 1 UNION ALL
           SELECT NULL, NULL, x FROM b WHERE NOT EXISTS (
               SELECT * FROM a WHERE a.k BETWEEN b.x AND b.x + 1)""",
    ),
    "some_near": (
        "SELECT s, n FROM a WHERE EXISTS (SELECT * FROM b WHERE b.k < a.k AND b.x + 2 > a.k)",
        None,
    ),
    "none_near": (
        "SELECT s, n FROM a WHERE NOT EXISTS (SELECT * FROM b WHERE b.k < a.k AND b.x > a.k)",
        None,
    ),
    "one_below": ("SELECT s, k FROM a WHERE EXISTS (SELECT * FROM b WHERE b.x <= a.k)", None),
    "none_below": ("SELECT s, k FROM a WHERE NOT EXISTS (SELECT * FROM b WHERE b.x < a.k)", None),
    "one_above": ("SELECT s, k FROM a WHERE EXISTS (SELECT * FROM b WHERE a.k < b.k)", None),
    "another": ("SELECT s FROM a WHERE EXISTS (SELECT * FROM b WHERE a.k <> b.k)", None),
    "no_other": ("SELECT a.s, b.s AS t FROM a LEFT JOIN b ON a.s < b.s AND a.k <> b.x", None),
    "near_by_key": (
        "SELECT a.id, b.x FROM a JOIN b ON a.s = b.s AND b.k BETWEEN a.k AND a.k + 1",
        None,
    ),
    "near_by_key_or_alone": (
        "SELECT a.id, b.x FROM a LEFT JOIN b ON a.s = b.s AND b.k BETWEEN a.k - 1 AND a.k + 1",
        None,
    ),
    "none_near_by_key": (
        "SELECT s, n FROM a WHERE NOT EXISTS (SELECT * FROM b WHERE b.s = a.s AND b.k <= a.k)",
        None,
    ),
    "unlike_all": (
        "SELECT id FROM a WHERE (k, s) NOT IN (SELECT k, s FROM b)",
        f"SELECT id FROM a WHERE NOT EXISTS (SELECT * FROM b WHERE {ALIKE})",
    ),
    "unlike_all_of_three": (
        "SELECT id, s FROM a WHERE (s, k, id) NOT IN (SELECT s, k, x FROM b WHERE b.x <> a.n)",
        f"""SELECT id, s FROM a WHERE NOT EXISTS (SELECT * FROM b WHERE {ALIKE} AND b.x <> a.n
            AND (b.x = a.id OR b.x IS NULL))""",
    ),
    "unlike_those_of_its_key": (
        "SELECT id, s FROM a WHERE s NOT IN (SELECT s FROM b WHERE b.k = a.k)",
        None,
    ),
    "alike_or_not": (
        "SELECT id, (k, s) IN (SELECT k, s FROM b) AS i FROM a",
        f"""SELECT id, CASE WHEN EXISTS (SELECT * FROM b WHERE b.k = a.k AND b.s = a.s) THEN TRUE
            WHEN EXISTS (SELECT * FROM b WHERE {ALIKE}) THEN NULL ELSE FALSE END AS i FROM a""",
    ),
    "latest_of_its_key": (
        "SELECT id FROM a WHERE NOT EXISTS (SELECT * FROM a AS o WHERE o.k = a.k AND o.m > a.m)",
        None,
    ),
    "later_ones_of_its_key": (
        "SELECT k, x FROM b WHERE EXISTS (SELECT * FROM b AS o WHERE o.s = b.s AND o.x - 1 < b.x)",
        None,
    ),
    "beyond_one": ("SELECT x, s FROM b WHERE x >= (SELECT MAX(o.x) - 1 FROM b AS o)", None),
    "beyond_none": ("SELECT id FROM a WHERE (SELECT MIN(k) FROM b WHERE x > 2) < k", None),
    "beyond_text": ("SELECT id, s FROM a WHERE s > (SELECT MIN(s) FROM b)", None),
    "beyond_float": (
        "SELECT id FROM a WHERE f <= (SELECT MAX(o.f) FROM a AS o WHERE o.k > 0)",
        None,
    ),
    "beyond_its_own": (
        "SELECT x, s FROM b WHERE x < (SELECT SUM(o.x) FROM b AS o WHERE o.s = b.s)",
        None,
    ),
    "beyond_its_counted": (
        "SELECT x, k FROM b WHERE x <= (SELECT COUNT(*) FROM a WHERE a.k = b.k)",
        None,
    ),
    "beyond_its_least": (
        "SELECT id FROM a WHERE k + 1 > (SELECT MIN(o.k) FROM a AS o WHERE o.s = a.s)",
        None,
    ),
    "another_of_its_key": (
        "SELECT id FROM a WHERE EXISTS (SELECT * FROM b WHERE b.s = a.s AND b.k <> a.k)",
        None,
    ),
    "no_other_of_its_key": (
        "SELECT id, k FROM a WHERE NOT EXISTS (SELECT * FROM b WHERE b.k = a.k AND b.s <> a.s)",
        None,
    ),
    "no_other_of_its_own": (
        "SELECT k, x FROM b WHERE NOT EXISTS (SELECT * FROM b AS o WHERE o.k = b.k AND o.x <> b.x)",
        None,
    ),
    "another_computed": (
        "SELECT id FROM a WHERE EXISTS (SELECT * FROM b WHERE b.s = a.s AND ABS(b.x) <> a.k)",
        None,
    ),
    "no_other_text": (
        "SELECT id, s FROM a WHERE NOT EXISTS (SELECT * FROM b WHERE b.s <> a.s)",
        None,
    ),
    "at_least_all": ("SELECT x, s FROM b WHERE x >= ALL (SELECT o.x FROM b AS o)", None),
    "below_all": ("SELECT id, k FROM a WHERE k < ALL (SELECT x FROM b WHERE x > 1)", None),
    "above_any": ("SELECT id, k FROM a WHERE k > ANY (SELECT k FROM b)", None),
    "not_above_any": ("SELECT id, k FROM a WHERE NOT k > ANY (SELECT k FROM b WHERE k > 0)", None),
    "at_most_any_text": ("SELECT id, s FROM a WHERE s <= SOME (SELECT s FROM b)", None),
    "above_all_of_its_key": (
        "SELECT id, k FROM a WHERE k > ALL (SELECT b.k FROM b WHERE b.s = a.s)",
        None,
    ),
    "not_below_all_of_its_key": (
        "SELECT id, k FROM a WHERE NOT (k < ALL (SELECT b.x FROM b WHERE b.s = a.s))",
        None,
    ),
    "at_least_any_of_its_key": (
        "SELECT s, x FROM b WHERE x >= ANY (SELECT a.k FROM a WHERE a.s = b.s)",
        None,
    ),
    "all_alike": ("SELECT id, k FROM a WHERE k = ALL (SELECT b.x FROM b)", None),
    "all_alike_of_its_key": (
        "SELECT id, k FROM a WHERE k = ALL (SELECT b.k FROM b WHERE b.s = a.s)",
        None,
    ),
    "unlike_any_of_its_key": (
        "SELECT id, k FROM a WHERE k <> ANY (SELECT b.x FROM b WHERE b.s = a.s)",
        None,
    ),
    "unlike_any": ("SELECT id, k FROM a WHERE k <> ANY (SELECT b.k FROM b)", None),
    "whether_above_all": (
        """SELECT id, k > ALL (SELECT b.k FROM b) AS p, k <= ANY (SELECT b.k FROM b
           WHERE b.s = a.s) AS q, s = ALL (SELECT b.s FROM b WHERE b.k = a.k) AS r FROM a""",
        None,
    ),
    "above_all_or_else": (
        """SELECT id FROM a WHERE k > ALL (SELECT b.x FROM b WHERE b.s = a.s) OR
           k < ANY (SELECT b.k FROM b) AND id > 1""",
        None,
    ),
    "above_float": ("SELECT a.id, b.x FROM a LEFT JOIN b ON a.f > b.x AND a.s = b.s", None),
    "between_texts": (
        "SELECT a.id, b.s AS t FROM a JOIN b ON a.s >= b.s AND CAST(a.k AS VARCHAR) < b.s",
        None,
    ),
    "some_text_after": (
        "SELECT id FROM a WHERE EXISTS (SELECT * FROM b WHERE b.k = a.k AND b.s > a.s)",
        None,
    ),
    "no_float_below": (
        "SELECT id FROM a WHERE NOT EXISTS (SELECT * FROM b WHERE b.s = a.s AND b.x < a.f)",
        None,
    ),
    "text_beyond_its_own": (
        "SELECT id FROM a WHERE s >= (SELECT MAX(b.s) FROM b WHERE b.k = a.k)",
        None,
    ),
    "by_either": ("SELECT a.id, b.x FROM a JOIN b ON a.k = b.k OR a.s = b.s", None),
    "by_either_or_unknown": (
        "SELECT a.id, b.x FROM a LEFT JOIN b ON a.k = b.k OR b.k IS NULL AND a.id > 1",
        None,
    ),
    "by_one_of_three": (
        """SELECT a.id, b.x FROM a LEFT JOIN b
           ON a.k = b.k OR a.s = b.s AND a.id > b.x OR a.id < b.k""",
        None,
    ),
    "by_either_from_the_right": (
        "SELECT a.k, b.x, b.s FROM a RIGHT JOIN b ON a.k IN (b.x, b.k)",
        "SELECT a.k, b.x, b.s FROM b LEFT JOIN a ON a.k IN (b.x, b.k)",
    ),
    "by_either_or_alone": (
        "SELECT a.k, a.s, b.x FROM a FULL JOIN b ON a.k = b.x OR a.s = b.s AND a.k IS NOT NULL",
        """SELECT a.k, a.s, b.x FROM a LEFT JOIN b ON a.k = b.x OR a.s = b.s AND a.k IS NOT NULL
           UNION ALL SELECT NULL, NULL, x FROM b WHERE NOT EXISTS (
               SELECT * FROM a WHERE a.k = b.x OR a.s = b.s AND a.k IS NOT NULL)""",
    ),
    "some_by_either": (
        "SELECT s, k FROM b WHERE EXISTS (SELECT * FROM a WHERE a.k = b.k OR a.s = b.s)",
        None,
    ),
    "some_by_either_computed": (
        "SELECT id FROM a WHERE EXISTS (SELECT * FROM b WHERE b.k + 1 = a.k OR b.x = a.k + 1)",
        None,
    ),
    "none_by_either": (
        "SELECT id, s FROM a WHERE NOT EXISTS (SELECT * FROM b WHERE a.k = b.k OR a.s = b.s)",
        None,
    ),
    "none_by_either_or_beyond": (
        """SELECT s, x FROM b WHERE NOT EXISTS (
               SELECT * FROM a WHERE a.k = b.x OR b.s IS NULL AND a.k > b.k OR b.x = 1)""",
        None,
    ),
    "by_either_twice": (
        f"SELECT a.id, b.x FROM a JOIN b ON {ALIKE}",
        None,
    ),
    "none_by_either_twice": (
        f"SELECT a.id, a.k FROM a WHERE NOT EXISTS (SELECT * FROM b WHERE {ALIKE})",
        None,
    ),
    "by_either_later": (
        "SELECT o.k, b.x FROM b AS o, b WHERE (o.k = b.x + 1 OR o.s = b.s) AND o.x <= b.x",
        None,
    ),
    "above_one_value_or_else": (
        "SELECT id FROM a WHERE k > (SELECT MIN(x) FROM b) OR s = 'a' OR id = (SELECT 1)",
        None,
    ),
    "some_more_than_one": (
        "SELECT id FROM a WHERE (SELECT COUNT(*) FROM b WHERE b.k = a.k) > 1",
        None,
    ),
    "few_of_its_key": (
        "SELECT s, x FROM b WHERE (SELECT COUNT(o.k) FROM a AS o WHERE o.s = b.s) < 2 AND x > 1",
        None,
    ),
    "none_of_its_key": (
        """SELECT a.id, q.n FROM a LEFT JOIN (SELECT k, COUNT(*) AS n, MAX(x) AS m FROM b
           GROUP BY k) AS q ON q.k = a.k AND q.m > a.id
           WHERE COALESCE(q.n, 0) = 0 OR q.m IS NULL""",
        None,
    ),
    "many_of_its_key_and_above": (
        """SELECT a.id, q.n FROM a LEFT JOIN (SELECT s, COUNT(*) AS n, MAX(k) AS m FROM b
           GROUP BY s) AS q ON q.s = a.s WHERE q.n BETWEEN 1 AND 3 AND a.k >= q.m""",
        None,
    ),
    "known_by_its_partner": (
        "SELECT a.id, b.x FROM a LEFT JOIN b ON a.k = b.k WHERE COALESCE(b.x, 0) > 1 AND a.id > 0",
        None,
    ),
    "above_its_average": (
        """SELECT id FROM (SELECT id, k, AVG(CAST(k AS DOUBLE)) OVER (PARTITION BY s) AS m FROM a)
           AS q WHERE k > m""",
        None,
    ),
    "latest_before": (
        "SELECT id, (SELECT MAX(b.x) FROM b WHERE b.s = a.s AND b.x < a.k) AS p FROM a",
        None,
    ),
    "first_at_or_after": (
        "SELECT s, x, (SELECT MIN(a.k) FROM a WHERE a.s = b.s AND a.k >= b.k) AS p FROM b",
        None,
    ),
    "nearest_before": (
        """SELECT id, (SELECT b.s FROM b WHERE b.x <= a.k AND b.x > 0
           ORDER BY b.x DESC, b.s ASC NULLS FIRST LIMIT 1) AS p FROM a""",
        None,
    ),
    "nearest_after": (
        """SELECT a.id, q.x FROM a LEFT JOIN LATERAL (SELECT b.x FROM b
           WHERE b.s = a.s AND b.k > a.k ORDER BY b.k LIMIT 1) AS q ON TRUE""",
        """SELECT a.id, (SELECT b.x FROM b WHERE b.s = a.s AND b.k > a.k
           ORDER BY b.k, b.x ASC NULLS FIRST LIMIT 1) FROM a""",
    ),
    "beside_the_latest": (
        """SELECT a.id, b.s FROM a JOIN b ON b.s = a.s AND b.x = (
               SELECT MAX(o.x) FROM b AS o WHERE o.s = a.s AND o.x <= a.k)""",
        None,
    ),
    "of_the_latest_alone": (
        """SELECT a.id, b.s, b.x FROM a, b WHERE b.k = a.k AND a.id > 0 AND b.x >= (
               SELECT MIN(o.x) FROM b AS o WHERE o.k = a.k AND o.x > a.id)""",
        None,
    ),
    "nearest_of_itself": (
        """SELECT k, x, (SELECT o.s FROM b AS o WHERE o.k < b.k AND o.x = b.x
           ORDER BY o.k DESC LIMIT 1) AS p FROM b""",
        """SELECT k, x, (SELECT o.s FROM b AS o WHERE o.k < b.k AND o.x = b.x
           ORDER BY o.k DESC, o.s ASC NULLS FIRST LIMIT 1) AS p FROM b""",
    ),
    "whether_above_one_value": (
        """SELECT id, k > (SELECT MAX(x) FROM b) AS p,
           CASE WHEN k IS NULL THEN 0 WHEN k <= (SELECT MAX(x) FROM b) THEN 1 ELSE 2 END AS q
           FROM a""",
        None,
    ),
    "whether_below_what_is_counted": (
        "SELECT x, s, (SELECT COUNT(*) FROM a) >= x AS p FROM b",
        None,
    ),
    "twice_above_one_value": (
        "SELECT id FROM a WHERE k * 2 > (SELECT MAX(x) FROM b) * 3 - 1 AND id > 0",
        None,
    ),
    "whether_above_its_greatest": (
        """SELECT id, k >= MAX(k) OVER (PARTITION BY s) AS p, s FROM a""",
        None,
    ),
    "whether_below_those_of_its_key": (
        """SELECT a.id, CASE WHEN q.m > a.k THEN 'a' WHEN a.k IS NULL THEN 'b' END AS c
           FROM a LEFT JOIN (SELECT s, SUM(x) AS m FROM b GROUP BY s) AS q ON q.s = a.s""",
        None,
    ),
    "whether_above_those_of_its_key": (
        """SELECT b.x, b.s, b.x - 1 > q.m AS c
           FROM b JOIN (SELECT k, MIN(x) AS m FROM b GROUP BY k) AS q ON q.k = b.k""",
        None,
    ),
    "distinct_of_pairs": ("SELECT DISTINCT a.s FROM a JOIN b ON a.k = b.k", None),
    "distinct_of_the_right": (
        "SELECT DISTINCT b.x + 1 AS y, b.s FROM a JOIN b ON a.k = b.k AND a.id > 1 WHERE b.x > 0",
        None,
    ),
    "distinct_of_both": ("SELECT DISTINCT a.s, b.x FROM a JOIN b ON a.k = b.k", None),
    "above": ("SELECT a.id, b.x FROM a, b WHERE a.k + 2 > b.x AND a.id <> b.k", None),
    "nested": (
        f"""SELECT a.id, (SELECT COUNT(*) FROM b AS o LEFT JOIN b ON o.k = b.k AND {LISTED}
                          WHERE o.x = a.k) AS n FROM a""",
        None,
    ),
    "constants": (
        "VALUES (1, 2), ((SELECT COUNT(*) FROM b), 0), (3, (SELECT MAX(id) FROM a))",
        None,
    ),
    "laterally": (
        """SELECT a.id, q.v FROM a LEFT JOIN LATERAL (SELECT b.x + a.id AS v, b.x FROM b
           WHERE b.k = a.k) AS q ON q.x IN (SELECT k FROM a AS z WHERE z.id < a.id)""",
        """SELECT a.id, b.x + a.id AS v FROM a LEFT JOIN b ON b.k = a.k
           AND b.x IN (SELECT k FROM a AS z WHERE z.id < a.id)""",
    ),
}


SMALL, LARGE = -(2**63), 2**63 - 1


@given(
    pairs=st.lists(
        st.tuples(
            *[st.sampled_from([None, SMALL, SMALL + 3, -2, 0, 1, 2, 5, LARGE - 3, LARGE])] * 2,
            st.sampled_from([1, 1, 2, -1]),
        ),
        max_size=14,
    ),
    steps=st.integers(1, 3), shift=st.integers(-3, 3), left_is_low=st.booleans(),
    two_sided=st.booleans(), nullable=st.booleans(),
)  # fmt: skip
@settings(max_examples=examples(60), deadline=None)
def test_a_range_join_finds_every_pair_within_its_bounds(
    pairs: list[Any], steps: int, shift: int, left_is_low: bool, two_sided: bool, nullable: bool
) -> None:
    if not nullable:
        pairs = [(x, y, w) for x, y, w in pairs if x is not None and y is not None]
    side = schema(v=BIGINT.with_nullable(nullable))
    both = Schema((*side.fields, *(Field("r", f.type) for f in side.fields)))
    bounds = [Bound(0, 0, shift, left_is_low)] + two_sided * [Bound(0, 0, shift + 2, False)]

    def passes(x: int | None, y: int | None) -> bool:
        if x is None or y is None:
            return False
        moved = ((x + b.shift, b.left_is_low) for b in bounds)
        return all(m <= y if low else m >= y for m, low in moved)

    def residual(rows: Batch) -> np.ndarray:
        return np.array([passes(*row) for row, _ in batch_to_rows(rows)], np.uint8)

    def build(c: Circuit, streams: Any) -> Any:
        return c.range_join(streams["l"], streams["r"], tuple(bounds), residual, both)

    history = [
        {"l": [((x,), w) for x, _, w in part], "r": [((y,), w) for _, y, w in part]}
        for part in (pairs[i::steps] for i in range(steps))
    ]
    expected: Counter[Any] = Counter()
    for x, _, v in pairs:
        for _, y, w in pairs:
            expected[x, y] += v * w * passes(x, y)
    found, _ = drive({"l": side, "r": side}, build, history)
    assert found == Counter({k: w for k, w in expected.items() if w})


def test_a_left_join_on_a_range_keeps_a_row_twice_beside_no_more_than_its_partners() -> None:
    plan = compile_program("""
        CREATE TABLE l (id BIGINT NOT NULL, ts TIMESTAMP NOT NULL);
        CREATE TABLE r (id BIGINT NOT NULL, ts TIMESTAMP NOT NULL);
        CREATE VIEW v AS SELECT l.id, r.id AS r FROM l LEFT JOIN r
            ON l.ts BETWEEN r.ts AND r.ts + INTERVAL 3 SECONDS;
    """)
    circuit = compile_circuit(plan)
    schemas = {t.name: t.schema for t in plan.tables}
    rows: list[Any] = [((i, i * 1_000_000), 1) for i in range(1000)]
    circuit.step({"l": [as_input(schemas["l"], rows)], "r": [as_input(schemas["r"], rows[:500])]})

    # by time for the pairs, and once more for who is in one
    assert sum(node.state_rows() for node in circuit._nodes) <= 2 * 1000 + 500


@pytest.mark.parametrize("kind", ["INNER", "LEFT", "FULL"])
def test_a_range_join_looks_at_the_rows_within_its_bounds(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = compile_program(f"""
        CREATE TABLE l (id BIGINT NOT NULL, ts TIMESTAMP NOT NULL);
        CREATE TABLE r (id BIGINT NOT NULL, ts TIMESTAMP NOT NULL);
        CREATE VIEW v AS SELECT l.id, r.id AS r FROM l {kind} JOIN r
            ON l.ts BETWEEN r.ts AND r.ts + INTERVAL 3 SECONDS;
    """)
    circuit = compile_circuit(plan)
    schemas = {t.name: t.schema for t in plan.tables}

    def rows(name: str, ids: range) -> list[InputBatch]:
        return [as_input(schemas[name], [((i, i * 1_000_000), 1) for i in ids])]

    circuit.step({name: rows(name, range(1000)) for name in ("l", "r")})
    looked_at: list[int] = []
    passing = Join._passing

    def counting(self: Any, left: Batch, right: Batch) -> Batch:
        looked_at.append(len(left))
        return passing(self, left, right)

    monkeypatch.setattr(Join, "_passing", counting)
    change = circuit.step({"l": rows("l", range(500, 501)), "r": rows("r", range(700, 701))})["v"]
    assert sorted(row for row, _ in batch_to_rows(change)) == [
        *((500, i) for i in range(497, 501)), *((i, 700) for i in range(700, 704)),
    ]  # fmt: skip
    assert sum(looked_at) == 8


@pytest.mark.parametrize(
    "query",
    [
        "SELECT id FROM l WHERE (k, ts) NOT IN (SELECT k, ts FROM r)",
        "SELECT id, (k, ts) IN (SELECT k, ts FROM r) AS i FROM l",
        "SELECT id FROM l WHERE ts NOT IN (SELECT ts FROM r WHERE r.k = l.k)",
    ],
)
def test_rows_that_may_be_equal_are_found_without_comparing_all(query: str) -> None:
    plan = compile_program(f"""
        CREATE TABLE l (id BIGINT NOT NULL, k BIGINT, ts BIGINT);
        CREATE TABLE r (id BIGINT NOT NULL, k BIGINT, ts BIGINT);
        CREATE VIEW v AS {query};
    """)
    joins = [node for node in compile_circuit(plan).nodes if isinstance(node, Join)]

    assert joins and all(node._residual is None for node in joins)


NEAR = "l.k = r.k AND l.ts BETWEEN r.ts AND r.ts + INTERVAL 3 SECONDS"


@pytest.mark.parametrize(
    "query",
    [
        f"SELECT l.id, r.id AS r FROM l JOIN r ON {NEAR}",
        f"SELECT l.id, r.id AS r FROM l, r WHERE {NEAR}",
        f"SELECT l.id, r.id AS r FROM l LEFT JOIN r ON {NEAR}",
        f"SELECT l.id, r.id AS r FROM l FULL JOIN r ON {NEAR}",
        f"SELECT id FROM l WHERE EXISTS (SELECT * FROM r WHERE {NEAR})",
        f"SELECT id FROM l WHERE NOT EXISTS (SELECT * FROM r WHERE {NEAR})",
    ],
)
def test_a_join_on_a_key_looks_at_the_rows_within_its_bounds(
    query: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(join, "FEW_ROWS", 50)
    monkeypatch.setattr(join, "FEW_EACH", 0)
    plan = compile_program(f"""
        CREATE TABLE l (id BIGINT NOT NULL, k BIGINT NOT NULL, ts TIMESTAMP NOT NULL);
        CREATE TABLE r (id BIGINT NOT NULL, k BIGINT NOT NULL, ts TIMESTAMP NOT NULL);
        CREATE VIEW v AS {query};
    """)
    circuit = compile_circuit(plan)
    schemas = {t.name: t.schema for t in plan.tables}

    def rows(name: str, ids: range) -> list[InputBatch]:
        return [as_input(schemas[name], [((i, i % 2, i * 500_000), 1) for i in ids])]

    for ids in (range(1000), range(1000, 2000)):
        circuit.step({name: rows(name, ids) for name in ("l", "r")})
    looked_at: list[int] = []
    beside = Join._beside

    def counting(self: Any, left: Batch, right: Batch) -> Batch:
        looked_at.append(len(left))
        return beside(self, left, right)

    monkeypatch.setattr(Join, "_beside", counting)
    circuit.step({"l": rows("l", range(1000, 1001)), "r": rows("r", range(1401, 1402))})
    # four partners each; who has one is asked of those before and after
    assert 0 < sum(looked_at) <= 3 * (4 + 4 * 4)


@pytest.mark.parametrize("word", ["", "NOT"])
def test_who_has_a_later_row_of_its_key_is_asked_of_rows_near_the_latest(
    word: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(join, "FEW_ROWS", 50)
    monkeypatch.setattr(join, "FEW_EACH", 0)
    plan = compile_program(f"""
        CREATE TABLE l (id BIGINT NOT NULL, k BIGINT NOT NULL, ts BIGINT NOT NULL);
        CREATE VIEW v AS SELECT id FROM l WHERE {word} EXISTS (
            SELECT * FROM l AS r WHERE r.k = l.k AND r.ts > l.ts);
    """)
    circuit = compile_circuit(plan)
    schema = plan.tables[0].schema

    def step(ids: range, weight: int = 1) -> Counter[Any]:
        rows = [as_input(schema, [((i, i % 2, i), weight) for i in ids])]
        return Counter(dict(batch_to_rows(circuit.step({"l": rows})["v"])))

    step(range(1000))
    step(range(1000, 2000))
    looked_at: list[int] = []
    beside = Join._beside

    def counting(self: Any, left: Batch, right: Batch) -> Batch:
        looked_at.append(len(left))
        return beside(self, left, right)

    monkeypatch.setattr(Join, "_beside", counting)
    came = {2000: 1, 1998: -1} if word else {1998: 1}
    assert step(range(2000, 2001)) == {(i,): w for i, w in came.items()}
    went = {1999: -1, 1997: 1} if word else {1997: -1}
    assert step(range(1999, 2000), -1) == {(i,): w for i, w in went.items()}
    went = {2000: -1, 1998: 1} if word else {1998: -1}
    assert step(range(2000, 2001), -1) == {(i,): w for i, w in went.items()}
    assert sum(looked_at) <= 30


@pytest.mark.parametrize("word", ["", "NOT"])
def test_who_has_a_partner_that_differs_is_asked_of_the_ends_of_its_key(
    word: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(join, "FEW_ROWS", 50)
    monkeypatch.setattr(join, "FEW_EACH", 0)
    plan = compile_program(f"""
        CREATE TABLE l (id BIGINT NOT NULL, k BIGINT NOT NULL, x BIGINT NOT NULL);
        CREATE VIEW v AS SELECT id FROM l WHERE {word} EXISTS (
            SELECT * FROM l AS r WHERE r.k = l.k AND r.x <> l.x);
    """)
    circuit = compile_circuit(plan)
    schema = plan.tables[0].schema

    def step(rows: list[tuple[int, int, int]], weight: int = 1) -> Counter[Any]:
        change = circuit.step({"l": [as_input(schema, [(row, weight) for row in rows])]})["v"]
        return Counter({row[0]: w for row, w in batch_to_rows(change)})

    none = Counter[int]()
    assert step([(i, i % 2, i % 2 + (i == 1)) for i in range(1000)]) == (
        Counter(range(1, 1000, 2)) if not word else Counter(range(0, 1000, 2))
    )
    looked_at: list[int] = []
    beside = Join._beside

    def counting(self: Any, left: Batch, right: Batch) -> Batch:
        looked_at.append(len(left))
        return beside(self, left, right)

    monkeypatch.setattr(Join, "_beside", counting)
    # key 1 has 1 and 2: another 1, 2 or 3 is none that they did not have
    came = [(i, 1, i % 3 + 1) for i in range(1000, 1006)]
    assert step(came) == (none if word else Counter(range(1000, 1006)))
    assert step(came, -1) == (none if word else Counter(dict.fromkeys(range(1000, 1006), -1)))
    assert 0 < sum(looked_at) <= 60
    # key 0 has zeros alone
    sign = -1 if word else 1
    assert step([(2000, 0, 5)]) == Counter(
        dict.fromkeys(range(0, 1000, 2), sign) | ({} if word else {2000: 1})
    )
    looked_at.clear()
    assert step([(2001, 0, 7)]) == (none if word else Counter([2001]))
    assert sum(looked_at) <= 10
    assert step([(2000, 0, 5), (2001, 0, 7)], -1) == Counter(
        dict.fromkeys(range(0, 1000, 2), -sign) | ({} if word else {2000: -1, 2001: -1})
    )


@pytest.mark.parametrize("few", [1 << 12, 0])
@given(history=histories())
@settings(max_examples=10, deadline=None, suppress_health_check=CHECKS)
def test_they_are_duckdbs_answer_after_any_history(few: int, history: History) -> None:
    ours = Program(queries={n: q for n, (q, _) in QUERIES.items()})
    reference = Program(queries={n: other or q for n, (q, other) in QUERIES.items()})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(join, "FEW_ROWS", few)
        patch.setattr(join, "FEW_EACH", few // 128)
        assert run(compile_program(ours.text), history) == answers(reference, history)


def test_time_passes_in_the_condition_of_an_outer_join_and_in_values() -> None:
    plan = compile_program("""
        CREATE TABLE t (k INT); CREATE TABLE u (k INT, ts TIMESTAMP);
        CREATE MATERIALIZED VIEW v AS SELECT t.k, u.ts FROM t LEFT JOIN u
            ON t.k = u.k AND u.ts <= NOW();
        CREATE MATERIALIZED VIEW w AS SELECT h FROM (
            VALUES (EXTRACT(HOUR FROM NOW())), (-1)) AS q (h);
    """)
    circuit = compile_circuit(plan)
    schemas = {t.name: t.schema for t in plan.tables}
    start, hour = dt.datetime(2024, 1, 1), dt.timedelta(hours=1)

    def step(**rows: object) -> tuple[object, object]:
        inputs = {}
        for name, row in rows.items():
            batch = batch_from_rows(schemas[name], [row])
            ops = np.array([INSERT], np.uint8)
            inputs[name] = [InputBatch(batch.schema, batch.columns, ops)]
        circuit.step(inputs)
        v, w = (batch_to_rows(circuit.snapshot(n).batch()) for n in ("v", "w"))
        return [row for row, _ in v], sorted(row[0] for row, _ in w)

    micros = (start + hour - dt.datetime(1970, 1, 1)) // dt.timedelta(microseconds=1)
    clock = {CLOCK: (start, True)}
    assert step(t=(1,), u=(1, start + hour), **clock) == ([(1, None)], [-1, 0])
    assert step(**{CLOCK: (start + hour, True)}) == ([(1, micros)], [-1, 1])
    assert Counter(v.name for v in plan.views) == Counter(["v", "w"])
