"""A view over HTTP egress as its reader wants it: whole, at every instant.

    snapshot_begin ─► rows collect aside ─► snapshot_end ─► swap
                                       └──► snapshot_abort ─► forget them
                                   deltas ─► applied to what is shown

The stream's guarantee is `marked`: a reset replays a snapshot under a new generation in the same
stream. This reader keeps showing the old contents until the new snapshot is complete, so whoever
asks `rows` sees V(old) or V(new), never a mixture and never an empty view in between.

A stream that ends (the pipeline was restarted, the network failed) or has a gap in its sequence
numbers (chunks were dropped) is asked for again, with a snapshot; the old contents stay until that
is complete. What a retry cannot mend, such as a view that does not exist, `rows` raises.

Not here: the wire format (`penstock.io.outputs.http_egress`).
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from types import TracebackType
from typing import Any
from urllib.parse import quote

import httpx

from penstock.client.rows import Row, frozen, parsed
from penstock.errors import TransientError, UserError

#: seconds before a stream is asked for again, twice as long each time it brings no snapshot
FIRST_PAUSE_S, LAST_PAUSE_S = 0.05, 5.0


class EgressReader:
    """Follow `view` of `pipeline`. A context manager; reads in a thread of its own.

    `rows()` is the view now, `snapshots` how many whole ones it has been made from so far,
    `processed_step` the last step that it contains, `generation` the one it belongs to: each
    stream counts its own from 1 on. `last_error`: why the last stream ended."""

    def __init__(
        self,
        base_url: str,
        pipeline: str,
        view: str,
        *,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        place = f"{quote(pipeline, safe='')}/egress/{quote(view, safe='')}"
        self._url = f"{base_url.rstrip('/').removesuffix('/v0')}/v0/pipelines/{place}"
        self._headers = dict(headers or {})
        self._cond = threading.Condition()
        self._shown: Counter[Row] = Counter()
        self._aside: Counter[Row] | None = None
        self._sequence: int | None = None
        self._error: Exception | None = None
        self._closing = threading.Event()
        self._response: httpx.Response | None = None
        self.generation = self.snapshots = 0
        self.last_error: str | None = None
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
        self._closing.set()
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
        """Until the contents are those of `generation` of this stream, or a later one."""
        self._wait(lambda: self.generation >= generation, f"generation {generation}", timeout_s)

    def wait_for_snapshots(self, snapshots: int, timeout_s: float = 30) -> None:
        """Until the contents have been made from so many whole snapshots, in all streams."""
        self._wait(lambda: self.snapshots >= snapshots, f"snapshot {snapshots}", timeout_s)

    def wait_for_step(self, step: int, timeout_s: float = 30) -> None:
        """Until the contents include everything up to `step`."""
        self._wait(lambda: self.processed_step >= step, f"step {step}", timeout_s)

    def _wait(self, is_reached: Callable[[], bool], what: str, timeout_s: float) -> None:
        with self._cond:
            reached = self._cond.wait_for(
                lambda: is_reached() or self._error is not None, timeout_s
            )
            if self._error is not None:
                raise self._error
            if not reached:
                why = (
                    "" if self.last_error is None else f"; the last stream ended: {self.last_error}"
                )
                raise TransientError(f"{what} did not come in {timeout_s} s{why}")

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
                self.snapshots += 1
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
                row = frozen(event[kind])
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
        pause_s = FIRST_PAUSE_S
        while not self._closing.is_set():
            shown = self.snapshots
            try:
                self._read()
                why = "the server ended it"
            except (TransientError, httpx.TransportError, httpx.StreamError) as e:
                why = str(e) or repr(e)
            except Exception as e:
                with self._cond:
                    self._error = None if self._closing.is_set() else e
                    self._cond.notify_all()
                return
            with self._cond:
                self.last_error = why
                self._aside = self._sequence = None
            pause_s = FIRST_PAUSE_S if self.snapshots > shown else min(2 * pause_s, LAST_PAUSE_S)
            self._closing.wait(pause_s)

    def _read(self) -> None:
        """One stream, to its end. Raises TransientError for what may pass, UserError if the server
        refuses for good."""
        parameters = {"format": "json", "backpressure": "true", "send_snapshot": "true"}
        timeout = httpx.Timeout(10, read=30)
        with httpx.stream(
            "POST", self._url, params=parameters, headers=self._headers, timeout=timeout
        ) as response:
            self._response = response
            if response.status_code != 200:
                refusal = f"{response.status_code}: {response.read().decode()}"
                is_passing = response.status_code >= 500 or response.status_code in (410, 429)
                raise TransientError(refusal) if is_passing else UserError(refusal)
            for line in _lines(response):
                self.take(parsed(line))


def _lines(response: httpx.Response) -> Iterator[str]:
    for line in response.iter_lines():
        if line.strip():
            yield line
