"""The process that workers are forked from: everything is loaded here, once.

Its orders come over a socket, one a message, with the descriptors that the new process gets
(`manager/forks.py` is the other end):

    {"socket": PATH} + (stdin, output, ready pipe)  →  {"pid": N} or {"error": TEXT}

Invariants: no thread of Python's runs here when it forks; no descriptor of one worker reaches
another, or a worker would not see its own standard input close.
"""

from __future__ import annotations

import gc
import json
import os
import select
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

#: what the system calls a worker; at most 15 bytes
WORKER_NAME = "penstock-worker"
_MAX_ORDER = 4096
_DESCRIPTORS = 3
_LOOK_S = 0.05
#: between looks whether more can be loaded
_MORE_S = 0.5


@dataclass(frozen=True, slots=True)
class Order:
    """What a new worker is to do."""

    socket: str
    ready_fd: int


def serve_forks(control_fd: int, load: Callable[[], Callable[[], bool]]) -> Order | None:
    """Load, then fork whenever told to. Returns its order in each new process; in this one None,
    once the other end is gone. What `load` returns loads more, a little a call, between the orders,
    until it says that it is done."""
    control = socket.socket(fileno=control_fd)
    more, is_complete = _load_while_wanted(control, load), False
    _keep()
    while True:
        if not is_complete:
            is_complete = more()
            if is_complete:
                _keep()
            elif not select.select((control,), (), (), _MORE_S)[0]:
                continue
        order, descriptors, _, _ = socket.recv_fds(control, _MAX_ORDER, _DESCRIPTORS)
        if not order:
            return None
        try:
            pid = _fork_orphan()
        except OSError as error:
            control.send(json.dumps({"error": f"fork: {error}"}).encode())
        else:
            if pid == 0:
                control.close()
                return _begin(json.loads(order)["socket"], *descriptors)
            control.send(json.dumps({"pid": pid}).encode())
        for descriptor in descriptors:
            os.close(descriptor)


def _keep() -> None:
    """What is loaded stays: a collection in a worker would otherwise copy its pages."""
    gc.collect()
    gc.freeze()


def _load_while_wanted(
    control: socket.socket, load: Callable[[], Callable[[], bool]]
) -> Callable[[], bool]:
    """Loading may take long, if kernels must be compiled: end with the other end meanwhile."""
    loaded = threading.Event()
    # not whether there is nothing to read: an order may wait, sent before the other end went
    gone = select.poll()
    gone.register(control, select.POLLRDHUP)

    def watch() -> None:
        while not loaded.is_set():
            if gone.poll(1000 * _LOOK_S):
                os._exit(0)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    more = load()
    loaded.set()
    watcher.join()
    return more


def _fork_orphan() -> int:
    """Fork a process whose parent has ended: its pid here, 0 there."""
    read, write = os.pipe()
    between = os.fork()
    if between == 0:
        try:
            pid = os.fork()
        except OSError as error:
            os.write(write, str(-(error.errno or 1)).encode())
            os._exit(1)
        if pid == 0:
            os.close(read)
            os.close(write)
            return 0
        os.write(write, str(pid).encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as said:
        answer = int(said.read() or b"-1")
    os.waitpid(between, 0)
    if answer < 0:
        raise OSError(-answer, os.strerror(-answer))
    return answer


def _begin(path: str, stdin: int, output: int, ready: int) -> Order:
    """Take the place of a process that was spawned with these descriptors."""
    os.setsid()
    for descriptor, standard in ((stdin, 0), (output, 1), (output, 2)):
        os.dup2(descriptor, standard)
    os.close(stdin)
    os.close(output)
    # the command line stays that of the fork server; `ps` and `top` tell them apart by this name
    Path("/proc/self/comm").write_text(WORKER_NAME)
    return Order(path, ready)
