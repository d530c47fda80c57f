"""The parts of a pipeline, put together in the state of its newest checkpoint.

    program ─► circuit ─► StepLoop ◄─ inputs, outputs, Checkpointer, ResetDesk
                  ▲
             recover(storage)     then replay() repeats what was journalled after the checkpoint,
                                  and resume_inputs() lets the connectors go on where they were

`build` makes everything, stopped; nothing in here decides when to run (`pipeline`).
"""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from penstock.circuit import Circuit
from penstock.compile.program import compile_circuit
from penstock.data.batch import Batch, InputBatch
from penstock.data.parallel import use_threads
from penstock.errors import PenstockError, UserError
from penstock.io.contracts import InputConnector
from penstock.pipeline import failpoints
from penstock.pipeline.api_endpoints import ApiEndpoints
from penstock.pipeline.bad_rows import Trial
from penstock.pipeline.bootstrap import Diff, program_facts
from penstock.pipeline.checkpoints import Checkpointer, fingerprint
from penstock.pipeline.connectors import clock_config, make_input, make_output
from penstock.pipeline.digest import config_digest, schema_hash
from penstock.pipeline.inputs import InputEndpoint
from penstock.pipeline.journal import Journal, JournalRecord
from penstock.pipeline.loop import StepLoop
from penstock.pipeline.memory import limit_memory
from penstock.pipeline.output_position import Recovered
from penstock.pipeline.outputs import OutputEndpoint
from penstock.pipeline.recovery import Checkpoint, recover
from penstock.pipeline.relations import Relations
from penstock.pipeline.resets import ResetLog
from penstock.pipeline.settings import PipelineSettings
from penstock.pipeline.start_order import start_order
from penstock.pipeline.statistics import Statistics
from penstock.pipeline.storage import Storage
from penstock.pipeline.taken import Taken
from penstock.plan.nodes import CLOCK, ConnectorPlan, ProgramPlan


class Assembly:
    """After `build`: `loop`, `api` (the endpoints of HTTP requests), `connectors` (each input with
    its endpoint), `checkpointer` (None without storage), `checkpoint` (None at a first start) and
    `lineage`, one uuid for all lives of the same state.

    `diff`: how the program differs from the checkpoint's; None if it does not."""

    def __init__(
        self,
        settings: PipelineSettings,
        plan: ProgramPlan,
        relations: Relations,
        *,
        storage: Storage | None,
        resets: ResetLog,
        statistics: Statistics,
        diff: Diff | None,
        is_running: Callable[[], bool],
        on_failure: Callable[[PenstockError], None],
    ) -> None:
        self._settings, self._plan, self._relations = settings, plan, relations
        self._storage, self._resets, self._statistics = storage, resets, statistics
        self._diff = diff
        self._is_running, self._on_failure = is_running, on_failure
        self._journal: Journal | None = (
            storage.journal if storage is not None and settings.is_exactly_once else None
        )
        self.checkpointer: Checkpointer | None = None
        self.checkpoint: Checkpoint | None = None
        self.connectors: list[tuple[InputEndpoint, InputConnector]] = []
        self.lineage = str(uuid.uuid4())

    def build(self) -> None:
        """Raises CorruptState, UserError and what the first step raises."""
        settings, storage, journal = self._settings, self._storage, self._journal
        if storage is None:
            circuit, checkpoint = compile_circuit(self._plan), None
        else:
            circuit, checkpoint = recover(
                storage, lambda: compile_circuit(self._plan), dict(self._relations.schemas)
            )
        self.checkpoint = checkpoint
        self._statistics.storage = None if storage is None else storage.directory
        processors = os.cpu_count() or 1
        workers = min(int(settings.runtime.get("workers") or 1), processors)
        use_threads(workers, time.perf_counter, processors)
        files = None if storage is None else storage.state
        limit_mb = settings.runtime.get("max_rss_mb")
        self._statistics.limit_bytes = None if limit_mb is None else limit_mb << 20
        limit_memory(circuit, files, limit_mb)
        circuit.measure(time.perf_counter)
        self.loop = StepLoop(
            circuit,
            max_batch_records=settings.max_batch_records,
            min_batch_records=settings.min_batch_records,
            max_delay_s=settings.max_delay_s,
            on_failure=self._on_failure,
            journal=journal,
            program=str(fingerprint(circuit.fingerprints)),
            begin_trials=None if storage is None else partial(self._trials, storage, circuit),
        )
        self.api = ApiEndpoints(self.loop, self._is_running)
        if checkpoint is None:
            self.loop.first_step()
        else:
            self._go_on_from(checkpoint)
        if storage is not None:
            self.checkpointer = Checkpointer(
                self.loop, storage.manifests, storage.state, journal,
                facts={
                    "lineage": self.lineage, "program": program_facts(self._plan, circuit),
                    "initial_start_time": self._statistics.initially_started,
                },
                interval_s=settings.interval_s,
            )  # fmt: skip
        self._add_inputs()
        self._add_outputs()
        if self.checkpointer is not None:
            self._start_checkpoints(self.checkpointer)

    def _trials(self, storage: Storage, circuit: Circuit) -> Trial:
        """Steps on the state that `circuit` has now, each in a circuit of its own. What is written
        for them goes with the next checkpoint's collection, if that does not need it as well."""
        saved = circuit.capture().write(storage.state)

        def trial(inputs: Mapping[str, Sequence[InputBatch]]) -> None:
            other = compile_circuit(self._plan)
            other.restore(storage.state, saved)
            other.step(inputs)

        return trial

    def _go_on_from(self, checkpoint: Checkpoint) -> None:
        self.lineage = checkpoint.lineage
        body = checkpoint.manifest.body
        began = body.get("initial_start_time", self._statistics.started)
        self._statistics.initially_started = began
        self.loop.resume(
            step=checkpoint.step,
            processed_records=body["processed_records"],
            transactions=body["transactions"],
        )

    def _start_checkpoints(self, checkpointer: Checkpointer) -> None:
        checkpointer.start()
        model = self._settings.model
        is_first = model != "none" and self.checkpoint is None
        if is_first and self._journal is not None:
            self._journal.clear()
        if is_first or self._diff is not None:
            # so that there always is one to go on from, and what changed is not computed twice
            checkpointer.take_last()
        if model == "at_least_once":
            self.loop.on_cut = checkpointer.take_here
        if model != "none":
            for endpoint, _ in self.connectors:
                endpoint.keep = checkpointer.keep_position

    # inputs

    def _add_inputs(self) -> None:
        model = self._settings.model
        for plan in self._plan.inputs:
            if plan.relation == CLOCK:
                config = clock_config(self._settings.runtime)
                plan = replace(plan, config={"transport": {"name": "clock", "config": config}})
            endpoint, connector = make_input(
                self._plan, plan, is_running=self._is_running, wake=self.loop.wake,
                workers=int(self._settings.runtime.get("workers") or 1),
            )  # fmt: skip
            if model != "none" and not connector.can_resume:
                raise UserError(
                    f"connector '{endpoint.name}' cannot go on where it was after a restart, as "
                    f"fault tolerance '{model}' needs: use another transport or format, or "
                    "set fault_tolerance.model to none",
                    code="ConfigError.FtWithNonFtInput",
                )
            self.loop.add_input(endpoint)
            self.connectors.append((endpoint, connector))
        for name, awaited in start_order(self._plan.inputs).items():
            others = tuple(self.loop.inputs[other] for other in awaited)
            self.loop.inputs[name].start_after = others
        if self.checkpoint is not None:
            self._restore_inputs(self.checkpoint)

    def _restore_inputs(self, checkpoint: Checkpoint) -> None:
        for name, saved in checkpoint.inputs.items():
            self._known_endpoint(name, saved.relation, saved.config)
        for name, saved in checkpoint.inputs.items():
            found = self.loop.inputs.get(name)
            is_same = found is not None and saved.digest == config_digest(found.config)
            is_same = is_same and saved.relation not in self._changed("modified_tables")
            if found is not None and is_same:
                found.restore(saved.progress, checkpoint.step)

    def _changed(self, kind: str) -> frozenset[str]:
        """Names of what was modified since the checkpoint; `kind` is modified_tables or such."""
        return frozenset(() if self._diff is None else self._diff["program_diff"][kind])

    def _known_endpoint(
        self, name: str, relation: str, config: Mapping[str, Any] | None
    ) -> InputEndpoint | None:
        """An endpoint of an earlier life; implicit ones are made again. None if it is gone."""
        table = self._relations.tables.get(relation)
        if table is None or config is None:
            return self.loop.inputs.get(name)
        return self.api.endpoint(table, name, config["format"])

    def resume_inputs(self) -> None:
        """All that was is again: go on with what arrives. In the step thread."""
        failpoints.passing("recover.replayed")
        if self._journal is not None:
            self._journal.begin_segment(self.loop.step + 1)
        for endpoint, connector in self.connectors:
            self._resume_input(endpoint, connector)

    def _resume_input(self, endpoint: InputEndpoint, connector: InputConnector) -> None:
        progress = endpoint.taken
        if self._diff is not None and self._is_new(self._diff, endpoint):
            endpoint.run(connector)
            return
        if progress.is_at_end:
            return
        if progress.position is not None:
            connector.resume(progress.position)
        elif progress.records:
            endpoint.error(
                "the source cannot go on where it was before the restart, since its format gives "
                "no positions: clear the pipeline's storage to read it anew",
                fatal=True,
            )
            return
        endpoint.run(connector)

    def _is_new(self, diff: Diff, endpoint: InputEndpoint) -> bool:
        """Whether an input begins anew: its table or its own configuration has changed."""
        modified = diff["modified_input_connectors"]
        return endpoint.name in modified or endpoint.relation in self._changed("modified_tables")

    # outputs

    def _add_outputs(self) -> None:
        checkpoint, journal = self.checkpoint, self._journal
        horizon = 0 if checkpoint is None else checkpoint.step
        if journal is not None and checkpoint is not None:
            horizon = journal.last_step(horizon)
        for plan in self._plan.outputs:
            output = self._make_output(plan, self._recovered(plan, horizon))
            self.loop.add_output(output)
            if checkpoint is not None and output.relation in checkpoint.changed:
                self._emit_in_full(output, checkpoint.changed[output.relation])

    def _recovered(self, plan: ConnectorPlan, horizon: int) -> Recovered | None:
        """What is known of an output's sink from before; None if it is another sink or view."""
        checkpoint = self.checkpoint
        if checkpoint is None or plan.relation in checkpoint.changed:
            return None  # a changed view is another view: reset.md rule 11
        position = checkpoint.outputs.get(plan.endpoint)
        view = self._relations.views[plan.relation]
        now = (config_digest(dict(plan.config)), schema_hash(view.schema))
        if position is None or (position.config, position.schema) != now:
            return None
        processed = int(checkpoint.manifest.body["processed_records"])
        return Recovered(position, horizon, checkpoint.step, processed)

    def _make_output(self, plan: ConnectorPlan, recovered: Recovered | None) -> OutputEndpoint:
        checkpointer = self.checkpointer
        is_aligned = self._settings.model == "at_least_once" and checkpointer is not None
        return make_output(
            self._plan,
            plan,
            pipeline_id=self._settings.id,
            resets=self._resets,
            take_cut=self.loop.take_cut,
            on_progress=self.loop.wake,
            recovered=recovered,
            runtime=dict(self._settings.runtime),
            await_replayed=self.loop.await_replayed,
            await_durable=checkpointer.await_step
            if is_aligned and checkpointer is not None
            else lambda step, is_wanted: None,
        )

    def _emit_in_full(self, output: OutputEndpoint, contents: Batch) -> None:
        """The contents of a view that has changed, to a follow-mode output: what it held before is
        not taken back (contract 1.6). A snapshot_and_follow output takes a snapshot instead."""
        if not output.settings.snapshot and not self._settings.is_silent:
            output.push(self.loop.step, self.loop.processed_records, contents)

    # replay

    def replay(self) -> Iterator[tuple[JournalRecord, tuple[Taken, ...]]]:
        """What has to be done again after the checkpoint, with the endpoints it came through."""
        checkpoint, journal = self.checkpoint, self._journal
        if checkpoint is None:
            return
        emptied = self._changed("modified_tables")
        schemas = {t.name: t.schema for t in self._plan.tables if t.name not in emptied}
        if checkpoint.held is not None:
            yield checkpoint.held, self._taken_again(checkpoint.held)
        if journal is not None:
            for record in journal.records(checkpoint.step, schemas):
                yield record, self._taken_again(record)

    def _taken_again(self, record: JournalRecord) -> tuple[Taken, ...]:
        found = []
        for i in record.inputs:
            endpoint = self._known_endpoint(i.endpoint, i.relation, i.config)
            if endpoint is not None:
                found.append(Taken(endpoint, i.batches, i.progress))
        return tuple(found)
