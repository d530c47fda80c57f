"""Many pipelines: their records, life-cycle, programs and worker processes.

    Fleet ── records (store.py, SQLite) ── one Deployment per running pipeline ── one worker process
      │  └── compiler.py: a thread that turns program text into program info
      └── lifecycle.py: which call is allowed in which state

Invariants: a record changes only under the fleet's lock and is stored before anyone sees it; the
API process holds no pipeline state beyond the records and never runs a circuit.

Not here: HTTP (`server/`), what runs in a worker (`pipeline/`).
"""

from __future__ import annotations
