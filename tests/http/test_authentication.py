"""Who may call: API keys, JWTs of a real OpenID provider, roles, and when none is needed."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlparse

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.system.conftest import System

AUDIENCE = "penstock-tests"
CLI = [sys.executable, "-m", "penstock.cli"]


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def cli(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*CLI, *arguments], capture_output=True, text=True, timeout=60)


class Provider:
    """A real OpenID provider process, and the tokens it issues."""

    def __init__(self, max_age_s: int = 600) -> None:
        self.port = free_port()
        self.issuer = f"http://localhost:{self.port}"
        command = [sys.executable, "-W", "ignore", "-m", "oidc_provider_mock"]
        self.process = subprocess.Popen(
            [*command, "--port", str(self.port), "--token-max-age", str(max_age_s)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 30
        while True:
            try:
                httpx.get(f"{self.issuer}/.well-known/openid-configuration").raise_for_status()
                return
            except httpx.TransportError:
                assert time.monotonic() < deadline and self.process.poll() is None
                time.sleep(0.1)

    def token(self, subject: str, audience: str = AUDIENCE, **claims: object) -> str:
        """An ID token by the authorization code flow, as a browser client would get it."""
        httpx.put(f"{self.issuer}/users/{subject}", json=claims).raise_for_status()
        back = "http://localhost/back"
        query = {
            "client_id": audience, "redirect_uri": back, "response_type": "code",
            "scope": "openid", "state": "s",
        }  # fmt: skip
        answer = httpx.post(f"{self.issuer}/oauth2/authorize", params=query, data={"sub": subject})
        code = parse_qs(urlparse(answer.headers["location"]).query)["code"][0]
        form = {"grant_type": "authorization_code", "code": code, "redirect_uri": back}
        answer = httpx.post(f"{self.issuer}/oauth2/token", data=form, auth=(audience, "secret"))
        return str(answer.raise_for_status().json()["id_token"])

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(10)


@pytest.fixture(scope="module")
def provider() -> Iterator[Provider]:
    p = Provider()
    yield p
    p.stop()


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A data directory with a key of each role, made by the command line."""
    folder = tmp_path_factory.mktemp("auth")
    found = {"data_dir": str(folder / "state")}
    for role in ("read", "write"):
        made = cli("apikey", "create", role, "--role", role, "--data-dir", found["data_dir"])
        assert made.returncode == 0, made.stderr
        found[role] = made.stdout.strip()
    return found


@pytest.fixture(scope="module")
def secured(keys: dict[str, str], provider: Provider) -> Iterator[System]:
    options = ("--auth", "oidc", "--oidc-issuer", provider.issuer, "--oidc-audience", AUDIENCE)
    s = System(Path(keys["data_dir"]), *options)
    yield s
    s.stop()


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def test_keys_are_kept_as_hashes_only(keys: dict[str, str]) -> None:
    assert keys["write"].startswith("apikey:") and len(keys["write"]) == len("apikey:") + 128
    for path in Path(keys["data_dir"]).rglob("*"):
        if path.is_file():
            assert keys["write"].removeprefix("apikey:").encode() not in path.read_bytes()


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({}, "AuthenticationFailed"),
        ({"Authorization": "Basic abc"}, "AuthenticationFailed"),
        (bearer("apikey:" + "x" * 128), "InvalidApiKey"),
        (bearer("not.a.jwt"), "InvalidOidcToken"),
    ],
)
def test_calls_without_good_credentials_are_401(
    secured: System, headers: dict[str, str], code: str
) -> None:
    for method, path in (
        ("GET", "/config"),
        ("GET", "/pipelines"),
        ("POST", "/pipelines/p/views/v/connectors/c/reset"),
        ("GET", "/pipelines/p/reset_status?token=t"),
    ):
        answer = secured.http.request(method, path, headers=headers)
        assert answer.status_code == 401, answer.text
        assert answer.json()["error_code"] == code


def test_a_read_key_reads_and_nothing_else(secured: System, keys: dict[str, str]) -> None:
    read = bearer(keys["read"])
    assert secured.http.get("/pipelines", headers=read).status_code == 200
    for method, path in (
        ("POST", "/pipelines"),
        ("PUT", "/pipelines/p"),
        ("DELETE", "/pipelines/p"),
        ("POST", "/pipelines/p/start"),
        ("POST", "/pipelines/p/ingress/t"),
        ("GET", "/pipelines/p/query?sql=SELECT+1"),
        ("POST", "/pipelines/p/views/v/connectors/c/reset"),
        ("POST", "/api_keys"),
    ):
        answer = secured.http.request(method, path, headers=read, json={})
        assert answer.status_code == 403, f"{method} {path}: {answer.text}"
        assert answer.json()["error_code"] == "InsufficientPermissions"
    # a reader may watch a reset; here the pipeline does not exist, which is the next question
    status = secured.http.get("/pipelines/p/reset_status?token=t", headers=read)
    assert (status.status_code, status.json()["error_code"]) == (404, "UnknownPipelineName")


def test_a_write_key_resets_and_mints_no_higher_role(secured: System, keys: dict[str, str]) -> None:
    write = bearer(keys["write"])
    answer = secured.http.post("/pipelines/p/views/v/connectors/c/reset", headers=write)
    assert (answer.status_code, answer.json()["error_code"]) == (404, "UnknownPipelineName")
    body = {"name": "boss", "role": "admin"}
    assert secured.http.post("/api_keys", headers=write, json=body).status_code == 403


def test_a_key_made_over_rest_is_shown_once_and_dies_when_deleted(
    secured: System, keys: dict[str, str]
) -> None:
    write = bearer(keys["write"])
    made = secured.http.post("/api_keys", headers=write, json={"name": "temp", "role": "write"})
    assert made.status_code == 201 and set(made.json()) == {"id", "name", "api_key"}
    new = bearer(made.json()["api_key"])
    assert secured.http.get("/pipelines", headers=new).status_code == 200
    listed = secured.http.get("/api_keys", headers=write).json()
    assert "temp" in [k["name"] for k in listed] and all("api_key" not in k for k in listed)
    again = secured.http.post("/api_keys", headers=write, json={"name": "temp"})
    assert (again.status_code, again.json()["error_code"]) == (409, "DuplicateName")
    assert secured.http.delete("/api_keys/temp", headers=write).status_code == 200
    assert secured.http.get("/pipelines", headers=new).status_code == 401
    gone = secured.http.get("/api_keys/temp", headers=write)
    assert (gone.status_code, gone.json()["error_code"]) == (404, "UnknownApiKey")


def test_a_token_of_the_provider_opens_the_door_with_the_role_it_claims(
    secured: System, provider: Provider
) -> None:
    reader, writer = provider.token("ada"), provider.token("bob", role="write")
    assert secured.http.get("/pipelines", headers=bearer(reader)).status_code == 200
    assert secured.http.post("/pipelines/p/start", headers=bearer(reader)).status_code == 403
    assert secured.http.post("/pipelines/p/start", headers=bearer(writer)).status_code == 404
    session = secured.http.get("/config/session", headers=bearer(writer)).json()
    assert session["role"] == "write"
    configuration = httpx.get(f"{secured.url}/config/authentication").json()
    assert configuration["GenericOidc"]["issuer"] == provider.issuer


def test_tokens_for_others_expired_or_forged_are_refused(
    secured: System, provider: Provider
) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    now = int(time.time())
    claims = {"iss": provider.issuer, "aud": AUDIENCE, "sub": "eve", "exp": now + 600}
    good = provider.token("ada")
    same = {k: v for k, v in jwt.get_unverified_header(good).items() if k == "kid"}
    bad = {
        "another audience": provider.token("ada", audience="somebody-else"),
        "forged": jwt.encode(claims, key, "RS256", headers=same),
        "unknown key": jwt.encode(claims, key, "RS256", headers={"kid": "nobody"}),
        "no signature": jwt.encode(claims, None, "none"),
        "shared secret": jwt.encode(claims, "secret" * 8, "HS256", headers=same),
        "damaged": good[:-4] + "AAAA",
    }
    for what, token in bad.items():
        answer = secured.http.get("/pipelines", headers=bearer(token))
        assert answer.status_code == 401, what
        assert answer.json()["error_code"] == "InvalidOidcToken", what


def test_an_expired_token_is_refused(tmp_path: Path) -> None:
    provider = Provider(max_age_s=-120)
    options = ("--auth", "oidc", "--oidc-issuer", provider.issuer, "--oidc-audience", AUDIENCE)
    s = System(tmp_path / "state", *options)
    try:
        answer = s.http.get("/pipelines", headers=bearer(provider.token("ada")))
        assert answer.status_code == 401
        assert "expired" in answer.json()["message"]
    finally:
        s.stop()
        provider.stop()


def test_serve_refuses_other_addresses_without_authentication(tmp_path: Path) -> None:
    refused = cli("serve", "--host", "0.0.0.0", "--data-dir", str(tmp_path))
    assert refused.returncode == 1
    assert "refusing to listen on 0.0.0.0" in refused.stderr and "--insecure" in refused.stderr


def test_the_commands_speak_with_a_key(secured: System, keys: dict[str, str]) -> None:
    environment = {**os.environ, "PENSTOCK_URL": secured.url, "PENSTOCK_API_KEY": keys["write"]}
    listed = subprocess.run(
        [*CLI, "pipelines"], capture_output=True, text=True, env=environment, timeout=60
    )
    assert listed.returncode == 0, listed.stderr
    denied = subprocess.run(
        [*CLI, "pipelines", "--api-key", "apikey:wrong"],
        capture_output=True, text=True, env=environment, timeout=60,
    )  # fmt: skip
    assert denied.returncode == 1 and "InvalidApiKey" in denied.stderr
    assert json.dumps(keys["write"])[1:-1] not in denied.stderr
