"""Statements: every form of contract 10.1."""

from __future__ import annotations

import pytest

from penstock.sql import ast
from penstock.sql.parser import parse_program
from tests.unit.sql.shape import shape

ONE = "Query(Select([SelectItem(1)]))"


def statement(text: str) -> ast.Statement:
    (found,) = parse_program(text)
    return found


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("CREATE TABLE t (a INT)", "CreateTable(t, [ColumnDef(a, NamedType(int))])"),
        ("CREATE TABLE t (a INT NOT NULL PRIMARY KEY)",
         "CreateTable(t, [ColumnDef(a, NamedType(int, nullable=False), "
         "primary_key=PrimaryKey())])"),
        ("CREATE TABLE t (a INT PRIMARY KEY NOT NULL)",
         "CreateTable(t, [ColumnDef(a, NamedType(int, nullable=False), "
         "primary_key=PrimaryKey())])"),
        ("CREATE TABLE t (a INT NULL DEFAULT 1 + 1 LATENESS 5 FOREIGN KEY REFERENCES u (x))",
         "CreateTable(t, [ColumnDef(a, NamedType(int, nullable=True), "
         "references=[ForeignKey([], u, [x])], lateness=5, default=(1 + 1))])"),
        ("CREATE TABLE t (ts TIMESTAMP NOT NULL LATENESS INTERVAL 1 DAY WATERMARK 1, s TEXT "
         "INTERNED)",
         "CreateTable(t, [ColumnDef(ts, NamedType(timestamp, nullable=False), "
         "lateness=IntervalLiteral(1, Qualifier(DAY)), watermark=1), "
         "ColumnDef(s, NamedType(text), interned=True)])"),
        ("CREATE TABLE t (a INT, b INT, PRIMARY KEY (a, b), FOREIGN KEY (a) REFERENCES u (x))",
         "CreateTable(t, [ColumnDef(a, NamedType(int)), ColumnDef(b, NamedType(int))], "
         "primary_keys=[PrimaryKey(columns=[a, b])], foreign_keys=[ForeignKey([a], u, [x])])"),
        ("CREATE TABLE t (a INT) WITH ('materialized' = 'true', 'connectors' = '[]')",
         "CreateTable(t, [ColumnDef(a, NamedType(int))], properties=[Property(materialized, true)"
         ", Property(connectors, [])])"),
        ("CREATE VIEW v AS SELECT 1", f"CreateView(v, plain, {ONE})"),
        ("CREATE LOCAL VIEW v AS SELECT 1", f"CreateView(v, local, {ONE})"),
        ("CREATE MATERIALIZED VIEW v (a) WITH ('emit_final' = 'a') AS SELECT 1",
         f"CreateView(v, materialized, {ONE}, columns=[a], "
         "properties=[Property(emit_final, a)])"),
        ("CREATE VIEW v AS WITH c AS (SELECT 1) SELECT 1",
         f"CreateView(v, plain, Query(Select([SelectItem(1)]), ctes=[Cte(c, [], {ONE})]))"),
        ("CREATE TYPE t AS VARCHAR(5) ARRAY",
         "CreateType(t, type=ArrayType(NamedType(varchar, args=[5])))"),
        ("CREATE TYPE t AS (a INT, b VARCHAR NOT NULL)",
         "CreateType(t, fields=[TypeField(a, NamedType(int)), "
         "TypeField(b, NamedType(varchar, nullable=False))])"),
        ("CREATE FUNCTION f (a INT NOT NULL) RETURNS INT AS a + 1",
         "CreateFunction(f, [TypeField(a, NamedType(int, nullable=False))], NamedType(int), "
         "body=(a + 1))"),
        ("CREATE FUNCTION f () RETURNS INT NOT NULL",
         "CreateFunction(f, [], NamedType(int, nullable=False))"),
        ("CREATE LINEAR AGGREGATE f (a INT) RETURNS INT",
         "CreateAggregate(f, [TypeField(a, NamedType(int))], NamedType(int), linear=True)"),
        ("CREATE INDEX i ON v (a, b)", "CreateIndex(i, v, [a, b])"),
        ("DECLARE RECURSIVE VIEW v (a INT NOT NULL, b INT)",
         "DeclareRecursiveView(v, [TypeField(a, NamedType(int, nullable=False)), "
         "TypeField(b, NamedType(int))])"),
        ("LATENESS v.a INTERVAL 1 HOUR",
         "Lateness(v, [a], IntervalLiteral(1, Qualifier(HOUR)))"),
        ("SET x = ON", "SetOption(x, TRUE)"),
        ("SET x = OFF", "SetOption(x, FALSE)"),
        ("SET x = 'y'", "SetOption(x, 'y')"),
    ],
)  # fmt: skip
def test_statements(text: str, tree: str) -> None:
    assert shape(statement(text)) == tree


@pytest.mark.parametrize(
    ("spelled", "tree"),
    [
        ("DOUBLE PRECISION", "NamedType(double precision)"),
        ("CHARACTER VARYING(10)", "NamedType(character varying, args=[10])"),
        ("DECIMAL(10, 2)", "NamedType(decimal, args=[10, 2])"),
        ("BIGINT UNSIGNED", "NamedType(bigint unsigned)"),
        ("UNSIGNED", "NamedType(unsigned)"),
        ("TIMESTAMP(3)", "NamedType(timestamp, args=[3])"),
        ("TIMESTAMP(3) WITH TIME ZONE", "NamedType(timestamp with time zone, args=[3])"),
        ("TIMESTAMP WITHOUT TIME ZONE", "NamedType(timestamp without time zone)"),
        ("TIME WITH TIME ZONE", "NamedType(time with time zone)"),
        ("VARCHAR ARRAY ARRAY", "ArrayType(ArrayType(NamedType(varchar)))"),
        ("MAP<VARCHAR, INT ARRAY>", "MapType(NamedType(varchar), ArrayType(NamedType(int)))"),
        ("MAP<INT, MAP<INT, INT>>",
         "MapType(NamedType(int), MapType(NamedType(int), NamedType(int)))"),
        ("ROW(a INT, b ROW(c INT NULL))",
         "RowType([TypeField(a, NamedType(int)), "
         "TypeField(b, RowType([TypeField(c, NamedType(int, nullable=True))]))])"),
        ("INTERVAL DAY TO SECOND", "IntervalType(Qualifier(DAY, to_unit=SECOND))"),
        ('"MyType"', "NamedType(MyType)"),
    ],
)  # fmt: skip
def test_types(spelled: str, tree: str) -> None:
    table = statement(f"CREATE TABLE t (c {spelled})")

    assert isinstance(table, ast.CreateTable)
    assert shape(table.columns[0].type) == tree


@pytest.mark.parametrize(
    "name",
    ["year", "count", "value", "type", "seconds", "data", "json", "date", "timestamp", "map",
     "index", "replace", "first", "floor", "pivot", "lateness", "array", "contains"],
)  # fmt: skip
def test_contextual_words_are_names(name: str) -> None:
    program = f"""
        CREATE TABLE t ({name} INT, k INT);
        CREATE VIEW v ({name}) AS SELECT t.{name} AS {name} FROM t WHERE {name} > 1;
        CREATE VIEW w AS SELECT {name} FROM t AS {name} GROUP BY {name}
    """

    assert len(parse_program(program)) == 3


def test_a_program_is_statements_between_semicolons() -> None:
    program = "; SET a = ON;; CREATE VIEW v AS SELECT ';' -- ;\n; SET b = 1"

    assert [type(s).__name__ for s in parse_program(program)] == [
        "SetOption", "CreateView", "SetOption",
    ]  # fmt: skip


def test_an_empty_program_has_no_statements() -> None:
    assert parse_program("") == parse_program(" -- nothing\n ;") == []


def test_names_fold_to_lower_case_unless_quoted() -> None:
    view = statement('CREATE VIEW MyView AS SELECT T.Id, "Id" FROM T')

    assert isinstance(view, ast.CreateView)
    assert (view.name.name, view.name.quoted) == ("myview", False)
    assert isinstance(view.query.body, ast.Select)
    assert [shape(i) for i in view.query.body.items] == ["SelectItem(t.id)", "SelectItem(Id)"]


def test_spans_of_a_table_point_at_its_parts() -> None:
    text = "CREATE TABLE t (a INT NOT NULL DEFAULT 1) WITH ('k' = 'v');"
    table = statement(text)
    assert isinstance(table, ast.CreateTable)

    def cut(node: ast.Node) -> str:
        return text[node.span.start : node.span.end]

    (column,) = table.columns
    (prop,) = table.properties
    assert cut(table) == text[:-1]
    assert cut(column) == "a INT NOT NULL DEFAULT 1"
    assert cut(column.type) == "INT NOT NULL"
    assert [cut(prop.key), cut(prop.value)] == ["'k'", "'v'"]
