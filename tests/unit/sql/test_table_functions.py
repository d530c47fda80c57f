"""TUMBLE and HOP: a row is in every window that holds its time (sql-reference 4.1)."""

from __future__ import annotations

import datetime as dt
import re

import numpy as np
import pytest

from penstock.compile.program import compile_circuit
from penstock.data.batch import INSERT, InputBatch
from penstock.data.build import batch_from_rows, batch_to_rows
from penstock.errors import RuntimeSqlError, SqlError
from penstock.sql.program import compile_program, explain

TABLE = "CREATE TABLE t (id INT, ts TIMESTAMP);\n"
EPOCH = dt.datetime(1970, 1, 1)


def at(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(f"2024-01-01 {text}")


TIMES = [None, at("12:00"), at("12:04:59"), at("12:05"), at("12:07:30"), at("23:59:59"), EPOCH,
         dt.datetime(1969, 12, 31, 23, 59, 59, 999999)]  # fmt: skip


def rows_of(query: str) -> list[object]:
    plan = compile_program(f"{TABLE} CREATE MATERIALIZED VIEW v AS {query}")
    circuit = compile_circuit(plan)
    batch = batch_from_rows(plan.tables[0].schema, list(enumerate(TIMES)))
    ops = np.full(len(batch), INSERT, np.uint8)
    circuit.step({"t": [InputBatch(batch.schema, batch.columns, ops)]})
    return sorted(row for row, w in batch_to_rows(circuit.snapshot("v").batch()) for _ in range(w))


def micros(time: dt.datetime) -> int:
    return (time - EPOCH) // dt.timedelta(microseconds=1)


def expected(size: dt.timedelta, slide: dt.timedelta, offset: dt.timedelta) -> list[object]:
    found: list[tuple[int, ...]] = []
    for i, time in enumerate(TIMES):
        if time is None:
            continue
        k = (time - EPOCH - offset) // slide
        while EPOCH + offset + k * slide + size > time:
            start = EPOCH + offset + k * slide
            found.append((i, *map(micros, (time, start, start + size))))
            k -= 1
    return sorted(found)


@pytest.mark.parametrize(
    ("size", "slide", "offset"),
    [(10, 5, 0), (10, 4, 0), (10, 10, 0), (7, 7, 3), (10, 5, -1), (2, 5, 0)],
)  # fmt: skip
def test_a_row_is_once_in_every_window_that_holds_its_time(
    size: int, slide: int, offset: int
) -> None:
    lengths = [dt.timedelta(minutes=m) for m in (size, slide, offset)]
    a, b, c = (f"INTERVAL '{m}' MINUTE" for m in (size, slide, offset))

    found = rows_of(f"SELECT * FROM TABLE(HOP(TABLE t, DESCRIPTOR(ts), {b}, {a}, {c}))")

    assert found == expected(*lengths)
    named = f"DATA => TABLE t, TIMECOL => DESCRIPTOR(ts), SIZE => {a}, SLIDE => {b}, OFFSET => {c}"
    assert rows_of(f"SELECT * FROM TABLE(HOP({named}))") == found
    if size == slide:
        tumble = f"SELECT * FROM TABLE(TUMBLE(TABLE t, DESCRIPTOR(ts), {a}, {c}))"
        assert rows_of(tumble) == found


def test_windows_are_grouped_by_like_columns() -> None:
    query = """SELECT window_start, COUNT(*) AS n
               FROM TABLE(TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL 5 MINUTES)) AS w
               WHERE id < 5 AND w.window_end > TIMESTAMP '2024-01-01 12:05:00'
               GROUP BY window_start"""

    assert rows_of(query) == [(micros(at("12:05")), 2)]


@pytest.mark.parametrize(
    ("call", "says"),
    [
        ("TUMBLE(TABLE t, DESCRIPTOR(id), INTERVAL '1' HOUR)", "needs a TIMESTAMP column"),
        ("TUMBLE(TABLE t, DESCRIPTOR(tss), INTERVAL '1' HOUR)", "no column tss; did you mean ts?"),
        ("TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '1' MONTH)", "the SIZE of TUMBLE"),
        ("TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '0' HOUR)", "longer than nothing"),
        ("TUMBLE(TABLE t, DESCRIPTOR(ts))", "lacks its argument SIZE"),
        ("HOP(TABLE t, DESCRIPTOR(ts), INTERVAL '1' HOUR)", "lacks its argument SIZE"),
        ("TUMBLE(TABLE u, DESCRIPTOR(ts), INTERVAL '1' HOUR)", "no table or view u"),
        ("TUMBEL(TABLE t, DESCRIPTOR(ts), INTERVAL '1' HOUR)", "did you mean TUMBLE?"),
    ],
)
def test_a_wrong_call_is_refused_with_what_is_wrong(call: str, says: str) -> None:
    with pytest.raises(SqlError) as caught:
        compile_program(f"{TABLE} CREATE VIEW v AS SELECT * FROM TABLE({call})")

    assert says in caught.value.messages[0].message


def session_oracle(gap: dt.timedelta, by_parity: bool) -> list[object]:
    found: list[tuple[int, ...]] = []
    for parity in (0, 1) if by_parity else (None,):
        times = sorted(
            (t, i) for i, t in enumerate(TIMES) if t and (parity is None or i % 2 == parity)
        )
        session: list[tuple[dt.datetime, int]] = []
        for row, after in zip(times, [*times[1:], None], strict=True):
            session.append(row)
            if after is None or after[0] - row[0] >= gap:
                ends = (session[0][0], session[-1][0] + gap)
                found += [(i, *map(micros, (t, *ends))) for t, i in session]
                session = []
    return sorted(found)


@pytest.mark.parametrize("minutes", [1, 5, 10])
def test_rows_less_than_the_gap_apart_share_a_session(minutes: int) -> None:
    gap = dt.timedelta(minutes=minutes)
    size = f"INTERVAL '{minutes}' MINUTE"

    plain = rows_of(f"SELECT * FROM TABLE(SESSION(TABLE t, DESCRIPTOR(ts), {size}))")
    keyed = rows_of(
        "SELECT id, ts, window_start, window_end FROM TABLE(SESSION(DATA => (SELECT *, id % 2 AS k "
        f"FROM t), TIMECOL => DESCRIPTOR(ts), KEY => DESCRIPTOR(k), SIZE => {size}))"
    )

    assert plain == session_oracle(gap, by_parity=False)
    assert keyed == session_oracle(gap, by_parity=True)


def test_a_session_that_would_end_after_all_years_names_the_row() -> None:
    last = dt.datetime(9999, 12, 31)
    plan = compile_program(
        f"{TABLE} CREATE VIEW v AS SELECT window_end FROM TABLE(SESSION(TABLE t, DESCRIPTOR(ts), "
        "INTERVAL '2' DAY))"
    )
    batch = batch_from_rows(plan.tables[0].schema, [(1, last - dt.timedelta(days=1)), (2, last)])
    ops = np.full(len(batch), INSERT, np.uint8)
    with pytest.raises(RuntimeSqlError, match=r"view v: the end of a session .* ts = 9999-12-3"):
        compile_circuit(plan).step({"t": [InputBatch(batch.schema, batch.columns, ops)]})


def test_a_correlated_session_is_of_each_row_by_itself() -> None:
    query = (
        "SELECT o.id, COUNT(*), MAX(s.window_end) FROM t o, LATERAL (SELECT * FROM TABLE(SESSION("
        "TABLE (SELECT ts FROM t i WHERE i.id <= o.id), DESCRIPTOR(ts), INTERVAL '3' MINUTE))) s "
        "WHERE o.id IN (2, 4) GROUP BY o.id"
    )
    ends = [micros(at(t)) for t in ("12:07:59", "12:10:30")]
    assert rows_of(query) == [(2, 2, ends[0]), (4, 4, ends[1])]


WINDOWS = "TABLE(HOP(TABLE t, DESCRIPTOR(ts), INTERVAL '4' MINUTE, INTERVAL '10' MINUTE))"


@pytest.mark.parametrize(
    ("query", "line"),
    [
        (f"SELECT window_end, id % 2, COUNT(*), window_start FROM {WINDOWS} "
         "GROUP BY id % 2, window_end, window_start", "Aggregate by $a0, window_end:"),
        (f"SELECT a.id, b.id FROM {WINDOWS} a JOIN {WINDOWS} b ON a.window_start = b.window_start "
         "AND a.window_end = b.window_end AND a.id = b.id + 1",
         "Join inner on $1 = $3 AND $0 = $key0"),
        (f"SELECT t.id, w.window_end, COUNT(*) FROM t LEFT JOIN {WINDOWS} w ON t.id = w.id + 7 "
         "GROUP BY t.id, w.window_start, w.window_end", "Aggregate by id, window_start:"),
        (f"SELECT id, ROW_NUMBER() OVER (PARTITION BY window_start, window_end ORDER BY id) "
         f"FROM {WINDOWS}", "partition by window_start order"),
        (f"SELECT COUNT(*), MAX(e) FROM (SELECT window_start AS s, window_end AS e FROM {WINDOWS} "
         "WHERE id > 2) GROUP BY s, e", "Aggregate by s:"),
    ],
)  # fmt: skip
def test_one_end_of_a_window_is_the_key_where_both_are(query: str, line: str) -> None:
    plan = explain(f"{TABLE} CREATE VIEW v AS {query}")
    # a sum may fail, so nothing is known of its distance
    apart = re.sub(r"(\b\w\.)?window_end", r"(\1window_end + INTERVAL '0' SECOND)", query)
    assert line in plan, plan
    assert line not in explain(f"{TABLE} CREATE VIEW v AS {apart}")
    assert rows_of(query) == rows_of(apart)
