"""Every fault at every boundary of spec/reset.md section 7, under a real pipeline, sink by sink.

    C  crash: the process is killed       E  error: refused before anything was done
    L  done, but the reply is lost        D  delay       R  the call is made twice

`make test` runs a few cases of each sink, `make test-all` all of them, and then writes the table
into docs/reliability.md.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.contract.target import Rows, Target
from tests.kafka_server import kafka
from tests.servers import postgres, redis_server
from tests.system.armed import Armed, armed_server
from tests.system.fault_targets import SUBSCRIPTIONS, TARGETS
from tests.system.faults import Stage
from tests.system.rereading import RereadingStage

__all__ = ["kafka", "postgres", "redis_server"]

PAGE = Path(__file__).parents[2] / "docs" / "reliability.md"
#: the parts of the page that hold the tables, by fault tolerance
TABLES = {"exactly_once": "faults", "at_least_once": "faults, at least once"}
COLUMNS = {**TARGETS, **SUBSCRIPTIONS}
DELAY = "delay:0.3"


@dataclass(frozen=True, slots=True)
class Boundary:
    """`act`: what passes it; `before`, `after`: its failpoints; `faults`: those that make sense;
    `passage`: which one of an act."""

    name: str
    act: str  # "reset" | "change" | "checkpoint" | "start"
    before: str
    after: str
    faults: str
    passage: int = 1

    def points(self, fault: str, endpoints: Iterable[str]) -> str:
        """The failpoints of `fault` for these outputs. A reset that is asked for twice needs
        none."""
        if fault == "R" and self.name == "intent":
            return ""
        name, action = {
            "c": (self.before, "crash"),
            "C": (self.after, "crash"),
            "E": (self.before, "error"),
            "L": (self.after, "error"),
            "D": (self.before, DELAY),
            "R": (self.before, "repeat"),
        }[fault]
        at = f"{action}@{self.passage}"
        return "; ".join(
            f"{name}({e})={at}" if self.is_of_sink else f"{name}={at}" for e in endpoints
        )

    def faults_with(self, model: str) -> str:
        """Those that make sense: without a journal nothing passes what is about it."""
        if model == "exactly_once":
            return self.faults
        return {"journal": "", "step": "CL"}.get(self.name, self.faults)

    @property
    def is_of_sink(self) -> bool:
        """Whether each output passes it by itself."""
        return self.name != "intent" and (self.act == "reset" or self.before == "delta")


BOUNDARIES = {
    b.name: b
    for b in (
        Boundary("intent", "reset", "reset.requested", "reset.accepted", "cCELDR"),
        Boundary("cut", "reset", "cut.before", "cut", "cCELD"),
        Boundary("begin", "reset", "begin", "begin.after", "cCELDR"),
        Boundary("first chunk", "reset", "stage", "stage.after", "cCELDR"),
        Boundary("third chunk", "reset", "stage", "stage.after", "cCELDR", passage=3),
        Boundary("publish", "reset", "publish", "publish.after", "cCELDR"),
        Boundary("first delta", "reset", "delta", "delta.after", "cCELDR"),
        Boundary("delta", "change", "delta", "delta.after", "cCELDR"),
        Boundary("journal", "change", "journal.append", "journal.after", "cCELD"),
        Boundary("step", "change", "journal.after", "step.after", "cCLD"),
        Boundary("capture", "checkpoint", "checkpoint.capture", "checkpoint.write", "cCELD"),
        Boundary("checkpoint", "checkpoint", "checkpoint.rename", "checkpoint.gc", "cCELD"),
        Boundary("collection", "checkpoint", "checkpoint.gc", "checkpoint.gc.after", "cCELD"),
        Boundary("recovery", "start", "recover", "recover.replayed", "cCELD"),
    )
}
#: what `make test` runs, on one pipeline that delivers to all of these
FEW = (
    ("third chunk", "C", "http"),
    ("publish", "L", None),
)
FEW_SINKS = (
    "sqlite", "postgres", "duckdb", "delta append", "redis", "redis gen", "file", "parquet", "http"
)  # fmt: skip


@pytest.fixture(scope="module")
def armed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Armed]:
    with armed_server(tmp_path_factory.mktemp("armed")) as a:
        yield a


def target(name: str, request: pytest.FixtureRequest, folder: Path) -> Target:
    kind = COLUMNS[name]
    (folder / kind.__name__).mkdir(parents=True)
    where: Any = request.getfixturevalue(kind.server) if kind.server else folder / kind.__name__
    return kind(where)


def play(stage: Stage, boundary: Boundary, fault: str, sink: str | None = None) -> None:
    """One disturbance, of one sink or of all that there are, and what must hold after it."""
    damaged: Mapping[str, Rows | None] = {}
    died = 0
    stage.change()
    since = stage.forget()
    if boundary.act == "reset":
        damaged = stage.damage()
    if boundary.act == "start":
        stage.p.kill()
    points = boundary.points(fault, endpoints_of(stage, boundary, fault, sink))
    stage.armed.arm(points)
    while True:
        if boundary.act == "reset":
            stage.reset(twice=not points)
        elif boundary.act == "checkpoint":
            stage.checkpoint()
        stage.change()
        stage.change()
        stage.settle()
        fired = stage.armed.fired()
        missed = [x for x in places(points) if x not in fired]
        # one that was within the call when another killed the process has it done, and waits for
        # the next: dying goes on as long as anything dies
        if not missed or fault not in "cC" or len(fired) == died:
            break
        died = len(fired)
    stage.armed.arm("")
    assert not missed, f"{missed} were not passed"
    stage.verify(since, damaged)


def places(points: str) -> list[str]:
    """What is armed, as it is noted when it happens."""
    return [x.rpartition("@")[0].split(":")[0] for x in points.split("; ") if x]


def endpoints_of(stage: Stage, boundary: Boundary, fault: str, sink: str | None) -> Sequence[str]:
    """The outputs at whose boundary it happens; something, if it is no output's."""
    if not boundary.is_of_sink:
        return [""]
    return [e for name in about(boundary, fault, sink) for e in stage.endpoints(name)]


@pytest.mark.timeout(900)
def test_a_few_faults_leave_every_target_of_a_pipeline_equal_to_its_view(
    armed: Armed, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    with Stage(armed, {name: target(name, request, tmp_path) for name in FEW_SINKS}) as stage:
        for name, fault, sink in FEW:
            play(stage, BOUNDARIES[name], fault, sink)


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("model", TABLES)
def test_any_fault_at_any_boundary_leaves_any_target_equal_to_the_view(
    model: str, armed: Armed, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """All sinks side by side on one pipeline: each has its own refusals, lost replies, delays and
    repetitions at the same time; the process dies at the boundary of each, one after the other.
    FAULTS_MINUTES: run no more than what can be begun in that time, what the page does not tell
    first, and add it to the page."""
    is_part = "FAULTS_MINUTES" in os.environ
    run = told(model) if is_part else {(b, s): "" for b in BOUNDARIES for s in COLUMNS}
    wrong = []
    cases = [
        (b, f, s) for b in BOUNDARIES.values() for f in b.faults_with(model) for s in by_turns(b, f)
    ]
    # all sinks at once first, then the deaths behind a call, then those before it
    cases.sort(key=lambda case: (case[2] is not None, case[1] == "c"))
    cases.sort(key=lambda case: all(case[1] in run[case[0].name, s] for s in about(*case)))
    end = time.monotonic() + 60 * float(os.environ.get("FAULTS_MINUTES", "1000"))
    while cases and time.monotonic() < end:
        folder = tmp_path / str(len(cases))
        # a case of one sink needs but one neighbour
        names = COLUMNS if cases[0][2] is None else ("sqlite", cases[0][2])
        targets = {name: target(name, request, folder) for name in names}
        with stage_of(model, armed, targets, folder) as stage:
            while cases and (cases[0][2] in names or len(names) > 2) and time.monotonic() < end:
                b, fault, sink = cases.pop(0)
                started = time.monotonic()
                for name in about(b, fault, sink):
                    run[b.name, name] = run[b.name, name].replace(fault, "")
                try:
                    play(stage, b, fault, sink)
                except AssertionError as e:
                    wrong.append(f"{b.name} {fault} {sink or ''}: {e}")
                    print("wrong", wrong[-1], flush=True)
                    break  # go on with targets that nothing has happened to
                print(b.name, fault, sink or "", f"{time.monotonic() - started:.1f} s", flush=True)
                for name in about(b, fault, sink):
                    run[b.name, name] += fault
    write_table(model, run)
    assert not wrong, "\n\n".join(wrong)


def stage_of(model: str, armed: Armed, targets: Mapping[str, Target], folder: Path) -> Stage:
    if model == "exactly_once":
        return Stage(armed, targets)
    return RereadingStage(armed, targets, folder / "source")


def about(boundary: Boundary, fault: str, sink: str | None) -> Sequence[str]:
    """Those that a case is about."""
    if sink is not None:
        return [sink]
    return tuple(TARGETS if dies_by_turns(boundary, fault) else COLUMNS)


def by_turns(boundary: Boundary, fault: str) -> Sequence[str | None]:
    """What is in the program dies one after the other in one case. A stream's name does not
    outlive the process, so its deaths are cases of their own."""
    return (None, *SUBSCRIPTIONS) if dies_by_turns(boundary, fault) else (None,)


def dies_by_turns(boundary: Boundary, fault: str) -> bool:
    return boundary.is_of_sink and fault in "cC"


def told(model: str) -> dict[tuple[str, str], str]:
    """The faults that the page's table tells, by boundary and sink."""
    found = dict.fromkeys(((b, s) for b in BOUNDARIES for s in COLUMNS), "")
    _, table_text, _ = page_around(model)
    table = table_text.strip().splitlines()
    names = [c.strip() for c in table[0].split("|")[2:-1]]
    for line in table[2:]:
        boundary, *cells = (c.strip() for c in line.split("|")[1:-1])
        for name, cell in zip(names, cells, strict=True):
            if (boundary, name) in found:
                found[boundary, name] = cell.strip("`")
    return found


def page_around(model: str) -> tuple[str, str, str]:
    """The page before the table, the table, the page behind it."""
    begin, end = f"<!-- {TABLES[model]} -->\n", f"<!-- end of {TABLES[model]} -->"
    before, rest = PAGE.read_text().split(begin)
    table, behind = rest.split(end)
    return before + begin, table, end + behind


def write_table(model: str, run: Mapping[tuple[str, str], str]) -> None:
    lines = ["| boundary | " + " | ".join(COLUMNS) + " |", "|---" * (len(COLUMNS) + 1) + "|"]
    for name, b in BOUNDARIES.items():
        cells = (
            "".join(f for f in b.faults_with(model) if f in run[name, sink]) for sink in COLUMNS
        )
        lines.append(f"| {name} | " + " | ".join(f"`{c}`" for c in cells) + " |")
    before, _, behind = page_around(model)
    PAGE.write_text(before + "\n".join([*lines, behind]))
