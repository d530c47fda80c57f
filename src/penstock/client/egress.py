"""A view over HTTP egress as its reader wants it: whole, at every instant.

    snapshot_begin ─► rows collect aside ─► snapshot_end ─► swap
                                       └──► snapshot_abort ─► forget them
                                   deltas ─► applied to what is shown

The stream's guarantee is `marked`: a reset replays a snapshot under a new generation in the same
stream. This reader keeps showing the old contents until the new snapshot is complete, so whoever
asks `rows` sees V(old) or V(new), never a mixture and never an empty view in between.

A gap in the sequence numbers means that chunks were dropped (backpressure off); the reader then
raises, since its contents can no longer be right.

Not here: the wire format (`penstock.io.outputs.http_egress`).
"""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Any

import httpx

from penstock.errors import TransientError

Row = tuple[tuple[str, Any], ...]


class EgressReader:
    """Follow `view` of `pipeline`. A context manager; reads in a thread of its own.

    `rows()` is the view now, `generation` the one it belongs to, `processed_step` the last step
    that it contains."""

    def __init__(
        self,
        base_url: str,
        pipeline: str,
        view: str,
        *,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self._url = f"{base_url.rstrip('/')}/v0/pipelines/{pipeline}/egress/{view}"
        self._headers = dict(headers or {})
        self._cond = threading.Condition()
        self._shown: Counter[Row] = Counter()
        self._aside: Counter[Row] | None = None
        self._sequence: int | None = None
        self._error: Exception | None = None
        self._closing = False
        self._response: httpx.Response | None = None
        self.generation = 0
        self.processed_step = 0
        self._thread = threading.Thread(target=self._run, name=f"read {view}", daemon=True)

    def __enter__(self) -> EgressReader:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._closing = True
        if self._response is not None:
            self._response.close()
        self._thread.join(10)

    def rows(self) -> Counter[Row]:
        """The whole view as rows ((column, value), …) with their multiplicity; empty before the
        first snapshot is complete."""
        with self._cond:
            if self._error is not None:
                raise self._error
            return Counter(self._shown)

    def wait_for_generation(self, generation: int, timeout_s: float = 30) -> None:
        """Until the contents are those of `generation` or a later one."""
        with self._cond:
            reached = self._cond.wait_for(
                lambda: self.generation >= generation or self._error is not None, timeout_s
            )
            if self._error is not None:
                raise self._error
            if not reached:
                raise TransientError(f"generation {generation} did not come in {timeout_s} s")

    def wait_for_step(self, step: int, timeout_s: float = 30) -> None:
        """Until the contents include everything up to `step`."""
        with self._cond:
            if not self._cond.wait_for(
                lambda: self.processed_step >= step or self._error is not None, timeout_s
            ):
                raise TransientError(f"step {step} did not come in {timeout_s} s")

    def take(self, chunk: Mapping[str, Any]) -> None:
        """Take in one chunk of the stream, as parsed JSON."""
        with self._cond:
            self._follow_sequence(int(chunk["sequence_number"]))
            control = chunk.get("control")
            if control == "snapshot_begin":
                self._aside = Counter()
            elif control == "snapshot_end" and self._aside is not None:
                self._shown, self._aside = self._aside, None
                self.generation = int(chunk["generation"])
            elif control == "snapshot_abort":
                self._aside = None
            for event in chunk.get("json_data", ()):
                self._apply(event)
            if "processed_steps" in chunk:
                self.processed_step = int(chunk["processed_steps"])
            self._cond.notify_all()

    def _apply(self, event: Mapping[str, Any]) -> None:
        into = self._shown if self._aside is None else self._aside
        for kind, sign in (("delete", -1), ("insert", 1)):
            if kind in event:
                row = _frozen(event[kind])
                into[row] += sign
                if into[row] == 0:
                    del into[row]

    def _follow_sequence(self, number: int) -> None:
        if self._sequence is not None and number != self._sequence + 1:
            raise TransientError(
                f"chunks {self._sequence + 1} to {number - 1} were dropped: connect again, with "
                "backpressure if the view changes faster than you read"
            )
        self._sequence = number

    def _run(self) -> None:
        parameters = {"format": "json", "backpressure": "true", "send_snapshot": "true"}
        try:
            timeout = httpx.Timeout(10, read=30)
            with httpx.stream(
                "POST", self._url, params=parameters, headers=self._headers, timeout=timeout
            ) as response:
                self._response = response
                if response.status_code != 200:
                    raise TransientError(f"{response.status_code}: {response.read().decode()}")
                for line in _lines(response):
                    self.take(json.loads(line))
        except Exception as e:
            if not self._closing:
                with self._cond:
                    self._error = e
                    self._cond.notify_all()


def _lines(response: httpx.Response) -> Iterator[str]:
    for line in response.iter_lines():
        if line.strip():
            yield line


def _frozen(row: Mapping[str, Any]) -> Row:
    return tuple((k, json.dumps(v) if isinstance(v, list | dict) else v) for k, v in row.items())
