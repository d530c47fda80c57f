"""Every route of the server asks for the role that it declares, and for credentials first."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from penstock.server.app import ROUTES
from tests.http.test_authentication import bearer, cli
from tests.system.conftest import System

CALLS = [(method, path, role) for method, path, role, _ in ROUTES]
_READABLE_FOR_WRITERS_ONLY = ("/query", "/completion_token")


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[System, dict[str, str]]]:
    data_dir = tmp_path_factory.mktemp("roles") / "state"
    keys = {}
    for role in ("read", "write"):
        made = cli("apikey", "create", role, "--role", role, "--data-dir", str(data_dir))
        assert made.returncode == 0, made.stderr
        keys[role] = made.stdout.strip()
    s = System(Path(data_dir), "--auth", "apikey")
    yield s, keys
    s.stop()


def filled(path: str) -> str:
    return re.sub(r"\{\w+\}", "nobody", path)


def test_reading_is_for_readers_and_changing_is_for_writers() -> None:
    for method, path, role in CALLS:
        if role in ("admin", "owner"):
            continue
        is_read = method == "GET" and not path.endswith(_READABLE_FOR_WRITERS_ONLY)
        assert role == ("read" if is_read else "write"), f"{method} {path}"


def test_no_route_answers_without_credentials(guarded: tuple[System, dict[str, str]]) -> None:
    system, _ = guarded
    for method, path, _role in CALLS:
        answer = system.http.request(method, filled(path))
        assert answer.status_code == 401, f"{method} {path}: {answer.text}"
        assert answer.json()["error_code"] == "AuthenticationFailed"
        assert answer.headers["www-authenticate"].startswith("Bearer")


def test_a_role_opens_exactly_the_routes_that_declare_it_or_a_lower_one(
    guarded: tuple[System, dict[str, str]],
) -> None:
    system, keys = guarded
    ranks = ["read", "write", "admin", "owner"]
    for held, key in keys.items():
        for method, path, role in CALLS:
            if path.startswith("/api_keys") and method != "GET":
                continue  # they would change the keys that this test uses
            answer = system.http.request(method, filled(path), headers=bearer(key))
            is_allowed = ranks.index(held) >= ranks.index(role)
            assert (answer.status_code == 403) != is_allowed, f"{held}: {method} {path}"
            assert answer.status_code != 401
            if not is_allowed:
                assert answer.json()["error_code"] == "InsufficientPermissions"


def test_an_unknown_path_and_a_wrong_method_answer_in_the_shape_of_an_error(
    guarded: tuple[System, dict[str, str]],
) -> None:
    system, keys = guarded
    headers = bearer(keys["write"])
    for method, path, status in (("GET", "/nothing", 404), ("PUT", "/pipelines", 405)):
        answer = system.http.request(method, path, headers=headers)
        assert answer.status_code == status
        assert set(answer.json()) == {"message", "error_code", "details"}
