"""Nexmark's events by their published rules: an epoch is 1 person, 3 auctions and 46 bids.

Event n happens at n times `NEXMARK_EVENT_MS` (10 ms). Ids are functions of n; the rest is drawn
from a seed. All columns are made at once, as Arrow arrays.

Skew: half of the bids go to the hot auction, three quarters come from the hot bidder and three
quarters of the auctions from the hot seller of the last hundred; channels are hot in 99 of 100.
"""

from __future__ import annotations

import os

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

#: event time from one event to the next
EVENT_MS = float(os.environ.get("NEXMARK_EVENT_MS", "10"))
INTERVAL_US = round(EVENT_MS * 1000)
IN_EPOCH, PERSONS, AUCTIONS = 50, 1, 3
FIRST_ID, CATEGORIES = 1000, 5
HOT_CHANNELS = ("Google", "Facebook", "Baidu", "Apple")
I64 = npt.NDArray[np.int64]


def tables(events: int, seed: int = 7) -> dict[str, tuple[pa.Table, I64]]:
    """Per table its rows in order, and the number of the event that each is."""
    rng = np.random.default_rng(seed)
    n = np.arange(events, dtype=np.int64)
    offset = n % IN_EPOCH
    persons, auctions = n[offset == 0], n[(offset >= 1) & (offset <= AUCTIONS)]
    bids = n[offset > AUCTIONS]
    return {
        "person": (_persons(persons, rng), persons),
        "auction": (_auctions(auctions, rng), auctions),
        "bid": (_bids(bids, rng), bids),
    }


def _time(n: I64) -> pa.Array:
    return pa.array(n * INTERVAL_US).cast(pa.timestamp("us"))


def _pick(rng: np.random.Generator, choices: list[str], rows: int) -> pa.Array:
    return pa.array(choices).take(pa.array(rng.integers(0, len(choices), rows)))


def _padding(rng: np.random.Generator, rows: int, size: int) -> pa.Array:
    """Random letters of `size` bytes ± 20 %, from a thousand texts."""
    letters = np.frombuffer(b"abcdefghijklmnopqrstuvwxyz", np.uint8)
    lengths = rng.integers(int(size * 0.8), int(size * 1.2) + 1, 1000)
    texts = [rng.choice(letters, k).tobytes().decode() for k in lengths]
    return _pick(rng, texts, rows)


def _persons(n: I64, rng: np.random.Generator) -> pa.Table:
    rows = len(n)
    first = ["Peter", "Paul", "Luke", "John", "Saul", "Vicky", "Kate", "Julie", "Sarah", "Deiter",
             "Walter"]  # fmt: skip
    last = ["Shultz", "Abrams", "Spencer", "White", "Bartels", "Walton", "Smith", "Jones", "Noris"]
    names = [f"{a} {b}" for a in first for b in last]
    cities = ["Phoenix", "Los Angeles", "San Francisco", "Boise", "Portland", "Bend", "Redmond",
              "Seattle", "Kent", "Cheyenne"]  # fmt: skip
    cards = [" ".join(f"{x:04}" for x in rng.integers(0, 10_000, 4)) for _ in range(1000)]
    mails = [
        f"{a.lower()}{i}@{b.lower()}.com"
        for i, (a, b) in enumerate(zip(first, last * 2, strict=False))
    ]
    return pa.table({
        "id": FIRST_ID + n // IN_EPOCH,
        "name": _pick(rng, names, rows),
        "emailaddress": _pick(rng, mails, rows),
        "creditcard": _pick(rng, cards, rows),
        "city": _pick(rng, cities, rows),
        "state": _pick(rng, ["AZ", "CA", "ID", "OR", "WA", "WY"], rows),
        "date_time": _time(n),
        "extra": _padding(rng, rows, 100),
    })  # fmt: skip


def _price(rng: np.random.Generator, rows: int) -> I64:
    return np.round(10 ** (rng.random(rows) * 6) * 100).astype(np.int64)


def _hot(rng: np.random.Generator, rows: int, ratio: int) -> npt.NDArray[np.bool_]:
    return rng.integers(0, ratio, rows) > 0


def _auctions(n: I64, rng: np.random.Generator) -> pa.Table:
    rows, epoch = len(n), n // IN_EPOCH
    active = np.minimum(epoch + 1, 1000)
    ahead = (rng.random(rows) * (active + 10)).astype(np.int64)
    seller = np.where(_hot(rng, rows, 4), epoch // 100 * 100, epoch + 1 - active + ahead)
    start = _price(rng, rows)
    horizon_us = 100 * IN_EPOCH // AUCTIONS * INTERVAL_US
    ends = n * INTERVAL_US + 1000 + (rng.random(rows) * 2 * horizon_us).astype(np.int64)
    return pa.table({
        "id": FIRST_ID + epoch * AUCTIONS + n % IN_EPOCH - PERSONS,
        "itemname": _padding(rng, rows, 16),
        "description": _padding(rng, rows, 80),
        "initialbid": start,
        "reserve": start + _price(rng, rows),
        "date_time": _time(n),
        "expires": pa.array(ends).cast(pa.timestamp("us")),
        "seller": FIRST_ID + seller,
        "category": 10 + rng.integers(0, CATEGORIES, rows),
        "extra": _padding(rng, rows, 350),
    })  # fmt: skip


def _bids(n: I64, rng: np.random.Generator) -> pa.Table:
    rows, epoch = len(n), n // IN_EPOCH
    last = AUCTIONS * epoch + AUCTIONS - 1
    first = np.maximum(last - 100, 0)
    cold = first + (rng.random(rows) * (last - first + 1)).astype(np.int64)
    auction = np.where(_hot(rng, rows, 2), last // 100 * 100, cold)
    active = np.minimum(epoch + 1, 1000)
    ahead = (rng.random(rows) * (active + 10)).astype(np.int64)
    bidder = np.where(_hot(rng, rows, 4), epoch // 100 * 100 + 1, epoch + 1 - active + ahead)
    channels = [*HOT_CHANNELS, *(f"channel-{i}" for i in range(10_000))]
    words = ["".join(rng.choice(list("abcdefgh"), 5)) for _ in range(len(channels))]
    urls = [f"https://www.nexmark.com/{w}/{w[::-1]}/{w[1:]}/item.htm?query=1" for w in words]
    for i in range(10_000):
        if i % 10:
            urls[4 + i] += f"&channel_id={int(f'{i:032b}'[::-1], 2)}"
    is_hot = rng.integers(0, 100, rows) > 0
    chosen = pa.array(np.where(is_hot, rng.integers(0, 4, rows), 4 + rng.integers(0, 10_000, rows)))
    return pa.table({
        "auction": FIRST_ID + auction,
        "bidder": FIRST_ID + bidder,
        "price": _price(rng, rows),
        "channel": pc.take(pa.array(channels), chosen),
        "url": pc.take(pa.array(urls), chosen),
        "date_time": _time(n),
        "extra": _padding(rng, rows, 30),
    })  # fmt: skip
