"""Named instants at which a test lets the process die, fail or dawdle.

    PENSTOCK_FAILPOINTS="publish.before=crash; stage=error@3; checkpoint.rename=delay:0.2@*"
    PENSTOCK_FAILPOINTS="@/path/of/a/file"      the same text, read at every start of a pipeline

    name=action      at the first passage
    name=action@k    at the k-th passage, once
    name=action@*    at every passage

    crash            SIGKILL to this process: nothing is flushed, nobody is told
    error            TransientError, as if the target or the disk had failed for the moment
    delay:SECONDS    sleep

The names are the boundaries at which delivery and recovery can be interrupted (NAMES); passing one
that nobody armed costs a look into an empty dict. Nothing else in Penstock reads the variable.

Not here: who tests what with them (`tests/system`).
"""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from penstock.errors import TransientError, UserError

log = logging.getLogger("penstock.pipeline.failpoints")

VARIABLE = "PENSTOCK_FAILPOINTS"
NAMES: Mapping[str, str] = {
    "reset.accepted": "the intent of a reset is durable, nothing has been touched",
    "cut": "the view is pinned, its deltas queue",
    "begin": "the sink is about to begin staging",
    "stage": "a chunk of the snapshot is about to be staged",
    "publish.before": "all is staged, nothing is published",
    "publish.after": "the sink has published, we have not noted it",
    "delta": "a delta is about to be applied",
    "delta.after": "a delta is applied, we have not noted it",
    "journal.append": "a step's input is about to be journalled",
    "journal.after": "a step's input is durable, the step has not been made",
    "step.after": "a step has been made, nothing of it is delivered",
    "checkpoint.capture": "the state is captured, nothing is written",
    "checkpoint.write": "the state's files are written, the manifest is not",
    "checkpoint.rename": "the manifest is written under its temporary name",
    "checkpoint.gc": "the checkpoint is durable, older ones are not removed",
    "recover": "a checkpoint has been read, nothing has been done with it",
    "recover.replayed": "the journal is replayed, no connector has been opened",
}


@dataclass(slots=True)
class _Armed:
    action: str
    argument: str
    #: the passage at which it happens; None: each
    at: int | None
    passed: int = 0


_lock = threading.Lock()
_armed: dict[str, _Armed] = {}


def arm(text: str) -> None:
    """Replace what is armed by `text`. Raises UserError for an unknown name or action."""
    found: dict[str, _Armed] = {}
    for part in filter(None, (p.strip() for p in text.replace("\n", ";").split(";"))):
        name, _, rest = (x.strip() for x in part.partition("="))
        what, _, passage = rest.partition("@")
        action, _, argument = what.partition(":")
        if name not in NAMES or action not in ("crash", "error", "delay"):
            raise UserError(
                f"'{part}' is no failpoint: give name=crash|error|delay:SECONDS with a name of "
                f"{', '.join(NAMES)}"
            )
        at = None if passage == "*" else int(passage or 1)
        found[name] = _Armed(action, argument, at)
    with _lock:
        _armed.clear()
        _armed.update(found)


def load() -> None:
    """Arm what the environment says; called when a pipeline starts."""
    text = os.environ.get(VARIABLE)
    if text is None:
        return
    if text.startswith("@"):
        path = Path(text[1:])
        text = path.read_text() if path.exists() else ""
    arm(text)


def passing(name: str) -> None:
    """This thread passes the boundary `name`."""
    if not _armed:
        return
    assert name in NAMES, f"{name} is not in NAMES"
    with _lock:
        point = _armed.get(name)
        if point is None:
            return
        point.passed += 1
        if point.at not in (None, point.passed):
            return
    log.warning("failpoint name=%s action=%s", name, point.action)
    if point.action == "crash":
        os.kill(os.getpid(), signal.SIGKILL)
    elif point.action == "delay":
        time.sleep(float(point.argument))
    else:
        raise TransientError(f"failpoint '{name}'")
