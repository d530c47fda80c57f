"""A real server process for the tests of this folder, on a free loopback port."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.processes import children, opened


class System:
    """The server and its REST API, as a user has them."""

    def __init__(
        self, data_dir: Path, *arguments: str, environment: dict[str, str] | None = None
    ) -> None:
        self.data_dir = data_dir
        self.environment = environment or {}
        self.arguments = arguments
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            self.port = s.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.http = httpx.Client(base_url=f"{self.url}/v0", timeout=60)
        self.start()

    def start(self) -> None:
        self.log = (self.data_dir.parent / "server.log").open("ab")
        self.process = subprocess.Popen(
            [
                *(sys.executable, "-m", "penstock.cli", "serve", "--host", "127.0.0.1"),
                *("--port", str(self.port), "--data-dir", str(self.data_dir), *self.arguments),
            ],
            stdout=self.log,
            stderr=self.log,
            env={**os.environ, "PYTHONUNBUFFERED": "1", **self.environment},
        )
        deadline = time.monotonic() + 60
        while True:
            assert self.process.poll() is None, Path(self.log.name).read_text()
            try:
                self.http.get("/config")
                return
            except httpx.TransportError:
                assert time.monotonic() < deadline, Path(self.log.name).read_text()
                time.sleep(0.05)

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()

    def pipeline(self, program: str, *, udf: str = "", **runtime: Any) -> Pipeline:
        """A new running pipeline of `program`, with the Python of its functions."""
        return Pipeline(self, program, runtime, udf)


class Pipeline:
    """One pipeline, driven through REST."""

    @classmethod
    def create(cls, system: System, program: str, **runtime: Any) -> Pipeline:
        """A pipeline that is compiled and not started."""
        return cls(system, program, {**runtime, "initial": None})

    def __init__(
        self, system: System, program: str, runtime: dict[str, Any], udf: str = ""
    ) -> None:
        self.system = system
        self.name = f"p-{uuid.uuid4().hex[:8]}"
        self.path = f"/pipelines/{self.name}"
        initial = runtime.pop("initial", "running")
        body = {
            "name": self.name,
            "program_code": program,
            "udf_rust": udf,
            "runtime_config": {"workers": 1, **runtime},
        }
        answer = system.http.put(self.path, json=body)
        assert answer.status_code == 201, answer.text
        self.wait("program_status", "Success")
        if initial is not None:
            self.start(initial)

    def start(self, initial: str = "running") -> None:
        answer = self.system.http.post(f"{self.path}/start", params={"initial": initial})
        assert answer.status_code == 202, answer.text
        self.wait("deployment_status", initial.capitalize())

    def wait(self, field: str, value: str, seconds: float = 120) -> dict[str, Any]:
        deadline = time.monotonic() + seconds
        while True:
            p: dict[str, Any] = self.system.http.get(self.path).json()
            if p[field] == value:
                return p
            for failed in ("program_status", "deployment_error"):
                bad = str(p[failed]).endswith("Error") or (failed.endswith("error") and p[failed])
                assert not bad or value in ("Stopped",), f"{p['program_error']} {p[failed]}"
            assert time.monotonic() < deadline, f"{field} stayed {p[field]}"
            time.sleep(0.02)

    def post(self, path: str, **kwargs: Any) -> httpx.Response:
        return self.system.http.post(f"{self.path}{path}", **kwargs)

    def get(self, path: str, **kwargs: Any) -> httpx.Response:
        return self.system.http.get(f"{self.path}{path}", **kwargs)

    def send(self, table: str, *rows: Any, wait: bool = True, **parameters: Any) -> str:
        """Rows or events as NDJSON; waits until every sink has them unless told not to."""
        parameters = {"format": "json", "update_format": "raw", **parameters}
        data = "\n".join(json.dumps(r) for r in rows)
        answer = self.post(f"/ingress/{table}", params=parameters, content=data)
        assert answer.status_code == 200, answer.text
        token: str = answer.json()["token"]
        if wait:
            self.wait_for(token)
        return token

    def wait_for(self, token: str, seconds: float = 120) -> None:
        deadline = time.monotonic() + seconds
        while (
            self.get("/completion_status", params={"token": token}).json()["status"] != "complete"
        ):
            assert time.monotonic() < deadline, "the token did not complete"
            time.sleep(0.01)

    def query(self, sql: str) -> list[dict[str, Any]]:
        answer = self.get("/query", params={"sql": sql, "format": "json"})
        assert answer.status_code == 200, answer.text
        return [json.loads(line) for line in answer.text.splitlines()]

    def reset(self, view: str, connector: str, **kwargs: Any) -> httpx.Response:
        return self.post(f"/views/{view}/connectors/{connector}/reset", **kwargs)

    def reset_and_wait(self, view: str, connector: str, seconds: float = 120) -> dict[str, Any]:
        answer = self.reset(view, connector)
        assert answer.status_code == 200, answer.text
        return self.wait_reset(answer.json()["token"], seconds)

    def wait_reset(self, token: str, seconds: float = 120) -> dict[str, Any]:
        deadline = time.monotonic() + seconds
        while True:
            s: dict[str, Any] = self.get("/reset_status", params={"token": token}).json()
            if s["status"] != "inprogress":
                return s
            assert time.monotonic() < deadline, f"the reset stayed {s}"
            time.sleep(0.01)

    def kill(self) -> None:
        """SIGKILL to the pipeline's process; waits until the server knows."""
        os.kill(self.process(), signal.SIGKILL)
        self.wait("deployment_status", "Stopped")

    def process(self) -> int:
        """The pipeline's process: the server's child that holds its storage."""
        lock = os.path.realpath(self.storage / "lock")
        held = [c for c in set(children(self.system.process.pid)) if lock in opened(c)]
        assert len(held) == 1, held
        return held[0]

    @property
    def storage(self) -> Path:
        """The folder that the pipeline keeps its state in."""
        identity = self.system.http.get(self.path).json()["id"]
        return self.system.data_dir / "pipelines" / str(identity)

    def stop(self) -> None:
        assert self.post("/stop", params={"force": "true"}).status_code == 202
        self.wait("deployment_status", "Stopped")


@pytest.fixture(scope="session")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    s = System(tmp_path_factory.mktemp("system") / "state")
    yield s
    s.stop()
