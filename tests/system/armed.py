"""A server whose pipelines can be made to die, fail, dawdle or repeat at a boundary."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from penstock.pipeline import failpoints
from tests.system.conftest import System


class Armed:
    """`arm` takes effect at the next boundary that is passed, in a pipeline that runs too."""

    def __init__(self, folder: Path) -> None:
        self.points = folder / "points"
        self._fired = folder / "points.fired"
        self._fired.write_text("")
        self.arm("")
        self.system = System(folder / "state", environment={failpoints.VARIABLE: f"@{self.points}"})

    def arm(self, text: str) -> None:
        """Replace what is armed, and forget what has happened unless it is disarmed."""
        if text:
            self._fired.write_text("")
        self._write(text)

    def _write(self, text: str) -> None:
        new = self.points.with_name("points.new")
        new.write_text(text)
        os.replace(new, self.points)

    def survived(self) -> None:
        """After a death: what has happened is not to happen again, what has not still is."""
        fired = {line.rpartition("=")[0] for line in self.fired()}
        left = [x for x in self.points.read_text().split("; ") if x.partition("=")[0] not in fired]
        self._write("; ".join(left))

    def fired(self) -> list[str]:
        """What has happened since, as in "stage=error"."""
        return self._fired.read_text().splitlines()


@contextmanager
def armed_server(folder: Path) -> Iterator[Armed]:
    a = Armed(folder)
    try:
        yield a
    finally:
        a.system.stop()


def until(condition: Callable[[], Any], seconds: float = 180, what: str = "this") -> Any:
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, f"{what} never became true"
        time.sleep(0.02)
    return found
