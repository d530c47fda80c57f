"""What is said when a name is none of those that there are."""

from __future__ import annotations

import pytest

from penstock.pipeline.relations import known


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ("totals.rim", "; did you mean totals.rin? (there are: totals.pg, totals.rin)"),
        ("total.pg", "; did you mean totals.pg? (there are: totals.pg, totals.rin)"),
        ("totals.zork", " (there are: totals.pg, totals.rin)"),
        ("", " (there are: totals.pg, totals.rin)"),
    ],
)
def test_a_name_is_guessed_only_where_view_and_connector_are_near(wanted: str, said: str) -> None:
    names = frozenset(("totals.pg", "totals.rin", "totals.api-1"))
    assert known(names, wanted) == said
