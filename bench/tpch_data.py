"""TPC-H's tables by its rules of size and distribution, as Arrow tables; drawn, not dbgen's rows.

Per unit of scale: 10,000 suppliers, 200,000 parts with four suppliers each, 150,000 customers of
whom a third never order, 1,500,000 orders with one to seven line items. Texts are drawn from
pools, so that the words the queries look for are as frequent as they should be.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pyarrow as pa

I64 = npt.NDArray[np.int64]

REGIONS = ["AFRICA", "AMERICA", "ASIA", "EUROPE", "MIDDLE EAST"]
#: nation → region
NATIONS = {
    "ALGERIA": 0, "ARGENTINA": 1, "BRAZIL": 1, "CANADA": 1, "EGYPT": 4, "ETHIOPIA": 0, "FRANCE": 3,
    "GERMANY": 3, "INDIA": 2, "INDONESIA": 2, "IRAN": 4, "IRAQ": 4, "JAPAN": 2, "JORDAN": 4,
    "KENYA": 0, "MOROCCO": 0, "MOZAMBIQUE": 0, "PERU": 1, "CHINA": 2, "ROMANIA": 3,
    "SAUDI ARABIA": 4, "VIETNAM": 2, "RUSSIA": 3, "UNITED KINGDOM": 3, "UNITED STATES": 1,
}  # fmt: skip
COLOURS = [
    "almond", "antique", "aquamarine", "azure", "beige", "bisque", "black", "blanched", "blue",
    "blush", "brown", "burlywood", "chiffon", "chocolate", "coral", "cornflower", "cream", "cyan",
    "dark", "deep", "dim", "dodger", "drab", "firebrick", "floral", "forest", "frosted",
    "gainsboro", "ghost", "goldenrod", "green", "grey", "honeydew", "hot", "indian", "ivory",
    "khaki", "lace", "lavender", "lawn", "lemon", "light", "lime", "linen", "magenta", "maroon",
    "medium", "metallic", "midnight", "mint", "misty", "moccasin", "navajo", "navy", "olive",
    "orange", "orchid", "pale", "papaya", "peach", "peru", "pink", "plum", "powder", "puff",
    "purple", "red", "rose", "rosy", "royal", "saddle", "salmon", "sandy", "seashell", "sienna",
    "sky", "slate", "smoke", "snow", "spring", "steel", "tan", "thistle", "tomato", "turquoise",
    "violet", "wheat", "white", "yellow",
]  # fmt: skip
TYPES = [
    f"{a} {b} {c}"
    for a in ("STANDARD", "SMALL", "MEDIUM", "LARGE", "ECONOMY", "PROMO")
    for b in ("ANODIZED", "BURNISHED", "PLATED", "POLISHED", "BRUSHED")
    for c in ("TIN", "NICKEL", "BRASS", "STEEL", "COPPER")
]
CONTAINERS = [
    f"{a} {b}"
    for a in ("SM", "LG", "MED", "JUMBO", "WRAP")
    for b in ("CASE", "BOX", "BAG", "JAR", "PKG", "PACK", "CAN", "DRUM")
]
SEGMENTS = ["AUTOMOBILE", "BUILDING", "FURNITURE", "MACHINERY", "HOUSEHOLD"]
PRIORITIES = ["1-URGENT", "2-HIGH", "3-MEDIUM", "4-NOT SPECIFIED", "5-LOW"]
INSTRUCTIONS = ["DELIVER IN PERSON", "COLLECT COD", "NONE", "TAKE BACK RETURN"]
MODES = ["REG AIR", "AIR", "RAIL", "SHIP", "TRUCK", "MAIL", "FOB"]
#: days since 1970: 1992-01-01, 1998-08-02 and the day that separates what was delivered
FIRST_DAY, LAST_DAY, CURRENT_DAY = 8035, 10440, 9298


@dataclass
class Tpch:
    """The tables at `scale`; `new_orders` continues them."""

    scale: float
    seed: int = 7

    def __post_init__(self) -> None:
        self._rng = np.random.default_rng(self.seed)
        self.suppliers = max(4, int(10_000 * self.scale))
        self.parts = int(200_000 * self.scale)
        self.customers = int(150_000 * self.scale)
        self.orders = int(1_500_000 * self.scale)

    @cached_property
    def fixed(self) -> dict[str, pa.Table]:
        """The tables that no refresh changes, by name."""
        return {
            "region": self._table(r_regionkey=np.arange(5), r_name=REGIONS, r_comment=[""] * 5),
            "nation": self._table(
                n_nationkey=np.arange(25), n_name=list(NATIONS),
                n_regionkey=np.array(list(NATIONS.values())), n_comment=[""] * 25,
            ),
            "supplier": self._suppliers(), "part": self._parts(), "partsupp": self._partsupp(),
            "customer": self._customers(),
        }  # fmt: skip

    def new_orders(self, first: int, count: int) -> tuple[pa.Table, pa.Table]:
        """(orders first .. first + count, their line items in order)."""
        draw, keys = self._rng.integers, np.arange(first, first + count)
        lines = draw(1, 8, count)
        order = np.repeat(np.arange(count), lines)
        n = len(order)
        day = draw(FIRST_DAY, LAST_DAY + 1, count)
        part, which = draw(0, self.parts, n), draw(0, 4, n)
        quantity = draw(1, 51, n)
        price = quantity * self._retail(part)
        shipped = day[order] + draw(1, 122, n)
        received = shipped + draw(1, 31, n)
        is_open = shipped > CURRENT_DAY
        opened = np.bincount(order, is_open, count)
        status = np.where(opened == 0, 0, np.where(opened == lines, 1, 2))
        orders = self._table(
            o_orderkey=keys, o_custkey=draw(0, max(1, self.customers // 3), count) * 3,
            o_orderstatus=_pick(["F", "O", "P"], status),
            o_totalprice=_cents(np.bincount(order, price, count).astype(np.int64)),
            o_orderdate=_days(day), o_orderpriority=_pick(PRIORITIES, draw(0, 5, count)),
            o_clerk=self._named("Clerk", draw(0, 1000, count)), o_shippriority=np.zeros(count, int),
            o_comment=self._comments(count, "special packages requests", 80),
        )  # fmt: skip
        items = self._table(
            l_orderkey=keys[order], l_partkey=part, l_suppkey=self._supplier_of(part, which),
            l_linenumber=np.arange(n) - np.repeat(np.cumsum(lines) - lines, lines) + 1,
            l_quantity=_cents(quantity * 100), l_extendedprice=_cents(price),
            l_discount=_cents(draw(0, 11, n)), l_tax=_cents(draw(0, 9, n)),
            l_returnflag=_pick(["R", "A", "N"], np.where(received > CURRENT_DAY, 2, draw(0, 2, n))),
            l_linestatus=_pick(["F", "O"], is_open.astype(np.int64)), l_shipdate=_days(shipped),
            l_commitdate=_days(day[order] + draw(30, 91, n)), l_receiptdate=_days(received),
            l_shipinstruct=_pick(INSTRUCTIONS, draw(0, 4, n)),
            l_shipmode=_pick(MODES, draw(0, 7, n)), l_comment=self._comments(n, "", 0),
        )  # fmt: skip
        return orders, items

    def _suppliers(self) -> pa.Table:
        n, draw = self.suppliers, self._rng.integers
        nation = draw(0, 25, n)
        return self._table(
            s_suppkey=np.arange(n), s_name=self._named("Supplier", np.arange(n)),
            s_address=self._comments(n, "", 0), s_nationkey=nation, s_phone=self._phones(nation),
            s_acctbal=_cents(draw(-99_999, 1_000_000, n)),
            s_comment=self._comments(n, "Customer dear Complaints", 500),
        )  # fmt: skip

    def _parts(self) -> pa.Table:
        n, draw = self.parts, self._rng.integers
        maker = draw(1, 6, n)
        names = [" ".join(self._rng.choice(COLOURS, 5, replace=False)) for _ in range(2000)]
        brands = [f"Brand#{m}{i}" for m in range(1, 6) for i in range(1, 6)]
        return self._table(
            p_partkey=np.arange(n), p_name=_pick(names, draw(0, len(names), n)),
            p_mfgr=self._named("Manufacturer", maker),
            p_brand=_pick(brands, (maker - 1) * 5 + draw(0, 5, n)),
            p_type=_pick(TYPES, draw(0, len(TYPES), n)), p_size=draw(1, 51, n),
            p_container=_pick(CONTAINERS, draw(0, len(CONTAINERS), n)),
            p_retailprice=_cents(self._retail(np.arange(n))), p_comment=self._comments(n, "", 0),
        )  # fmt: skip

    def _partsupp(self) -> pa.Table:
        part, which = np.repeat(np.arange(self.parts), 4), np.tile(np.arange(4), self.parts)
        n = len(part)
        return self._table(
            ps_partkey=part, ps_suppkey=self._supplier_of(part, which),
            ps_availqty=self._rng.integers(1, 10_000, n),
            ps_supplycost=_cents(self._rng.integers(100, 100_001, n)),
            ps_comment=self._comments(n, "", 0),
        )  # fmt: skip

    def _customers(self) -> pa.Table:
        n, draw = self.customers, self._rng.integers
        nation = draw(0, 25, n)
        return self._table(
            c_custkey=np.arange(n), c_name=self._named("Customer", np.arange(n)),
            c_address=self._comments(n, "", 0), c_nationkey=nation, c_phone=self._phones(nation),
            c_acctbal=_cents(draw(-99_999, 1_000_000, n)),
            c_mktsegment=_pick(SEGMENTS, draw(0, 5, n)), c_comment=self._comments(n, "", 0),
        )  # fmt: skip

    def _supplier_of(self, part: I64, which: I64) -> I64:
        """The four suppliers of a part are different ones."""
        return (part + which * (self.suppliers // 4 + 1)) % self.suppliers

    def _retail(self, part: I64) -> I64:
        """Cents."""
        return 90_000 + part // 10 % 20_001 + 100 * (part % 1000)

    def _named(self, what: str, number: I64) -> pa.Array:
        return pa.array([f"{what}#{i:09}" for i in range(int(number.max()) + 1)]).take(
            pa.array(number)
        )

    def _phones(self, nation: I64) -> pa.Array:
        draw = self._rng.integers
        a, b = draw(100, 1000, len(nation)), draw(1000, 10_000, len(nation))
        return pa.array([f"{10 + x}-{y}-{z}" for x, y, z in zip(nation, a, b, strict=True)])

    def _comments(self, n: int, wanted: str, one_in: int) -> pa.Array:
        """Sentences from a pool, one in `one_in` with what is `wanted` in it."""
        pool = [" ".join(self._rng.choice(COLOURS, 5)) for _ in range(500)]
        if wanted:
            pool += [f"{wanted} {i}" for i in range(10)]
            is_wanted = self._rng.integers(0, one_in, n) == 0
            return _pick(pool, np.where(is_wanted, 500 + np.arange(n) % 10, np.arange(n) % 500))
        return _pick(pool, self._rng.integers(0, 500, n))

    @staticmethod
    def _table(**columns: pa.Array | I64 | list[str]) -> pa.Table:
        """Keys and counts are INT in the program."""
        made = {
            name: pa.array(c.astype(np.int32)) if isinstance(c, np.ndarray) else pa.array(c)
            for name, c in columns.items()
        }
        return pa.table(made)


def _pick(choices: list[str], at: I64) -> pa.Array:
    return pa.array(choices).take(pa.array(at))


def _cents(values: I64) -> pa.Array:
    words = np.stack((values, values >> 63), axis=1).astype(np.int64)
    return pa.Array.from_buffers(pa.decimal128(15, 2), len(values), [None, pa.py_buffer(words)])


def _days(days: I64) -> pa.Array:
    return pa.array(days.astype(np.int32)).cast(pa.date32())
