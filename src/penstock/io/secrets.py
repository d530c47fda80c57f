"""References to secrets inside connector configurations.

    "${env:NAME}"                            the environment variable
    "${secret:kubernetes:<name>/<key>}"      <secrets dir>/kubernetes/<name>/<key>

Only a string that is a reference as a whole counts; `${…}` of any other shape is an error, so a
typing mistake never reaches a database as a password. Secrets are resolved when a pipeline
starts; the resolved values are never stored, returned or put into messages: they are `Secret`s,
which messages about options show as dots, and hidden from all others (`penstock.errors.hide`), as
are the passwords in them.

Source: contract section 7.6. The directory is PENSTOCK_SECRETS_DIR, default
/etc/feldera-secrets.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from penstock.errors import UserError, hide

DEFAULT_DIR = "/etc/feldera-secrets"
_ENV = re.compile(r"env:([A-Za-z_][A-Za-z0-9_]*)")
_KUBERNETES = re.compile(r"secret:kubernetes:([a-z0-9-]{1,63})/([a-z0-9-]{1,255})")

#: in a connection string: of libpq, of a librdkafka JAAS line
_PASSWORD = re.compile(r"password\s*=\s*('(?:[^'\\]|\\.)*'|[^\s'&]+)", re.IGNORECASE)

#: of a URL, behind its user
_URL_PASSWORD = re.compile(r"(://[^/?#@\s:]*:)[^/?#@\s]+@")


class Secret(str):
    """What a reference stood for: text for who uses it, dots for who shows it."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'…'"


def shown(value: Any) -> Any:
    """`value` without the secrets in it, for messages and their details."""
    if isinstance(value, Mapping):
        return {k: shown(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [shown(v) for v in value]
    if isinstance(value, Secret):
        return "…"
    if isinstance(value, str):
        return _URL_PASSWORD.sub(r"\1…@", _PASSWORD.sub("password=…", value))
    return value


def resolve_secrets(config: Any) -> Any:
    """`config` (mappings, lists, scalars) with every reference replaced by its secret.

    Raises UserError (ConfigError.InvalidTransportConfig) naming the reference and where it
    should have been found.
    """
    if isinstance(config, Mapping):
        return {k: resolve_secrets(v) for k, v in config.items()}
    if isinstance(config, list | tuple):
        return [resolve_secrets(v) for v in config]
    if isinstance(config, str) and config.startswith("${") and config.endswith("}"):
        return _secret(config)
    return config


def _secret(reference: str) -> str:
    body = reference[2:-1]
    if match := _ENV.fullmatch(body):
        value = os.environ.get(match[1])
        if value is None:
            raise _error(f"{reference}: the environment variable {match[1]} is not set")
        return _kept(value)
    if match := _KUBERNETES.fullmatch(body):
        folder = os.environ.get("PENSTOCK_SECRETS_DIR", DEFAULT_DIR)
        path = Path(folder, "kubernetes", match[1], match[2])
        try:
            return _kept(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as e:
            raise _error(f"{reference}: cannot read the secret from {path}: {e}") from e
    raise _error(
        f"{reference} is not a reference to a secret: write ${{env:NAME}} or "
        "${secret:kubernetes:<name>/<key>} (lower-case letters, digits and hyphens)"
    )


def _kept(text: str) -> Secret:
    """`text`, which no message will show, nor the passwords in it."""
    hide(text.strip())
    for assigned in _PASSWORD.finditer(text):
        hide(assigned[1].strip("'"))
    try:
        password = urlsplit(text).password or ""
    except ValueError:
        password = ""  # not a URL
    hide(password)
    hide(unquote(password))
    return Secret(text)


def _error(message: str) -> UserError:
    return UserError(message, code="ConfigError.InvalidTransportConfig")
