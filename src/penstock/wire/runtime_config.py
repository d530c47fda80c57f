"""The `runtime_config` of a pipeline, normalised: every key present, defaults filled in.

    {"workers": 2, "storage": true}  ──►  {"workers": 2, "hosts": 1, "storage": {…}, … 25 keys}

Invariants: `normalise_runtime_config` is idempotent. An unknown key, a wrong type or a setting
given under two spellings is refused with `InvalidRuntimeConfig` (contract 1.4).

Not here: what the settings do.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from typing import Any

from penstock.errors import UserError
from penstock.wire.quantities import parse_duration_ns, parse_size_bytes

Check = Callable[[str, Any], Any]


def _refuse(where: str, problem: str) -> UserError:
    return UserError(
        f"Invalid runtime configuration: '{where}' {problem}",
        code="InvalidRuntimeConfig",
        details={"key": where, "problem": problem},
    )


def _unsigned(where: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise _refuse(where, f"must be a non-negative integer, not {value!r}")
    return value


def _positive(where: str, value: Any) -> int:
    if _unsigned(where, value) == 0:
        raise _refuse(where, "must be at least 1")
    return int(value)


def _one_host(where: str, value: Any) -> int:
    if _positive(where, value) > 1:
        raise _refuse(where, f"must be 1, not {value!r}: a pipeline is one process")
    return 1


def _number(where: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
        raise _refuse(where, f"must be a non-negative number, not {value!r}")
    return value


def _boolean(where: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise _refuse(where, f"must be true or false, not {value!r}")
    return value


def _text(where: str, value: Any) -> str:
    if not isinstance(value, str):
        raise _refuse(where, f"must be a string, not {value!r}")
    return value


def _unknown(prefix: str, key: str, known: Iterable[str]) -> UserError:
    near = get_close_matches(key, list(known), n=1)
    meant = f"; did you mean {near[0]}?" if near else ""
    return _refuse(f"{prefix}{key}", f"is not a known setting{meant}")


def _object(where: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise _refuse(where, f"must be an object, not {value!r}")
    return dict(value)


def _anything(where: str, value: Any) -> Any:
    return value


def _cpus(where: str, value: Any) -> list[int]:
    if not isinstance(value, list):
        raise _refuse(where, f"must be a list of CPU numbers, not {value!r}")
    return [_unsigned(where, cpu) for cpu in value]


_RESERVED_ENV = re.compile(r"RUST_LOG|FELDERA_.*|PENSTOCK_.*|KUBERNETES_.*|TOKIO_.*")


def _environment(where: str, value: Any) -> dict[str, str]:
    env = _object(where, value)
    for name, text in env.items():
        _text(f"{where}.{name}", text)
        if _RESERVED_ENV.fullmatch(name):
            raise _refuse(f"{where}.{name}", "is a reserved variable")
    return env


_OFFSET = re.compile(r"[+-](\d{1,2}):([0-5]\d)")


def _timezone_offset(where: str, value: Any) -> str:
    found = _OFFSET.fullmatch(_text(where, value))
    if not found or int(found[1]) >= 24:
        raise _refuse(where, f"must be an offset below 24 h such as '+05:30', not {value!r}")
    return str(value)


def _one_of(*allowed: str) -> Check:
    def check(where: str, value: Any) -> str:
        if value not in allowed:
            raise _refuse(where, f"must be one of {', '.join(allowed)}, not {value!r}")
        return str(value)

    return check


def _fields(where: str, value: Any, table: Mapping[str, tuple[Check, Any]]) -> dict[str, Any]:
    """Check `value` key by key against {key: (check, default)}; null and absent mean default."""
    given = _object(where or "runtime_config", value)
    prefix = f"{where}." if where else ""
    for key in given:
        if key not in table:
            raise _unknown(prefix, key, table)
    return {
        key: default if given.get(key) is None else check(f"{prefix}{key}", given[key])
        for key, (check, default) in table.items()
    }


_FILE_BACKEND: dict[str, tuple[Check, Any]] = {
    "async_threads": (_boolean, None),
    "ioop_delay": (_unsigned, None),
    "sync": (_object, None),
}


def _backend(where: str, value: Any) -> dict[str, Any]:
    given = _object(where, value)
    name = _one_of("default", "file", "object")(f"{where}.name", given.get("name", "default"))
    if name == "default":
        return {"name": name}
    config = _object(f"{where}.config", given.get("config") or {})
    if name == "file":
        return {"name": name, "config": _fields(f"{where}.config", config, _FILE_BACKEND)}
    if not isinstance(config.get("url"), str):
        raise _refuse(f"{where}.config.url", "is required")
    raise _refuse(
        f"{where}.name",
        "cannot be 'object': state and checkpoints are kept in the server's --data-dir",
    )


_STORAGE: dict[str, tuple[Check, Any]] = {
    "backend": (_backend, {"name": "default"}),
    "min_storage_bytes": (_unsigned, None),
    "min_step_storage_bytes": (_unsigned, None),
    "compression": (_one_of("default", "none", "snappy"), "default"),
    "cache_mib": (_unsigned, None),
}
_RESOURCES: dict[str, tuple[Check, Any]] = {
    "cpu_cores_min": (_number, None),
    "cpu_cores_max": (_number, None),
    "memory_mb_min": (_unsigned, None),
    "memory_mb_max": (_unsigned, None),
    "storage_mb_max": (_unsigned, None),
    "storage_class": (_text, None),
    "service_account_name": (_text, None),
    "namespace": (_text, None),
}
_TEMPLATE: dict[str, tuple[Check, Any]] = {
    "name": (_text, None),
    "key": (_text, "pipelineTemplate"),
}
_TOP: dict[str, tuple[Check, Any]] = {
    "workers": (_positive, 8),
    "hosts": (_one_host, 1),
    "cpu_profiler": (_boolean, True),
    "tracing": (_boolean, False),
    "tracing_endpoint_jaeger": (_text, "127.0.0.1:6831"),
    "min_batch_size_records": (_unsigned, 0),
    "max_buffering_delay_usecs": (_unsigned, 0),
    "resources": (lambda w, v: _fields(w, v, _RESOURCES), dict.fromkeys(_RESOURCES)),
    "clock_resolution_usecs": (_unsigned, 1_000_000),
    "clock_timezone_offset": (_timezone_offset, None),
    "pin_cpus": (_cpus, []),
    "provisioning_timeout_secs": (_unsigned, None),
    "max_parallel_connector_init": (_unsigned, None),
    "init_containers": (_anything, None),
    "checkpoint_during_suspend": (_boolean, True),
    "http_workers": (_unsigned, None),
    "io_workers": (_unsigned, None),
    "env": (_environment, {}),
    "dev_tweaks": (_object, {}),
    "logging": (_text, None),
    "pipeline_template_configmap": (lambda w, v: _fields(w, v, _TEMPLATE), None),
    "max_rss_mb": (_unsigned, None),
    "datafusion_memory_mb": (_unsigned, None),
}


def _storage(value: Any) -> dict[str, Any] | None:
    if value is None or value is False:
        return None
    return _fields("storage", {} if value is True else value, _STORAGE)


def _fault_tolerance(value: Any) -> dict[str, Any]:
    if value is None:
        return {"model": "none", "checkpoint_interval_secs": 60}
    given = _object("fault_tolerance", value)
    models = _one_of("none", "at_least_once", "exactly_once")
    for key in given:
        if key not in ("model", "checkpoint_interval_secs"):
            raise _unknown("fault_tolerance.", key, ("model", "checkpoint_interval_secs"))
    model = given.get("model", "exactly_once")
    interval = given.get("checkpoint_interval_secs", 60)
    if interval is not None:
        interval = min(
            max(_unsigned("fault_tolerance.checkpoint_interval_secs", interval), 1), 3600
        )
    return {
        "model": "none" if model is None else models("fault_tolerance.model", model),
        "checkpoint_interval_secs": interval,
    }


def _megabytes(text: str) -> int:
    return parse_size_bytes(text) // 1_000_000


def _microseconds(text: str) -> int:
    return parse_duration_ns(text) // 1000


def _seconds(text: str) -> int:
    return parse_duration_ns(text) // 10**9


# Compat: SDK 0.369 spells these with units; section -> {new key: (old key, conversion)}.
_NEW_SPELLINGS: dict[str, dict[str, tuple[str, Callable[[str], int]]]] = {
    "": {
        "max_rss": ("max_rss_mb", _megabytes),
        "datafusion_memory": ("datafusion_memory_mb", _megabytes),
        "max_buffering_delay": ("max_buffering_delay_usecs", _microseconds),
        "clock_resolution": ("clock_resolution_usecs", _microseconds),
        "provisioning_timeout": ("provisioning_timeout_secs", _seconds),
    },
    "fault_tolerance": {"checkpoint_interval": ("checkpoint_interval_secs", _seconds)},
    "storage": {
        "min_spill_size": ("min_storage_bytes", parse_size_bytes),
        "min_step_spill_size": ("min_step_storage_bytes", parse_size_bytes),
    },
    "resources": {
        "memory_max": ("memory_mb_max", _megabytes),
        "memory_min": ("memory_mb_min", _megabytes),
        "storage_max": ("storage_mb_max", _megabytes),
    },
}
# Compat: sent by SDK 0.369, without a place in the published schema; meaningless on one host.
_IGNORED_RESOURCES = ("volume_attributes_class", "storage_min", "storage_mb_min")


def _respell(section: str, value: Any) -> Any:
    if not isinstance(value, Mapping):
        return value
    result = dict(value)
    for new, (old, convert) in _NEW_SPELLINGS[section].items():
        if new not in result:
            continue
        where, text = f"{section}.{new}".lstrip("."), result.pop(new)
        if text is None:
            continue
        if result.get(old) is not None:
            raise _refuse(where, f"and '{old}' are two spellings of one setting; give one of them")
        try:
            result[old] = convert(_text(where, text))
        except ValueError as error:
            raise _refuse(where, f"is not usable: {error}") from None
    return result


def normalise_runtime_config(config: Any) -> dict[str, Any]:
    """Check `config` (an object, or None for all defaults) and fill in every default.

    Raises:
        UserError: code `InvalidRuntimeConfig`, `details.key` names the setting.
    """
    given = _respell("", _object("runtime_config", {} if config is None else config))
    storage = _respell("storage", given.pop("storage", True))
    fault_tolerance = _respell("fault_tolerance", given.pop("fault_tolerance", None))
    if isinstance(given.get("resources"), Mapping):
        resources = _respell("resources", given["resources"])
        given["resources"] = {k: v for k, v in resources.items() if k not in _IGNORED_RESOURCES}
    return {
        **_fields("", given, _TOP),
        "storage": _storage(storage),
        "fault_tolerance": _fault_tolerance(fault_tolerance),
    }
