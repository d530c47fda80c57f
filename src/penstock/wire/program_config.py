"""The `program_config` of a pipeline, normalised (contract 1.2).

Penstock has one compiler, so `profile`, `cache` and `runtime_version` are kept for clients that
set them and change nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from penstock.errors import UserError

_PROFILES = ("dev", "unoptimized", "optimized", "optimized_symbols")
_RUNTIME_VERSION = re.compile(r"v\d+\.\d+\.\d+|[0-9a-f]{40}")


def _refuse(problem: str) -> UserError:
    return UserError(
        f"Invalid program configuration: {problem}",
        code="InvalidProgramConfig",
        details={"problem": problem},
    )


def is_runtime_version(value: Any) -> bool:
    """Whether `value` may stand for a version: null, vX.Y.Z or 40 hexadecimal digits."""
    return value is None or (isinstance(value, str) and bool(_RUNTIME_VERSION.fullmatch(value)))


def normalise_program_config(config: Any) -> dict[str, Any]:
    """Check `config` (an object or None) and fill in every default.

    Raises:
        UserError: code `InvalidProgramConfig`.
    """
    given = {} if config is None else config
    if not isinstance(given, Mapping):
        raise _refuse(f"expected an object, not {given!r}")
    known = {
        "profile": None,
        "cache": True,
        "runtime_version": None,
        "use_platform_compiler": False,
    }
    for key in given:
        if key not in known:
            raise _refuse(f"'{key}' is not a known setting")
    result = {k: d if given.get(k) is None else given[k] for k, d in known.items()}
    if result["profile"] is not None and result["profile"] not in _PROFILES:
        raise _refuse(f"'profile' must be null or one of {', '.join(_PROFILES)}")
    for flag in ("cache", "use_platform_compiler"):
        if not isinstance(result[flag], bool):
            raise _refuse(f"'{flag}' must be true or false")
    if not is_runtime_version(result["runtime_version"]):
        raise _refuse("'runtime_version' must be null, vX.Y.Z or 40 hexadecimal digits")
    return result
