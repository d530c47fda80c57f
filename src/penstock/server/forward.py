"""From the API process into a pipeline's process: bytes pass through, flushed as they come.

    client ◄── chunk ── API ◄── chunk ── worker        (egress, queries: one chunk per message)
    client ── body ───► API ── body ───► worker        (ingress: flow control end to end)

A worker's error answer passes through unchanged. A worker that is unreachable or too slow is 503
`PipelineInteractionUnreachable` (contract section 8). The caller's
disconnect ends the worker's side.

Not here: which pipeline (`site.py`), what the worker does (`worker.py`).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import orjson
from starlette.responses import Response, StreamingResponse

from penstock.errors import TransientError

#: how often a request that is still being sent looks whether its pipeline is there
_LOOK_S = 1.0
#: how long the rest of an answer of a worker that has ended may be read
_LINGER_S = 60.0
_PASSED_HEADERS = ("content-type", "content-disposition", "retry-after")


class Forwarder:
    """One connection pool per worker. Use it from one event loop."""

    def __init__(self) -> None:
        self._clients: dict[Path, httpx.AsyncClient] = {}
        #: those of workers that have ended, each with a task that closes it
        self._leaving: set[asyncio.Task[None]] = set()

    def _client(self, socket: Path) -> httpx.AsyncClient:
        if socket not in self._clients:
            for gone in [path for path in self._clients if not path.exists()]:
                task = asyncio.ensure_future(self._leave(self._clients.pop(gone)))
                self._leaving.add(task)
                task.add_done_callback(self._leaving.discard)
            self._clients[socket] = httpx.AsyncClient(
                # verify=False: the socket speaks no TLS, and certificates take 0.2 s to load
                transport=httpx.AsyncHTTPTransport(
                    uds=str(socket), limits=httpx.Limits(max_connections=None), verify=False
                ),
                base_url="http://worker",
            )
        return self._clients[socket]

    async def _leave(self, client: httpx.AsyncClient) -> None:
        # one that is only dropped keeps its connections open until Python looks for cycles
        try:
            await asyncio.sleep(_LINGER_S)
        finally:
            await client.aclose()

    async def close(self) -> None:
        for task in self._leaving:
            task.cancel()
        await asyncio.gather(*self._leaving, return_exceptions=True)
        for client in self._clients.values():
            await client.aclose()

    async def call(
        self, name: str, socket: Path, method: str, args: dict[str, Any], timeout: float
    ) -> Response:
        """Call a method that answers with one JSON value (or text)."""
        try:
            answer = await self._client(socket).post(
                f"/call/{method}", content=orjson.dumps(args), timeout=timeout
            )
        except httpx.TransportError as error:
            raise _unreachable(name, method, error) from error
        return Response(answer.content, answer.status_code, headers=_passed(answer))

    async def open(
        self, name: str, socket: Path, path: str, args: dict[str, Any], timeout: float
    ) -> httpx.Response:
        """Start a streaming answer; its body has not been read. The caller must `aclose` it."""
        client = self._client(socket)
        request = client.build_request(
            "POST",
            path,
            content=orjson.dumps(args),
            timeout=httpx.Timeout(timeout, read=timeout),
        )
        # Reading the body may wait for as long as nothing happens in the pipeline.
        request.extensions["timeout"]["read"] = None
        try:
            async with asyncio.timeout(timeout):
                return await client.send(request, stream=True)
        except (httpx.TransportError, TimeoutError) as error:
            raise _unreachable(name, path, error) from error

    async def stream(
        self,
        name: str,
        socket: Path,
        path: str,
        args: dict[str, Any],
        timeout: float,
        farewell: Callable[[str], bytes] | None = None,
    ) -> Response:
        """Pass a streaming answer on, chunk by chunk. If the pipeline ends in the middle of it,
        `farewell(message)` is its last chunk; without one the answer breaks off."""
        answer = await self.open(name, socket, path, args, timeout)
        if not answer.is_success:
            await answer.aread()
            return Response(answer.content, answer.status_code, headers=_passed(answer))
        chunks = _chunks(answer, name, farewell)
        if answer.headers["content-type"] != "application/octet-stream":
            chunks = whole_lines(chunks)
        return StreamingResponse(chunks, answer.status_code, headers=_passed(answer))

    async def send(
        self,
        name: str,
        socket: Path,
        path: str,
        args: dict[str, Any],
        body: AsyncIterator[bytes],
        may_wait: Callable[[], bool],
        patience: float,
    ) -> Response:
        """Pass a request body on. Every `patience` seconds without an answer `may_wait` decides
        whether to go on waiting. A worker that has ended is noticed while its client sends
        nothing, too."""
        client = self._client(socket)
        query = {"args": orjson.dumps(args).decode()}
        call = asyncio.ensure_future(
            client.post(path, params=query, content=body, timeout=httpx.Timeout(None, connect=5.0))
        )
        waited_s = 0.0
        try:
            while True:
                done, _ = await asyncio.wait({call}, timeout=_LOOK_S)
                if done:
                    answer = call.result()
                    return Response(answer.content, answer.status_code, headers=_passed(answer))
                if not socket.exists():
                    raise _unreachable(name, path, ConnectionError("the pipeline has ended"))
                waited_s += _LOOK_S
                if waited_s >= patience:
                    waited_s = 0.0
                    if not may_wait():
                        late = TimeoutError(f"no answer within {patience:g} s")
                        raise _unreachable(name, path, late)
        except httpx.TransportError as error:
            raise _unreachable(name, path, error) from error
        finally:
            if not call.done():
                call.cancel()
                await asyncio.gather(call, return_exceptions=True)


async def _chunks(
    answer: httpx.Response, name: str, farewell: Callable[[str], bytes] | None
) -> AsyncIterator[bytes]:
    try:
        async for chunk in answer.aiter_raw():
            yield chunk
    except httpx.TransportError as error:
        if farewell is None:
            # Whoever reads must not take half of an answer for a whole one.
            raise ConnectionAbortedError(f"pipeline '{name}' ended within an answer") from error
        yield farewell(f"pipeline '{name}' ended within the answer")
    finally:
        await answer.aclose()


async def whole_lines(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The same bytes, cut only behind a line feed: a message longer than one read of the worker's
    socket leaves as the one HTTP chunk that it was (contract 0.1, trap 4)."""
    pending: list[bytes] = []
    try:
        async for chunk in chunks:
            end = chunk.rfind(b"\n") + 1
            if end:
                yield b"".join((*pending, chunk[:end]))
                pending = []
            if end < len(chunk):
                pending.append(chunk[end:])
        if pending:
            yield b"".join(pending)
    finally:
        await chunks.aclose()  # type: ignore[attr-defined]


def _passed(answer: httpx.Response) -> dict[str, str]:
    return {key: answer.headers[key] for key in _PASSED_HEADERS if key in answer.headers}


def _unreachable(name: str, request: str, error: Exception) -> TransientError:
    reason = str(error) or type(error).__name__
    return TransientError(
        f"Pipeline '{name}' could not be reached: {reason}",
        code="PipelineInteractionUnreachable",
        details={"pipeline_name": name, "request": request, "error": reason},
    )
