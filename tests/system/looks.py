"""What the readers of a disturbed target saw, and whether they were allowed to see it.

`Reader` polls a target; `check_versions` and `check_keys` hold its looks against the versions of
the view (the rules are told in `faults`).
"""

from __future__ import annotations

import threading
import time
from typing import Any

from tests.contract.target import Rows, Target
from tests.system.fault_targets import PAUSE_S


class Reader(threading.Thread):
    """Polls the target; `looks` are the contents that followed one another."""

    def __init__(self, target: Target) -> None:
        super().__init__(daemon=True)
        self._target = target
        self.lock = threading.Lock()
        self.looks: list[Rows | None] = []
        self.count = 0
        self.error: BaseException | None = None
        self._end = threading.Event()

    def run(self) -> None:
        pause_s = PAUSE_S
        while not self._end.wait(pause_s):
            started = time.thread_time()
            try:
                self.look()
                # looking must not be most of what the machine does
                pause_s = max(PAUSE_S, 20 * (time.thread_time() - started))
            except BaseException as e:
                self.error = e
                return

    def look(self) -> Rows | None:
        with self.lock:
            found = self._target.look()
            self.count += 1
            if not self.looks or self.looks[-1] != found:
                self.looks.append(found)
            return found

    def take(self) -> list[Rows | None]:
        """What was seen since the last call."""
        with self.lock:
            found, self.looks = self.looks, []
        return found

    def stop(self) -> None:
        self._end.set()
        self.join(30)


def check_versions(
    looks: list[Rows | None],
    versions: list[Rows],
    since: int,
    damaged: Rows | None,
    may_go_back: bool = False,
) -> None:
    """`since`: the oldest version that may be seen."""
    at = since
    for look in looks:
        if look == damaged and damaged is not None:
            continue
        seen = next((i for i in range(at, len(versions)) if versions[i] == look), None)
        assert seen is not None, _described(look, versions[since:], damaged)
        if seen > since:
            damaged = None  # it has been written anew
        at = since if may_go_back else seen


def check_keys(looks: list[Rows | None], versions: list[Rows], damaged: Rows | None) -> None:
    allowed = [*([] if damaged is None else [damaged]), *versions]
    of_key: dict[Any, set[Any]] = {}
    for version in allowed:
        for r in version:
            of_key.setdefault(r[0], set()).add(r)
    always = set.intersection(*({r[0] for r in v} for v in allowed))
    for look in looks:
        assert look, "the target was empty"
        keys = [r[0] for r in look]
        assert len(keys) == len(set(keys)) and max(look.values()) == 1, "a key is doubled"
        strange = [r for r in look if r not in of_key.get(r[0], ())]
        assert not strange, f"rows of no version: {strange}"
        assert always <= set(keys), f"keys are missing: {always - set(keys)}"


def _described(look: Rows | None, versions: list[Rows], damaged: Rows | None) -> str:
    if look is None:
        return "the target was not there"
    nearest = min(versions, key=lambda v: (look - v).total() + (v - look).total())
    return (
        f"{look.total()} rows of no version that may be seen; the nearest one is "
        f"{versions.index(nearest)} of {len(versions)}, extra {look - nearest}, "
        f"missing {nearest - look}; damaged {None if damaged is None else damaged.total()} rows"
    )
