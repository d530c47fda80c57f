"""In Pathway's environment: one Nexmark query over events in memory, one worker.

    python pathway_query.py FOLDER QUERY     FOLDER/<table>/rows.csv; prints {"s": seconds}

Pathway has no SQL that covers Nexmark; the queries that its Table API says in a line are here.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pathway as pw  # type: ignore[import-not-found]

COLUMNS = {
    "person": "id name emailAddress creditCard city state date_time extra",
    "auction": "id itemName description initialBid reserve date_time expires seller category extra",
    "bid": "auction bidder price channel url date_time extra",
}


def q0(t: Any) -> Any:
    b = t("bid")
    return b.select(b.auction, b.bidder, b.price, b.date_time, b.extra)


def q1(t: Any) -> Any:
    b = t("bid")
    return b.select(b.auction, b.bidder, b.date_time, b.extra, price=0.908 * b.price)


def q2(t: Any) -> Any:
    b = t("bid")
    return b.filter(b.auction % 123 == 0).select(pw.this.auction, pw.this.price)


def q3(t: Any) -> Any:
    a, p = t("auction"), t("person")
    a = a.filter(a.category == 10)
    p = p.filter((p.state == "OR") | (p.state == "ID") | (p.state == "CA"))
    return a.join(p, a.seller == p.id_).select(p.name, p.city, p.state, a.id_)


def q17(t: Any) -> Any:
    b = t("bid")
    b = b.select(b.auction, b.price, day=b.date_time.dt.floor("1D"))
    return b.groupby(b.auction, b.day).reduce(
        b.auction, b.day, total_bids=pw.reducers.count(), low=pw.reducers.min(b.price),
        high=pw.reducers.max(b.price), sum=pw.reducers.sum(b.price), avg=pw.reducers.avg(b.price),
    )  # fmt: skip


QUERIES = {"q0": q0, "q1": q1, "q2": q2, "q3": q3, "q17": q17}


def main() -> None:
    folder, query = Path(sys.argv[1]), sys.argv[2]
    if query not in QUERIES:
        sys.exit(f"{query} is not written in Pathway's Table API (there is {', '.join(QUERIES)})")

    def table(name: str) -> Any:
        rows = pd.read_csv(folder / name / "rows.csv", names=COLUMNS[name].split())
        for column in ("date_time", "expires"):
            if column in rows:
                rows[column] = pd.to_datetime(rows[column])
        return pw.debug.table_from_pandas(rows.rename(columns={"id": "id_"}))

    pw.io.null.write(QUERIES[query](table))
    started = time.perf_counter()
    pw.run(monitoring_level=pw.MonitoringLevel.NONE)
    print(json.dumps({"s": time.perf_counter() - started}))


main()
