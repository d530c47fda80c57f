"""The REST skin: parse a request, call the manager or a worker, render the answer.

    client ── HTTP ──► API process (app.py, routes/, auth.py) ── Unix socket ──► worker.py
                         │ records, life-cycle: manager/                         one Pipeline
                         └ calls into a pipeline: forward.py, bytes pass through

Invariants: `async` code lives here only; no decision about pipelines is taken here; exactly one
place (`errors.py`) turns exceptions into HTTP answers, for both processes.

Not here: the life-cycle (`manager/`), the engine (`pipeline/`).
"""

from __future__ import annotations
