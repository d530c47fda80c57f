"""The TLS options of a PostgreSQL connection, as libpq wants them: files.

    ssl_ca_pem, ssl_ca_location              who signs the server's certificate: TLS is on with one
    ssl_client_pem, ssl_client_location      our certificate
    ssl_client_key, ssl_client_key_location  its key
    ssl_certificate_chain_location           our certificate and those that sign it, in one file
    verify_hostname                          true: the certificate must be the server's own

What is given as text comes before what is given as a file (contract 7.3), and is a file of its own
only while a connection is made, in a folder that nobody else may enter.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from penstock.io.formats.options import Options

#: libpq's parameter, the options that hold it as text, and those that name a file of it
_SOURCES = (
    ("sslrootcert", "ssl_ca_pem", ("ssl_ca_location",)),
    ("sslcert", "ssl_client_pem", ("ssl_certificate_chain_location", "ssl_client_location")),
    ("sslkey", "ssl_client_key", ("ssl_client_key_location",)),
)


@dataclass(frozen=True, slots=True)
class PostgresTls:
    #: libpq's parameter → the option it comes from
    origins: Mapping[str, str]
    #: libpq's parameter → PEM
    texts: Mapping[str, str]
    #: libpq's parameter → anything that is not a text
    files: Mapping[str, str]

    @staticmethod
    def of(o: Options) -> PostgresTls:
        """Read the options. UserError for a certificate without a key, and the other way round."""
        origins: dict[str, str] = {}
        texts: dict[str, str] = {}
        files: dict[str, str] = {}
        for parameter, text, places in _SOURCES:
            given = {name: value for name in (text, *places) if (value := o.text(name, ""))}
            for name, value in list(given.items())[:1]:
                origins[parameter] = name
                (texts if name == text else files)[parameter] = value
        is_own = o.boolean("verify_hostname", True)
        for one, other, missing in (
            ("sslcert", "sslkey", "ssl_client_key"),
            ("sslkey", "sslcert", "ssl_client_pem"),
        ):
            if one in origins and other not in origins:
                location = missing.removesuffix("_pem") + "_location"
                raise o.fail(missing, f"(or {location}) is required beside {origins[one]}")
        if "sslrootcert" in origins:
            files["sslmode"] = "verify-full" if is_own else "verify-ca"
        return PostgresTls(origins, texts, files)

    @contextmanager
    def parameters(self) -> Iterator[dict[str, str]]:
        """libpq's parameters, good while the context is entered."""
        if not self.texts:
            yield dict(self.files)
            return
        with tempfile.TemporaryDirectory(prefix="penstock-tls-") as folder:
            found = dict(self.files)
            for parameter, pem in self.texts.items():
                path = Path(folder, parameter)
                with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                    # a PEM may have come through a variable or a form that lost its last line end
                    file.write(pem.strip() + "\n")
                found[parameter] = str(path)
            yield found

    def explained(self, message: str, parameters: Mapping[str, str]) -> str:
        """A message of libpq's with the options' names in place of the files made of texts."""
        for parameter in self.texts:
            name = f"of option '{self.origins[parameter]}'"
            message = message.replace(f'"{parameters[parameter]}"', name)
        return message
