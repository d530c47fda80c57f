"""Where the clock of NOW() starts, as the published API writes it and as a number."""

from __future__ import annotations

import pytest

from penstock.errors import UserError
from penstock.pipeline.connectors import clock_config


@pytest.mark.parametrize(
    ("given", "ms"),
    [
        (None, None),
        (3_600_000, 3_600_000),
        ("1970-01-01T01:00:00Z", 3_600_000),
        ("1970-01-01T01:00:00.25", 3_600_250),
        ("1970-01-01T01:00:00+01:00", 0),
        ("1969-12-31T23:59:59Z", -1_000),
    ],
)
def test_the_clock_starts_where_now_offset_says(given: object, ms: int | None) -> None:
    assert clock_config({"dev_tweaks": {"now_offset": given}})["now_offset_ms"] == ms


@pytest.mark.parametrize("given", ["yesterday", True, [1]])
def test_what_is_no_time_is_refused_by_name(given: object) -> None:
    with pytest.raises(UserError, match=r"now_offset is .*2024-01-01T00:00:00Z") as told:
        clock_config({"dev_tweaks": {"now_offset": given}})
    assert told.value.code == "InvalidRuntimeConfig"
