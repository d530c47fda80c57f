"""Many pipelines: their records, life-cycle, programs and worker processes.

    Fleet ── Roster (records; store.py, SQLite) ── Deployments ── one worker process each
      │  └── compiler.py: a thread that turns program text into program info
      └── lifecycle.py: which call is allowed in which state

Invariants: a record changes only under the roster's lock and is stored before anyone sees it; the
API process holds no pipeline state beyond the records and never runs a circuit.

Not here: HTTP (`server/`), what runs in a worker (`pipeline/`).
"""

from __future__ import annotations
