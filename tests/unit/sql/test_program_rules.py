"""Rules of declarations that span statements, and what each refusal points at."""

from __future__ import annotations

import json

import pytest

from penstock.errors import CompilerMessage, SqlError
from penstock.sql.program import compile_program

T = "CREATE TABLE t (a INT, s VARCHAR, k INT NOT NULL PRIMARY KEY);\n"


def refusal(text: str) -> CompilerMessage:
    """The only message of a program that does not compile."""
    with pytest.raises(SqlError) as caught:
        compile_program(text)
    (message,) = caught.value.messages
    return message


def pointed_at(text: str, m: CompilerMessage) -> str:
    assert m.start_line == m.end_line
    return text.split("\n")[m.start_line - 1][m.start_column - 1 : m.end_column]


@pytest.mark.parametrize(
    ("statement", "word", "says"),
    [
        ("CREATE TABLE error_view (a INT)", "error_view", "system view"),
        ("CREATE TABLE z (a INT, FOREIGN KEY (a, a) REFERENCES t(k))",
         "FOREIGN KEY (a, a) REFERENCES t(k)", "2 columns"),
        ("CREATE TABLE z (a INT NOT NULL DEFAULT NULL)", "NULL", "NOT NULL"),
        ("CREATE VIEW v WITH ('emit_final' = 'a') AS SELECT a FROM t", "'a'",
         "column a of view v has no waterline"),
        ("CREATE VIEW v AS SELECT a FROM v", "v", "declare it before, with DECLARE RECURSIVE"),
        ("DECLARE RECURSIVE VIEW r (a INT)", "r", "never defined"),
        ("DECLARE RECURSIVE VIEW r (a INT);"
         "CREATE VIEW q AS SELECT RANK() OVER (ORDER BY a) AS n FROM r;"
         "CREATE VIEW r AS SELECT CAST(n AS INT) AS a FROM q", "RANK() OVER (ORDER BY a)",
         "a window function cannot stand in a recursive view"),
        ("DECLARE RECURSIVE VIEW r (a INT); CREATE VIEW r AS SELECT a AS b FROM r", "r",
         "declared with columns (a)"),
        ("DECLARE RECURSIVE VIEW r (a INT); CREATE VIEW r AS SELECT s AS a FROM t", "r",
         "was declared INTEGER, but is defined as VARCHAR"),
        ("CREATE VIEW v AS SELECT CURRENT_TIMESTAMP AS c", "CURRENT_TIMESTAMP",
         "CURRENT_TIMESTAMP is not supported yet"),
        ("CREATE VIEW v AS SELECT RAND() AS c FROM t", "RAND()", "functions of chance"),
        ("CREATE VIEW v AS SELECT LISTAGG(s) AS c FROM t", "LISTAGG(s)", "no such aggregate"),
        ("CREATE VIEW v AS SELECT -CAST(a AS INT UNSIGNED) AS c FROM t",
         "-CAST(a AS INT UNSIGNED)", "- does not take arguments of types (INTEGER UNSIGNED)"),
        ("CREATE FUNCTION typeof(x INT) RETURNS INT AS x", "typeof", "built-in"),
    ],
)  # fmt: skip
def test_a_refusal_names_the_reason_and_points_at_the_word(
    statement: str, word: str, says: str
) -> None:
    text = T + statement
    m = refusal(text)

    assert says in m.message
    assert pointed_at(text, m) == word


def test_an_index_names_a_column_once() -> None:
    text = T + "CREATE VIEW v AS SELECT a, k FROM t;\nCREATE INDEX i ON v (k, a, k)"
    m = refusal(text)

    assert "names column k twice" in m.message
    assert (m.start_line, m.start_column) == (3, 28)


def test_a_foreign_key_may_refer_to_its_own_table() -> None:
    plan = compile_program(
        "CREATE TABLE staff (id INT NOT NULL PRIMARY KEY, boss INT, "
        "FOREIGN KEY (boss) REFERENCES staff(id))"
    )

    assert plan.tables[0].key == (0,)


def test_a_function_of_the_program_may_have_a_name_the_dialect_lacks() -> None:
    plan = compile_program(
        T + "CREATE FUNCTION median(x INT) RETURNS INT AS x + 1;\n"
        "CREATE VIEW v AS SELECT median(a) AS m FROM t"
    )

    assert plan.views[0].schema.names == ("m",)


def test_a_cte_may_have_the_name_of_the_table_it_reads() -> None:
    plan = compile_program(T + "CREATE VIEW v AS WITH t AS (SELECT k FROM t) SELECT * FROM t")

    assert plan.views[0].schema.names == ("k",)


@pytest.mark.parametrize(
    ("attributes", "says"),
    [
        ({"mode": "append"}, "mode of connector c of view v is one of follow, snapshot_and_follow"),
        ({"mode": "follow", "send_snapshot": True}, "contradicts"),
        ({"mode": 7}, "mode of connector c"),
    ],
)
def test_an_impossible_mode_of_a_connector_is_refused(
    attributes: dict[str, object], says: str
) -> None:
    entry = {"name": "c", "transport": {"name": "null_output"}, **attributes}
    view = f"CREATE VIEW v WITH ('connectors' = '{json.dumps([entry])}') AS SELECT a FROM t"

    assert says in refusal(T + view).message


@pytest.mark.parametrize("mode", ["follow", "snapshot_and_follow"])
def test_a_mode_of_the_reset_contract_is_kept(mode: str) -> None:
    entry = {"name": "c", "transport": {"name": "null_output"}, "mode": mode}
    plan = compile_program(
        f"{T}CREATE VIEW v WITH ('connectors' = '{json.dumps([entry])}') AS SELECT a FROM t"
    )

    assert plan.outputs[0].config["mode"] == mode


def test_a_table_has_no_mode() -> None:
    entry = {"name": "c", "transport": {"name": "datagen"}, "mode": "follow"}
    text = f"CREATE TABLE x (a INT) WITH ('connectors' = '{json.dumps([entry])}')"

    assert "mode is an attribute of output connectors" in refusal(text).message


@pytest.mark.parametrize(
    ("columns", "properties", "view"),
    [
        ("a INT NOT NULL, b INT", "'skip_unused_columns' = 'true'", "SELECT a FROM z"),
        ("a INT NOT NULL, b INT NOT NULL DEFAULT 1", "'skip_unused_columns' = 'true'",
         "SELECT a FROM z"),
        ("a INT NOT NULL, b INT NOT NULL", "'skip_unused_columns' = 'false'", "SELECT a FROM z"),
        ("a INT NOT NULL, b INT NOT NULL", "'skip_unused_columns' = 'true'",
         "SELECT a FROM z WHERE b > 0"),
        ("a INT NOT NULL PRIMARY KEY, b INT", "'skip_unused_columns' = 'true'", "SELECT b FROM z"),
        ("a INT NOT NULL, b INT NOT NULL",
         "'materialized' = 'true', 'skip_unused_columns' = 'true'", "SELECT a FROM z"),
    ],
)  # fmt: skip
def test_a_column_may_be_skipped_that_has_a_value_without_its_connector(
    columns: str, properties: str, view: str
) -> None:
    compile_program(f"CREATE TABLE z ({columns}) WITH ({properties}); CREATE VIEW v AS {view};")
