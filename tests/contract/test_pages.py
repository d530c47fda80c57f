"""The example on every connector's page compiles and delivers, to places of the test's."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from penstock.sql.connectors import Owner, parse_connectors
from tests.contract.target import Target
from tests.contract.targets import TARGETS
from tests.contract.test_sinks import batch, marker, reset, rows

PAGES = Path(__file__).parents[2] / "docs" / "connectors"
EXAMPLE = re.compile(r"```json\n(.*?)```", re.DOTALL)
#: page, and of several examples which, and the target that it is tried on
PAGE_TARGETS = {
    "delta": "delta table",
    "duckdb": "duckdb keyed",
    "file": "file json",
    "file 1": "file parquet",
    "kafka": "kafka log",
    "kafka-upsert": "kafka upsert",
    "postgres": "postgres",
    "redis": "redis generations",
    "sqlite": "sqlite keyed",
}


def examples(page: str) -> list[dict[str, Any]]:
    return [json.loads(found) for found in EXAMPLE.findall((PAGES / f"{page}.md").read_text())]


def test_every_page_with_an_example_is_tried() -> None:
    pages = {p.stem for p in PAGES.glob("*.md") if EXAMPLE.search(p.read_text())}
    assert pages == {name.split()[0] for name in PAGE_TARGETS}
    assert sum(len(examples(page)) for page in pages) == len(PAGE_TARGETS)


@pytest.fixture(params=list(PAGE_TARGETS))
def page(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, Target]]:
    kind = TARGETS[PAGE_TARGETS[request.param]]
    where: Any = request.getfixturevalue(kind.server) if kind.server else tmp_path
    yield request.param, kind(where)


def test_the_example_of_a_page_compiles_and_delivers(page: tuple[str, Target]) -> None:
    name, target = page
    number = int(name.split()[1]) if " " in name else 0
    example = examples(name.split()[0])[number]
    plans, problems = parse_connectors(json.dumps([example]), Owner("m", is_table=False))
    assert not problems
    assert [p.name for p in plans] == [example["name"]]
    given = example["transport"]["config"]
    assert set(target.config()) <= set(given)
    sink = target.sink(config={**given, **target.config()}, format=example.get("format"))
    sink.validate()
    reset(sink, rows(1, 2), 1)
    sink.apply(batch((rows(2), -1), (rows(3), 1)), marker(1, 2, 2))
    sink.close()

    assert target.look() == rows(1, 3)
