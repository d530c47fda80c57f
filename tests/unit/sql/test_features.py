"""docs/sql/features.md: what the dialect has and what it has not, tried by compiling.

    feature | statement, or the query of a view          compiles
    ! feature | statement | what to write instead        is refused, at its place

`python -m tests.unit.sql.test_features` from the root of the repository writes the page anew.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from penstock.errors import SqlError
from penstock.sql.program import compile_program

PAGE = Path(__file__).parents[3] / "docs/sql/features.md"
LINES = (Path(__file__).parent / "programs" / "features.txt").read_text(encoding="utf-8")
DECLARED = """\
CREATE TYPE rec AS (x INT, y VARCHAR);
CREATE TABLE t (id INT NOT NULL PRIMARY KEY, n INT, s VARCHAR, a DATE, m MAP<VARCHAR, INT>, \
r rec, v VARIANT, b VARBINARY, arr INT ARRAY);
CREATE TABLE u (id INT, ts TIMESTAMP);
CREATE TABLE late (id INT, ts TIMESTAMP LATENESS INTERVAL 1 HOUR);
"""
HEAD = """\
# Features

Written by `tests/unit/sql/test_features.py`, which compiles each of them: what is supported must
compile, and what is refused must be refused at its place in the text. Functions are in
[functions.md](functions.md), what the words mean in [README.md](README.md).
"""


@dataclass(frozen=True, slots=True)
class Feature:
    """One line; `instead` is None where it is supported."""

    area: str
    name: str
    sql: str
    instead: str | None

    @property
    def program(self) -> str:
        is_query = self.sql.startswith(("SELECT", "WITH", "VALUES"))
        return DECLARED + (f"CREATE VIEW zz AS {self.sql};" if is_query else self.sql)


def features() -> Iterator[Feature]:
    area = ""
    for line in LINES.splitlines():
        if line.startswith("## "):
            area = line[3:]
        elif line.startswith("! "):
            name, sql, instead = line[2:].split(" | ")
            yield Feature(area, name, sql, instead)
        elif line:
            name, sql = line.split(" | ")
            yield Feature(area, name, sql, None)


def page() -> str:
    out = [HEAD]
    area = None
    for f in features():
        if f.area != area:
            area = f.area
            out.append(f"\n## {area}\n\n| feature | status | instead |\n|---|---|---|\n")
        status = "supported" if f.instead is None else "refused"
        out.append(f"| {f.name} | {status} | {f.instead or ''} |\n")
    return "".join(out)


@pytest.mark.parametrize("feature", list(features()), ids=lambda f: f"{f.area}-{f.name}")
def test_a_feature_is_what_its_page_says(feature: Feature) -> None:
    if feature.instead is None:
        compile_program(feature.program)
        return
    with pytest.raises(SqlError) as refusal:
        compile_program(feature.program)
    assert all(m.start_line > DECLARED.count("\n") for m in refusal.value.messages)


def test_the_page_of_features_is_the_list_of_what_was_tried() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "python -m tests.unit.sql.test_features"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
