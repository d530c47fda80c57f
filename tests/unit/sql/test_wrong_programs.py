"""Every statement of `programs/wrong.txt` is refused, at the words between ⟦ and ⟧.

One for each sentence of the dialect that says what is an error or not supported. A line that
begins with SELECT is the query of a view.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock.errors import SqlError
from penstock.sql.program import compile_program

DECLARED = """\
CREATE TABLE t (id INT NOT NULL PRIMARY KEY, i INT, d INT, s VARCHAR, f DOUBLE, \
dec DECIMAL(10,2), b BOOLEAN, ts TIMESTAMP, dt DATE, tm TIME, uu UUID, bin VARBINARY, \
arr INT ARRAY, mp MAP<VARCHAR, INT>, v VARIANT, u INT UNSIGNED);
CREATE TABLE r1 (r ROW(a INT, b INT), c INT, d DATE);
CREATE VIEW w AS SELECT i AS x FROM t;
"""
LINE = DECLARED.count("\n") + 1
WRONG = (Path(__file__).parent / "programs" / "wrong.txt").read_text(encoding="utf-8")


def is_statement(line: str) -> bool:
    return bool(line) and not line.startswith("#")


def complaint(marked: str) -> str | None:
    """What is wrong with the refusal of a marked statement, None for nothing."""
    text = marked.replace("⟦", "").replace("⟧", "")
    start = marked.index("⟦") + 1
    end = max(start, marked.index("⟧") - 1)
    view = "CREATE VIEW zz AS "
    if marked.lstrip("⟦").startswith("SELECT") and marked != "⟦SELECT⟧ 1":
        text, start, end = view + text, start + len(view), end + len(view)
    try:
        compile_program(DECLARED + text)
    except SqlError as refusal:
        found = refusal.messages[0]
    else:
        return f"accepted: {text}"
    at = (found.start_line, found.start_column, found.end_line, found.end_column)
    if at != (LINE, start, LINE, end):
        return f"refused at {at}, not {(LINE, start, LINE, end)}: {text}: {found.message}"
    if not found.message or text not in found.snippet:
        return f"refused without its text: {found}"
    return None


def test_every_wrong_statement_is_refused_where_it_is_wrong() -> None:
    statements = [line for line in WRONG.splitlines() if is_statement(line)]
    assert len(statements) > 500
    assert [c for c in map(complaint, statements) if c is not None] == []


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT SUM(i) OVER () AS a, COUNT(*) OVER (ORDER BY i) AS b FROM t",
        "SELECT SUM(i) OVER (PARTITION BY s, f) AS a FROM t",
        "SELECT SUM(i) OVER (PARTITION BY s ORDER BY d DESC ROWS 2 PRECEDING) AS a FROM t",
        "SELECT RANK() OVER (ORDER BY s, f) AS a, LAG(i) OVER (ORDER BY f, i) AS b FROM t",
        "SELECT FIRST_VALUE(i) OVER (ORDER BY s, f) AS a FROM t",
        "SELECT DISTINCT i AS x, d FROM t ORDER BY d, x",
        "SELECT s LIKE '1!%' ESCAPE '!' AS l FROM t",
        "SELECT COUNT(DISTINCT i, d) AS n FROM t",
        "SELECT ROW_NUMBER() OVER () AS n, RANK() OVER (ORDER BY i) AS r FROM t",
        "SELECT ARRAY(SELECT e FROM t AS o, UNNEST(o.arr) AS u(e)) AS a FROM t",
        "SELECT MAP(SELECT e, 1 FROM UNNEST(t.arr) AS u(e)) AS a FROM t",
        "SELECT * FROM (SELECT s, i FROM t) PIVOT (SUM(i) FOR s IN ('a' AS x, 'a' AS y))",
    ],
)
def test_what_stands_beside_them_is_not_refused(statement: str) -> None:
    assert compile_program(f"{DECLARED}CREATE VIEW zz AS {statement}").views
