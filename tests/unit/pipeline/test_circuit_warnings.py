"""What a circuit has to say to whoever runs it is in the pipeline's log, once."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from penstock.circuit.ops import fixpoint
from tests.unit.pipeline.test_pipeline_recovery import World


class Recursive(World):
    """`v` and a recursion that takes away what it is made of, so that its rounds are told apart."""

    def program(self) -> str:
        return f"""{super().program()} SET PENSTOCK_RECURSION_ROWS = 1;
        DECLARE RECURSIVE VIEW odd (id INT NOT NULL);
        CREATE VIEW odd AS SELECT id FROM t EXCEPT SELECT id + 1 FROM odd;"""


def test_a_recursion_without_room_for_its_rounds_says_so_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fixpoint, "FEW_ROWS", -(10**9))
    world = Recursive(tmp_path)
    pipeline = world.start()
    try:
        with caplog.at_level(logging.WARNING, "penstock.pipeline"):
            for _ in range(3):
                world.settle(world.send(1, 2, 3))
        told = [m for m in caplog.messages if m.startswith("circuit_warns ")]
        assert len(told) == 1 and "the recursive view odd begins anew in every step" in told[0]
    finally:
        pipeline.stop()
