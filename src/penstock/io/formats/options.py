"""Options of formats and transports: a mapping from the user in, checked Python values out.

Options come from JSON (a connector's `config`) or from a query string (HTTP ingress), so
`"true"` means true and `"10"` means 10. An unknown key is an error that names it and lists the
known ones: a misspelt option must not silently mean its default.

Not here: secrets (`penstock.io.secrets`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from penstock.errors import UserError
from penstock.io.secrets import shown

PARSER_ERROR = "ConfigError.ParserConfigParseError"
ENCODER_ERROR = "ConfigError.EncoderConfigParseError"
TRANSPORT_ERROR = "ConfigError.InvalidTransportConfig"

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Options:
    """Reads the keys of one configuration object; `done` complains about the keys nobody read.

    `owner` names the object in messages ("json parser"); `code` is the error code of complaints.
    """

    owner: str
    code: str
    values: Mapping[str, Any]
    _read: set[str]

    @staticmethod
    def of(owner: str, code: str, values: Any) -> Options:
        if values is None:
            values = {}
        if not isinstance(values, Mapping):
            raise UserError(
                f"the configuration of the {owner} must be an object, not {values!r}", code=code
            )
        return Options(owner, code, values, set())

    def fail(self, key: str, problem: str, *, is_private: bool = False) -> UserError:
        """`is_private`: the value may hold a password, and is not in the details."""
        value = "…" if is_private else shown(self.values.get(key))
        return UserError(
            f"{self.owner}: option '{key}' {problem}",
            code=self.code,
            details={"option": key, "value": value},
        )

    def _get(self, key: str, default: T, convert: Callable[[Any], T | None], expected: str) -> T:
        self._read.add(key)
        value = self.values.get(key)
        if value is None:
            return default
        converted = convert(value)
        if converted is None:
            raise self.fail(key, f"must be {expected}, not {value!r}")
        return converted

    def boolean(self, key: str, default: bool) -> bool:
        return self._get(key, default, _as_bool, "true or false")

    def integer(self, key: str, default: int, *, least: int = 1) -> int:
        value = self._get(key, default, _as_int, "an integer")
        if value < least:
            raise self.fail(key, f"must be at least {least}, not {value}")
        return value

    def number(self, key: str, default: float) -> float:
        return self._get(key, default, _as_float, "a number")

    def text(self, key: str, default: str) -> str:
        return self._get(key, default, _as_text, "a string")

    def required_text(self, key: str) -> str:
        value = self.text(key, "")
        if not value:
            raise self.fail(key, "is required")
        return value

    def choice(self, key: str, default: str, choices: tuple[str, ...]) -> str:
        value = self.text(key, default)
        if value not in choices:
            raise self.fail(key, f"must be one of {', '.join(choices)}, not {value!r}")
        return value

    def character(self, key: str, default: str | None) -> str | None:
        """One ASCII character, or None."""
        value = self._get(key, default, _as_text, "a single ASCII character")
        if value is not None and (len(value) != 1 or not value.isascii()):
            raise self.fail(key, f"must be a single ASCII character, not {value!r}")
        return value

    def raw(self, key: str, default: Any) -> Any:
        """The value as it is, for nested configuration the caller checks itself."""
        self._read.add(key)
        value = self.values.get(key)
        return default if value is None else value

    def done(self) -> None:
        unknown = sorted(set(map(str, self.values)) - self._read)
        if unknown:
            raise self.fail(unknown[0], f"is unknown; known are {', '.join(sorted(self._read))}")


def _as_bool(value: Any) -> bool | None:
    if isinstance(value, bool):
        return value
    if isinstance(value, str):
        return {"true": True, "false": False}.get(value.lower())
    return None


def _as_int(value: Any) -> int | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    if isinstance(value, str) and value.strip().lstrip("-").isdecimal():
        return int(value)
    return None


def _as_float(value: Any) -> float | None:
    if isinstance(value, bool):
        return None
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def _as_text(value: Any) -> str | None:
    return value if isinstance(value, str) else None
