"""CREATE TABLE, VIEW, INDEX and FUNCTION (contract 10.1, sql-reference 6)."""

from __future__ import annotations

import pytest

from penstock.compile.program import default_columns
from penstock.data.build import column_to_python
from penstock.data.types import Kind
from penstock.errors import SqlError
from penstock.sql.program import compile_program


def refusal(program: str) -> str:
    with pytest.raises(SqlError) as failure:
        compile_program(program)
    return "\n".join(m.message for m in failure.value.messages)


@pytest.mark.parametrize(
    ("spelling", "expected"),
    [
        ("INT4", "INTEGER"),
        ("INT64", "BIGINT"),
        ("UNSIGNED", "INTEGER UNSIGNED"),
        ("TINYINT UNSIGNED", "TINYINT UNSIGNED"),
        ("NUMBER(7, 2)", "DECIMAL(7, 2)"),
        ("DECIMAL(5)", "DECIMAL(5, 0)"),
        ("DEC", "DECIMAL(38, 0)"),
        ("FLOAT8", "DOUBLE"),
        ("DOUBLE PRECISION", "DOUBLE"),
        ("STRING", "VARCHAR"),
        ("CHARACTER VARYING(9)", "VARCHAR(9)"),
        ("CHAR", "CHAR(1)"),
        ("BINARY", "BINARY(1)"),
        ("BYTEA", "VARBINARY"),
        ("TIMESTAMP(3)", "TIMESTAMP"),
        ("DATETIME", "TIMESTAMP"),
        ("TIMESTAMP WITH TIME ZONE", "TIMESTAMP WITH TIME ZONE"),
        ("UUID", "UUID"),
    ],
)
def test_a_type_may_be_spelled_in_many_ways(spelling: str, expected: str) -> None:
    plan = compile_program(f"CREATE TABLE t (c {spelling} NOT NULL, d {spelling})")

    not_null, nullable = plan.tables[0].schema.types
    assert (str(not_null), str(nullable)) == (f"{expected} NOT NULL", expected)


def test_unquoted_names_fold_to_lower_case_and_quoted_ones_stay() -> None:
    plan = compile_program(
        'CREATE TABLE Orders (Id INT, "Total" INT); '
        'CREATE VIEW "Big" AS SELECT ID, "Total" FROM ORDERS'
    )

    assert (plan.tables[0].name, plan.tables[0].case_sensitive) == ("orders", False)
    assert plan.tables[0].schema.names == ("id", "Total")
    assert (plan.views[0].name, plan.views[0].case_sensitive) == ("Big", True)


@pytest.mark.parametrize(
    ("columns", "key"),
    [
        ("a INT NOT NULL PRIMARY KEY, b INT", (0,)),
        ("a INT NOT NULL, b INT NOT NULL, PRIMARY KEY (b, a)", (1, 0)),
        ("a INT NOT NULL, b INT NOT NULL, CONSTRAINT pk PRIMARY KEY (b)", (1,)),
        (
            'a INT NOT NULL, constraint INT NOT NULL, CONSTRAINT "p k" PRIMARY KEY (constraint)',
            (1,),
        ),
        ("a INT NOT NULL PRIMARY KEY, b INT, CONSTRAINT r FOREIGN KEY (b) REFERENCES t (a)", (0,)),
        ("a INT, b INT", ()),
    ],
)
def test_a_primary_key_is_the_positions_of_its_columns(columns: str, key: tuple[int, ...]) -> None:
    assert compile_program(f"CREATE TABLE t ({columns})").tables[0].key == key


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ("a INT PRIMARY KEY", "must be NOT NULL"),
        ("a INT, PRIMARY KEY (a)", "must be NOT NULL"),
        ("a INT NOT NULL, PRIMARY KEY (aa)", "no column aa; did you mean a?"),
        ("a INT NOT NULL PRIMARY KEY, b INT NOT NULL, PRIMARY KEY (b)", "two PRIMARY KEYs"),
        ("a INT NOT NULL, PRIMARY KEY (a, a)", "names column a twice"),
        ("a INT, a INT", "two columns a"),
        ("a INT FOREIGN KEY REFERENCES nope(id)", "table nope, which is not declared before"),
        ("a INT FOREIGN KEY REFERENCES p(v)", "must refer to the PRIMARY KEY of p (id)"),
        ("a VARCHAR FOREIGN KEY REFERENCES p(id)", "column a is VARCHAR, but p.id is BIGINT"),
        ("a BIGINT, FOREIGN KEY (a, a) REFERENCES p(id)", "2 columns, but refers to 1"),
        ("a INT NOT NULL DEFAULT NULL", "NOT NULL, its DEFAULT NULL"),
        ("a INT DEFAULT 'x'", "'x' cannot be cast to INTEGER"),
        ("a TINYINT DEFAULT 300", "cannot be cast to TINYINT"),
        ("a INT DEFAULT b, b INT", "no column b"),
        ("a DATE DEFAULT 3", "must be DATE, but this is INTEGER"),
    ],
)
def test_a_wrong_constraint_is_refused(columns: str, message: str) -> None:
    parent = "CREATE TABLE p (id BIGINT NOT NULL PRIMARY KEY, v INT);"

    assert message in refusal(f"{parent} CREATE TABLE t ({columns})")


def test_a_default_is_a_constant_of_the_columns_type() -> None:
    plan = compile_program(
        "CREATE TABLE t (a BIGINT DEFAULT 1 + 2, b VARCHAR DEFAULT 'x', c DATE DEFAULT "
        "'2020-01-02', d INT, e DECIMAL(5, 2) DEFAULT 1.5)"
    )
    columns = default_columns(plan, plan.tables[0])

    values = [None if c is None else str(column_to_python(c)[0]) for c in columns]
    assert values == ["3", "x", "2020-01-02", None, "1.50"]


@pytest.mark.parametrize(
    ("properties", "message"),
    [
        ("'materialised' = 'true'", "did you mean materialized?"),
        ("'materialized' = 'yes'", "is 'true' or 'false', not 'yes'"),
        ("'append_only' = 'true', 'append_only' = 'true'", "is given twice"),
        ("'expected_size' = 'big'", "is a number"),
        ("'emit_final' = 'a'", "unknown property 'emit_final' of table t"),
    ],
)
def test_a_wrong_property_is_refused(properties: str, message: str) -> None:
    assert message in refusal(f"CREATE TABLE t (a INT) WITH ({properties})")


def test_views_are_local_plain_or_materialized_and_read_earlier_views() -> None:
    plan = compile_program(
        """CREATE TABLE t (a INT) WITH ('materialized' = 'true');
        CREATE LOCAL VIEW x (q) AS SELECT a + 1 FROM t;
        CREATE VIEW y AS SELECT q FROM x;
        CREATE MATERIALIZED VIEW z AS SELECT q FROM y;
        CREATE INDEX i ON z (q);"""
    )

    assert plan.tables[0].materialized
    assert [(v.name, v.kind, v.schema.names) for v in plan.views] == [
        ("x", "local", ("q",)),
        ("y", "plain", ("q",)),
        ("z", "materialized", ("q",)),
    ]
    assert [(i.name, i.view, i.columns) for i in plan.indexes] == [("i", "z", (0,))]


def test_a_function_with_a_body_is_inlined() -> None:
    plan = compile_program(
        """CREATE FUNCTION twice(x BIGINT) RETURNS BIGINT AS x * 2;
        CREATE FUNCTION four_times(x BIGINT) RETURNS BIGINT AS twice(twice(x));
        CREATE TABLE t (a INT);
        CREATE VIEW v AS SELECT four_times(a) AS b FROM t"""
    )

    assert plan.views[0].schema.types[0].kind is Kind.INT64


@pytest.mark.parametrize(
    ("program", "message"),
    [
        ("CREATE FUNCTION abs(x INT) RETURNS INT AS x", "ABS is a built-in function"),
        ("CREATE FUNCTION f(x INT) RETURNS INT AS f(x)", ""),
        ("CREATE FUNCTION f() RETURNS TIMESTAMP AS NOW()", "NOW() cannot be used here"),
        (
            "CREATE FUNCTION f() RETURNS INT AS (SELECT 1); CREATE TABLE t (a INT DEFAULT f())",
            "f, which asks a query, in this place",
        ),
        ("CREATE FUNCTION f(x INT, x INT) RETURNS INT AS x", "two parameters x"),
        (
            "CREATE FUNCTION f(x INT) RETURNS INT AS x; CREATE VIEW v AS SELECT f(1, 2) AS a",
            "f takes (INTEGER), not 2 arguments",
        ),
    ],
)
def test_a_wrong_function_is_refused(program: str, message: str) -> None:
    assert message in refusal(program)
