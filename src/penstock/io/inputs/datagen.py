"""datagen: rows made up by rule, for trying things out (contract section 7.3).

    {"plan": [{"limit": 1000, "rate": 100,
               "fields": {"id": {"range": [1, 500]}, "name": {"strategy": "name"}}}],
     "seed": 7}

The plans run one after the other; one without `limit` runs for ever. Row i of a plan is a function
of the seed, the plan and i alone, so two runs with one seed make the same rows, at any rate.
`rate` is rows per second: chunk k leaves at its due time, and a pause moves all later ones.

Position: the plan, how many of its rows are done, and the seed, which may have been drawn.

Cost: see `generators`; columns are made a chunk (up to 10 000 rows) at a time.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from penstock.data.batch import INSERT, InputBatch
from penstock.data.types import Schema
from penstock.errors import UserError
from penstock.io.contracts import InputConnector, InputContext, Intake, Parsed, Position
from penstock.io.formats.flavors import match_keys
from penstock.io.formats.options import TRANSPORT_ERROR, Options
from penstock.io.inputs.byte_source import sleep
from penstock.io.inputs.generators import Generate, generator

MAX_CHUNK = 10_000


@dataclass(frozen=True, slots=True)
class Plan:
    """`limit`, `rate`: None for none. `columns`: a generator per column of the table."""

    limit: int | None
    rate: int | None
    chunk: int
    columns: tuple[Generate, ...]


class Datagen(InputConnector):
    can_resume = True

    def __init__(self, context: InputContext) -> None:
        super().__init__(context)
        o = Options.of("datagen", TRANSPORT_ERROR, context.config)
        plans = o.raw("plan", [{}])
        o.integer("workers", 1)  # rows do not depend on how many threads make them: one does
        if o.raw("transaction_size", None) is not None:
            raise o.fail("transaction_size", "is not supported: POST start_transaction instead")
        is_given = o.raw("seed", None) is not None
        seed = o.integer("seed", 0, least=-(1 << 64)) if is_given else secrets.randbits(64)
        self._seed = seed % (1 << 64)
        o.done()
        if not isinstance(plans, list) or not plans:
            raise o.fail("plan", "must be a non-empty array of plans")
        self._plans = [_plan(i, p, context.schema) for i, p in enumerate(plans)]
        self._first_plan, self._done = 0, 0

    def validate(self) -> None:
        if self.context.format:
            raise UserError(
                "datagen makes rows itself: remove the connector's 'format'",
                code="ConfigError.InputFormatNotSupported",
            )

    def resume(self, position: Position) -> None:
        self._seed, self._first_plan = position["seed"], position["plan"]
        self._done = position["done"]

    def run(self, intake: Intake) -> None:
        done = self._done
        for number in range(self._first_plan, len(self._plans)):
            self._run_plan(intake, number, self._plans[number], done)
            done = 0
        intake.end_of_input()

    def _run_plan(self, intake: Intake, number: int, plan: Plan, done: int) -> None:
        start = time.monotonic() - (done / plan.rate if plan.rate else 0)
        while plan.limit is None or done < plan.limit:
            before = time.monotonic()
            intake.wait_while_paused()
            start += time.monotonic() - before
            if plan.rate:
                sleep(intake, start + done / plan.rate - time.monotonic())
            batch = self.rows(number, done // plan.chunk)
            done += len(batch)
            here = {"seed": self._seed, "plan": number, "done": done}
            intake.push(Parsed((batch,), (), len(batch)), _bytes(batch), position=here)

    def rows(self, number: int, chunk: int) -> InputBatch:
        """Chunk `chunk` of plan `number`."""
        plan = self._plans[number]
        first = chunk * plan.chunk
        last = first + plan.chunk if plan.limit is None else min(first + plan.chunk, plan.limit)
        rows = np.arange(first, last, dtype=np.int64)
        columns = tuple(
            generate(rows, np.random.default_rng([self._seed, number, chunk, c]))
            for c, generate in enumerate(plan.columns)
        )
        ops = np.full(len(rows), INSERT, np.uint8)
        return InputBatch(self.context.schema, columns, ops)


def _plan(number: int, config: Any, schema: Schema) -> Plan:
    o = Options.of(f"datagen plan {number}", TRANSPORT_ERROR, config)
    limit = o.integer("limit", -1, least=-1)
    rate = o.integer("rate", 0, least=0)
    chunk = o.integer("worker_chunk_size", min(rate or MAX_CHUNK, MAX_CHUNK))
    fields = o.raw("fields", {})
    o.done()
    if not isinstance(fields, Mapping):
        raise o.fail("fields", f"must be an object of columns, not {fields!r}")
    found = match_keys(tuple(fields), schema.names)
    unknown = sorted(set(fields) - set(found))
    if unknown:
        raise o.fail("fields", f"names '{unknown[0]}'; columns are {', '.join(schema.names)}")
    columns = []
    for field, key in zip(schema.fields, found, strict=True):
        settings = fields[key] if key is not None else {}
        owner = f"datagen plan {number}, column '{field.name}'"
        columns.append(generator(field.type, Options.of(owner, TRANSPORT_ERROR, settings)))
    return Plan(None if limit < 0 else limit, rate or None, chunk, tuple(columns))


def _bytes(batch: InputBatch) -> int:
    return sum(c.values.nbytes + sum(len(h) for h in c.heaps) for c in batch.columns)
