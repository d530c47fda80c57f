"""Every fault at every boundary of spec/reset.md section 7, under a real pipeline, sink by sink.

    C  crash: the process is killed       E  error: refused before anything was done
    L  done, but the reply is lost        D  delay       R  the call is made twice

`make test` runs a few cases of each sink, `make test-all` all of them, and then writes the table
into docs/reliability.md.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.contract.target import Rows, Target
from tests.kafka_server import kafka
from tests.servers import postgres, redis_server
from tests.system.armed import Armed, armed_server
from tests.system.fault_targets import TARGETS
from tests.system.faults import Stage

__all__ = ["kafka", "postgres", "redis_server"]

PAGE = Path(__file__).parents[2] / "docs" / "reliability.md"
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

    def point(self, fault: str) -> str:
        """The failpoint of `fault`: C dies behind the call, c before it. A reset that is asked for
        twice needs none."""
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
        return f"{name}={action}@{self.passage}"


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
FEW = ("third chunk C", "publish L", "publish C", "delta R")
FEW_SINKS = (
    "sqlite", "postgres", "duckdb", "delta append", "redis", "redis gen", "file", "parquet"
)  # fmt: skip
passed: list[str] = []


@pytest.fixture(scope="module")
def armed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Armed]:
    with armed_server(tmp_path_factory.mktemp("armed")) as a:
        yield a


def target(name: str, request: pytest.FixtureRequest, folder: Path) -> Target:
    kind = TARGETS[name]
    (folder / kind.__name__).mkdir(parents=True)
    where: Any = request.getfixturevalue(kind.server) if kind.server else folder / kind.__name__
    return kind(where)


def play(stage: Stage, boundary: Boundary, fault: str) -> None:
    """One disturbance, and all that must hold after it."""
    damaged: Mapping[str, Rows | None] = {}
    stage.change()
    since = stage.forget()
    if boundary.act == "reset":
        damaged = stage.damage()
    if boundary.act == "start":
        stage.p.kill()
    point = boundary.point(fault)
    stage.armed.arm(point)
    if boundary.act == "reset":
        stage.reset(twice=not point)
    elif boundary.act == "checkpoint":
        stage.checkpoint()
    stage.change()
    stage.change()
    stage.settle()
    stage.armed.arm("")
    assert stage.armed.fired() or not point, f"{point} was not passed"
    stage.verify(since, damaged)


def test_a_few_faults_leave_every_target_of_a_pipeline_equal_to_its_view(
    armed: Armed, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    with Stage(armed, {name: target(name, request, tmp_path) for name in FEW_SINKS}) as stage:
        for case in FEW:
            name, _, fault = case.rpartition(" ")
            play(stage, BOUNDARIES[name], fault)


@pytest.mark.slow
@pytest.mark.parametrize("sink", TARGETS)
def test_any_fault_at_any_boundary_leaves_any_target_equal_to_the_view(
    sink: str, armed: Armed, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    wrong = []
    cases = [(b, fault) for b in BOUNDARIES.values() for fault in b.faults]
    while cases:
        folder = tmp_path / str(len(cases))
        with Stage(armed, {sink: target(sink, request, folder)}) as stage:
            while cases:
                b, fault = cases.pop(0)
                try:
                    play(stage, b, fault)
                except AssertionError as e:
                    wrong.append(f"{b.name} {fault}: {e}")
                    break  # go on with a target that nothing has happened to
    assert not wrong, "\n\n".join(wrong)
    passed.append(sink)
    if len(passed) == len(TARGETS):
        write_table()


def write_table() -> None:
    lines = ["| boundary | " + " | ".join(TARGETS) + " |", "|---" * (len(TARGETS) + 1) + "|"]
    for name in BOUNDARIES:
        cells = " | ".join(f"`{BOUNDARIES[name].faults}`" for _ in passed)
        lines.append(f"| {name} | {cells} |")
    text = PAGE.read_text()
    marks = "<!-- faults -->\n", "<!-- end of faults -->"
    table = "\n".join(lines)
    new = re.sub(
        f"{marks[0]}.*?{marks[1]}", f"{marks[0]}{table}\n{marks[1]}", text, flags=re.DOTALL
    )
    PAGE.write_text(new)
