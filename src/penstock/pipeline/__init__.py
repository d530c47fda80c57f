"""Room `pipeline`: one running pipeline, from arriving bytes to delivered views.

    bytes ─► InputEndpoint ─► queue ─► StepLoop ─► circuit.step ─► deltas ─► OutputEndpoint ─► Sink
              (parser)       (bounded)  (one thread)                          (one thread each)

`Pipeline` is the door; the parts never call the loop, the loop calls them:

    pipeline.py   the door: one method per REST call
    life.py       start, approve, stop, suspend; the state that it is in
    settings.py   what it was told; relations.py: its tables and views by name
    assembly.py   its parts, put together in the state of the newest checkpoint
    api.py        rows by request: ingress, egress, queries, tokens; api_endpoints.py
    loop.py       steps: what to take in, when to step, where the deltas go
    taken.py, transactions.py, refused_steps.py     what a step takes in, holds, leaves out
    inputs.py     input endpoints: queues, backpressure, counters, tokens
    outputs.py    output endpoints: the lock, the delivery thread, retries
    endpoints.py  connectors by name
    phases.py     the table of phases and events
    delivery_knowledge.py, delivery_requests.py, delivery_state.py    what an endpoint knows of
                  its sink, and what each request and each event does to it
    delivery_facts.py, delivery_recovery.py     its parts; how it goes on after a restart
    delivery.py   the calls of the sink: cut, stage, publish, apply
    delta_queue.py     the deltas on their way to a sink
    checkpoints.py     taking checkpoints; manifests.py, storage.py: their files
    journal.py    what each step took in, durable before it is delivered; frames.py: rows as bytes
    recovery.py   going on from a checkpoint; output_position.py: what a sink's marker means then
    failpoints.py named instants at which tests let a pipeline die
    reset_desk.py requests about resets; reset_group.py, target_probe.py,
                  target_reading.py, audit.py serve it
    resets.py     the durable record of resets (tokens, generations)
    adhoc.py      ad-hoc queries on snapshots
    statistics.py the numbers of the REST contract
"""

from __future__ import annotations

from penstock.pipeline.pipeline import Pipeline

__all__ = ["Pipeline"]
