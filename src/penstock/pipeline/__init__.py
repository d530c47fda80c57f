"""Room `pipeline`: one running pipeline, from arriving bytes to delivered views.

    bytes ─► InputEndpoint ─► queue ─► StepLoop ─► circuit.step ─► deltas ─► OutputEndpoint ─► Sink
              (parser)       (bounded)  (one thread)                          (one thread each)

`Pipeline` is the door; the parts never call the loop, the loop calls them:

    pipeline.py   the door: start, pause, resume, stop, and one method per REST call
    loop.py       steps: what to take in, when to step, where the deltas go
    inputs.py     input endpoints: queues, backpressure, counters, tokens
    outputs.py    output endpoints: the delivery thread and its reset
    phases.py     the table of phases and events that outputs.py follows
    resets.py     the durable record of resets (tokens, generations)
    adhoc.py      ad-hoc queries on snapshots
    statistics.py the numbers of the REST contract
"""

from __future__ import annotations

from penstock.pipeline.pipeline import Pipeline

__all__ = ["Pipeline"]
