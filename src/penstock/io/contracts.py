"""What a connector is to the rest of Penstock. Connectors know only this file and `data`.

Inputs: an `InputConnector` runs in its own thread and pushes parsed rows through an `Intake`, each
push with the position at which the source goes on after it. A checkpoint keeps the position of
what went through the circuit; a restarted pipeline hands it back before it runs the connector:

    validate() ──► resume(position)? ──► run(intake): push(rows, position) … end_of_input()

Outputs: a `Sink` holds one connector's external target. The output controller calls it from one
thread, in this order; every call may be repeated after a failure or a crash and must then end in
the same state ("idempotent per generation"):

    open() ──► validate(schema) ──► begin(gen) ──► stage(gen, k, rows)* ──► publish(gen, …)
                                       │ abort(gen): forget what was staged           │
                                       ▼                                              ▼
                                   (old contents stay readable)             apply(step, rows, …)*

The promise a sink declares as its `guarantee` is what a reader of the target may observe
(spec/reset.md section 2):

    atomic   the old contents until `publish`, then exactly the staged rows
    marked   old and new side by side, told apart by the generation each row or message carries
    per_key  each key goes old → new once; never empty, never doubled
    none     cannot be reset; `validate_reset` explains why and what to change

Errors: raise `SinkUnavailable` for what a retry may mend (the controller backs off and retries;
see its phases) and `SinkRejected` for what it cannot (privileges, schema, ownership, bad config).
Anything else is a bug and stops the connector with its traceback in the log.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from penstock.data.batch import Batch, InputBatch
from penstock.data.types import Schema
from penstock.errors import TransientError, UserError
from penstock.io.contents import Contents


class SinkUnavailable(TransientError):
    """The target cannot be reached or refused for a passing reason. Nothing was half-written:
    the outcome is either nothing or the whole call, and `Sink.marker` tells which."""

    default_code = "OutputTransportError"


class SinkRejected(UserError):
    """The target will not take this however often it is tried. The message says what to change."""

    default_code = "OutputTransportError"


def not_supported(message: str) -> UserError:
    """What a sink raises when asked for what it does not offer."""
    return UserError(message, code="NotSupported")


class StagingLost(SinkUnavailable):
    """What was staged for this generation is not (or no longer) all there: `begin` again.

    Raised by `stage` and `publish`, by a new Sink object that never began, and by `publish` when
    the staged rows are not `marker.rows` in number. The published contents are untouched."""


#: phases of a marker: its target shows what it describes; a publish is half done; rows that it
#: describes were lost behind our back (an earlier version restored, a partition cut short)
FOLLOWING, STAGING, RESTORED = "following", "staging", "restored"


@dataclass(frozen=True, slots=True)
class Marker:
    """What a sink stores beside its data, written in the same transaction as each batch.

    It answers "did my commit get through?", refuses a target that is another's, and detects a
    restored older checkpoint (spec/reset.md section 3).
    """

    pipeline_id: str
    view: str
    connector: str
    generation: int
    token: str
    phase: str  # FOLLOWING; STAGING, RESTORED: the contents are not what it describes
    step: int
    rows: int
    schema_hash: str
    digest: int = 0

    @property
    def owner(self) -> tuple[str, str, str]:
        return (self.pipeline_id, self.view, self.connector)

    @property
    def is_restored(self) -> bool:
        return self.phase == RESTORED


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a sink can do. `stores_marker`: it keeps the Marker durably with the data."""

    guarantee: str  # "atomic" | "marked" | "per_key" | "none"
    stores_marker: bool = False
    #: in follow mode the target is emptied when the connector starts (file_output)
    starts_empty: bool = False
    #: the target records every step's changes one after the other (a file, a topic), so that
    #: steps must not be merged when delivery is behind
    is_log: bool = False
    #: `begin_diff` works: a publish can write only the rows that differ
    can_diff: bool = False
    #: what `read` gives out does not change while the sink writes on; if not, deliveries wait
    #: until it is read
    pins_reads: bool = True


@dataclass(frozen=True, slots=True)
class SinkContext:
    """Everything a sink is built from. `config` is `transport.config` with secrets resolved;
    `format` the whole `format` object or None; `key` the columns of its index or ()."""

    pipeline_id: str
    view: str
    connector: str
    schema: Schema
    config: Mapping[str, Any]
    format: Mapping[str, Any] | None = None
    key: tuple[int, ...] = ()


class Sink(ABC):
    """One connector's target. See the module's docstring for order, threads and failures."""

    def __init__(self, context: SinkContext) -> None:
        self.context = context

    @property
    @abstractmethod
    def capabilities(self) -> Capabilities: ...

    @abstractmethod
    def open(self) -> None:
        """Connect. Must not change anything a reader sees. May be called again after `close`
        or after SinkUnavailable, and then reconnects."""

    @abstractmethod
    def validate(self) -> None:
        """Check reachability, privileges, schema and ownership before anything is destroyed;
        raise SinkRejected with what to change. Touches nothing a reader sees."""

    @abstractmethod
    def marker(self) -> Marker | None:
        """The marker stored in the target, None if there is none (or the sink keeps none)."""

    @abstractmethod
    def begin(self, generation: int, token: str, step: int) -> None:
        """Start staging `generation`, discarding whatever was staged of it or of older ones.
        Readers see no change."""

    @abstractmethod
    def stage(self, generation: int, chunk: int, rows: Batch) -> None:
        """Stage the `chunk`-th piece (0, 1, …) of the snapshot: consolidated, weights positive."""

    @abstractmethod
    def publish(self, generation: int, marker: Marker) -> None:
        """Make exactly the staged rows the contents, and `marker` the marker, at one instant.
        Also when nothing was staged: then the contents become empty.

        `marker.rows` must be the sum of the staged weights, else StagingLost. A repetition (this
        generation and token are published and nothing was staged since) does nothing; an older
        generation, or the same one under another token, is SinkRejected (fencing)."""

    @abstractmethod
    def abort(self, generation: int) -> None:
        """Forget everything staged for `generation`. The published contents stay."""

    def sweep(self, generation: int) -> None:  # noqa: B027 (most have nothing that outlives them)
        """Remove what earlier processes staged of `generation` or older ones, and left there when
        they died. Called once after a restart, before anything is staged; what is published, and
        all that a reader sees, stays."""

    @abstractmethod
    def apply(self, rows: Batch, marker: Marker) -> None:
        """Apply one delta (consolidated) and store `marker`, at one instant where the guarantee
        says so. A writer of an older generation than the target's marker must fail with
        SinkRejected (fencing). A delta whose marker.step is not beyond the stored marker's step
        of the same generation has been applied already: do nothing.

        A newer generation than the stored one begins here without a snapshot (follow mode); the
        same generation under another token is SinkRejected. Rows that somebody removed from the
        target by hand are no error: deleting them does nothing, a reset repairs the rest."""

    def begin_diff(self, generation: int, token: str, step: int) -> None:
        """As `begin`, for a reset in mode "diff": `publish` then writes only the rows of the
        target that differ from what was staged, and ends in the same state."""
        raise not_supported(f"connector '{self.context.connector}' replaces its target as a whole")

    def read(self) -> Contents:
        """What a reader of the target sees at the instant of this call, on this connection; no
        rows are staged or changed by it, and the rows are read before the next call of the sink.
        A target that does not exist is empty. Touches nothing a reader sees."""
        raise not_supported(f"connector '{self.context.connector}' cannot read its target back")

    def privileges(self) -> Sequence[str]:
        """What the target must grant for a reset, in its own words ("GRANT … TO …", "write to
        'dir'"), granted or not. The sink is open. `validate` checks them."""
        return ()

    def progress(self, step: int) -> None:  # noqa: B027 (most sinks have nobody to tell)
        """Told after every step whose rows, if it had any, the sink has taken. For sinks that
        pass it on to their reader (HTTP egress); others need not care."""

    def transmitted_bytes(self) -> int:
        """Bytes written so far, as well as the sink knows; for the statistics only."""
        return 0

    @abstractmethod
    def close(self) -> None:
        """Release resources. Must not fail and must not publish anything."""


#: characters of what could not be read that a message shows
_SHOWN = 100


@dataclass(frozen=True, slots=True)
class ParseError:
    """One record that could not be parsed (contract section 3).

    Its texts may be given as `surrogateescape` or a JSON escape made them; what is not Unicode is
    kept as `\\udcff`, so that whoever reports the error can write it as UTF-8."""

    description: str
    event_number: int | None = None
    field: str | None = None
    invalid_text: str | None = None
    invalid_bytes: list[int] | None = None
    suggestion: str | None = None
    tag: str | None = None

    def __post_init__(self) -> None:
        for name in ("description", "field", "invalid_text", "suggestion"):
            text = getattr(self, name)
            if text is not None and not text.isascii():
                written = text.encode("utf-8", "backslashreplace").decode()
                object.__setattr__(self, name, written)

    @property
    def sentence(self) -> str:
        """All of it in one line: where and what, how that reads, what to do."""
        text = self.invalid_text
        if text is None or text in self.description:
            reads = ""
        else:
            reads = f"; it reads {text[:_SHOWN]!r}{'…' if len(text) > _SHOWN else ''}"
        return self.description + reads + (f"; {self.suggestion}" if self.suggestion else "")

    def to_json(self) -> dict[str, Any]:
        return {
            "description": self.description,
            "event_number": self.event_number,
            "field": self.field,
            "invalid_bytes": self.invalid_bytes,
            "invalid_text": self.invalid_text,
            "suggestion": self.suggestion,
            "tag": self.tag,
        }


@dataclass(frozen=True, slots=True)
class Parsed:
    """Rows that parsed, and what did not. `batches` keep the order of arrival."""

    batches: tuple[InputBatch, ...]
    errors: tuple[ParseError, ...] = ()
    records: int = 0


#: where a source goes on: JSON-able, understood by the connector that made it alone
Position = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ParserState:
    """A parser between two records. Its last `unread` bytes belong to a record that is not
    complete; with `facts` (JSON-able) a new parser goes on at the first of them."""

    unread: int
    facts: Mapping[str, Any]


class Parser(ABC):
    """Bytes → rows of one table, incrementally: a record may span two `feed`s.

    Good records are returned even when others of the same chunk fail.
    """

    @abstractmethod
    def feed(self, data: bytes) -> Parsed:
        """Parse every complete record of what was fed so far and not yet returned."""

    @abstractmethod
    def finish(self) -> Parsed:
        """Parse what is left at the end of the input; the parser is then as new."""

    def state(self) -> ParserState | None:
        """Where the parser is between two `feed`s; None if another parser cannot go on there."""
        return None

    def restore(self, facts: Mapping[str, Any]) -> None:
        """Go on where the parser was whose `state` these facts are of; on a new parser only."""
        raise NotImplementedError(f"{type(self).__name__} gives no state")


#: (key, value, headers); a None value says that the key is gone
EncodedMessage = tuple[bytes | None, bytes | None, Sequence[tuple[str, str | bytes | None]]]


class Encoder(ABC):
    """Rows → bytes in buffers of bounded size. Deletes come before inserts (contract 7.2)."""

    @abstractmethod
    def encode(self, rows: Batch) -> Sequence[bytes]:
        """The batch as zero or more buffers; a weight w is |w| records unless the format carries
        weights (csv)."""

    def messages(self, rows: Batch) -> Iterable[EncodedMessage]:
        """The batch as messages for transports that have keys and headers (Kafka)."""
        return [(None, buffer, ()) for buffer in self.encode(rows)]


#: a row of what is told of each record → per column its defaults (see `record_defaults`)
DefaultsOf = Callable[[Batch], tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class InputContext:
    """What an input connector is built from. `defaults`: per column a one-row Column or None.
    `append_only`: rows of the table are never taken away. `defaults_of`: for the keys of
    CONNECTOR_METADATA() that a connector has to tell of each record, what gives the defaults of a
    batch of records; None where no DEFAULT asks."""

    relation: str
    connector: str
    schema: Schema
    key: tuple[int, ...]
    config: Mapping[str, Any]
    format: Mapping[str, Any] | None = None
    defaults: tuple[Any, ...] = field(default=())
    append_only: bool = False
    defaults_of: Callable[[Schema], DefaultsOf | None] = lambda told: None


class Intake(ABC):
    """Where an input connector delivers to; implemented by the pipeline.

    `push` blocks while the connector's queue is full or it is paused (backpressure), and raises
    `Stopped` when the pipeline is stopping. The rows of one push go through the circuit in one
    step.
    """

    class Stopped(Exception):
        """The pipeline is stopping; end `run` at once."""

    @abstractmethod
    def push(self, parsed: Parsed, byte_count: int, *, position: Position | None = None) -> None:
        """Deliver rows that took `byte_count` bytes. `position` says where the source goes on
        after them (also when there are no rows); None: these rows cannot be read again."""

    def keep_position(self) -> None:  # noqa: B027 (there may be nothing that restarts)
        """Return once a restart would go on at the position pushed last, if restarts of this
        pipeline go on anywhere and no transaction is open. For a source whose beginning another
        start would not find again; raises Stopped."""

    @abstractmethod
    def end_of_input(self) -> None: ...

    @abstractmethod
    def error(self, message: str, *, fatal: bool) -> None:
        """Report a transport error; `fatal` ends the connector (unhealthy, the rest goes on)."""

    def trouble(self, message: str | None) -> None:
        """The source does not answer, and is tried again: the connector is unhealthy until
        something is pushed, or until this is called with None."""
        if message is not None:
            self.error(message, fatal=False)

    @abstractmethod
    def wait_while_paused(self) -> None:
        """Return when the connector may run; raises Stopped when the pipeline is stopping."""

    @property
    @abstractmethod
    def stopping(self) -> bool: ...


class InputConnector(ABC):
    """One external source. The pipeline calls `run` in a thread of its own."""

    #: whether every push has a position, and `resume` goes on there
    can_resume: bool = False

    def __init__(self, context: InputContext) -> None:
        self.context = context

    @abstractmethod
    def validate(self) -> None:
        """Check the config; raise UserError (code ConfigError.…) before anything runs."""

    def resume(self, position: Position) -> None:
        """Let `run` begin at `position`, which this connector, with this config, once pushed.
        Called at most once, after `validate` and before `run`. A source that is no longer there
        is reported by `run`, like any trouble with a source."""
        raise NotImplementedError(f"{type(self).__name__} cannot resume")

    @abstractmethod
    def run(self, intake: Intake) -> None:
        """Read until the end of the input or until `intake` says stop. Poll `intake.stopping`
        at least every 100 ms while waiting for the source."""
