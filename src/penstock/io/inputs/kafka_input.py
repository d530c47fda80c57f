"""kafka_input: the records of a topic (contract section 7.3).

    topic                 the topic (legacy: topics, a list of one)
    bootstrap.servers     the brokers; every key that is not listed here is librdkafka's
    start_from            "latest" (default), "earliest", {"offsets": [per partition]},
                          {"timestamp": ms since 1970}
    partitions            [numbers]: only these
    header_filter         {"header": {"name", "pattern"}}, {"and": []}, {"or": []}, {"not": f}
    resume_earliest_if_data_expires   true: what retention removed before it was read is skipped
                          with an error; false (default): that is fatal
    include_headers, include_topic, include_partition, include_offset, include_timestamp
                          what CONNECTOR_METADATA() has (see `kafka.metadata`); false (default)
    synchronize_partitions    true: in the order of the records' timestamps across partitions
                          (see `kafka.lockstep`); false (default): as they come
    log_level, group_join_timeout_secs, poller_threads      accepted

Partitions are assigned, not subscribed to: `group.id` and `auto.offset.reset` mean nothing, and
nothing is committed to a group. Where to begin is found out before the first record is read; what
is the latest then is kept by a checkpoint at once. A partition that is
added later is read from its beginning, and so is a topic that was not there at first. With
enable.partition.eof the input ends when each partition has been read to its end.

A record is parsed on its own: one that is cut short does not spoil the next. Records without a
value are skipped. Read committed is the default, as in librdkafka.

Position: {"offsets": {partition: next offset}, "topic": its id}. A topic that was removed and made
again has another id: its offsets mean nothing, which is like data that expired.

Errors: brokers that are away are waited for; a topic that does not exist, too. Missing privileges
and expired data are fatal.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from penstock.errors import PenstockError, TransientError
from penstock.io.contracts import InputConnector, InputContext, Intake, Parsed, Parser, Position
from penstock.io.formats.options import TRANSPORT_ERROR, Options
from penstock.io.inputs.byte_source import parser_of, sleep
from penstock.io.kafka.client import TRY_S, Cluster, client_options
from penstock.io.kafka.ends import End, ends_now, overwritten
from penstock.io.kafka.filters import HeaderFilter, header_filter
from penstock.io.kafka.lockstep import Lockstep
from penstock.io.kafka.metadata import RecordTelling
from penstock.io.kafka.topic import is_another
from penstock.io.kafka.values import ValueParser

if TYPE_CHECKING:
    from confluent_kafka import Consumer, KafkaError, Message

OURS = (
    "topic", "topics", "start_from", "partitions", "header_filter", "poller_threads",
    "resume_earliest_if_data_expires", "group_join_timeout_secs", "synchronize_partitions",
    "include_headers", "include_topic", "include_partition", "include_offset",
    "include_timestamp",
)  # fmt: skip
#: librdkafka's, and without meaning for assigned partitions or chosen by us
IGNORED = ("group.id", "auto.offset.reset", "enable.auto.commit", "enable.auto.offset.store")
BATCH = 10_000
POLL_S = 0.05
RETRY_S = 1.0
#: how often new partitions are looked for
LOOK_S = 30.0
Start = str | dict[str, Any]


class KafkaInput(InputConnector):
    can_resume = True

    def __init__(self, context: InputContext) -> None:
        super().__init__(context)
        o = Options.of("kafka_input", TRANSPORT_ERROR, context.config)
        self._topic = _topic(o)
        self._start = _start(o)
        self._only = _partitions(o)
        self._filter: HeaderFilter | None = header_filter(o, o.raw("header_filter", None))
        self._skips_expired = o.boolean("resume_earliest_if_data_expires", False)
        o.integer("poller_threads", 3)
        o.integer("group_join_timeout_secs", 10)
        self._is_in_lockstep = o.boolean("synchronize_partitions", False)
        self._telling = RecordTelling(o, context)
        given = client_options(o, (*OURS, *IGNORED))
        self._ends = given.get("enable.partition.eof", "false") == "true"
        self._cluster = Cluster(given, f"topic '{self._topic}'")
        self._offsets: dict[int, int] | None = None
        self._topic_id: str | None = None
        self._epochs: dict[int, int] = {}

    def validate(self) -> None:
        self._parser()
        # without brokers: a client that is about to connect takes a second to end
        self._new_consumer(**{"bootstrap.servers": ""}).close()

    def resume(self, position: Position) -> None:
        self._offsets = {int(p): int(o) for p, o in position["offsets"].items()}
        # a position of an earlier release has none
        self._topic_id = position.get("topic")
        self._epochs = {int(p): int(e) for p, e in position.get("epochs", {}).items()}

    def run(self, intake: Intake) -> None:
        consumer = self._new_consumer()
        try:
            _Reading(self, consumer, intake).run()
        finally:
            consumer.close()

    def _parser(self) -> Parser:
        return parser_of(self._telling.context(self.context))

    def _new_consumer(self, **options: str) -> Consumer:
        return self._cluster.consumer(
            **{
                "group.id": "penstock",
                "enable.auto.commit": "false",
                "enable.auto.offset.store": "false",
                # expired offsets come as an error instead of being skipped
                "auto.offset.reset": "error",
                # a partition that is at its end holds no other one up
                **({"enable.partition.eof": "true"} if self._is_in_lockstep else {}),
                **options,
            }
        )


class _Reading:
    """One `run`: from where the partitions begin to where they are now."""

    def __init__(self, config: KafkaInput, consumer: Consumer, intake: Intake) -> None:
        self._config, self._consumer, self._intake = config, consumer, intake
        self._cluster, self._topic = config._cluster, config._topic
        self._kafka = config._cluster.kafka
        self._values = ValueParser(config.context.format, config._parser())
        #: next offset of each partition that is being read
        self._next: dict[int, int] = {}
        self._resumed, self._id = config._offsets, config._topic_id
        #: under which leader the last record of a partition was written: a later one that lacks
        #: it is then found out, though it may have others at that offset
        self._epochs = dict(config._epochs)
        self._ended: set[int] = set()
        self._lockstep = Lockstep() if config._is_in_lockstep else None
        self._held: set[int] = set()
        self._is_troubled = False
        self._was_missing = False
        self._parsed = Parsed(())

    def run(self) -> None:
        self._patiently(self._begin)
        self._intake.push(self._values.parse([]), 0, position=self._position())
        if self._resumed is None and self._config._start == "latest":
            self._intake.keep_position()
        self._looked = time.monotonic()
        while not (self._config._ends and self._ended == set(self._next)):
            self._intake.wait_while_paused()
            self._take(self._consumer.consume(BATCH, POLL_S))
            if time.monotonic() - self._looked > LOOK_S:
                self._patiently(self._look)
                self._looked = time.monotonic()
        self._intake.end_of_input()

    # where to begin

    def _patiently(self, work: Callable[[], None]) -> None:
        """Do `work` as soon as the brokers let us; the first failure of a kind is reported."""
        while True:
            try:
                work()
                self._well()
                return
            except TransientError as e:
                self._trouble(str(e))
                sleep(self._intake, RETRY_S)

    def _trouble(self, message: str) -> None:
        if not self._is_troubled:
            self._intake.trouble(f"kafka_input: {message}")
        self._is_troubled = True

    def _well(self) -> None:
        if self._is_troubled:
            self._intake.trouble(None)
        self._is_troubled = False

    def _begin(self) -> None:
        partitions = self._list()
        now = self._identity()
        if is_another(now, self._id):
            self._report_another()
            self._resumed, self._epochs = {}, {}
        self._id = now
        if self._resumed is not None:
            known = {p: o for p, o in self._resumed.items() if p in partitions}
            self._drop_overwritten(known)
            fresh = self._start_of([p for p in partitions if p not in known], "earliest")
            self._assign(known | fresh)
        else:
            start = self._config._start
            # whatever is in a topic that was not there came after we began
            is_new = self._was_missing and start == "latest"
            self._assign(self._start_of(partitions, "earliest" if is_new else start))

    def _drop_overwritten(self, offsets: dict[int, int]) -> None:
        """Partitions whose records before these offsets are not those that were read."""
        read = {p: End(o, self._epochs[p]) for p, o in offsets.items() if p in self._epochs}
        if not read:
            return
        now = ends_now(self._cluster, self._topic, max(read) + 1)
        new = self._config._new_consumer
        while (p := overwritten(self._cluster, self._topic, read, now, new)) is not None:
            what = (
                f"partition {p} of topic '{self._topic}' has other records before offset "
                f"{offsets[p]} than were read of it (an unclean leader election?)"
            )
            if not self._config._skips_expired:
                raise self._fatal(
                    f"cannot go on: {what}. Set resume_earliest_if_data_expires, or start the "
                    "pipeline from its beginning"
                )
            self._intake.error(f"kafka_input: going on at the oldest record: {what}", fatal=False)
            del offsets[p], read[p], self._epochs[p]

    def _identity(self) -> str:
        """What tells the topic from another one of its name."""
        with self._cluster.errors("describing the topic"):
            asked = self._cluster.admin().describe_topics(
                self._kafka.TopicCollection([self._topic]), request_timeout=TRY_S
            )
            return str(asked[self._topic].result(TRY_S + 1).topic_id)

    def _report_another(self) -> None:
        what = "was removed and made again since it was read: its offsets mean nothing"
        if not self._config._skips_expired:
            raise self._fatal(
                f"cannot go on: it {what}. Set resume_earliest_if_data_expires, or start the "
                "pipeline from its beginning"
            )
        self._intake.error(
            f"kafka_input: reading topic '{self._topic}' from its beginning: it {what}", fatal=False
        )

    def _list(self) -> list[int]:
        """The topic's partitions, those asked for only."""
        with self._cluster.errors("listing partitions"):
            try:
                found = self._consumer.list_topics(self._topic, timeout=TRY_S).topics[self._topic]
            except self._kafka.KafkaException:
                if not self._next:
                    self._consumer.poll(0)  # nothing comes, but why the connection failed
                raise
            if found.error is not None:
                self._was_missing |= found.error.name() == "UNKNOWN_TOPIC_OR_PART"
                raise self._kafka.KafkaException(found.error)
        there = sorted(found.partitions)
        wanted = self._config._only
        if wanted is None:
            return there
        if missing := sorted(set(wanted) - set(there)):
            raise self._fatal(f"has partitions {there}, but not {missing}")
        return sorted(wanted)

    def _start_of(self, partitions: list[int], start: Start) -> dict[int, int]:
        if isinstance(start, dict) and "offsets" in start:
            offsets = start["offsets"]
            if len(offsets) != len(partitions):
                raise self._fatal(
                    f"has {len(partitions)} partitions to read, start_from has {len(offsets)} "
                    "offsets: give one for each"
                )
            return dict(zip(partitions, offsets, strict=True))
        with self._cluster.errors("finding where to begin"):
            tps = [self._kafka.TopicPartition(self._topic, p) for p in partitions]
            bounds = {
                tp.partition: self._consumer.get_watermark_offsets(tp, timeout=TRY_S) for tp in tps
            }
            if start == "earliest":
                return {p: low for p, (low, _) in bounds.items()}
            if start == "latest":
                return {p: high for p, (_, high) in bounds.items()}
            assert isinstance(start, dict)
            for tp in tps:
                tp.offset = start["timestamp"]
            found = self._consumer.offsets_for_times(tps, timeout=TRY_S) if tps else []
        return {
            tp.partition: tp.offset if tp.offset >= 0 else bounds[tp.partition][1] for tp in found
        }

    def _assign(self, starts: Mapping[int, int]) -> None:
        self._consumer.incremental_assign(
            [self._kafka.TopicPartition(self._topic, p, o) for p, o in starts.items()]
        )
        self._next.update(starts)

    def _look(self) -> None:
        """Whether there are new partitions, or all are."""
        now = self._identity()
        if is_another(now, self._id):
            self._report_another()
            starts = self._start_of(self._list(), "earliest")
            if self._lockstep is not None:
                self._hand_on([m for p in list(self._next) for m in self._lockstep.drain(p)])
            self._consumer.incremental_unassign(
                [self._kafka.TopicPartition(self._topic, p) for p in self._next]
            )
            self._next, self._held, self._ended, self._epochs = {}, set(), set(), {}
            self._assign(starts)
        elif self._config._only is None:
            new = [p for p in self._list() if p not in self._next]
            if new:
                self._assign(self._start_of(new, "earliest"))
        self._id = now

    # reading

    def _take(self, messages: list[Message]) -> None:
        come: list[Message] = []
        for m in messages:
            error = m.error()
            if error is not None:
                self._note(m, error)
                continue
            self._well()
            self._ended.discard(m.partition())
            come.append(m)
        if self._lockstep is not None:
            self._lockstep.add(come)
            come = self._lockstep.pass_on(self._next, self._ended)
            self._hold(self._lockstep.full())
        self._hand_on(come)

    def _hold(self, full: set[int]) -> None:
        """Read nothing of these partitions for now, and of the others again."""
        for change, partitions in (
            (self._consumer.pause, full - self._held),
            (self._consumer.resume, self._held - full),
        ):
            if partitions:
                change([self._kafka.TopicPartition(self._topic, p) for p in partitions])
        self._held = full

    def _hand_on(self, messages: list[Message]) -> None:
        values: list[bytes] = []
        kept: list[Message] = []
        for p, m in {m.partition(): m for m in messages}.items():
            self._next[p] = m.offset() + 1
            epoch = m.leader_epoch()
            if epoch is not None:
                self._epochs[p] = epoch
        for m in messages:
            value = m.value()
            if value is not None and self._passes(m):
                values.append(value)
                kept.append(m)
        if messages:
            # patiently: a parser may have to ask a schema registry
            self._patiently(lambda: self._parse(values, kept))
            size = sum(map(len, values))
            self._intake.push(self._parsed, size, position=self._position())

    def _parse(self, values: list[bytes], messages: list[Message]) -> None:
        def place(i: int) -> str:
            return f"partition {messages[i].partition()}, offset {messages[i].offset()}"

        told = self._config._telling.tell(messages)
        self._parsed = self._values.parse(values, told, place)

    def _passes(self, m: Message) -> bool:
        f = self._config._filter
        return f is None or f(m.headers() or [])

    def _position(self) -> Position:
        offsets = {str(p): o for p, o in sorted(self._next.items())}
        epochs = {str(p): e for p, e in sorted(self._epochs.items())}
        return {"offsets": offsets, "topic": self._id, "epochs": epochs}

    def _note(self, m: Message, error: KafkaError) -> None:
        name = error.name()
        if name == "_PARTITION_EOF":
            self._ended.add(m.partition())
        elif name in ("_AUTO_OFFSET_RESET", "OFFSET_OUT_OF_RANGE"):
            p = m.partition()
            self._patiently(lambda: self._expired(p))
        elif not isinstance(
            translated := self._cluster.translated("reading", error), TransientError
        ):
            raise translated
        else:
            self._trouble(error.str())
            if name == "UNKNOWN_TOPIC_OR_PART":
                self._looked = 0.0  # it may come back as another

    def _expired(self, p: int) -> None:
        """Retention has removed records before they were read, or the topic was made anew."""
        with self._cluster.errors("finding the oldest record"):
            tp = self._kafka.TopicPartition(self._topic, p)
            low, high = self._consumer.get_watermark_offsets(tp, timeout=TRY_S)
        what = (
            f"partition {p} of topic '{self._topic}' has the offsets {low} to {high}, the next one "
            f"to read is {self._next[p]}"
        )
        if not self._config._skips_expired:
            raise self._fatal(
                f"cannot go on: {what}. Set resume_earliest_if_data_expires, or start the "
                "pipeline from its beginning"
            )
        self._intake.error(f"kafka_input: going on at the oldest record: {what}", fatal=False)
        if self._lockstep is not None:
            self._hand_on(self._lockstep.drain(p))
        self._epochs.pop(p, None)
        self._consumer.incremental_unassign([self._kafka.TopicPartition(self._topic, p)])
        self._assign({p: low})

    def _fatal(self, problem: str) -> PenstockError:
        return PenstockError(f"kafka_input: topic '{self._topic}' {problem}", code=TRANSPORT_ERROR)


def _topic(o: Options) -> str:
    topics = o.raw("topics", None)
    if topics is None:
        return o.required_text("topic")
    if not isinstance(topics, list) or len(topics) != 1 or not isinstance(topics[0], str):
        raise o.fail("topics", "must be a list of one topic; a connector reads one")
    return topics[0]


def _start(o: Options) -> Start:
    given = o.raw("start_from", "latest")
    if given in ("latest", "earliest"):
        return str(given)
    if isinstance(given, dict) and len(given) == 1:
        offsets, timestamp = given.get("offsets"), given.get("timestamp")
        if isinstance(offsets, list) and all(type(v) is int and v >= 0 for v in offsets):
            return given
        if type(timestamp) is int:
            return given
    raise o.fail(
        "start_from",
        'must be "latest", "earliest", {"offsets": [a number per partition]} or '
        f'{{"timestamp": milliseconds}}, not {given!r}',
    )


def _partitions(o: Options) -> list[int] | None:
    given = o.raw("partitions", None)
    if given is None:
        return None
    if not isinstance(given, list) or not given or any(type(p) is not int or p < 0 for p in given):
        raise o.fail("partitions", "must be a list of partition numbers")
    return sorted(set(given))
