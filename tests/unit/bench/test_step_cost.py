"""Step cost says of which states, and what they take."""

from __future__ import annotations

import json

import pytest

from bench.step_cost import CASES, ROWS, Case, figures
from penstock.sql.program import compile_program


def test_the_states_go_from_a_hundred_thousand_rows_to_thirty_million() -> None:
    assert CASES["sum"].states(ROWS) == [100_000, 1_000_000, 30_000_000]


def test_a_case_that_does_not_fit_has_the_rows_that_do() -> None:
    case = Case("SELECT k FROM t", most=10_000_000)
    assert case.states(ROWS) == [100_000, 1_000_000, 10_000_000]
    assert case.states("30000000,40000000") == [10_000_000]


@pytest.mark.parametrize("name", CASES)
def test_the_program_of_a_case_compiles(name: str) -> None:
    assert compile_program(CASES[name].program).tables


def test_growth_says_between_which_states_and_each_state_its_memory() -> None:
    found = [json.loads(f.line()) for f in figures("step-cost/sum", CASES["sum"], [2_000, 20_000])]
    small, large, p99, growth = found
    assert [f["bench"] for f in (small, large)] == [
        "step-cost/sum/state-2000",
        "step-cost/sum/state-20000",
    ]
    assert all(f["peak_gib"] > 0 and f["seconds"] > 0 for f in (small, large))
    assert p99["rows"] == 20_000
    assert growth["rows"] == 20_000 and growth["over_rows"] == 2_000
    assert growth["value"] == pytest.approx(large["value"] / small["value"], rel=0.01)
