"""The connections of the API process to its workers."""

from __future__ import annotations

import asyncio
import gc
import os
from pathlib import Path

import pytest

from penstock.server import forward
from penstock.server.forward import Forwarder


async def worker(path: Path) -> asyncio.Server:
    """Answers every call with `{}` and keeps the connection."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await reader.readuntil(b"\r\n\r\n{}"):
                await asyncio.sleep(0.01)
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")
        except asyncio.IncompleteReadError:
            writer.close()

    return await asyncio.start_unix_server(talk, path)


def test_connections_to_a_worker_that_has_ended_are_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forward, "_LINGER_S", 0.0)

    async def life() -> None:
        forwarder = Forwarder()

        async def call(path: Path) -> None:
            answer = await forwarder.call("p", path, "stats", {}, 30)
            assert answer.body == b"{}"

        before = descriptors()
        for n in range(3):
            path = tmp_path / f"{n}.sock"
            server = await worker(path)
            await asyncio.gather(*(call(path) for _ in range(5)))
            server.close()
            path.unlink(missing_ok=True)
        last = await worker(tmp_path / "last.sock")
        await call(tmp_path / "last.sock")
        # those of the last: it listens, and both ends of one connection
        async with asyncio.timeout(30):
            while descriptors() > before + 3:
                await asyncio.sleep(0.01)
        await forwarder.close()
        last.close()

    gc.disable()
    try:
        asyncio.run(life())
    finally:
        gc.enable()


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))
