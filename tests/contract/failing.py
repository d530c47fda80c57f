"""A target of whose writer one call that changes or syncs a file fails (`tests.killing`).

    python -m tests.contract.failing TARGET FOLDER EVERY

plays the LIFE of `tests.contract.dying` for n = 1, 1 + EVERY, …; the n-th such call fails once, as
on a full or broken disk, and the writer does what the delivery does: it lets go of the sink, opens
it anew and repeats the call, or after a publish asks for the marker first. Prints how many points
were tried and what was wrong: an error that is no SinkUnavailable, contents that are not the
view's, something left over that the sweep of the next start does not remove.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from penstock.errors import TransientError
from penstock.io.contracts import Sink
from tests.contract.dying import LAST, LIFE, TARGETS, WITHOUT_THREADS, life, things
from tests.contract.target import Rows, Target
from tests.contract.test_sinks import rows
from tests.killing import failed_at, in_child, is_possible

#: one failure may be followed by another that is its consequence
ATTEMPTS = 4


def patient_life(target: Target, make_sink: Callable[[], Sink]) -> list[str]:
    """The life of a sink of which a call may fail, and what failed; AssertionError if something
    does not hold that must."""
    sink: Sink | None = None
    before: Rows = rows()
    failures = []
    # the second sweep is that of the next start, if the first is where it fails
    for event in (*LIFE, LAST, None, None):
        for attempt in range(ATTEMPTS):
            try:
                if sink is None:
                    sink = make_sink()
                    sink.validate()
                if event is None:
                    sink.sweep(LAST.generation)
                elif not (attempt and event.is_reset and sink.marker() == event.marker):
                    event.play(sink, before)
                if event is None:
                    assert sink.marker() == LAST.marker
                    sink.close()
                    sink = None
                break
            except TransientError as e:
                failures.append(str(e))
                assert attempt + 1 < ATTEMPTS, f"it failed {ATTEMPTS} times: {failures}"
                if sink is not None:
                    sink.close()
                sink = None
        before = (event or LAST).contents
        assert target.look() == before, f"{failures}: {target.look()} is there"
    return failures


def problems(kind: str, where: Path, every: int) -> tuple[int, int, list[str]]:
    """(points tried, at how many of them the writer was told, what was wrong)."""
    report = where / "report"
    warm = where / "warm"
    warm.mkdir()
    life(TARGETS[kind if kind in WITHOUT_THREADS else "file"](warm))

    def outcome(at: int) -> tuple[int, dict[str, int], list[str]]:
        folder = where / "target"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        count = failed_at(lambda: play_on(TARGETS[kind](folder)), folder, at)
        failures = json.loads(report.read_text())
        in_child(lambda: look(TARGETS[kind](folder)))
        left = json.loads(report.read_text())
        return count, left, failures

    def play_on(target: Target) -> None:
        report.write_text(json.dumps(patient_life(target, target.sink)))

    def look(target: Target) -> None:
        report.write_text(json.dumps(things(target)))

    last, expected, _ = outcome(sys.maxsize)
    told, found = 0, []
    points = range(1, last + 1, every)
    for at in points:
        try:
            _, left, failures = outcome(at)
        except AssertionError as e:
            found.append(f"call {at} of {last} fails: {e}")
            continue
        told += bool(failures)
        if any(count > expected.get(name, 0) for name, count in left.items()):
            found.append(f"call {at} of {last} fails ({failures}): {left}, expected {expected}")
    return len(points), told, found


if __name__ == "__main__":
    if not is_possible():
        print(json.dumps({"points": None}))
        sys.exit()
    tried, noticed, wrong = problems(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
    print(json.dumps({"points": tried, "told": noticed, "problems": wrong}))
