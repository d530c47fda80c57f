"""What `penstock reset --watch` says besides its bars."""

from __future__ import annotations

import pytest

from penstock.cli.reset import _line

STAGING = {"phase": "staging", "waiting_for": None, "last_error": None}
DOWN = {"phase": "waiting", "waiting_for": "sink", "last_error": "connection refused"}


@pytest.mark.parametrize(
    ("status", "has_bars", "said"),
    [
        (STAGING, True, ""),
        (STAGING, False, "m.db staging"),
        (DOWN, True, "m.db waiting for sink: connection refused"),
        (DOWN, False, "m.db waiting for sink: connection refused"),
        ({**DOWN, "last_error": None}, False, "m.db waiting for sink"),
        ({**STAGING, "last_error": "an earlier attempt failed"}, True, ""),
    ],
)
def test_why_a_reset_waits_is_said_and_without_a_terminal_each_phase(
    status: dict[str, str | None], has_bars: bool, said: str
) -> None:
    assert _line("m.db", status, has_bars) == said
