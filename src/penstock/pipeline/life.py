"""The life of one running pipeline: from its program to its last checkpoint.

    start ─► compile ─► program changed? ─┬─ no ──────────────────────► go ─► Replaying ─► Paused,
                                          ├─ approve (AwaitingApproval) ─┤                 Running
                                          └─ Bootstrapping ──────────────┘
    stop, suspend (with a checkpoint)          any step or connector may end it: Failed

`start` compiles the program, has its parts put together in the state of the newest checkpoint
(`assembly`), repeats what was journalled after it, and opens the connectors.
All methods may be called from any thread; those that wait say so.

Not here: what a running pipeline is asked (`pipeline`), how its parts fit (`assembly`).
"""

from __future__ import annotations

import logging
import threading
import time
import traceback
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from penstock.compile.program import compile_circuit
from penstock.errors import PenstockError, TransientError, UserError
from penstock.pipeline import failpoints
from penstock.pipeline.api import Api
from penstock.pipeline.assembly import Assembly
from penstock.pipeline.bootstrap import Diff, is_empty, program_diff, program_facts, rejected
from penstock.pipeline.checkpoints import Checkpointer
from penstock.pipeline.connectors import stage_rows
from penstock.pipeline.endpoints import find_output
from penstock.pipeline.loop import StepLoop
from penstock.pipeline.relations import Relations
from penstock.pipeline.reset_desk import ResetDesk
from penstock.pipeline.resets import ResetLog
from penstock.pipeline.settings import PipelineSettings
from penstock.pipeline.statistics import Statistics
from penstock.pipeline.storage import Storage
from penstock.plan.nodes import ProgramPlan
from penstock.sql.program import compile_program

log = logging.getLogger("penstock.pipeline")

#: a replay shorter than this is part of the start; a longer one goes on as state Replaying
REPLAY_PATIENCE_S = 2.0


class PipelineLife:
    """A program that runs; `PipelineSettings.of` says what `config` holds."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        self._settings = PipelineSettings.of(config)
        self.id, self.name = self._settings.id, self._settings.name
        self.incarnation = self._settings.incarnation
        self._starts_running = self._settings.initial != "paused"
        self._state = "Initializing"
        self._error: PenstockError | None = None
        self._diff: Diff | None = None
        self._is_open = False
        self._lock = threading.RLock()
        self._running, self._stopping = threading.Event(), threading.Event()
        self._ready = threading.Event()
        self._statistics = Statistics(self.incarnation)
        self._storage: Storage | None = None
        self._assembly: Assembly | None = None

    # the beginning

    def start(self) -> None:
        """Compile, take up the newest checkpoint or make the first step, open the connectors.

        Returns in state Running or Paused, in Replaying or Bootstrapping, which lead there, or in
        AwaitingApproval.
        Raises SqlError, UserError or CorruptState and then leaves nothing behind."""
        failpoints.load()
        self.plan: ProgramPlan = compile_program(self._settings.program, self._settings.udf)
        self._relations = Relations(self.plan)
        policy = self._settings.bootstrap_policy
        self._open_storage()
        try:
            self._diff = self._compare()
            if self._diff is not None and policy == "reject":
                raise rejected(self._diff)
        except BaseException:
            self._close_storage()
            raise
        if self._diff is None:
            self._go()
        elif policy == "await_approval":
            self._state = "AwaitingApproval"
            log.info("awaiting_approval name=%s", self.name)
        else:
            self._bootstrap()

    def approve(self, *, silent_bootstrap: bool = False) -> None:
        """Go on with the program that has changed. Raises UserError BootstrapNotAllowed."""
        with self._lock:
            if self._state != "AwaitingApproval":
                raise UserError(
                    f"the pipeline is {self._state} and awaits no approval",
                    code="BootstrapNotAllowed",
                    details={"status": self._state},
                )
            if silent_bootstrap:
                self._settings = replace(self._settings, is_silent=True)
            self._bootstrap()

    def _bootstrap(self) -> None:
        """`_go`, in the background, as it may take long. What it raises fails the pipeline."""
        self._state = "Bootstrapping"

        def go() -> None:
            try:
                self._go()
            except PenstockError as e:
                self._fail(e)
            except Exception as e:
                log.error("start_bug\n%s", traceback.format_exc())
                self._fail(PenstockError(f"internal error at the start: {e!r}"))

        threading.Thread(target=go, name="bootstrap", daemon=True).start()

    def _compare(self) -> Diff | None:
        """How the program differs from that of the newest checkpoint; None if it does not, or
        there is none."""
        manifests = [] if self._storage is None else self._storage.manifests.all()
        if not manifests:
            return None
        facts = program_facts(self.plan, compile_circuit(self.plan))
        diff = program_diff(manifests[-1].body["program"], facts)
        return None if is_empty(diff) else diff

    def _go(self) -> None:
        """Build everything and let it run."""
        started = time.perf_counter()
        try:
            parts = self._build()
        except BaseException:
            if self._checkpointer is not None:
                self._checkpointer.stop()
            self._close_storage()
            raise
        self._is_open = True
        for output in self._loop.outputs.values():
            output.start()
        self._state = "Replaying"
        self._loop.run(parts.replay(), self._on_replayed)
        self._ready.wait(REPLAY_PATIENCE_S)
        threading.Thread(target=self._sample, name="statistics", daemon=True).start()
        log.info(
            "pipeline_started name=%s tables=%d views=%d state=%s ms=%.0f",
            self.name, len(self._relations.tables), len(self._relations.views), self._state,
            (time.perf_counter() - started) * 1e3,
        )  # fmt: skip

    def _open_storage(self) -> None:
        is_kept, directory = self._settings.keeps_state(), self._settings.storage_dir
        if directory is not None:
            directory.mkdir(parents=True, exist_ok=True)
            if is_kept:
                self._storage = Storage(directory)
        try:
            self._resets = ResetLog(directory)
        except BaseException:
            if self._storage is not None:
                self._storage.close()
            raise

    def _close_storage(self) -> None:
        self._resets.close()
        if self._storage is not None:
            self._storage.close()

    def _build(self) -> Assembly:
        """Everything, stopped, in the state of the newest checkpoint if there is one."""
        settings, relations = self._settings, self._relations
        parts = self._assembly = Assembly(
            settings,
            self.plan,
            relations,
            storage=self._storage,
            resets=self._resets,
            statistics=self._statistics,
            diff=self._diff,
            is_running=self._running.is_set,
            on_failure=self._fail,
        )
        parts.build()
        self._loop: StepLoop = parts.loop
        self._desk = ResetDesk(
            loop=parts.loop,
            resets=self._resets,
            find=partial(find_output, parts.loop),
            readable=relations.readable,
        )
        self._api = Api(
            self.plan,
            relations,
            pipeline_id=self.id,
            loop=parts.loop,
            endpoints=parts.api,
            resets=self._resets,
            life=parts.lineage if settings.is_exactly_once else self.incarnation,
            is_durable=settings.is_exactly_once,
            stage_rows=stage_rows(settings.runtime),
        )
        return parts

    @property
    def _checkpointer(self) -> Checkpointer | None:
        return None if self._assembly is None else self._assembly.checkpointer

    def _on_replayed(self) -> None:
        """All that was is again: go on with what arrives. In the step thread."""
        assert self._assembly is not None
        self._assembly.resume_inputs()
        self._state = "Paused"
        self._set_running(self._starts_running)
        self._ready.set()

    # how it is

    def require_open(self) -> None:
        """Raise TransientError while there is nothing yet to ask anything of."""
        if self._is_open:
            return
        code, text = {
            "AwaitingApproval": (
                "AwaitingApproval",
                "the program has changed since the checkpoint: approve it, or stop the pipeline",
            ),
            "Bootstrapping": (
                "BootstrapInProgress", "what has changed in the program is being computed"
            ),
        }.get(self._state, ("PipelineUnavailable", f"the pipeline is {self._state}"))  # fmt: skip
        raise TransientError(text, code=code)

    def status(self) -> dict[str, Any]:
        """`state` (Initializing, AwaitingApproval, Bootstrapping, Replaying, Paused, Running,
        Suspended or Failed), the error of Failed, and details."""
        e = self._error
        body = (
            None if e is None else {"message": str(e), "error_code": e.code, "details": e.details}
        )
        details = None
        if self._state == "AwaitingApproval":
            details = {"approval_diff": self._diff}
        return {"state": self._state, "error": body, "details": details}

    def _require_alive(self) -> None:
        if self._error is not None:
            raise TransientError(
                f"the pipeline has failed and is stopping: {self._error}",
                code="PipelineUnavailable",
            )

    def pause(self) -> None:
        """Stop taking in; what has arrived is still stepped and delivered."""
        self._set_running(False)

    def resume(self) -> None:
        self._set_running(True)

    def _set_running(self, is_running: bool) -> None:
        with self._lock:
            if self._state == "Failed":
                return
            if self._state in ("AwaitingApproval", "Bootstrapping", "Replaying"):
                self._starts_running = is_running
                return
            self._state = "Running" if is_running else "Paused"
            (self._running.set if is_running else self._running.clear)()
        for e in self._loop.inputs.values():
            e.kick()

    def _fail(self, error: PenstockError) -> None:
        with self._lock:
            self._error = error
            self._state = "Failed"
            self._running.clear()
        if self._is_open:
            self._ready.set()
            for e in self._loop.inputs.values():
                e.close()

    def _sample(self) -> None:
        while not self._stopping.wait(1.0):
            self._statistics.sample(self._loop)

    # the end

    def stop(self) -> None:
        """End all threads. Without fault tolerance, what came since the last checkpoint is lost."""
        with self._lock:
            is_stopped = self._stopping.is_set()
            self._stopping.set()
        if is_stopped:
            return
        if not self._is_open:
            if self._state == "AwaitingApproval":
                self._close_storage()
            return
        for e in self._loop.inputs.values():
            e.stop()
        self._loop.stop()
        for o in self._loop.outputs.values():
            o.stop()
        if self._checkpointer is not None:
            self._checkpointer.stop()
        self._close_storage()
        log.info("pipeline_stopped name=%s steps=%d", self.name, self._loop.step)

    def suspend(self) -> None:
        """Stop so that the next start goes on here: step what has arrived, take a checkpoint, end.

        Raises PenstockError if a checkpoint cannot be taken. The pipeline goes on then, unless it
        had closed its inputs already: then it has failed, and a start goes on from what is kept."""
        if self._state == "AwaitingApproval":
            log.info("not_approved name=%s", self.name)
        elif self._checkpointer is None:
            log.warning("suspend_keeps_nothing name=%s reason=no_storage", self.name)
        elif not self._loop.is_replaying:
            self._suspend(self._checkpointer)
        self.stop()
        self._state = "Suspended"

    def _suspend(self, checkpointer: Checkpointer) -> None:
        taken = None
        if not self._loop.transaction.is_open:
            # while the pipeline could still go on, and so that the last one finds little to do
            taken = checkpointer.take()
        for e in self._loop.inputs.values():
            e.stop(is_end=False)
        self._loop.drain()
        is_all = taken is not None and taken.step == self._loop.step
        if self._loop.failure is None and (not is_all or self._loop.transaction.is_open):
            try:
                checkpointer.take_last()
            except PenstockError as e:
                # its inputs are closed by now: it cannot go on
                self._fail(e)
                raise
