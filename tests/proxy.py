"""A TCP proxy that loses, holds and repeats what passes through it; for tests of lost replies.

    client ──► proxy ──► server          `requests` pass from the client, `replies` to it

    with Proxy(port) as proxy:
        proxy.replies.drop(after=b"COMMIT")      from the reply with these bytes on, nothing passes
        …                                        and the connection is cut
        proxy.replies.hold(); …; proxy.replies.release()
        proxy.cut()                              all connections now
        proxy.shut(); …; proxy.reopen()          cut, and nobody gets through until it is reopened

A rule that waits for bytes sees each chunk as it was read from the socket, which is a whole message
for the short ones of databases. `proxy.fired` is set when a rule has done its work.
"""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from types import TracebackType

CHUNK = 1 << 16


class Direction:
    """What one direction does to its bytes. Thread-safe."""

    def __init__(self, fired: threading.Event) -> None:
        self._lock = threading.Lock()
        self._open = threading.Event()
        self._open.set()
        self._drop: bytes | None = None
        self._skip = 0
        self._repeat: bytes | None = None
        self._fired = fired

    def hold(self) -> None:
        """Keep everything back until `release`."""
        self._open.clear()

    def release(self) -> None:
        self._open.set()

    def drop(self, after: bytes = b"", *, skip: int = 0) -> None:
        """Swallow the next chunk that contains `after`, or the one `skip` such chunks later, and
        cut its connection; once."""
        with self._lock:
            self._drop, self._skip = after, skip

    def repeat(self, after: bytes = b"") -> None:
        """Pass the next chunk that contains `after` twice; once."""
        with self._lock:
            self._repeat = after

    def wait(self) -> None:
        self._open.wait()

    def outcome(self, data: bytes) -> bytes | None:
        """What passes instead of `data`; None: nothing, and the connection is cut."""
        with self._lock:
            if self._drop is not None and self._drop in data and self._skip > 0:
                self._skip -= 1
            elif self._drop is not None and self._drop in data:
                self._drop = None
                self._fired.set()
                return None
            if self._repeat is not None and self._repeat in data:
                self._repeat = None
                self._fired.set()
                return data * 2
        return data


class Proxy:
    """Forwards connections to 127.0.0.1:`to` from its own `port`."""

    def __init__(self, to: int) -> None:
        self.to = to
        self._is_shut = False
        self.fired = threading.Event()
        self.requests, self.replies = Direction(self.fired), Direction(self.fired)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._pairs: set[tuple[socket.socket, socket.socket]] = set()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def __enter__(self) -> Proxy:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._listener.close()
        self.requests.release()
        self.replies.release()
        self.cut()

    def cut(self) -> None:
        """End every connection, both ways, at once."""
        with self._lock:
            pairs = list(self._pairs)
        for pair in pairs:
            _end(*pair)

    def shut(self) -> None:
        """Let nobody through: those that are connected are cut off, others hung up on."""
        with self._lock:
            self._is_shut = True
        self.cut()

    def reopen(self) -> None:
        with self._lock:
            self._is_shut = False

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return  # closed
            try:
                server = socket.create_connection(("127.0.0.1", self.to), 10)
            except OSError:
                client.close()
                continue
            server.settimeout(None)
            pair = (client, server)
            with self._lock:
                is_shut = self._is_shut
                if not is_shut:
                    self._pairs.add(pair)
            if is_shut:
                _end(*pair)
                continue
            for source, target, way in (
                (client, server, self.requests),
                (server, client, self.replies),
            ):
                threading.Thread(
                    target=self._pump, args=(source, target, way, pair), daemon=True
                ).start()

    def _pump(
        self,
        source: socket.socket,
        target: socket.socket,
        way: Direction,
        pair: tuple[socket.socket, socket.socket],
    ) -> None:
        with suppress(OSError):
            while data := source.recv(CHUNK):
                way.wait()
                passed = way.outcome(data)
                if passed is None:
                    break
                target.sendall(passed)
        _end(*pair)
        with self._lock:
            self._pairs.discard(pair)


def _end(*sockets: socket.socket) -> None:
    for s in sockets:
        with suppress(OSError):
            s.shutdown(socket.SHUT_RDWR)
        s.close()
