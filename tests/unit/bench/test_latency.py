"""The pipelines whose steps are timed have as many operators as is said of them."""

from __future__ import annotations

import pytest

from bench.latency import PIPELINES, operators_of, plan_of
from penstock.compile.program import compile_circuit


@pytest.mark.parametrize("pipeline", PIPELINES)
def test_a_pipeline_has_as_many_operators_as_is_said(pipeline: str) -> None:
    views, operators = PIPELINES[pipeline]
    assert operators_of(compile_circuit(plan_of(views))) == operators
