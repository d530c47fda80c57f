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
from collections.abc import Iterator
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

#: chunks a client may lag behind (contract section 4)
QUEUE_CHUNKS = 100
HEARTBEAT_S = 3.0


class HttpEgressSink(Sink):
    """One subscription. The delivery thread writes, the HTTP response reads `chunks`."""

    def __init__(self, context: SinkContext) -> None:
        super().__init__(context)
        config = context.config
        self._has_backpressure = bool(config.get("backpressure", False))
        assert context.format is not None
        self._is_json = context.format["name"] == "json"
        self._encoder = make_encoder(context.format, context.schema)
        self._chunks: queue.Queue[dict[str, Any]] = queue.Queue(QUEUE_CHUNKS)
        self._closed = threading.Event()
        self._lock = threading.Lock()
        self._sequence = 0
        self._generation = self._shown_generation = 0
        self._is_snapshot = False
        self._bytes = 0

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(guarantee="marked", is_log=True)

    def open(self) -> None:
        if self._closed.is_set():
            raise SinkRejected("the client has disconnected")

    def validate(self) -> None:
        return None

    def marker(self) -> Marker | None:
        return None

    def begin(self, generation: int, token: str, step: int) -> None:
        self._generation, self._is_snapshot = generation, True
        self._send({"control": "snapshot_begin"})

    def stage(self, generation: int, chunk: int, rows: Batch) -> None:
        self._send_rows(rows)

    def publish(self, generation: int, marker: Marker) -> None:
        self._send({"control": "snapshot_end"})
        self._is_snapshot = False
        self._shown_generation = generation

    def abort(self, generation: int) -> None:
        """Tell the reader to forget what came of `generation`: the old contents go on."""
        if self._is_snapshot and self._generation == generation:
            self._send({"control": "snapshot_abort"})
            self._is_snapshot, self._generation = False, self._shown_generation

    def apply(self, rows: Batch, marker: Marker) -> None:
        self._generation = self._shown_generation = marker.generation
        self._send_rows(rows)

    def progress(self, step: int) -> None:
        self._send({"processed_steps": step})

    def transmitted_bytes(self) -> int:
        return self._bytes

    def close(self) -> None:
        self._closed.set()

    # the stream

    def chunks(self) -> Iterator[bytes]:
        """The chunks as they come, a heartbeat at once and after every 3 s of silence."""
        yield self._render(self._head())
        while not (self._closed.is_set() and self._chunks.empty()):
            try:
                yield self._render(self._chunks.get(timeout=HEARTBEAT_S))
            except queue.Empty:
                if not self._closed.is_set():
                    yield self._render(self._head())

    def _send_rows(self, rows: Batch) -> None:
        for buffer in self._encoder.encode(rows):
            if self._is_json:
                self._send({"json_data": orjson.Fragment(buffer)})
            else:
                self._send({"text_data": buffer.decode()})

    def _send(self, fields: dict[str, Any]) -> None:
        chunk = self._head() | fields
        while not self._closed.is_set():
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
