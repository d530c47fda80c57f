"""A pipeline's memory limit: what of `runtime_config.max_rss_mb` its runs may take.

    max_rss_mb   ├─ in use when the circuit is built ─┼─ runs ─┼─ runs that wait ─┼─ logs, merges ─┤
                                                    └ a quarter ┴ another one ┴ half of what is left

Beyond their quarter, runs are on their way to files of the pipeline's storage, which a step waits
for where they take two (see `penstock.state.spill`). Large arrays by group live in files (see
`penstock.state.backing`), and what is freed is the system's again (see `penstock.state.freed`).
Without storage the limit is a wish, and the log says so.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path

from penstock.circuit.graph import Circuit
from penstock.pipeline.statistics import resident_bytes
from penstock.state.backing import use_files, use_memory
from penstock.state.freed import limit_what_is_kept
from penstock.state.storage import StateStore

log = logging.getLogger(__name__)

#: runs may always take this much
LEAST_BYTES = 16 << 20
#: of what is left of the limit the part that they may take: twice that is theirs before a step
#: waits, and sorts, merges and the rows of a step are about as much again
RUNS_SHARE = 4
#: an array by group that takes more than this part of what runs may take lives in a file
ARRAY_SHARE = 16


def limit_memory(circuit: Circuit, store: StateStore | None, max_rss_mb: int | None) -> int | None:
    """Keep the pipeline about below its limit; the bytes that runs may take, None for any."""
    use_memory()
    if max_rss_mb is None:
        return None
    if store is None:
        log.warning("memory_limit_without_storage max_rss_mb=%d", max_rss_mb)
        return None
    budget = max(LEAST_BYTES, ((max_rss_mb << 20) - _own_bytes()) // RUNS_SHARE)
    circuit.spill_to(store, budget)
    use_files(store.directory, budget // ARRAY_SHARE)
    limit_what_is_kept()
    log.info("memory_limit max_rss_mb=%d runs_bytes=%d", max_rss_mb, budget)
    return budget


def _own_bytes() -> int:
    """Resident memory of this process without mapped files, which the system can drop."""
    try:
        _, resident, mapped, *_ = Path("/proc/self/statm").read_text().split()
    except OSError:
        return resident_bytes()
    return (int(resident) - int(mapped)) * os.sysconf("SC_PAGE_SIZE")
