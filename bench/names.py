"""What may be asked for: `ONLY=SUITE` or `ONLY=SUITE/CASE`.

unknown("nexmark/q99")   "there is no benchmark 'nexmark/q99': nexmark has q0, q1, …"
unknown("nexmark/q4")    None
"""

from __future__ import annotations

from bench import checkpoint, latency, nexmark, queries, skew, step_cost, tpch

#: by suite, its cases
CASES: dict[str, list[str]] = {
    **{suite: [f"delta-{d}" for d in queries.DELTAS] for suite in queries.QUERIES},
    "nexmark": [*nexmark.QUERIES, "all"],
    "latency": ["20"] + [f"{p}delta-{d}" for p in ("20/", "") for d in latency.DELTAS],
    "step-cost": [*step_cost.CASES],
    "skew": [*skew.CASES, *skew.PAIRS, "transaction"],
    "tpch": [*tpch.QUERIES],
    "compiling": ["tpch", "300-views"],
    "startup": ["changed-program", "first-server"],
    "checkpoint": [f"state-{rows}" for rows in checkpoint.STATES],
    "reset": [
        "sqlite", "duckdb", "delta", "parquet", "json", "postgres", "redis", "kafka",
        "kafka-upsert", "others", "dead",
    ],
    "ingest": ["json", "events", "csv", "bad-1%"],
    "demo": ["throughput"],
}  # fmt: skip


def unknown(only: str | None) -> str | None:
    """Why there are no figures of `only`, in a sentence; None where there are."""
    if only is None or only in CASES:
        return None
    suite, _, case = only.partition("/")
    if case in CASES.get(suite, ()):
        return None
    if suite in CASES:
        return f"there is no benchmark '{only}': {suite} has {', '.join(CASES[suite])}"
    return f"there is no benchmark '{only}': suites are {', '.join(CASES)}; or SUITE/CASE"
