"""A worker process: one pipeline behind a Unix socket.

    python -m penstock.server.worker --fork-server N           many, forked on demand from this one
    python -m penstock.server.worker --socket PATH --ready-fd N          one, where fork is unsafe

    POST /call/deploy        the config; builds and starts the Pipeline
    POST /call/suspend       stop with a checkpoint; /call/stop: without
    POST /call/METHOD        any other method of `CALLS`, JSON in, JSON out
    POST /ingress?args=…     the request body is the rows
    POST /egress, /query     a streaming answer, one HTTP chunk per message

It starts before anybody needs it: everything is imported and the kernels are loaded, then it says
so through the ready pipe and waits for its one deployment. It ends when its standard input closes,
which is when the server is gone.

Not here: what a call means (`penstock.pipeline`), life cycles (`penstock.manager`).
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import logging
import os
import signal
import sys
import threading
import time
import types
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import anyio
import anyio.to_thread
import orjson
import pyarrow as pa
import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from penstock.data.warm import load_kernels
from penstock.errors import PenstockError, TransientError, UserError, without_hidden
from penstock.pipeline import Pipeline
from penstock.server.answers import json_response, text_response
from penstock.server.errors import EXCEPTION_HANDLERS, error_body
from penstock.server.fork_server import Order, serve_forks

log = logging.getLogger("penstock.worker")

#: methods of Pipeline that the API process may call; their keyword arguments are the JSON body
CALLS = frozenset((
    "status", "pause", "resume", "completion_status", "completion_token", "stats", "input_stats",
    "output_stats", "set_connector", "set_output_connector", "time_series", "start_transaction",
    "commit_transaction", "checkpoint", "checkpoint_status", "checkpoints", "reset", "reset_status",
    "cancel_reset", "reset_group", "audit", "metrics", "approve", "advance_clock",
    "circuit_profile",
))  # fmt: skip
#: those that make sense before the pipeline is built
_ALWAYS = frozenset(("status", "pause", "resume", "approve", "checkpoints"))
_POLL_S = 0.02
_GRACE_S = 3.0
_THREADS = 1000
#: bytes of a request that are read while those before them are parsed
_AHEAD_BYTES = 1 << 20
#: arguments of an ingress travel in the address
_MAX_HEAD_BYTES = 1 << 20
#: much longer than clients keep a connection that nobody uses (httpx: 5 s), or a request might be
#: sent on one that is just being closed, and fail without having been seen
_SECONDS_KEPT_ALIVE = 75


class Host:
    """The one pipeline of this process, from its deployment on."""

    def __init__(self) -> None:
        self._pipeline: Pipeline | None = None
        self._stopping = threading.Event()

    @property
    def pipeline(self) -> Pipeline:
        if self._pipeline is None:
            raise TransientError("no pipeline is deployed here yet", code="Initializing")
        return self._pipeline

    def deploy(self, config: dict[str, Any]) -> None:
        pipeline = Pipeline(config)
        pipeline.start()
        self._pipeline = pipeline
        # the step loop makes no cycles worth collecting: keep the collector out of its way
        gc.collect()
        gc.freeze()
        gc.set_threshold(100_000, 50, 50)

    def wait_status(self, known: str, seconds: float, checkpoint: int = 0) -> dict[str, Any]:
        """The status once its state differs from `known` or its newest checkpoint from
        `checkpoint`, or after `seconds`, or when stopping: a call that is still waiting would hold
        up the end of the process."""
        deadline = time.monotonic() + seconds
        pipeline = self.pipeline
        while True:
            is_news = pipeline.status()["state"] != known
            is_news = is_news or pipeline.newest_checkpoint != checkpoint
            if is_news or time.monotonic() >= deadline or self._stopping.wait(_POLL_S):
                newest, checkpoints = pipeline.newest_checkpoint, pipeline.checkpoints()
                return {**pipeline.status(), "checkpoint": newest, "checkpoints": checkpoints}

    def suspend(self) -> list[dict[str, Any]]:
        """Stop with a checkpoint; the checkpoints that there are then. Whatever the pipeline
        raises: it goes on."""
        pipeline = self.pipeline
        pipeline.suspend()
        return pipeline.checkpoints()

    def stop(self) -> None:
        self._stopping.set()
        if self._pipeline is not None:
            self._pipeline.stop()

    # HTTP

    async def call(self, request: Request) -> Response:
        method = request.path_params["method"]
        args = orjson.loads(await request.body() or b"{}")
        function: Callable[..., Any]
        if method == "deploy":
            await run_in_threadpool(self.deploy, args)
            return json_response(None)
        if method == "wait_status":
            return json_response(await run_in_threadpool(self.wait_status, **args))
        if method == "suspend":
            return json_response(await run_in_threadpool(self.suspend))
        if method == "stop":
            await run_in_threadpool(self.stop)
            return json_response(None)
        if method not in CALLS:
            raise UserError(f"a worker has no method '{method}'")
        if method not in _ALWAYS:
            self.pipeline.require_open()
        function = getattr(self.pipeline, method)
        answer = await run_in_threadpool(function, **args)
        if method == "metrics":
            if args.get("format") == "json":
                return Response(answer, media_type="application/json")
            return text_response(answer)
        if method in ("set_connector", "set_output_connector"):
            return Response(b"")
        return json_response(answer)

    async def ingress(self, request: Request) -> Response:
        args = orjson.loads(request.query_params["args"])
        self.pipeline.require_open()
        session = await run_in_threadpool(lambda: self.pipeline.ingress(**args))
        read: list[bytes] = []
        feeding: asyncio.Task[None] | None = None

        async def feed() -> None:
            # what arrived while rows were parsed is parsed at once: the more, the less a row costs
            while read:
                data = b"".join(read)
                read.clear()
                await run_in_threadpool(session.feed, data)

        try:
            async for data in request.stream():
                if data:
                    read.append(data)
                if feeding is not None and (feeding.done() or sum(map(len, read)) >= _AHEAD_BYTES):
                    await feeding
                    feeding = None
                if feeding is None:
                    feeding = asyncio.create_task(feed())
            if feeding is not None:
                await feeding
            return json_response(await run_in_threadpool(session.finish))
        except ClientDisconnect:
            return Response(status_code=400)
        finally:
            if feeding is not None:
                await asyncio.gather(feeding, return_exceptions=True)
            session.close()

    async def egress(self, request: Request) -> Response:
        args = orjson.loads(await request.body())
        self.pipeline.require_open()
        stream = await run_in_threadpool(lambda: self.pipeline.egress(**args))
        # closed by the response's end, whichever way that comes
        body = _in_thread(stream, stream.close)
        return StreamingResponse(body, headers={"content-type": "application/json"})

    async def query(self, request: Request) -> Response:
        args = orjson.loads(await request.body())
        self.pipeline.require_open()
        content_type, chunks = await run_in_threadpool(lambda: self.pipeline.query(**args))
        headers = {"content-type": content_type}
        if args["format"] == "parquet":
            headers["content-disposition"] = 'attachment; filename="query.parquet"'
        body = _in_thread(_with_last_words(chunks, args["format"]), lambda: None)
        return StreamingResponse(body, headers=headers)


def _with_last_words(chunks: Iterator[bytes], format: str) -> Iterator[bytes]:
    """A query's result; what fails after its first byte ends as contract 5 says."""
    try:
        yield from chunks
    except Exception as error:
        if format not in ("text", "json"):
            raise  # the binary formats are cut short
        if not isinstance(error, PenstockError):
            log.exception("a query failed in the middle of its result")
        message = error_body(error)["message"]
        if format == "text":
            yield f"\nERROR: {message}\n".encode()
        else:
            yield orjson.dumps({"error": message}) + b"\n"


async def _in_thread(chunks: Iterator[bytes], close: Callable[[], None]) -> AsyncIterator[bytes]:
    """A blocking iterator as an asynchronous one, on a thread of its own."""
    loop = asyncio.get_running_loop()
    queue: asyncio.Queue[bytes | BaseException | None] = asyncio.Queue(1)
    gone = threading.Event()

    def put(item: bytes | BaseException | None) -> None:
        asyncio.run_coroutine_threadsafe(queue.put(item), loop).result()

    def run() -> None:
        try:
            for chunk in chunks:
                if gone.is_set():
                    return
                put(chunk)
            put(None)
        except RuntimeError:
            return  # the loop has ended
        except BaseException as error:
            with contextlib.suppress(RuntimeError):
                put(error)

    threading.Thread(target=run, name="stream", daemon=True).start()
    try:
        while (item := await queue.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        gone.set()
        with contextlib.suppress(asyncio.QueueEmpty):
            queue.get_nowait()
        # A caller that has gone cancels this task; what it held must be given back all the same.
        with anyio.CancelScope(shield=True):
            await run_in_threadpool(close)


def build_app(host: Host) -> Starlette:
    return Starlette(
        routes=[
            Route("/call/{method}", host.call, methods=["POST"]),
            Route("/ingress", host.ingress, methods=["POST"]),
            Route("/egress", host.egress, methods=["POST"]),
            Route("/query", host.query, methods=["POST"]),
        ],
        exception_handlers=EXCEPTION_HANDLERS,
    )


class _Server(uvicorn.Server):
    """Tells the ready pipe once it listens. Has a thread for every call that may be waiting:
    forty ingresses of a paused pipeline must not keep the call from being heard that resumes it."""

    def __init__(self, config: uvicorn.Config, ready_fd: int) -> None:
        super().__init__(config)
        self._ready_fd = ready_fd

    async def startup(self, sockets: Any = None) -> None:
        anyio.to_thread.current_default_thread_limiter().total_tokens = _THREADS
        await super().startup(sockets)
        os.write(self._ready_fd, b"1")
        os.close(self._ready_fd)


def _end_with_parent() -> None:
    """Exit when the server that holds our standard input is gone: answer what is under way, for a
    moment, then end in any case."""
    sys.stdin.buffer.read()
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_GRACE_S)
    os._exit(0)


def _keep_pyarrow_from_pandas() -> None:
    """pyarrow imports pandas at its first array of Python objects: a second that the first rows
    of a pipeline would wait for. A pandas too old for it is as good as none; it looks again when
    somebody converts to pandas."""
    if "pandas" in sys.modules:
        return
    sys.modules["pandas"] = types.ModuleType("pandas")
    sys.modules["pandas"].__version__ = "0"  # type: ignore[attr-defined]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            pa.array([""])
    finally:
        del sys.modules["pandas"]


def _load() -> Callable[[], bool]:
    _keep_pyarrow_from_pandas()
    return load_kernels().more


class _Formatter(logging.Formatter):
    """Tracebacks, too, have messages of libraries in them."""

    def format(self, record: logging.LogRecord) -> str:
        return str(without_hidden(super().format(record)))


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--socket")
    arguments.add_argument("--ready-fd", type=int)
    arguments.add_argument("--fork-server", type=int)
    options = arguments.parse_args()
    written = logging.StreamHandler(sys.stdout)
    written.setFormatter(
        _Formatter(
            "%(asctime)s.%(msecs)03dZ %(levelname)s %(name)s: %(message)s", "%Y-%m-%dT%H:%M:%S"
        )
    )
    logging.basicConfig(level=logging.INFO, handlers=[written])
    logging.Formatter.converter = time.gmtime
    logging.getLogger("httpx").setLevel(logging.WARNING)
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    if options.fork_server is not None:
        order = serve_forks(options.fork_server, _load)
        if order is None:
            return
        threading.Thread(target=_end_with_parent, daemon=True).start()
    else:
        # before loading, which may take long: a server that is gone leaves nothing behind
        threading.Thread(target=_end_with_parent, daemon=True).start()
        _load()
        order = Order(options.socket, options.ready_fd)
    config = uvicorn.Config(
        build_app(Host()), uds=order.socket, log_config=None, access_log=False, lifespan="off",
        timeout_graceful_shutdown=2, h11_max_incomplete_event_size=_MAX_HEAD_BYTES,
        timeout_keep_alive=_SECONDS_KEPT_ALIVE,
    )  # fmt: skip
    _Server(config, order.ready_fd).run()


if __name__ == "__main__":
    main()
