"""The server of `tests/system`, for the tests of its API."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import httpx

from tests.system.conftest import System, system

__all__ = ["code", "created", "forget", "system", "wait_until"]


def code(answer: httpx.Response, status: int) -> str:
    """The error code of a refusal with this status."""
    assert answer.status_code == status, answer.text
    body = answer.json()
    assert set(body) == {"message", "error_code", "details"} and body["message"]
    return str(body["error_code"])


def wait_until(what: Callable[[], Any], seconds: float = 120) -> Any:
    """The first true value of `what()`."""
    deadline = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)
    return found


def created(system: System, name: str, program: str = "", **fields: Any) -> dict[str, Any]:
    """The object of a new pipeline, as the server answered."""
    body = {"name": name, "program_code": program, **fields}
    answer = system.http.post("/pipelines", json=body)
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


def forget(system: System, name: str) -> None:
    """Stop, clear and delete."""
    path = f"/pipelines/{name}"
    assert system.http.post(f"{path}/stop", params={"force": "true"}).status_code == 202
    wait_until(lambda: system.http.get(path).json()["deployment_status"] == "Stopped")
    assert system.http.post(f"{path}/clear").status_code == 202
    wait_until(lambda: system.http.get(path).json()["storage_status"] == "Cleared")
    assert system.http.delete(path).status_code == 200
