"""CREATE FUNCTION without a body: Python over Arrow arrays, that comes with the program."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any

import numpy as np
import pytest

from penstock.compile.program import compile_circuit
from penstock.data.batch import INSERT, Column, InputBatch
from penstock.data.build import batch_from_rows, batch_to_rows
from penstock.data.types import INTEGER
from penstock.errors import RuntimeSqlError, SqlError
from penstock.functions.python_functions import PythonFunctions
from penstock.sql.info import program_info
from penstock.sql.program import compile_program

UDF = """
import pyarrow as pa
import pyarrow.compute as pc

def slug(s):
    return pc.replace_substring(pc.utf8_lower(s), " ", "-")

def half(x):
    return [None if v is None else v / 2 for v in x.to_pylist()]

def both(a, b=None):
    return pc.if_else(pc.is_null(a), b, a)

def broken(x):
    return pc.divide(x, pa.scalar(0, pa.int32()))

def short(x):
    return x[:1]

def nothing(x):
    return pa.nulls(len(x), pa.int32())

def far(x):
    return pa.array([10**7] * len(x), pa.int32()).cast(pa.date32())

def leave(x):
    raise SystemExit("enough")

def interrupt(x):
    raise KeyboardInterrupt("stop")
"""
TABLE = "CREATE TABLE t (x INT, s VARCHAR);"


def rows(declarations: str, query: str, given: list[tuple[Any, ...]], udf: str = UDF) -> list[Any]:
    plan = compile_program(f"{TABLE}{declarations}CREATE VIEW v AS {query};", udf)
    batch = batch_from_rows(plan.tables[0].schema, given)
    rows = InputBatch(batch.schema, batch.columns, np.full(len(given), INSERT, np.uint8))
    return [row for row, _ in batch_to_rows(compile_circuit(plan).step({"t": [rows]})["v"])]


def test_a_function_gets_columns_and_answers_one() -> None:
    got = rows(
        "CREATE FUNCTION slug(s VARCHAR) RETURNS VARCHAR;"
        "CREATE FUNCTION half(x INT) RETURNS DECIMAL(10, 1);",
        "SELECT slug(s) AS a, half(x + 1) AS b FROM t",
        [(4, "A Long Title That Is Not Inline"), (None, None)],
    )
    assert sorted(got, key=repr) == [
        ("a-long-title-that-is-not-inline", Decimal("2.5")),
        (None, None),
    ]


def test_lists_of_every_type_come_back_as_they_were_given() -> None:
    udf = "".join(f"def {name}(x):\n    return x.to_pylist()\n" for name in "abc")
    plan = compile_program(
        "CREATE TABLE t (k INT, u BIGINT UNSIGNED, m MAP<VARCHAR, INT>, r ROW(p INT, q DATE NULL));"
        "CREATE FUNCTION a(x BIGINT UNSIGNED) RETURNS BIGINT UNSIGNED;"
        "CREATE FUNCTION b(x MAP<VARCHAR, INT>) RETURNS MAP<VARCHAR, INT>;"
        "CREATE FUNCTION c(x ROW(p INT, q DATE NULL)) RETURNS ROW(p INT, q DATE NULL);"
        "CREATE VIEW v AS SELECT k, a(u) AS u, b(m) AS m, c(r) AS r FROM t",
        udf,
    )
    given = [(1, 2**64 - 1, {"a": None, "b": 2}, (1, None)), (2, None, None, None)]
    batch = batch_from_rows(plan.tables[0].schema, given)
    ops = np.full(len(given), INSERT, np.uint8)
    out = compile_circuit(plan).step({"t": [InputBatch(batch.schema, batch.columns, ops)]})["v"]
    assert sorted(row for row, _ in batch_to_rows(out)) == given


def test_an_answer_is_cut_and_padded_to_its_declared_length() -> None:
    declare = (
        "CREATE FUNCTION slug(s VARCHAR) RETURNS CHAR(3);"
        "CREATE FUNCTION both(a VARCHAR, b VARCHAR) RETURNS VARCHAR(2);"
    )
    query = "SELECT slug(s) || '|' AS a, both(s, s) AS b FROM t"
    assert rows(declare, query, [(1, "A")]) == [("a  |", "A")]
    assert rows(declare, query, [(1, "ABCD")]) == [("abc|", "AB")]
    assert rows(declare, query, [(1, None)]) == [(None, None)]


def test_a_constant_argument_is_a_column_too_and_null_is_seen() -> None:
    declare = "CREATE FUNCTION both(a INT, b INT) RETURNS INT;"
    assert rows(declare, "SELECT both(x, 7) AS a FROM t", [(None, ""), (1, "")]) == [(7,), (1,)]
    assert rows(declare, "SELECT both(NULL, 7) AS a FROM t", [(1, "")]) == [(7,)]


@pytest.mark.parametrize(
    ("declare", "call", "message"),
    [
        ("broken(x INT) RETURNS INT", "broken(x)", r"broken: ArrowInvalid: .* at udf.py line 15"),
        ("short(x INT) RETURNS INT", "short(x)", "answered 1 rows for 2"),
        ("nothing(x INT) RETURNS INT NOT NULL", "nothing(x)", "answered NULL"),
        ("slug(s VARCHAR) RETURNS INT", "slug(s)", "slug: ArrowInvalid"),
        ("far(x INT) RETURNS DATE", "far(x)", "far: an answer is beyond what a DATE can be"),
        ("slug(s VARCHAR) RETURNS VARIANT", "slug(s)", "slug: .* not JSON"),
        ("leave(x INT) RETURNS INT", "leave(x)", "leave: SystemExit: enough"),
    ],
)
def test_what_goes_wrong_in_a_function_fails_the_step_and_names_it(
    declare: str, call: str, message: str
) -> None:
    with pytest.raises(RuntimeSqlError, match=message):
        rows(f"CREATE FUNCTION {declare};", f"SELECT {call} AS a FROM t", [(1, "a b"), (2, "c")])


def test_a_function_that_interrupts_fails_its_step_and_ends_no_thread_of_the_server() -> None:
    def step() -> None:
        rows("CREATE FUNCTION interrupt(x INT) RETURNS INT;", "SELECT interrupt(x) AS a FROM t",
             [(1, "a")])  # fmt: skip

    with ThreadPoolExecutor(1) as pool:
        failure = pool.submit(step).exception()
    assert isinstance(failure, RuntimeSqlError) and "KeyboardInterrupt: stop" in failure.message
    with pytest.raises(KeyboardInterrupt):  # what a terminal sends comes to the main thread
        step()


@pytest.mark.parametrize(
    ("declare", "udf", "message"),
    [
        ("f(x INT) RETURNS INT", "", "function f has no body"),
        ("f(x INT) RETURNS INT", UDF, "udf.py defines no function f"),
        ("slug(x INT, y INT) RETURNS INT", UDF, "slug in udf.py takes 1 arguments, not 2"),
    ],
)
def test_a_function_that_the_text_lacks_is_refused_at_its_name(
    declare: str, udf: str, message: str
) -> None:
    with pytest.raises(SqlError, match=message) as caught:
        compile_program(f"CREATE FUNCTION {declare};", udf)
    assert caught.value.messages[0].start_column == 17


def test_compiling_reads_the_text_and_does_not_run_it() -> None:
    compile_program("CREATE FUNCTION f(x INT) RETURNS INT;", "raise SystemExit\ndef f(x): ...")
    with pytest.raises(ValueError, match=r"udf.py is not Python: .* line 1"):
        compile_program("CREATE TABLE t (x INT);", "fn main() {}")


COUNTED = """
import time
inside, most = [], []

def slowly(x):
    inside.append(1)
    most.append(len(inside))
    time.sleep(0.02)
    inside.pop()
    return [max(most)] * len(x)
"""


def test_functions_of_a_program_are_called_one_at_a_time() -> None:
    """Steps run independent views in several threads; a user's module need not know."""
    functions = PythonFunctions(COUNTED)
    function = functions.declare("slowly", (INTEGER,), INTEGER)
    column = Column(INTEGER, np.ones(1, np.int32))
    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(lambda _: function.kernel([column], 1).values[0], range(4)))
    assert answers == [1] * 4


def test_what_python_must_define_is_told_as_a_text_to_start_from() -> None:
    udf = "def f(x, y, z): ...\n\ndef g(x): ...\n\ndef h_map(v): ...\n"
    declared = (
        'CREATE FUNCTION f(x INT, "a b" INT,\n    lambda INT) RETURNS INT;'
        "CREATE FUNCTION here(x INT) RETURNS INT AS x;"
        "CREATE AGGREGATE g(x INT) RETURNS INT; CREATE LINEAR AGGREGATE h(v INT) RETURNS INT"
    )
    stubs = program_info(compile_program(declared, udf))["udf_stubs"]

    assert stubs.splitlines()[:3] == [
        '# CREATE FUNCTION f(x INT, "a b" INT, lambda INT) RETURNS INT',
        "def f(x, p2, lambda_):",
        '    raise NotImplementedError("f")',
    ]
    assert "def here" not in stubs
    plan = compile_program(declared, stubs)  # what it says is enough to compile
    assert plan.udf_stubs == stubs
