"""The `connectors` property: a JSON array in a string, checked as far as a compiler can.

    'connectors' = '[{"name": "out", "transport": {"name": "file_output", "config": {…}},
                      "format": {"name": "csv"}}]'          → ConnectorPlan per entry

Checked here (contract section 7.1): the shape, names, direction, generic attributes and their
types; that a transport has what it needs; unknown and ill-typed keys of a `config` are warned of
(`connector_keys`). What else a transport or a format thinks of its own `config` is checked where it
is built.
Every problem of the array is reported, not only the first.

Not here: building connectors (`penstock.io`), filling in defaults (`info`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from penstock.plan.nodes import ConnectorPlan
from penstock.sql.connector_keys import json_type, not_supported, odd_keys, unreadable

INPUT_TRANSPORTS: tuple[str, ...] = (
    "file_input", "nats_input", "kafka_input", "pub_sub_input", "url_input", "s3_input",
    "delta_table_input", "postgres_input", "postgres_cdc_input", "iceberg_input", "datagen",
    "nexmark", "empty_input",
)  # fmt: skip
OUTPUT_TRANSPORTS: tuple[str, ...] = (
    "file_output", "postgres_output", "kafka_output", "delta_table_output", "dynamodb_output",
    "redis_output", "null_output", "sqlite_output", "duckdb_output",
)  # fmt: skip
FORMATS = ("json", "csv", "avro", "parquet", "raw")
#: transports that need no `format`: they know the shape of their rows, or there are none
INTEGRATED = frozenset((
    "delta_table_input", "postgres_input", "postgres_cdc_input", "iceberg_input", "datagen",
    "nexmark", "empty_input", "postgres_output", "delta_table_output", "dynamodb_output",
    "null_output", "sqlite_output", "duckdb_output",
))  # fmt: skip

_NAME = re.compile(r"[a-zA-Z0-9_-]{1,100}")
_IDENTIFIER = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
#: generic attributes with a plain type: (JSON type's name, test), contract section 7.2
_BOOLEANS = ("send_snapshot", "soft_delete", "paused", "enable_output_buffer")
_COUNTS = (
    "max_queued_records", "max_queued_bytes", "max_batch_size", "max_worker_batch_size",
    "max_output_buffer_time_millis", "max_output_buffer_size_records",
)  # fmt: skip
#: how an output begins and whether it can be reset (spec reset, section 2)
MODES = ("follow", "snapshot_and_follow")
#: what an output does when its queue is full, and with a target that forgot what was written (ours)
POLICIES = {"on_overflow": ("reset",), "on_lost_marker": ("reset", "fail")}
GENERATION = "ConnectorGenerationError"
#: the type of a warning
INVALID = "Invalid configuration"


@dataclass(frozen=True, slots=True)
class Problem:
    """Something wrong with the property; a warning does not stop the program."""

    message: str
    error_type: str = "Compilation error"
    warning: bool = False


@dataclass(frozen=True, slots=True)
class Owner:
    """The table or view that the property stands on."""

    name: str
    is_table: bool
    has_key: bool = False

    @property
    def noun(self) -> str:
        return "table" if self.is_table else "view"


def parse_connectors(text: str, owner: Owner) -> tuple[list[ConnectorPlan], list[Problem]]:
    """The connectors of `owner` and everything wrong with their declaration."""
    try:
        entries = json.loads(text)
    except json.JSONDecodeError as e:
        where = f"line {e.lineno}, column {e.colno} of the property's value"
        return [], [
            Problem(f"connectors of {owner.noun} {owner.name} are not JSON: {e.msg} ({where})")
        ]
    if not isinstance(entries, list):
        return [], [
            Problem(
                f"connectors of {owner.noun} {owner.name} must be a JSON array of objects, "
                f"not {json_type(entries)}"
            )
        ]
    plans: list[ConnectorPlan] = []
    problems: list[Problem] = []
    taken: set[str] = set()
    for position, entry in enumerate(entries):
        plan, found = _connector(entry, position, owner)
        problems += found
        if plan is None:
            continue
        if plan.name in taken:
            problems.append(
                Problem(
                    f"{owner.noun} {owner.name} has two connectors named {plan.name}; "
                    "names must be unique within a relation"
                )
            )
        taken.add(plan.name)
        plans.append(plan)
    return plans, problems


def _connector(
    entry: Any, position: int, owner: Owner
) -> tuple[ConnectorPlan | None, list[Problem]]:
    label = f"connector {position} of {owner.noun} {owner.name}"
    if not isinstance(entry, dict):
        return None, [Problem(f"{label} must be a JSON object, not {json_type(entry)}")]
    problems: list[Problem] = []
    name = entry.get("name")
    if name is None:
        name = f"unnamed-{position}"
        problems.append(
            Problem(
                f"{label} has no name; it is called {name}, which changes when connectors before "
                "it come or go",
                "Unnamed connector",
                warning=True,
            )
        )
    elif not isinstance(name, str):
        return None, [Problem(f"name of {label} must be a string, not {json_type(name)}")]
    elif not _NAME.fullmatch(name):
        problems.append(
            Problem(
                f"name of {label} is {name!r}; it may have 1 to 100 letters, digits, '_' and '-'",
                GENERATION,
            )
        )
    if isinstance(entry.get("name"), str):
        label = f"connector {name} of {owner.noun} {owner.name}"
    for check in (_transport, _format, _attributes, _redis_keys, _extensions):
        problems += check(entry, label, owner)
    problems += [Problem(m, INVALID, True) for m in odd_keys(entry, label, owner.is_table)]
    return ConnectorPlan(owner.name, name, entry), problems


def _transport(entry: Mapping[str, Any], label: str, owner: Owner) -> Iterator[Problem]:
    transport = entry.get("transport")
    if not isinstance(transport, dict):
        yield Problem(f'{label} needs a "transport": {{"name": …, "config": …}}', GENERATION)
        return
    yield from _config(transport, f"transport of {label}")
    name = transport.get("name")
    if not isinstance(name, str):
        yield Problem(f'transport of {label} needs a "name" (a string)', GENERATION)
        return
    right: tuple[str, ...] = INPUT_TRANSPORTS if owner.is_table else OUTPUT_TRANSPORTS
    wrong: tuple[str, ...] = OUTPUT_TRANSPORTS if owner.is_table else INPUT_TRANSPORTS
    if name in right:
        if missing := not_supported(name, label, owner.is_table):
            yield Problem(missing, INVALID, warning=True)
        config = transport.get("config") or {}
        if isinstance(config, dict):
            for wrong_config in unreadable(name, config, label):
                yield Problem(wrong_config, GENERATION)
        return
    if name in wrong:
        direction, other = ("input", "output") if owner.is_table else ("output", "input")
        yield Problem(
            f"{label} uses {name}, an {other} transport; a {owner.noun} takes {direction} "
            f"transports: {', '.join(right)}",
            GENERATION,
        )
        return
    close = get_close_matches(name, right, n=1)
    hint = f"did you mean {close[0]}?" if close else f"known are {', '.join(right)}"
    yield Problem(f"{label} uses an unknown transport {name!r}; {hint}", GENERATION)


def _format(entry: Mapping[str, Any], label: str, owner: Owner) -> Iterator[Problem]:
    form = entry.get("format")
    transport = entry.get("transport")
    name = transport.get("name") if isinstance(transport, dict) else None
    if form is None:
        if name in INPUT_TRANSPORTS + OUTPUT_TRANSPORTS and name not in INTEGRATED:
            yield Problem(f'{label} needs a "format", as {name} moves bytes', GENERATION)
        return
    if not isinstance(form, dict) or not isinstance(form.get("name"), str):
        yield Problem(f'format of {label} must be {{"name": …, "config": …}}', GENERATION)
        return
    yield from _config(form, f"format of {label}")
    if name in INTEGRATED and name != "null_output":  # which elsewhere needs one
        yield Problem(f"format of {label} means nothing to {name}; remove it", INVALID, True)
    if form["name"] not in FORMATS:
        known = ", ".join(FORMATS)
        yield Problem(
            f"{label} uses an unknown format {form['name']!r}; known are {known}", GENERATION
        )


def _config(part: Mapping[str, Any], label: str) -> Iterator[Problem]:
    config = part.get("config")
    if config is not None and not isinstance(config, dict):
        yield Problem(f"config of {label} must be an object, not {json_type(config)}", GENERATION)


def _attributes(entry: Mapping[str, Any], label: str, owner: Owner) -> Iterator[Problem]:
    def wrong(key: str, wanted: str) -> Problem:
        return Problem(
            f"{key} of {label} must be {wanted}, not {json_type(entry[key])}", GENERATION
        )

    given = {k for k, v in entry.items() if v is not None}
    for key in _BOOLEANS:
        if key in given and not isinstance(entry[key], bool):
            yield wrong(key, "true or false")
    for key in _COUNTS:
        value = entry.get(key)
        if key in given and (isinstance(value, bool) or not isinstance(value, int) or value < 0):
            yield wrong(key, "a non-negative integer")
    if "mode" in given:
        mode = entry["mode"]
        if owner.is_table:
            yield Problem(f"{label}: mode is an attribute of output connectors", GENERATION)
        elif mode not in MODES:
            yield Problem(f"mode of {label} is one of {', '.join(MODES)}", GENERATION)
        elif mode == "follow" and entry.get("send_snapshot") is True:
            yield Problem(
                f'{label}: "send_snapshot": true contradicts "mode": "follow"; drop one', GENERATION
            )
    yield from _policies(entry, label, owner)
    if "labels" in given and not _is_strings(entry["labels"]):
        yield wrong("labels", "an array of strings")
    if "start_after" in given:
        value = entry["start_after"]
        if not isinstance(value, str) and not _is_strings(value):
            yield wrong("start_after", "a label or an array of labels")
    if "index" in given:
        if owner.is_table:
            yield Problem(f"{label}: index is an attribute of output connectors", GENERATION)
        elif not isinstance(entry["index"], str):
            yield wrong("index", "the name of an index")
    if entry.get("soft_delete") is True and (not owner.is_table or owner.has_key):
        yield Problem(f"{label}: soft_delete is for tables without a primary key")


def _policies(entry: Mapping[str, Any], label: str, owner: Owner) -> Iterator[Problem]:
    for key, known in POLICIES.items():
        if entry.get(key) is None:
            continue
        if owner.is_table:
            yield Problem(f"{label}: {key} is an attribute of output connectors", GENERATION)
        elif entry[key] not in known:
            expected = " or ".join(f'"{v}"' for v in known)
            yield Problem(f"{key} of {label} is {expected}, or left out", GENERATION)
    if entry.get("on_overflow") == "reset" and not owner.is_table and not _sends_snapshots(entry):
        yield Problem(
            f'{label}: "on_overflow": "reset" owes a snapshot, which mode follow never sends: add '
            '"mode": "snapshot_and_follow", or leave on_overflow out',
            GENERATION,
        )


def _sends_snapshots(entry: Mapping[str, Any]) -> bool:
    return entry.get("send_snapshot") is True or entry.get("mode") == "snapshot_and_follow"


def _redis_keys(entry: Mapping[str, Any], label: str, owner: Owner) -> Iterator[Problem]:
    """Keys without a prefix are not to be told from others', and a snapshot removes keys."""
    transport = entry.get("transport")
    if not isinstance(transport, dict) or transport.get("name") != "redis_output":
        return
    config = transport.get("config") or {}
    if not isinstance(config, dict) or config.get("key_prefix") not in (None, ""):
        return
    if _sends_snapshots(entry):
        yield Problem(
            f"{label} sends snapshots, which remove the keys that the view has not: give its "
            'transport a "key_prefix" that is its own, or use "mode": "follow"',
            GENERATION,
        )


def _extensions(entry: Mapping[str, Any], label: str, owner: Owner) -> Iterator[Problem]:
    for key, noun in (("preprocessor", "table"), ("postprocessor", "view")):
        value = entry.get(key)
        if value is None:
            continue
        if noun != owner.noun:
            yield Problem(f"{label}: a {key} stands on a {noun} only")
            continue
        shape = isinstance(value, list) and len(value) == 1 and isinstance(value[0], dict)
        if not (
            shape
            and isinstance(value[0].get("name"), str)
            and _IDENTIFIER.fullmatch(value[0]["name"])
            and isinstance(value[0].get("config"), dict)
        ):
            yield Problem(
                f"{key} of {label} must be an array of one object "
                '{"name": identifier, "config": object}'
            )
        else:
            yield Problem(f"{label}: a {key} is not supported yet; remove it", GENERATION)


def _is_strings(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(v, str) for v in value)
