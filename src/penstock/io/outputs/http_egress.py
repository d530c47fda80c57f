"""HTTP egress: a view streamed to whoever connected, one JSON object per chunk.

    {"sequence_number": 0, "snapshot": true, "generation": 3, "control": "snapshot_begin"}
    {"sequence_number": 1, "snapshot": true, "generation": 3, "json_data": [{"insert": …}, …]}
    {"sequence_number": 2, "snapshot": true, "generation": 3, "control": "snapshot_end"}
    {"sequence_number": 3, "snapshot": false, "generation": 3, "json_data": […]}
    {"sequence_number": 4, "snapshot": false, "generation": 3, "processed_steps": 17}
    {"sequence_number": 5, "snapshot": false, "generation": 3}                      heartbeat

A snapshot that is called off ends with "snapshot_abort" instead: what came of it is forgotten.

Guarantee: `marked`. A reset begins a new generation in the same stream; a reader that keeps the
old contents until `snapshot_end` and then swaps sees an atomic change
(`penstock.client.EgressReader` does that). Clients that know only contract section 4 skip the
control chunks as heartbeats.

With backpressure a full queue makes the endpoint wait; without it, chunks are dropped and the
sequence numbers show the gap (contract section 4).

Not here: the HTTP response itself (`penstock.server`).
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import orjson

from penstock.data.batch import Batch
from penstock.io.contracts import (
    Capabilities,
    Marker,
    Sink,
    SinkContext,
    SinkRejected,
)
from penstock.io.formats import make_encoder
from penstock.io.outputs.fencing import (
    Staging,
    check_complete,
    check_fence,
    is_applied,
    staging_of,
)

#: chunks a client may lag behind (contract section 4)
QUEUE_CHUNKS = 100
HEARTBEAT_S = 3.0
TARGET = "the stream"


class HttpEgressSink(Sink):
    """One subscription. The delivery thread writes, the HTTP response reads `chunks`.

    What has been sent is remembered here (the marker, the chunks of a snapshot under way), so a
    call that is made again sends nothing twice. `close` and `open` again is a retry in the same
    stream, as the client is still there; `end` is its end."""

    def __init__(self, context: SinkContext) -> None:
        super().__init__(context)
        config = context.config
        self._has_backpressure = bool(config.get("backpressure", False))
        assert context.format is not None
        self._is_json = context.format["name"] == "json"
        self._encoder = make_encoder(context.format, context.schema)
        self._chunks: queue.Queue[dict[str, Any] | None] = queue.Queue(QUEUE_CHUNKS)
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._sequence = 0
        self._generation = self._shown_generation = 0
        self._is_snapshot = False
        self._marker: Marker | None = None
        self._staging: Staging | None = None
        self._step = -1
        self._bytes = 0

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(guarantee="marked", is_log=True)

    def open(self) -> None:
        if self._ended.is_set():
            raise SinkRejected("the client has disconnected")
        self._call_off()

    def validate(self) -> None:
        return None

    def marker(self) -> Marker | None:
        return self._marker

    def begin(self, generation: int, token: str, step: int) -> None:
        self._generation, self._is_snapshot = generation, True
        self._staging = Staging(generation)
        self._send({"control": "snapshot_begin"})

    def stage(self, generation: int, chunk: int, rows: Batch) -> None:
        staging = staging_of(self._staging, generation)
        if staging.is_repetition(chunk):
            return
        self._send_rows(rows)
        staging.took(int(rows.weights.sum()))

    def publish(self, generation: int, marker: Marker) -> None:
        if check_fence(self._marker, marker, TARGET) and self._staging is None:
            return
        check_complete(generation, staging_of(self._staging, generation).rows, marker)
        self._send({"control": "snapshot_end"})
        self._marker, self._staging, self._is_snapshot = marker, None, False
        self._shown_generation = generation

    def abort(self, generation: int) -> None:
        """Tell the reader to forget what came of `generation`: the old contents go on."""
        if self._generation == generation:
            self._call_off()

    def _call_off(self) -> None:
        if self._is_snapshot:
            self._send({"control": "snapshot_abort"})
            self._is_snapshot, self._generation = False, self._shown_generation
        self._staging = None

    def apply(self, rows: Batch, marker: Marker) -> None:
        if is_applied(self._marker, marker, TARGET):
            return
        self._generation = self._shown_generation = marker.generation
        self._send_rows(rows)
        self._marker = marker

    def progress(self, step: int) -> None:
        if step > self._step:
            self._send({"processed_steps": step})
            self._step = step

    def transmitted_bytes(self) -> int:
        return self._bytes

    def close(self) -> None:
        """Wake the response: whether this is the end, its `is_over` says."""
        with suppress(queue.Full):
            self._chunks.put_nowait(None)

    def end(self) -> None:
        """The client is gone, or nothing will come any more."""
        self._ended.set()
        self.close()

    # the stream

    def chunks(self, is_over: Callable[[], bool] = lambda: False) -> Iterator[bytes]:
        """The chunks as they come, a heartbeat at once and after every 3 s of silence; to the last
        one that was sent, once `is_over` or the sink has ended."""
        yield self._render(self._head())
        while not (self._chunks.empty() and (self._ended.is_set() or is_over())):
            try:
                chunk = self._chunks.get(timeout=HEARTBEAT_S)
            except queue.Empty:
                chunk = self._head()
            if chunk is not None:
                yield self._render(chunk)

    def _send_rows(self, rows: Batch) -> None:
        for buffer in self._encoder.encode(rows):
            if self._is_json:
                self._send({"json_data": orjson.Fragment(buffer)})
            else:
                self._send({"text_data": buffer.decode()})

    def _send(self, fields: dict[str, Any]) -> None:
        chunk = self._head() | fields
        while not self._ended.is_set():
            try:
                self._chunks.put(chunk, timeout=0.1 if self._has_backpressure else 0)
                return
            except queue.Full:
                if not self._has_backpressure:
                    with self._lock:
                        self._sequence += 1  # the gap tells the reader
                    return
        raise SinkRejected("the client has disconnected")

    def _head(self) -> dict[str, Any]:
        return {"snapshot": self._is_snapshot, "generation": self._generation}

    def _render(self, chunk: dict[str, Any]) -> bytes:
        """The chunk as bytes, numbered as it leaves: heartbeats are numbered among the others."""
        with self._lock:
            number = self._sequence
            self._sequence += 1
        data = orjson.dumps({"sequence_number": number, **chunk}) + b"\r\n"
        self._bytes += len(data)
        return data
