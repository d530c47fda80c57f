"""Keys are seen to be different, or under suspicion, however many parts they are looked at in."""

from __future__ import annotations

import pytest

from penstock.data.build import batch_from_rows
from penstock.data.types import BIGINT, schema
from penstock.io.outputs.key_check import SeenKeys

KEYS = schema(k=BIGINT)


@pytest.mark.parametrize("part", [3, 100, 1 << 20])
def test_a_repeated_key_is_suspected_and_different_ones_are_not(
    part: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("penstock.io.outputs.key_check.PART", part)
    seen = SeenKeys()
    assert not seen.may_repeat()
    for start in (0, 250, 500):
        seen.add(batch_from_rows(KEYS, [(k,) for k in range(start, start + 250)]))
    assert not seen.may_repeat()
    seen.add(batch_from_rows(KEYS, [(431,)]))
    assert seen.may_repeat()
