"""Named instants at which a test lets the process die, fail, dawdle or do a thing twice.

    PENSTOCK_FAILPOINTS="publish=crash; stage=error@3; checkpoint.rename=delay:0.2@*"
    PENSTOCK_FAILPOINTS="@/path/of/a/file"      the same text, read whenever the file is another

    name=action            at the first passage since it was armed
    name=action@k          at the k-th passage, once
    name=action@*          at every passage
    name(view.c)=action    only of that output, whose passages are counted by themselves

    crash            SIGKILL to this process: nothing is flushed, nobody is told
    error            TransientError, as if the target or the disk had failed for the moment
    delay:SECONDS    sleep
    repeat           the call is made twice (only at the names of CALLS)

The names are the boundaries at which delivery and recovery can be interrupted (NAMES). A call of a
sink has one before it and one behind it, where `error` is a call whose reply was lost. Passing a
boundary that nobody armed costs a look into an empty dict. With a file, what has happened is noted
in `<file>.fired`, a line each, before it happens. Nothing else in Penstock reads the variable.

Not here: who tests what with them (`tests/system`).
"""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from penstock.errors import TransientError, UserError

log = logging.getLogger("penstock.pipeline.failpoints")

VARIABLE = "PENSTOCK_FAILPOINTS"
#: calls of a sink: each has a boundary before it and one, `<name>.after`, behind it
CALLS: Mapping[str, str] = {
    "begin": "the sink begins staging",
    "stage": "a chunk of the snapshot is staged",
    "publish": "all is staged and is published",
    "delta": "a delta is applied",
}
NAMES: Mapping[str, str] = {
    "reset.requested": "a reset was asked for, nothing is noted",
    "reset.accepted": "the intent of a reset is durable, nothing has been touched",
    "cut.before": "the sink is open and valid, the view is about to be pinned",
    "cut": "the view is pinned, its deltas queue",
    **{name: f"{what}: before it" for name, what in CALLS.items()},
    **{f"{name}.after": f"{what}: done, not noted by us" for name, what in CALLS.items()},
    "journal.append": "a step's input is about to be journalled",
    "journal.after": "a step's input is durable, the step has not been made",
    "step.after": "a step has been made, nothing of it is delivered",
    "checkpoint.capture": "the state is captured, nothing is written",
    "checkpoint.write": "the state's files are written, the manifest is not",
    "checkpoint.rename": "the manifest is written under its temporary name",
    "checkpoint.gc": "the checkpoint is durable, older ones are not removed",
    "checkpoint.gc.after": "what no checkpoint names is removed",
    "recover": "a checkpoint has been read, nothing has been done with it",
    "recover.replayed": "the journal is replayed, no connector has been opened",
}
ACTIONS = ("crash", "error", "delay", "repeat")


@dataclass(slots=True)
class _Armed:
    action: str
    argument: str
    #: the passage at which it happens; None: each
    at: int | None
    passed: int = 0


_lock = threading.Lock()
#: by name, and by the output it is about, if it is about one
_armed: dict[tuple[str, str | None], _Armed] = {}
_file: Path | None = None
#: which version of the file is armed
_seen: tuple[int, int] | None = None


def arm(text: str) -> None:
    """Replace what is armed by `text`. Raises UserError for an unknown name or action."""
    found: dict[tuple[str, str | None], _Armed] = {}
    for part in filter(None, (p.strip() for p in text.replace("\n", ";").split(";"))):
        place, _, rest = (x.strip() for x in part.partition("="))
        name, _, output = place.removesuffix(")").partition("(")
        what, _, passage = rest.partition("@")
        action, _, argument = what.partition(":")
        is_known = name in NAMES and action in ACTIONS
        if not is_known or (action == "repeat" and name not in CALLS):
            raise UserError(
                f"'{part}' is no failpoint: give name=crash|error|delay:SECONDS with a name of "
                f"{', '.join(NAMES)}, or name=repeat with one of {', '.join(CALLS)}"
            )
        at = None if passage == "*" else int(passage or 1)
        found[name, output or None] = _Armed(action, argument, at)
    with _lock:
        _armed.clear()
        _armed.update(found)


def load() -> None:
    """Arm what the environment says; called when a pipeline starts."""
    global _file, _seen
    text = os.environ.get(VARIABLE)
    if text is None:
        return
    if text.startswith("@"):
        _file, _seen = Path(text[1:]), None
        _read_file(_file)
    else:
        _file = None
        arm(text)


def passing(name: str, output: str | None = None) -> bool:
    """This thread passes the boundary `name`, on behalf of `output`; whether the call there is to
    be made twice."""
    if _file is not None:
        _read_file(_file)
    if not _armed:
        return False
    assert name in NAMES, f"{name} is not in NAMES"
    with _lock:
        mine = None if output is None else _armed.get((name, output))
        point = _armed.get((name, None)) if mine is None else mine
        if point is None:
            return False
        point.passed += 1
        if point.at not in (None, point.passed):
            return False
        _note(f"{name if mine is None else f'{name}({output})'}={point.action}")
    log.warning("failpoint name=%s output=%s action=%s", name, output or "-", point.action)
    if point.action == "crash":
        os.kill(os.getpid(), signal.SIGKILL)
    elif point.action == "delay":
        time.sleep(float(point.argument))
    elif point.action == "error":
        raise TransientError(f"failpoint '{name}'")
    return point.action == "repeat"


def calling(name: str, output: str, call: Callable[[], object]) -> None:
    """Make `call`, one of CALLS, between its two boundaries, on behalf of `output`."""
    is_repeated = passing(name, output)
    call()
    if is_repeated:
        call()
    passing(f"{name}.after", output)


def _read_file(path: Path) -> None:
    """Arm what is in the file if it is not what is armed."""
    global _seen
    try:
        found = path.stat()
        version: tuple[int, int] | None = (found.st_mtime_ns, found.st_ino)
        if version == _seen:
            return
        text = path.read_text()
    except FileNotFoundError:
        version, text = None, ""
    arm(text)
    _seen = version


def _note(line: str) -> None:
    if _file is not None:
        with Path(f"{_file}.fired").open("a") as f:
            f.write(line + "\n")
