"""What saved state looks like belongs to its version: whoever changes the one raises the other."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from penstock.circuit.saving import VERSION
from penstock.compile.program import compile_circuit
from penstock.sql.program import compile_program
from penstock.state.storage import StateStore, referenced_files
from tests.oracle.drive import as_input

PROGRAM = """
CREATE TABLE t (k INT NOT NULL, x BIGINT, y BIGINT NOT NULL, d DOUBLE, s VARCHAR,
  ts TIMESTAMP NOT NULL) WITH ('materialized' = 'true');
CREATE TABLE u (k INT NOT NULL PRIMARY KEY, x BIGINT,
  ts TIMESTAMP NOT NULL LATENESS INTERVAL 1 DAY);
CREATE VIEW sums AS SELECT k, COUNT(*) AS a, COUNT(x) AS b, SUM(y) AS c, AVG(x) AS e, SUM(d) AS f,
  STDDEV(y) AS g, STDDEV(d) AS h, BIT_OR(y) AS i, COUNT(DISTINCT x) AS j FROM t GROUP BY k;
CREATE VIEW bests AS SELECT k, MIN(x) AS a, MAX(s) AS b, ARG_MAX(s, x) AS c, MODE(x) AS d,
  ARRAY_AGG(x) AS e FROM t GROUP BY k;
CREATE VIEW joins AS SELECT t.k, u.x FROM t LEFT JOIN u ON t.k = u.k AND t.y > u.x;
CREATE VIEW misses AS SELECT k FROM t WHERE NOT EXISTS (SELECT * FROM u WHERE u.k = t.k);
CREATE VIEW ranges AS SELECT t.k FROM t JOIN u ON t.ts BETWEEN u.ts AND u.ts + INTERVAL 1 DAY;
CREATE VIEW latest AS SELECT t.k, u.x FROM t LEFT ASOF JOIN u
  MATCH_CONDITION (t.ts >= u.ts) ON t.k = u.k;
CREATE VIEW tops AS SELECT k, x FROM t QUALIFY ROW_NUMBER() OVER (PARTITION BY k ORDER BY x) <= 2;
CREATE VIEW frames AS SELECT k, SUM(y) OVER (PARTITION BY k ORDER BY ts ROWS 1 PRECEDING) AS a
  FROM t;
CREATE VIEW totals AS SELECT k, SUM(y) OVER (PARTITION BY k ORDER BY ts) AS a FROM t;
CREATE VIEW kinds AS SELECT DISTINCT s FROM t;
CREATE VIEW fewer AS SELECT k FROM t EXCEPT ALL SELECT k FROM u;
CREATE VIEW shared AS SELECT k FROM t INTERSECT ALL SELECT k FROM u;
CREATE VIEW nearby AS SELECT t.k, u.x FROM t LEFT JOIN u
  ON t.ts BETWEEN u.ts AND u.ts + INTERVAL 1 DAY;
CREATE VIEW recent AS SELECT k FROM t WHERE ts > NOW() - INTERVAL 1 DAY;
DECLARE RECURSIVE VIEW path (a INT NOT NULL, b BIGINT NOT NULL);
CREATE VIEW path AS SELECT k AS a, y AS b FROM t UNION SELECT p.a, t.y FROM path p JOIN t
  ON p.b = t.k;
DECLARE RECURSIVE VIEW near (k INT NOT NULL, m BIGINT);
CREATE VIEW near AS SELECT k, MIN(m) AS m FROM (SELECT k, x AS m FROM t UNION ALL
  SELECT CAST(t.y AS INT) + 1 AS k, n.m + 1 AS m FROM near n JOIN t ON n.k = t.k) q GROUP BY k;
"""
GOLDEN = Path(__file__).with_name(f"state-{VERSION}.txt")


def shape(store: StateStore, saved: dict[str, Any]) -> str:
    """A line for every operator's part: the arrays in its files, their types and widths."""
    lines = set()
    for node in saved["nodes"].values():
        kind = re.sub(r" \d+$", "", node["name"])
        lines.add(f"{kind} scalars: {' '.join(sorted(node['scalars']))}")
        for part, body in node["parts"].items():
            arrays = {
                f"{re.sub('heap.+', 'heap', name)}:{array.dtype}{list(array.shape[1:]) or ''}"
                for file in referenced_files(body)
                for name, array in store.get(file).items()
            }
            lines.add(f"{kind} {part}: {' '.join(sorted(arrays))}")
    return "".join(f"{line}\n" for line in sorted(lines))


def test_the_shape_of_saved_state_is_that_of_its_version(tmp_path: Path) -> None:
    plan = compile_program(PROGRAM)
    circuit = compile_circuit(plan)
    schemas = {t.name: t.schema for t in plan.tables}
    time = 1_700_000_000_000_000
    rows = {
        "t": [((k, k, k, 0.5, "a string longer than twelve", time + k), 1) for k in range(5)],
        "u": [((k, k, time + k), 1) for k in range(5)],
    }
    given = {n: [as_input(schemas[n], r)] for n, r in rows.items()}
    circuit.step(given)
    store = StateStore(tmp_path)
    found = shape(store, circuit.capture().write(store))
    assert found == GOLDEN.read_text(), (
        "the state of an operator looks different: raise VERSION in penstock.circuit.saving and "
        f"write what was found to {GOLDEN.name} (with the new number)"
    )
