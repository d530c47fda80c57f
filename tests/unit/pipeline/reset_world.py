"""A connector without threads: the real table, state, delivery and reset log, one event at a time.

The delivery's work stops between any two calls of the sink (it is an iterator), so an explorer
can put every event there: a step, a reset, a cancellation, a pause, damage by hand, a checkpoint,
the end of the process (with or without one to go on from), or a failure of the very next call.
`check` says what must hold at every instant, `settle` what must hold in the end (spec/reset.md
sections 2 and 3).
"""

from __future__ import annotations

import itertools
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from penstock.data.batch import Batch
from penstock.data.build import batch_from_rows
from penstock.data.types import INTEGER, schema
from penstock.errors import TransientError, UserError
from penstock.io.contracts import SinkContext, SinkRejected
from penstock.pipeline.delivery import Delivery, Identity, Work
from penstock.pipeline.delivery_facts import Cut
from penstock.pipeline.delivery_state import DeliveryState
from penstock.pipeline.output_position import OutputPosition, Recovered
from penstock.pipeline.output_settings import OutputSettings
from penstock.pipeline.phases import Phase
from penstock.pipeline.resets import ResetLog, ResetRecord
from tests.unit.pipeline.memory_sink import MemorySink, Target

SCHEMA = schema(id=INTEGER)
Contents = Counter[Any]
#: the delta of step n: rows come, and go again, so that dropped and doubled deltas both show
DELTAS: tuple[tuple[tuple[int, int], ...], ...] = (((1, 1), (2, 1)), ((3, 1),), ((1, -1),), ())


def batch(rows: tuple[tuple[int, int], ...]) -> Batch:
    made = batch_from_rows(SCHEMA, [(k,) for k, _ in rows], [w for _, w in rows])
    return Batch(made.schema, made.columns, made.weights, True)


BATCHES = tuple(batch(d) for d in DELTAS)


@dataclass(frozen=True)
class Pinned:
    contents: tuple[tuple[int, int], ...]

    @property
    def rows(self) -> int:
        return sum(w for _, w in self.contents)

    def batch(self) -> Batch:
        return batch(self.contents)

    def chunks(self, max_rows: int) -> Iterator[Batch]:
        """One row a piece, so that a snapshot of two rows has a middle."""
        for row in self.contents:
            yield batch((row,))


class WatchedSink(MemorySink):
    """Fails as the world says, and refuses what must not be asked of it."""

    world: World

    def begin(self, generation: int, token: str, step: int) -> None:
        # rule 1: the intent is durable before anything touches the sink
        assert self.world.log_generation() >= generation, "the sink knows before the record does"
        super().begin(generation, token, step)

    def _enter(self, call: str) -> bool:
        w = self.world
        w.position += f" {call}"
        failure, w.failure = w.failure, None
        if failure == "reject":
            w.refused = call
            raise SinkRejected(f"{call}: refused for good")
        if failure is not None:
            self.target.failures = [(call, failure == "lose")]
        return super()._enter(call)


@dataclass(frozen=True)
class Saved:
    """A checkpoint: where the output was, and the circuit."""

    position: OutputPosition
    step: int
    view: Contents
    steps: int


class World:
    """One connector and its target. Worlds may share a log: each has a name of its own in it."""

    numbers = itertools.count()

    def __init__(self, log: ResetLog, *, is_journaled: bool = True) -> None:
        """`is_journaled`: a restart makes the steps behind its checkpoint again, as they were;
        without a journal they are lost and come anew, and every cut takes a checkpoint (rule 4)."""
        self.target = Target()
        self.log, self.is_journaled = log, is_journaled
        self.name = f"v.c{next(self.numbers)}"
        self.view: Contents = Counter()
        self.failure: str | None = None
        #: the call that was refused last
        self.refused = ""
        self.is_dirty = False
        #: what a generation's steps were: a marker's step means that history
        self.histories: dict[int, list[Contents]] = {}
        self.tokens: list[str] = []
        self.steps = 0
        self.start()

    # the process

    def start(self) -> None:
        """A life without a checkpoint: the inputs are read again, steps count from 0."""
        self.history: list[Contents] = [Counter(self.view)]
        #: the delta of each step of this life
        self.made: list[Batch] = [BATCHES[-1]]
        self.saved: Saved | None = None
        self._begin(None)

    def _begin(self, recovered: Recovered | None) -> None:
        settings = OutputSettings(snapshot=True)
        self.state = DeliveryState(self.name, settings, self.log, recovered)
        context = SinkContext(pipeline_id="p", view="v", connector="c", schema=SCHEMA, config={})

        def make_sink() -> WatchedSink:
            sink = WatchedSink(context, self.target)
            sink.world = self
            return sink

        self.delivery = Delivery(
            identity=Identity("p", "v", "c", "hash"),
            state=self.state,
            lock=threading.Condition(threading.RLock()),
            make_sink=make_sink,
            take_cut=self.take_cut,
            on_progress=lambda: None,
        )
        self.work: Work | None = None
        #: the generation in which it began, and the resets that came since
        self.begun = 0
        self.since: list[str] = []
        self.position = ""
        self.note()

    def take_cut(self, relation: str, begin: Callable[[Cut], bool], /) -> bool:
        now = len(self.history) - 1
        contents = tuple(sorted((k, w) for (k,), w in self.view.items()))
        is_taken = begin(Cut(now, now, Pinned(contents)))
        if is_taken and not self.is_journaled:
            self.checkpoint()
        return is_taken

    def note(self) -> None:
        self.histories.setdefault(self.state.record.generation, self.history)

    # events

    def step(self) -> bool:
        if self.steps == len(DELTAS):
            return False
        for k, w in DELTAS[self.steps]:
            self.view[(k,)] += w
        self.view = +self.view
        self.history.append(Counter(self.view))
        now = len(self.history) - 1
        self.made.append(BATCHES[self.steps])
        self.state.push(now, now, BATCHES[self.steps])
        self.steps += 1
        return True

    def reset(self) -> bool:
        before = self.state.record
        is_uncut = self.state.phase is Phase.WAITING and before.is_pending
        record = self.state.reset(reason="request")
        if is_uncut and before.reason != "start":
            assert record.token == before.token, "before the cut it is the same reset (rule 8)"
        self.tokens.append(record.token)
        if record.token != before.token:
            self.since.append(record.token)
        self.note()
        return True

    def cancel(self) -> bool:
        if not self.state.can_cancel:
            return False
        token = self.state.record.token
        follows = self.state.cancel()
        assert self.state.phase is (Phase.FOLLOWING if follows else Phase.WAITING)
        assert self.state.paused is not follows
        assert self.record(token).state == "cancelled"
        return True

    def pause(self) -> bool:
        if self.state.paused:
            return False
        self.state.pause()
        return True

    def resume(self) -> bool:
        if not self.state.paused:
            return False
        self.state.resume()
        self.note()
        return True

    def damage(self) -> bool:
        if self.is_dirty or self.target.marker is None:
            return False
        self.target.rows = Counter({(-1,): 1})
        self.is_dirty = True
        return True

    def crash(self) -> bool:
        """The process ends where it is; its inputs are read again by the next one."""
        self.start()
        return True

    def checkpoint(self) -> bool:
        position = self.state.position("config", "schema")
        self.saved = Saved(position, len(self.history) - 1, Counter(self.view), self.steps)
        return True

    def restart(self) -> bool:
        """The process ends where it is, and the next one goes on from the checkpoint."""
        saved = self.saved
        if saved is None:
            return False
        horizon = len(self.history) - 1
        if not self.is_journaled:
            horizon = saved.step
            lost, self.history = self.history, self.history[: horizon + 1]
            self.made = self.made[: horizon + 1]
            self.view, self.steps = Counter(saved.view), saved.steps
            m = self.target.marker
            for generation, history in self.histories.items():
                is_ahead = m is not None and m.generation == generation and m.step > horizon
                if history is lost and not is_ahead:
                    self.histories[generation] = self.history
        self._begin(Recovered(saved.position, horizon))
        for step in range(saved.step + 1, horizon + 1):
            self.state.push(step, step, self.made[step])
        return True

    def rest(self) -> bool:
        """Everything that can be done is done."""
        self._run()
        return True

    def fail(self) -> bool:
        return self.advance("fail")

    def lose(self) -> bool:
        return self.advance("lose")

    def reject(self) -> bool:
        return self.advance("reject")

    def advance(self, failure: str | None = None) -> bool:
        """The delivery goes on to its next stop. False if there is nothing to do, or the failure
        did not meet a call."""
        if self.work is None:
            make = self.delivery.next_work()
            if make is None:
                return False
            self.begun, self.since = self.state.record.generation, []
            self.work, self.position = make(), f"{make.__name__} {self.begun}"
        self.failure = failure
        published = self.target.calls.count("publish")
        try:
            next(self.work)
            # work in progress remembers what it saw: when that was is part of where it is
            self.position += f"; {len(self.history) - 1}/{self.state.record.generation}"
        except StopIteration:
            self.work = None
        except TransientError as e:
            self._interrupted()
            self.state.unavailable(str(e))
        except UserError as e:
            self.delivery.give_up()
            self._interrupted()
            self.state.rejected(str(e), self.begun)
            for token in self.since:
                assert self.record(token).state != "failed", "an older call's refusal failed it"
        if self.work is None:
            self.position = ""
        has_met = failure is None or self.failure is None
        self.failure = None
        if self.target.calls.count("publish") > published and not self.target.failures:
            self.is_dirty = self.is_dirty and self.target.rows != self._told()
        self.target.failures = []
        self.note()
        return has_met

    def _interrupted(self) -> None:
        self.work = None
        self.delivery.disconnect()

    # what holds

    def record(self, token: str) -> ResetRecord:
        found = self.log.find(token)
        assert found is not None
        return found

    def log_generation(self) -> int:
        row = self.log._db.execute(
            "SELECT last FROM generation WHERE endpoint = ?", [self.name]
        ).fetchone()
        return int(row[0])

    def _told(self) -> Contents | None:
        """What the marker says that the target holds."""
        m = self.target.marker
        return None if m is None else self.histories[m.generation][m.step]

    def check(self) -> None:
        """At every instant."""
        m, s = self.target.marker, self.state
        generations = [g for g, _ in self.target.looks]
        assert generations == sorted(generations), "an older generation wrote after a newer one"
        if m is None or self.is_dirty:
            return
        assert self.target.rows == self._told(), "a mixture: neither the old contents nor the new"
        assert m.rows == self.target.rows.total()
        history = self.histories[m.generation]
        if history is self.history and s.completed_step:
            shown, complete = history[m.step], history[s.completed_step]
            assert m.step >= s.completed_step or shown == complete, "a token completed too early"

    def settle(self) -> None:
        """In the end: nothing fails any more, and everything runs to its end."""
        self._run()
        if self.state.phase is Phase.FAILED:
            self.reset()
            self._run()
        if self.state.paused:
            assert self.state.phase is not Phase.FAILED
            self.resume()
            self._run()
        assert self.state.phase is Phase.FOLLOWING
        assert len(self.state.queue) == 0
        if self.is_dirty:
            self.reset()
            self._run()
        assert self.target.rows == self.view, "the target differs from the view"
        assert self.state.completed_step == len(self.history) - 1
        # rule 8: what was asked for has ended, one way or the other
        for token in self.tokens:
            assert self.record(token).state in ("done", "cancelled", "failed"), token
        self.check()

    def _run(self) -> None:
        for _ in range(200):
            if not self.advance():
                assert not self.target.stages or self._may_be_staged(), "at rest, but staged"
                return
            self.check()
        raise AssertionError("it never comes to rest")

    def _may_be_staged(self) -> bool:
        """A target that may not even be opened any more keeps what is staged until the next reset;
        so does that of a connector that was paused before it first looked at what an earlier
        process left."""
        is_shut = self.state.phase is Phase.FAILED and self.refused == "open"
        return is_shut or (self.state.paused and self.delivery._staged is None)

    def fingerprint(self) -> Any:
        """Everything that what follows can depend on."""
        s, m = self.state, self.target.marker
        way = s.way_back
        return (
            s.phase, s.paused, s.record.is_pending, s.record.generation, self.position,
            s.completed_step, s.rows, s.digest, s.must_begin,
            tuple((e.generation, e.step) for e in s.queue), s.queue.sent_step,
            None if s.pinned is None else s.pinned.step,
            None if way is None else (
                way.record.generation, tuple(e.step for e in way.queue), way.queue.sent_step,
                way.taken,
            ),
            frozenset(self.target.rows.items()), None if m is None else (m.generation, m.step),
            frozenset(self.target.stages), self.delivery._staged, self.refused,
            self.is_dirty, self.steps, len(self.history),
            s.marker_step, s.skip_to, s.unverified is not None and s.unverified.horizon,
            None if self.saved is None else _told(self.saved),
        )  # fmt: skip


def _told(saved: Saved) -> Any:
    p = saved.position
    return (
        saved.step, p.generation, p.is_owed, p.completed_step, p.marker_step, p.is_paused,
        p.is_failed, tuple(e.step for e in p.queue),
    )  # fmt: skip
