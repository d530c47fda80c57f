"""Processes that a worker's user functions started and left behind when the worker ended.

They become children of this process (`forks`: it is their nearest subreaper), and when they end
somebody must wait for them, or they stay in the process table as zombies. Which children are of
that kind is told by their session: a worker leads one of its own, and what it starts is in it.

    ours          in our session, or the leader of its own      waited for by who started it
    unborn        in the fork server's session                  a worker that is just being made
    orphan        in any other                                  waited for here

An orphan that has made a session of its own looks like one of ours and is left alone.

Cost: a few file reads a second.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path

_LOOK_S = 1.0


class OrphanReaper:
    """Waits for them, in a thread, until `end`. Linux only."""

    def __init__(self, fork_server: int) -> None:
        self._not_theirs = {os.getsid(0), fork_server}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="orphans", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._ended.wait(_LOOK_S):
            for pid in _children():
                if self._is_dead_orphan(pid):
                    os.waitpid(pid, os.WNOHANG)

    def _is_dead_orphan(self, pid: int) -> bool:
        try:
            stat = Path(f"/proc/{pid}/stat").read_text()
        except OSError:  # its parent has just waited for it
            return False
        # behind the name, which may hold anything: state, parent, group, session (proc_pid_stat(5))
        state, _, _, session = stat.rpartition(")")[2].split()[:4]
        return state == "Z" and int(session) not in {pid, *self._not_theirs}

    def end(self) -> None:
        self._ended.set()
        self._thread.join()


def _children() -> list[int]:
    """The children of all threads of this process."""
    found: list[int] = []
    for task in Path("/proc/self/task").iterdir():
        try:
            found += map(int, (task / "children").read_text().split())
        except OSError:  # the thread has ended
            continue
    return found
