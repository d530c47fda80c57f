"""A target whose writer is killed between any two changes of its files (`tests.killing`).

    python -m tests.contract.dying TARGET FOLDER EVERY

plays a LIFE on a target of its own for n = 1, 1 + EVERY, …, kills the process before its n-th
change, and has another process look, sweep as a restart does, go on and reset once. Prints how many
points were tried and what was wrong at each of them.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from penstock.io.contracts import Marker, Sink
from tests.contract.lake_targets import DeltaTarget, DuckDbTarget
from tests.contract.target import Rows, Target
from tests.contract.targets import CsvFileTarget
from tests.contract.test_sinks import batch, marker, reset, rows
from tests.killing import in_child, is_possible, killed_at
from tests.system import fault_targets

TARGETS: dict[str, Any] = {**fault_targets.TARGETS, "csv": CsvFileTarget}
STAGES = ("events", "swept", "went on", "reset")
WITHOUT_THREADS = ("file", "csv", "parquet", "sqlite")


@dataclass(frozen=True, slots=True)
class Event:
    """What the controller has done to a sink, and what its target holds then."""

    generation: int
    step: int
    contents: Rows
    is_reset: bool = False
    is_cancelled: bool = False

    @property
    def marker(self) -> Marker:
        return marker(self.generation, self.step, self.contents.total())

    def play(self, sink: Sink, before: Rows) -> None:
        if self.is_cancelled:
            sink.begin(self.generation + 1, "called off", self.step)
            sink.stage(self.generation + 1, 0, batch((rows(99), 1)))
            sink.abort(self.generation + 1)
        elif self.is_reset:
            reset(sink, self.contents, self.generation, self.step, chunk_rows=3)
        else:
            sink.apply(batch((self.contents, 1), (before, -1)), self.marker)


LIFE = (
    Event(1, 1, rows(1, 2), is_reset=True),
    Event(1, 2, rows(1, 3)),
    Event(2, 3, rows(4, 5, 6, 7), is_reset=True),
    Event(2, 4, rows(4, 5)),
    Event(2, 4, rows(4, 5), is_cancelled=True),
    Event(2, 5, rows(5, 6)),
)
LAST = Event(9, 6, rows(5, 8), is_reset=True)


def play(sink: Sink, events: Sequence[Event], before: Rows) -> None:
    for event in events:
        event.play(sink, before)
        before = event.contents


def life(target: Target, events: Sequence[Event] = LIFE) -> None:
    sink = target.sink()
    sink.validate()
    play(sink, events, Counter())
    sink.close()


def after(target: Target, report: Path) -> None:
    """What the next process finds, and what it leaves: how many events had been, and what there is
    when it has swept, when it has gone on, and after one more reset."""
    sink = target.sink()
    sink.validate()
    told = sink.marker()
    found = target.look()
    done = [n for n, e in enumerate(LIFE) if e.marker == told]
    assert done or told is None, f"a marker that was never written: {told}"
    # a reset that was called off leaves the same marker: it is called off again
    begin = 1 + done[0] if done else 0
    before = LIFE[begin - 1].contents if done else Counter()
    assert found == before or not (found or before), f"{found} is there, the marker says {before}"
    sink.sweep(3)
    swept = things(target)
    play(sink, LIFE[begin:], before)
    assert target.look() == LIFE[-1].contents
    went_on = things(target)
    LAST.play(sink, Counter())
    assert target.look() == LAST.contents and sink.marker() == LAST.marker
    sink.close()
    report.write_text(json.dumps([begin, swept, went_on, things(target)]))


def things(target: Target) -> dict[str, int]:
    """Patterns of the names of all that is at the target, and how many there are of each."""
    if isinstance(target, DeltaTarget):
        if target.read() is None:
            return {}  # before its first version there is no table for VACUUM
        fault_targets.clean(target)
        return dict.fromkeys(fault_targets.names(target), 1)
    path = Path(target.config()["path"])
    names = [str(p.relative_to(path.parent)) for p in path.parent.rglob("*")]
    if path.exists():
        names += [n for n in fault_targets.names(target) if n not in names]
    if isinstance(target, DuckDbTarget) and target.look() is None:
        # a database as it was made, before its first snapshot was written into it
        names = [n for n in names if n != path.name]
    return dict(sorted(Counter(map(fault_targets.without_numbers, names)).items()))


def problems(kind: str, where: Path, every: int) -> tuple[int, list[str]]:
    """(points tried, what was wrong)."""
    report = where / "report"
    warm = where / "warm"
    warm.mkdir()
    # what every child would load anew: kernels; by a kind that begins no threads
    life(TARGETS[kind if kind in WITHOUT_THREADS else "file"](warm))

    def outcome(at: int, events: Sequence[Event] = LIFE) -> tuple[int, list[Any]]:
        folder = where / "target"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        count = killed_at(lambda: life(TARGETS[kind](folder), events), folder, at)
        in_child(lambda: after(TARGETS[kind](folder), report))
        return count, json.loads(report.read_text())

    undisturbed = [outcome(sys.maxsize, LIFE[:n]) for n in range(len(LIFE) + 1)]
    # of a reset that was called off only what it leaves
    expected = {came[0]: came for _, came in undisturbed}
    last = undisturbed[-1][0]
    found = []
    points = range(1, last + 1, every)
    for at in points:
        where_killed = f"killed before change {at} of {last}"
        try:
            _, came = outcome(at)
        except AssertionError as e:
            found.append(f"{where_killed}: {e}")
            continue
        for when, a, b in zip(STAGES, came, expected[came[0]], strict=True):
            if a != b:
                found.append(f"{where_killed}, {when}: {a}, expected {b}")
    return len(points), found


if __name__ == "__main__":
    if not is_possible():
        print(json.dumps({"points": None}))
        sys.exit()
    tried, wrong = problems(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
    print(json.dumps({"points": tried, "problems": wrong}))
