"""Servers for tests, real where one can be installed, on free loopback ports, ended by pid.

`PostgresServer` is a private cluster in a temporary folder: trust authentication, no fsync. As
PostgreSQL refuses to run as root, root starts it as the unprivileged user `postgres`.
"""

from __future__ import annotations

import glob
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
import redis

START_S = 60.0
INITDB = ("-U", "admin", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")


class Unavailable(Exception):
    """This machine cannot run the server; the message says why."""


class PostgresServer:
    """A cluster of its own. `new_database` gives every test an empty one."""

    def __init__(self, folder: Path) -> None:
        self._bin = _postgres_bin()
        self._run_as = _unprivileged()
        self._folder = folder
        if "user" in self._run_as:
            os.chown(folder, pwd.getpwnam(self._run_as["user"]).pw_uid, -1)
        self.port = free_port()
        self._names = count(1)
        self._shared: str | None = None
        self._initialise()
        self.start()

    def _initialise(self) -> None:
        subprocess.run(
            [self._bin / "initdb", "-D", self._data, *INITDB],
            check=True, capture_output=True, cwd=self._folder, **self._run_as,
        )  # fmt: skip

    @property
    def _data(self) -> Path:
        return self._folder / "data"

    def start(self) -> None:
        options = {
            "listen_addresses": "127.0.0.1", "unix_socket_directories": "", "fsync": "off",
            "shared_buffers": "32MB", "autovacuum": "off",
        }  # fmt: skip
        flags = [f"-c{name}={value}" for name, value in options.items()]
        with (self._folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [self._bin / "postgres", "-D", self._data, "-p", str(self.port), *flags],
                stdout=log, stderr=log, cwd=self._folder, **self._run_as,
            )  # fmt: skip
        deadline = time.monotonic() + START_S
        while True:
            try:
                psycopg.connect(self.uri("postgres"), connect_timeout=2).close()
                return
            except psycopg.OperationalError:
                said = (self._folder / "log").read_text()
                assert self.process.poll() is None, said
                assert time.monotonic() < deadline, said
                time.sleep(0.05)

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """SIGINT ends sessions and shuts down; SIGQUIT is a crash."""
        self.process.send_signal(how)
        self.process.wait(30)

    @contextmanager
    def tls_for(self, user: str, certificate: str, key: str, authority: str) -> Iterator[None]:
        """Meanwhile `user` comes in by TLS only, and only with a certificate of the authority's."""
        hba = self._data / "pg_hba.conf"
        before = hba.read_text()
        only = f"hostssl all {user} 127.0.0.1/32 cert\nhost all {user} 127.0.0.1/32 reject\n"
        texts = {"ssl_cert_file": certificate, "ssl_key_file": key, "ssl_ca_file": authority}
        for setting, text in texts.items():
            path = self._data / f"{setting}.pem"
            path.write_text(text)
            path.chmod(0o600)
            if "user" in self._run_as:
                shutil.chown(path, self._run_as["user"])
        try:
            hba.write_text(only + before)
            self._set({"ssl": "on", **{name: f"{name}.pem" for name in texts}})
            yield
        finally:
            hba.write_text(before)
            self._set({"ssl": "off"})

    def _set(self, settings: dict[str, str]) -> None:
        """Change settings while the server runs; they hold on return."""
        with psycopg.connect(self.uri("postgres"), autocommit=True) as db:
            for name, value in settings.items():
                db.execute(f"ALTER SYSTEM SET {name} = '{value}'")
            loaded = self._loaded()
            db.execute("SELECT pg_reload_conf()")
        deadline = time.monotonic() + START_S
        while self._loaded() <= loaded:
            assert time.monotonic() < deadline, (self._folder / "log").read_text()
            time.sleep(0.01)

    def _loaded(self) -> Any:
        """When the configuration was read that a new session gets."""
        with psycopg.connect(self.uri("postgres"), autocommit=True) as db:
            return db.execute("SELECT pg_conf_load_time()").fetchone()[0]  # type: ignore[index]

    def uri(self, database: str, user: str = "admin") -> str:
        return f"postgresql://{user}@127.0.0.1:{self.port}/{database}"

    def shared_database(self) -> str:
        """The URI of a database for tests that stay within a schema of their own."""
        if self._shared is None:
            self._shared = self.new_database()
        return self._shared

    def new_database(self) -> str:
        """The URI of an empty database."""
        name = f"test_{next(self._names)}"
        with psycopg.connect(self.uri("postgres"), autocommit=True) as db:
            db.execute(f"CREATE DATABASE {name} TEMPLATE template0")
        return self.uri(name)


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def _postgres_bin() -> Path:
    found = sorted(glob.glob("/usr/lib/postgresql/*/bin/initdb"))
    if found:
        return Path(found[-1]).parent
    for program in ("initdb", "pg_config"):
        where = shutil.which(program)
        if where and program == "initdb":
            return Path(where).resolve().parent
        if where:
            said = subprocess.run([where, "--bindir"], capture_output=True, text=True, check=True)
            if (Path(said.stdout.strip()) / "initdb").exists():
                return Path(said.stdout.strip())
    raise Unavailable("PostgreSQL's server programs (initdb, postgres) are not installed")


def _unprivileged() -> dict[str, Any]:
    """Arguments for subprocess that drop root, if we are root."""
    user = other_user()
    return {} if user is None else {
        "user": user.pw_name, "group": user.pw_gid, "extra_groups": []
    }  # fmt: skip


def other_user() -> pwd.struct_passwd | None:
    """Who to be instead of root; None if we are not root."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        with suppress(KeyError):
            return pwd.getpwnam(name)
    raise Unavailable("tests run as root and there is no other user, neither postgres nor nobody")


@contextmanager
def running_postgres() -> Iterator[PostgresServer]:
    folder = Path(tempfile.mkdtemp(prefix="penstock-postgres-"))
    try:
        server = PostgresServer(folder)
        try:
            yield server
        finally:
            # at once: its files are removed, so there is nothing to write down first
            server.stop(signal.SIGQUIT)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL server for the session; skips, saying why, where there cannot be one."""
    try:
        with running_postgres() as server:
            yield server
    except Unavailable as e:
        pytest.skip(str(e))


class RedisServer:
    """A Redis of its own that keeps nothing on disk. `new_url`: an empty database for each test."""

    def __init__(self, folder: Path) -> None:
        program = shutil.which("redis-server")
        if program is None:
            raise Unavailable("redis-server is not installed")
        self.port = free_port()
        self._names = count(0)
        options = {"port": self.port, "bind": "127.0.0.1", "save": "", "appendonly": "no",
                   "dir": folder, "databases": 10_000}  # fmt: skip
        flags = [text for name, value in options.items() for text in (f"--{name}", str(value))]
        with (folder / "log").open("ab") as log:
            self.process = subprocess.Popen([program, *flags], stdout=log, stderr=log)
        deadline = time.monotonic() + START_S
        while True:
            try:
                redis.Redis(port=self.port).ping()
                return
            except redis.RedisError:
                said = (folder / "log").read_text()
                assert self.process.poll() is None, said
                assert time.monotonic() < deadline, said
                time.sleep(0.02)

    def new_url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/{next(self._names)}"

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        self.process.send_signal(how)
        self.process.wait(30)


@contextmanager
def running_redis() -> Iterator[RedisServer]:
    with tempfile.TemporaryDirectory(prefix="penstock-redis-") as folder:
        server = RedisServer(Path(folder))
        try:
            yield server
        finally:
            server.stop()


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """A Redis for the session; skips, saying why, where there cannot be one."""
    try:
        with running_redis() as server:
            yield server
    except Unavailable as e:
        pytest.skip(str(e))


class S3Server:
    """An S3 of its own in this process (moto). `options`: what object-store clients need."""

    def __init__(self) -> None:
        from moto.server import ThreadedMotoServer

        self.port = free_port()
        self._server = ThreadedMotoServer("127.0.0.1", self.port, verbose=False)
        self._names = count(1)
        self._server.start()
        self.options = {
            "aws_endpoint": f"http://127.0.0.1:{self.port}",
            "aws_allow_http": "true",
            "aws_region": "us-east-1",
            "aws_access_key_id": "key",
            "aws_secret_access_key": "secret",
        }

    def new_bucket(self) -> str:
        """The name of an empty bucket."""
        name = f"bucket-{next(self._names)}"
        where = f"{self.options['aws_endpoint']}/{name}"
        made = httpx.put(where, headers=_AS_SOMEBODY, timeout=START_S)
        made.raise_for_status()
        return name

    def stop(self) -> None:
        self._server.stop()


#: moto wants a signature and does not check it
_AS_SOMEBODY = {
    "Authorization": "AWS4-HMAC-SHA256 Credential=key/20260101/us-east-1/s3/aws4_request"
}


@pytest.fixture(scope="session")
def s3() -> Iterator[S3Server]:
    server = S3Server()
    yield server
    server.stop()
