"""The API process: put its parts together and listen.

Authentication may be off only on loopback addresses; `serve` refuses another address without it
unless told that this is meant.

Not here: commands and options (`penstock.cli`).
"""

from __future__ import annotations

import fcntl
import ipaddress
import logging
import os
import socket
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import uvicorn

from penstock import __version__
from penstock.errors import UserError
from penstock.manager.fleet import Fleet
from penstock.manager.store import Store, using
from penstock.manager.workers import WorkerPool
from penstock.server.app import build_app
from penstock.server.auth import Authenticator
from penstock.server.oidc import OidcVerifier
from penstock.server.site import Site

WORKER_COMMAND = (sys.executable, "-m", "penstock.server.worker")
#: the text of an ad-hoc query travels in the address
_MAX_HEAD_BYTES = 1 << 20
#: longer than clients keep a connection that nobody uses (see `worker`)
_SECONDS_KEPT_ALIVE = 75


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
    #: whether programs may bring Python functions, which run as this server's user
    python_udf: bool = False


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


def lock_data_dir(data_dir: Path) -> int:
    """Hold `data_dir` for this process until the returned descriptor is closed.

    Raises UserError when another server holds it: two would both own the same pipelines."""
    with using(data_dir):
        descriptor = os.open(data_dir / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise UserError(f"another Penstock server uses the data directory {data_dir}") from None
    return descriptor


def bind(host: str, port: int) -> socket.socket:
    """A bound socket; port 0 is any free one. Raises UserError when the address is taken."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        # the protocol is named so that asyncio sets TCP_NODELAY on what it accepts: without, an
        # answer waits for the client's delayed acknowledgement (40 ms)
        bound = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host, port))
    except OSError as e:
        raise UserError(f"cannot listen on {host}:{port}: {e.strerror or e}") from None
    return bound


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
    bound = bind(settings.host, settings.port)
    lock = lock_data_dir(settings.data_dir)
    store = Store(settings.data_dir)
    oidc = None
    if settings.auth == "oidc":
        assert settings.issuer and settings.audience
        oidc = OidcVerifier(settings.issuer, settings.audience, settings.role_claim)
    auth = Authenticator(store, required=settings.auth != "none", oidc=oidc)
    pool = WorkerPool(WORKER_COMMAND)
    fleet = Fleet(store, settings.data_dir, pool, __version__, python_udf=settings.python_udf)

    def shut_down() -> None:
        fleet.close()
        pool.close()
        store.close()
        os.close(lock)

    # Within the application's shutdown, not after `run`: uvicorn raises the signal that ended it
    # again on its way out, and SIGTERM then leaves no time for anything.
    app = build_app(Site(fleet, store, auth, __version__), shut_down)
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=2,
        h11_max_incomplete_event_size=_MAX_HEAD_BYTES,
        timeout_keep_alive=_SECONDS_KEPT_ALIVE,
        ws="websockets-sansio",
    )
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    url = f"http://{host}:{bound.getsockname()[1]}"
    _Announcing(config, url).run(sockets=[bound])


class _Announcing(uvicorn.Server):
    """Says where it listens, once it does."""

    def __init__(self, config: uvicorn.Config, url: str) -> None:
        super().__init__(config)
        self._url = url

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            print(f"Penstock is listening on {self._url}", flush=True)
