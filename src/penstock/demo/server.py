"""The Penstock server as a user starts it, and the few REST calls that the demo makes."""

from __future__ import annotations

import io
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx
import pyarrow as pa
import pyarrow.ipc

NAME = "flights"


class Server:
    """`penstock serve` in a process of its own; ended by its process id."""

    def __init__(self, data_dir: Path) -> None:
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            port = s.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        self._log = (data_dir.parent / "server.log").open("ab")
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-m", "penstock.cli", "serve", "--host", "127.0.0.1"),
                *("--port", str(port), "--data-dir", str(data_dir)),
            ],
            stdout=self._log,
            stderr=self._log,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
        self._http = httpx.Client(base_url=f"{self.url}/v0", timeout=60)
        self._wait()

    def _wait(self) -> None:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise SystemExit(f"the server ended at once: see {self._log.name}")
            try:
                self._http.get("/config")
                return
            except httpx.TransportError:
                time.sleep(0.05)
        raise SystemExit("the server did not come up within a minute")

    def __enter__(self) -> Server:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._http.close()
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
        self._log.close()

    def call(self, method: str, path: str, **kwargs: Any) -> httpx.Response:
        """One request; anything but success ends the demo with the server's own message."""
        r = self._http.request(method, path, **kwargs)
        if r.status_code >= 400:
            raise SystemExit(f"{method} {path} answered {r.status_code}: {r.text}")
        return r

    def create(self, program: str) -> float:
        """Create the pipeline, wait for the compiler, start it; seconds that took."""
        started = time.monotonic()
        body = {"name": NAME, "program_code": program, "runtime_config": {"workers": 1}}
        self.call("PUT", f"/pipelines/{NAME}", json=body)
        while True:
            p = self.status()
            if p["program_status"] == "Success":
                break
            if p["program_status"].endswith("Error"):
                raise SystemExit(f"the program does not compile: {p['program_error']}")
            time.sleep(0.02)
        self.call("POST", f"/pipelines/{NAME}/start")
        while True:
            p = self.status()
            if p["deployment_status"] == "Running":
                return time.monotonic() - started
            if p["deployment_error"]:
                raise SystemExit(f"the pipeline did not start: {p['deployment_error']}")
            time.sleep(0.02)

    def status(self) -> dict[str, Any]:
        """The pipeline's statuses."""
        params = {"selector": "status"}
        answer: dict[str, Any] = self.call("GET", f"/pipelines/{NAME}", params=params).json()
        return answer

    def ingress(self, table: str, data: bytes, update_format: str) -> str:
        """Send rows; the completion token."""
        r = self.call(
            "POST",
            f"/pipelines/{NAME}/ingress/{table}",
            params={"format": "json", "update_format": update_format},
            content=data,
        )
        return str(r.json()["token"])

    def wait_for(self, token: str) -> None:
        """Until everything up to the token is processed and in every sink."""
        while True:
            path = f"/pipelines/{NAME}/completion_status"
            if self.call("GET", path, params={"token": token}).json()["status"] == "complete":
                return
            time.sleep(0.02)

    def rows(self, view: str) -> tuple[list[str], list[tuple[Any, ...]]]:
        """Column names and rows of a view, through the ad-hoc query endpoint."""
        params = {"sql": f"SELECT * FROM {view}", "format": "arrow_ipc"}
        r = self.call("GET", f"/pipelines/{NAME}/query", params=params)
        table: pa.Table = pyarrow.ipc.open_stream(io.BytesIO(r.content)).read_all()
        columns = [c.to_pylist() for c in table.columns]
        return table.column_names, list(zip(*columns, strict=True))

    def stats(self) -> dict[str, Any]:
        answer: dict[str, Any] = self.call("GET", f"/pipelines/{NAME}/stats").json()
        return answer

    def reset(self, view: str, connector: str) -> dict[str, Any]:
        path = f"/pipelines/{NAME}/views/{view}/connectors/{connector}/reset"
        answer: dict[str, Any] = self.call("POST", path).json()
        return answer

    def reset_status(self, token: str) -> dict[str, Any]:
        path = f"/pipelines/{NAME}/reset_status"
        answer: dict[str, Any] = self.call("GET", path, params={"token": token}).json()
        return answer
