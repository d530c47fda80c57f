"""What each operator of the running circuit has done and keeps: the circuit profile.

    {"steps": 812, "step_seconds": 3.1, "step_latency_ms": {"p50": 1.2, "p99": 9.7},
     "operators": [{"name": "aggregate 4", "inputs": ["map 3"], "seconds": 1.9,
                    "rows_in": 90100, "rows_out": 1804, "state_rows": 1000}, …]}

Operators are in the order of the circuit, by the names that it gives them: `source T` is table T,
`sink V` view V. Seconds are those since this process took the pipeline up, of the clock: with
several workers operators run side by side, and their sum may exceed that of the steps. Rows are
those of the pipeline's whole life, as far as checkpoints know it.

Source: contract section 6.3 names the endpoints and says nothing of what they hold; this is ours.
Cost: the step lock for as long as the operators' rows take to count, some µs each.
"""

from __future__ import annotations

from typing import Any

from penstock.pipeline.loop import StepLoop
from penstock.pipeline.statistics import step_percentiles


def circuit_profile(loop: StepLoop) -> dict[str, Any]:
    """As of the last step."""
    with loop.step_lock:
        return {
            "steps": loop.step,
            "step_seconds": round(loop.stepping_s, 6),
            "step_latency_ms": step_percentiles(loop),
            "operators": [
                {
                    "name": o.name,
                    "inputs": list(o.inputs),
                    "seconds": round(o.seconds, 6),
                    "rows_in": o.rows_in,
                    "rows_out": o.rows_out,
                    "state_rows": o.state_rows,
                }
                for o in loop.circuit.stats()
            ],
        }
