"""What a target of the contract suite is.

A target makes Sink objects on itself (`sink`), says in one look what a reader sees (`look`), is
damaged by hand (`damage`: rows deleted, changed and added) and removed altogether (`remove`).

Rows are tuples of Python values in the order of SCHEMA; DECIMAL and DATE are their text.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

from penstock.data import types as T
from penstock.io.contracts import Sink, SinkContext
from penstock.io.outputs import OUTPUTS

SCHEMA = T.schema(
    k=T.INTEGER.with_nullable(False),
    v=T.VARCHAR,
    n=T.decimal(10, 2),
    d=T.DATE,
    b=T.BOOLEAN,
    x=T.DOUBLE,
)
Rows = Counter[tuple[Any, ...]]


class Target(ABC):
    """One place that a sink writes to. `is_keyed`: by column k. `histories`: how many random ones
    are tried; fewer where a call takes its time."""

    transport: str
    is_keyed = False
    #: the fixture of the server that it needs, if it needs one
    server: str | None = None
    #: run by `make test-all` only; a file of its own tries the essentials in `make test`
    is_slow = False
    histories = 12
    format: ClassVar[Mapping[str, Any] | None] = None

    @abstractmethod
    def __init__(self, where: Any) -> None:
        """`where`: a folder, or a server."""

    @abstractmethod
    def config(self) -> dict[str, Any]: ...

    @abstractmethod
    def look(self) -> Rows | None:
        """What a reader sees; None if there is nothing to read from."""

    @abstractmethod
    def damage(self) -> None: ...

    @abstractmethod
    def remove(self) -> None: ...

    def context(self) -> SinkContext:
        return SinkContext(
            pipeline_id="11111111-1111-1111-1111-111111111111",
            view="m",
            connector="c",
            schema=SCHEMA,
            config=self.config(),
            format=self.format,
            key=(0,) if self.is_keyed else (),
        )

    def sink(self, **changes: Any) -> Sink:
        """A new Sink object on this target, open."""
        s = OUTPUTS[self.transport](replace(self.context(), **changes))
        s.open()
        return s
