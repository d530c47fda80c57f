"""`python -m bench [SUITE | SUITE/CASE]`: every figure as one line of JSON.

Ours and the peers' libraries run as a worker does, with its large pages (`manager.allocation`).
"""

from __future__ import annotations

import os
import sys

from bench import (
    checkpoint,
    compiling,
    demo,
    ingest,
    latency,
    queries,
    reset,
    skew,
    startup,
    step_cost,
    tpch,
)  # fmt: skip
from bench.names import unknown
from bench.peers import environment as peers
from bench.peers import nexmark
from penstock.manager.allocation import with_large_pages

SUITES = (
    queries.run, nexmark.run, latency.run, step_cost.run, skew.run, tpch.run, compiling.run,
    startup.run, checkpoint.run, reset.run, ingest.run, demo.run,
)  # fmt: skip


def main() -> int:
    wanted = with_large_pages(os.environ)
    if wanted != os.environ:
        # glibc looks only when a process begins
        os.execve(sys.executable, [sys.executable, "-m", "bench", *sys.argv[1:]], wanted)
    only = sys.argv[1] if len(sys.argv) > 1 else None
    refused = unknown(only) or peers.unknown(os.environ.get("PEERS", ""))
    if refused:
        print(refused, file=sys.stderr)
        return 2
    printed = 0
    for run in SUITES:
        for figure in run(only):
            figure.print()
            printed += 1
    if not printed:
        # a server that is not installed here
        print(f"'{only}' cannot be measured on this machine", file=sys.stderr)
    return 0 if printed else 2


if __name__ == "__main__":
    sys.exit(main())
