"""postgres_output over TLS: a server that takes nothing else and wants certificates of users."""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from penstock.errors import UserError
from penstock.io.contracts import SinkUnavailable
from penstock.io.formats.options import TRANSPORT_ERROR, Options
from penstock.io.outputs.postgres_tls import PostgresTls
from tests.contract.targets import PostgresTarget
from tests.contract.test_sinks import reset, rows
from tests.servers import PostgresServer

DAY = datetime.timedelta(days=1)


class Authority:
    """Signs certificates; `pem` is its own."""

    def __init__(self, name: str) -> None:
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self._key = ec.generate_private_key(ec.SECP256R1())
        made = self._made(self._name, self._key, None)
        self.pem = made.public_bytes(serialization.Encoding.PEM).decode()

    def issue(self, name: str, address: str | None = None) -> tuple[str, str]:
        """Certificate and key."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        made = self._made(subject, key, address)
        pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
        spelt = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain)
        return made.public_bytes(pem).decode(), spelt.decode()

    def _made(
        self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, address: str | None
    ) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        builder = (
            x509.CertificateBuilder(self._name, subject, key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - DAY)
            .not_valid_after(now + DAY)
            .add_extension(x509.BasicConstraints(subject == self._name, None), critical=True)
        )
        if address is not None:
            names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))])
            builder = builder.add_extension(names, critical=False)
        return builder.sign(self._key, hashes.SHA256())


class World:
    """A server that lets `certified` in by TLS and with a certificate only, and a target on it."""

    def __init__(self, server: PostgresServer, authority: Authority, folder: Path) -> None:
        self.ca = authority.pem
        self.certificate, self.key = authority.issue("certified")
        self.target = PostgresTarget(server)
        self.database = self.target.uri.rsplit("/", 1)[1]
        self._server, self._folder = server, folder

    def file(self, text: str) -> str:
        path = self._folder / f"{len(list(self._folder.iterdir()))}.pem"
        path.touch(0o600)
        path.write_text(text)
        return str(path)

    def config(self, **tls: Any) -> dict[str, Any]:
        uri = self._server.uri(self.database, "certified")
        return {**self.target.config(), "uri": uri, **tls}

    def reset(self, **tls: Any) -> None:
        sink = self.target.sink(config=self.config(**tls))
        sink.validate()
        reset(sink, rows(1, 2), 1)
        sink.close()
        assert self.target.look() == rows(1, 2)
        self.target.remove()


@pytest.fixture
def world(postgres: PostgresServer, tmp_path: Path) -> Iterator[World]:
    authority = Authority("the authority")
    with postgres.tls_for("certified", *authority.issue("server", "127.0.0.1"), authority.pem):
        w = World(postgres, authority, tmp_path)
        w.target.run("CREATE ROLE certified LOGIN SUPERUSER")
        yield w
        w.target.run("DROP OWNED BY certified; DROP ROLE certified")


def test_certificates_and_keys_are_taken_as_text_as_files_and_as_a_chain(world: World) -> None:
    ca, certificate, key = map(world.file, (world.ca, world.certificate, world.key))
    texts = {"ssl_client_pem": world.certificate, "ssl_client_key": world.key}
    world.reset(ssl_ca_pem=world.ca, **texts)
    world.reset(ssl_ca_location=ca, ssl_client_location=certificate, ssl_client_key_location=key)
    chain = world.file(world.certificate + world.ca)
    # what is given as text comes first, and a last line end may be missing
    world.reset(
        ssl_ca_pem=world.ca.strip(), ssl_ca_location="nowhere",
        ssl_certificate_chain_location=chain, ssl_client_key=world.key.strip(),
    )  # fmt: skip

    other = Authority("another authority")
    with pytest.raises(SinkUnavailable, match="certificate verify failed"):
        world.reset(ssl_ca_pem=other.pem, **texts)
    strange, its_key = other.issue("certified")
    with pytest.raises(SinkUnavailable, match="unknown ca"):
        world.reset(ssl_ca_pem=world.ca, ssl_client_pem=strange, ssl_client_key=its_key)
    with pytest.raises(SinkUnavailable, match="of option 'ssl_client_pem'"):
        world.reset(ssl_ca_pem=world.ca, ssl_client_pem="none", ssl_client_key=world.key)
    with pytest.raises(SinkUnavailable, match="requires a valid client certificate"):
        world.reset(ssl_ca_pem=world.ca)


def test_the_name_of_the_server_is_verified_unless_that_is_not_wanted(world: World) -> None:
    config = world.config(
        ssl_ca_pem=world.ca, ssl_client_pem=world.certificate, ssl_client_key=world.key
    )
    # an address is reached by a name that the certificate does not have
    config["uri"] = config["uri"].replace("127.0.0.1", "localhost")
    with pytest.raises(SinkUnavailable, match='does not match host name "localhost"'):
        world.target.sink(config=config)
    world.target.sink(config={**config, "verify_hostname": False}).close()


@pytest.mark.parametrize(
    ("given", "missing"),
    [("ssl_client_pem", "ssl_client_key"), ("ssl_client_key_location", "ssl_client_pem")],
)
def test_a_certificate_without_its_key_is_refused_by_name(given: str, missing: str) -> None:
    options = Options.of("postgres_output", TRANSPORT_ERROR, {given: "a secret"})
    with pytest.raises(UserError, match=f"option '{missing}' .* beside {given}") as refused:
        PostgresTls.of(options)
    assert "a secret" not in f"{refused.value} {refused.value.details}"
