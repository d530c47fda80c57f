"""docs/sql/README.md says what the code does: its examples compile, its lists are the code's.

`python -m tests.unit.sql.test_docs` from the root of the repository writes the lists anew.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from penstock.errors import SqlError
from penstock.functions.aggregates import aggregate_names, is_aggregate
from penstock.functions.lambdas import LAMBDA_FUNCTIONS
from penstock.functions.registry import names
from penstock.sql.bind import later
from penstock.sql.program import compile_program
from tests.unit.functions import test_function_page

PAGE = Path(__file__).parents[3] / "docs/sql/README.md"
TABLES = """
CREATE TABLE a (k INT, x INT, s VARCHAR);
CREATE TABLE b (k INT, y INT NOT NULL, s VARCHAR);
"""


def lists() -> dict[str, str]:
    """What belongs between the marks of the page."""
    words = [n for n in names() if re.fullmatch(r"[A-Z][A-Z0-9_]*", n)]
    hidden = ("IS_DISTINCT", "IS_NOT_DISTINCT", "TRIM_", "LIKE", "ILIKE", "RLIKE")
    return {
        "aggregates": _wrapped(list(aggregate_names())),
        "lambdas": _wrapped(sorted(LAMBDA_FUNCTIONS)),
        "functions": _wrapped([n for n in words if not n.startswith(hidden)]),
    }


def _wrapped(words: list[str]) -> str:
    lines = [""]
    for word in words:
        item = f"`{word}`" + ("" if word == words[-1] else ",")
        if len(lines[-1]) + len(item) > 98:
            lines.append("")
        lines[-1] = f"{lines[-1]} {item}".strip()
    return "\n".join(lines)


def _page_with(found: dict[str, str], page: str) -> str:
    for name, text in found.items():
        page = re.sub(
            rf"(<!-- {name} -->\n\n).*?(\n*<!-- end -->)",
            lambda m, text=text: f"{m[1]}{text}\n\n<!-- end -->",
            page,
            flags=re.DOTALL,
        )
    return page


def _examples() -> list[str]:
    blocks = re.findall(r"```sql\n(.*?)```", PAGE.read_text(), re.DOTALL)
    return [q.strip() for block in blocks for q in block.split(";") if q.strip()]


def test_the_lists_of_the_page_are_those_of_the_code() -> None:
    page = PAGE.read_text()

    assert page == _page_with(lists(), page)


def test_a_function_is_either_there_or_refused_by_name() -> None:
    assert not (later.REFUSED | later.ELSEWHERE).keys() & {*names(), *LAMBDA_FUNCTIONS}
    assert not [n for n in later.REFUSED if is_aggregate(n)]


@pytest.mark.parametrize("query", _examples())
def test_an_example_of_the_page_compiles(query: str) -> None:
    compile_program(f"{TABLES}CREATE VIEW v AS {query}")


@pytest.mark.parametrize("refused", [False, True])
def test_the_types_of_the_page_are_those_of_the_code(refused: bool) -> None:
    section = PAGE.read_text().split("## Types")[1].split("##")[0]
    listed = re.findall(r"`([^`]+)`", section.split("Refused:")[refused])
    types = [re.sub(r"p, s|n", "9", t) for t in listed]
    types = [t for t in types if t not in ("UNSIGNED", "INTERVAL", "LOCAL")]
    for t in types:
        program = f"CREATE TABLE t (a {t})"
        if refused:
            with pytest.raises(SqlError):
                compile_program(program)
        else:
            compile_program(program)
            if t.endswith("INT") or t == "INTEGER":
                compile_program(f"CREATE TABLE t (a {t} UNSIGNED)")
    assert len(types) > 4


if __name__ == "__main__":
    PAGE.write_text(_page_with(lists(), PAGE.read_text()))
    test_function_page.PAGE.write_text(test_function_page.page())
