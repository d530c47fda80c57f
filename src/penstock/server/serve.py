"""The API process: put its parts together and listen.

Authentication may be off only on loopback addresses; `serve` refuses another address without it
unless told that this is meant.

Not here: commands and options (`penstock.cli`).
"""

from __future__ import annotations

import ipaddress
import logging
import socket
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import uvicorn

from penstock import __version__
from penstock.errors import UserError
from penstock.manager.fleet import Fleet
from penstock.manager.store import Store
from penstock.manager.workers import WorkerPool
from penstock.server.app import build_app
from penstock.server.auth import Authenticator
from penstock.server.oidc import OidcVerifier
from penstock.server.site import Site

WORKER_COMMAND = (sys.executable, "-m", "penstock.server.worker")


@dataclass(frozen=True, slots=True)
class Settings:
    """What `penstock serve` was told."""

    host: str
    port: int
    data_dir: Path
    auth: str = "none"  # "none" | "apikey" | "oidc"
    issuer: str | None = None
    audience: str | None = None
    role_claim: str = "role"
    insecure: bool = False


def is_loopback(host: str) -> bool:
    """Whether every address that `host` names is a loopback address."""
    try:
        found = {info[4][0] for info in socket.getaddrinfo(host, None)}
    except OSError as e:
        raise UserError(f"cannot listen on '{host}': {e}") from e
    return all(ipaddress.ip_address(a).is_loopback for a in found)


def check(settings: Settings) -> None:
    """Raises UserError where the settings would be unsafe or incomplete."""
    if settings.auth == "none" and not settings.insecure and not is_loopback(settings.host):
        raise UserError(
            f"refusing to listen on {settings.host} without authentication: anybody who can reach "
            "it could run programs here. Use --auth apikey (make a key with `penstock apikey "
            "create`) or --auth oidc, listen on 127.0.0.1, or say --insecure if that is meant"
        )
    if settings.auth == "oidc" and not (settings.issuer and settings.audience):
        raise UserError("--auth oidc needs --oidc-issuer and --oidc-audience")


def serve(settings: Settings) -> None:
    """Listen until told to stop (SIGINT, SIGTERM); pipelines are stopped on the way out."""
    check(settings)
    logging.basicConfig(
        level=logging.INFO,
        format="%(asctime)s.%(msecs)03dZ %(levelname)s %(name)s: %(message)s",
        datefmt="%Y-%m-%dT%H:%M:%S",
    )
    logging.Formatter.converter = time.gmtime
    logging.getLogger("httpx").setLevel(logging.WARNING)
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    store = Store(settings.data_dir)
    oidc = None
    if settings.auth == "oidc":
        assert settings.issuer and settings.audience
        oidc = OidcVerifier(settings.issuer, settings.audience, settings.role_claim)
    auth = Authenticator(store, required=settings.auth != "none", oidc=oidc)
    pool = WorkerPool(WORKER_COMMAND)
    fleet = Fleet(store, settings.data_dir, pool, __version__)
    site = Site(fleet, store, auth, __version__)
    config = uvicorn.Config(
        build_app(site),
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=2,
        ws="websockets-sansio",
    )
    try:
        _Announcing(config).run()
    finally:
        fleet.close()
        pool.close()
        store.close()


class _Announcing(uvicorn.Server):
    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            print(
                f"Penstock is listening on http://{self.config.host}:{self.config.port}",
                flush=True,
            )
